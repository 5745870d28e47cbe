"""Connections that nobody wants: half-open, vanished, flooding."""

import random
import selectors
import socket
import struct

CONNECTIONS = 120
# What one flooding connection offers; taken or not, the broker's memory is bounded.
OFFERED_BYTES = 12 << 20

POST = (
    b"POST /v1/streams/plain/events HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n\r\n"
)
API_VERSIONS, PRODUCE, FETCH, METADATA = 18, 0, 1, 3


def request(api, version, body, correlation=1):
    """A request with the older header, framed."""
    head = struct.pack(">hhih", api, version, correlation, 1) + b"x"
    return struct.pack(">i", len(head) + len(body)) + head + body


def connect(port):
    connection = socket.create_connection(("127.0.0.1", port), timeout=20)
    connection.setblocking(False)
    return connection


def half_open(ports, rng):
    """Connections that send part of something and go silent."""
    kafka, postgres, web = ports
    whole = request(METADATA, 1, struct.pack(">i", -1))
    begun = [
        (kafka, whole[: rng.randint(0, len(whole) - 1)]),
        (kafka, b""),
        (kafka, struct.pack(">ihh", 90 << 20, PRODUCE, 9) + bytes(1000)),
        (postgres, struct.pack(">i", 80) + struct.pack(">i", 196_608) + b"user\0"),
        (web, b"POST /v1/streams/plain/events HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n{"),
        (web, b"GET /v1/ws HTTP/1.1\r\nUpgrade: webs"),
    ]
    held = []
    for number in range(CONNECTIONS):
        port, data = begun[number % len(begun)]
        connection = connect(port)
        connection.send(data)
        held.append(connection)
    return held


def vanish(connections):
    """Half of them are reset, the others closed in good order."""
    for number, connection in enumerate(connections):
        if number % 2 == 0:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()


def flood(ports, rng, topic, partitions):
    """Offers much and reads nothing: garbage, huge frames that are announced and begun, fetches
    whose answers nobody takes. Returns the connections, open as far as the broker left them."""
    kafka, postgres, web = ports
    noise = random.Random(rng.random()).randbytes(1 << 16)
    fetches = b"".join(fetch(topic, p % partitions, p) for p in range(200))
    offers = [
        (kafka, noise, noise),
        (kafka, struct.pack(">ihh", 95 << 20, PRODUCE, 9), bytes(1 << 16)),
        (kafka, struct.pack(">ihh", 15 << 20, METADATA, 1), bytes(1 << 16)),
        (kafka, struct.pack(">i", 2_000_000_000), bytes(1 << 16)),
        (kafka, b"", fetches),
        (kafka, b"", request(API_VERSIONS, 0, b"") * 2000),
        (postgres, noise, noise),
        (web, noise, noise),
        (web, b"POST /v1/streams/plain/events HTTP/1.1\r\n", b"Host: x\r\n"),
        (web, POST, b" " * (1 << 16)),
    ]
    selector = selectors.DefaultSelector()
    held = []
    for number in range(CONNECTIONS):
        port, first, more = offers[number % len(offers)]
        connection = connect(port)
        held.append(connection)
        selector.register(connection, selectors.EVENT_WRITE, [first + more, more, 0])
    # Until nobody takes anything any more.
    while selector.get_map() and (ready := selector.select(0.5)):
        for key, _ in ready:
            if not offer(key.fileobj, key.data):
                selector.unregister(key.fileobj)
    selector.close()
    return held


def offer(connection, state):
    """Sends some; whether there is more to be sent."""
    data, more, sent = state
    try:
        count = connection.send(data)
    except BlockingIOError:
        return True
    except OSError:
        return False
    state[0] = data[count:] or more
    state[2] = sent + count
    return state[2] < OFFERED_BYTES


def fetch(topic, partition, correlation):
    """Fetch version 4: all there is, from the beginning."""
    name = topic.encode()
    body = struct.pack(">iiiib", -1, 100, 1, 50 << 20, 0)
    body += struct.pack(">ih", 1, len(name)) + name
    body += struct.pack(">iiqi", 1, partition, 0, 50 << 20)
    return request(FETCH, 4, body, correlation)
