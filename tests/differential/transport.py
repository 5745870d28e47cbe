"""Raw connections: frames, request and response headers, one request at a time."""

import socket
import struct

from schema import Undecodable, varint

# A broker that says nothing for so long is taken to have no answer.
PATIENCE_S = 12
FRAME_BYTES_MAX = 64 << 20


class Closed(Exception):
    """The broker closed the connection."""


class Silent(Exception):
    """No answer came in time."""


class Connection:
    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=PATIENCE_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation = 0
        self.waiting = []

    def close(self):
        self.socket.close()

    def send(self, api, version, body):
        """Sends a request; `body` is encoded, so that wrong ones can be sent too."""
        self.correlation += 1
        client = b"differential"
        head = struct.pack(">hhih", api.key, version, self.correlation, len(client)) + client
        if version in api.request.flexible:
            head += varint(0)
        try:
            self.socket.sendall(struct.pack(">i", len(head) + len(body)) + head + body)
        except OSError as error:
            raise Closed from error
        self.waiting.append((api, version, self.correlation))

    def receive(self, patience_s=PATIENCE_S):
        """The decoded answer to the oldest request that has none yet."""
        api, version, correlation = self.waiting.pop(0)
        self.socket.settimeout(patience_s)
        size = struct.unpack(">i", self.exactly(4))[0]
        if not 4 <= size <= FRAME_BYTES_MAX:
            raise Undecodable(f"a frame of {size} bytes")
        frame = self.exactly(size)
        found = struct.unpack(">i", frame[:4])[0]
        if found != correlation:
            raise Undecodable(f"correlation id {found}, not {correlation}")
        # The header of ApiVersions' answer never has tags, so that any client can read it.
        tags = version in api.request.flexible and api.name != "ApiVersions"
        if tags and frame[4:5] != b"\x00":
            raise Undecodable("the header has tags")
        return decode(api, frame[5 if tags else 4:], version)

    def exactly(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                more = self.socket.recv(count - len(data))
            except socket.timeout as error:
                raise Silent from error
            except OSError as error:
                raise Closed from error
            if not more:
                raise Closed
            data += more
        return bytes(data)


def decode(api, body, version):
    # A version that is not known is answered in version 0 (KIP-511).
    if api.name == "ApiVersions" and body[:2] == b"\x00\x23":
        version = 0
    return api.response.decode(body, version)
