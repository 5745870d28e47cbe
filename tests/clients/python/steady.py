"""An idempotent producer that never gives up: what crash tests load the broker with.

    steady.py BROKER TOPIC NAME

Produces records with the key `NAME/n % 500` and the value `{"producer": NAME, "n": n}`, n = 0, 1,
2, …, until its standard input closes; then waits for what is in flight. Prints `partition offset n`
for each acknowledged record, in the order of the acknowledgements.
"""

import sys
import threading

from confluent_kafka import KafkaException, Producer

KEYS = 500
# Few enough that a crash hits records in every state.
IN_FLIGHT_MAX = 5000
SECONDS = 120


def main(broker, topic, name):
    producer = Producer(
        {
            "bootstrap.servers": broker,
            "enable.idempotence": True,
            "linger.ms": 1,
            "delivery.timeout.ms": SECONDS * 1000,
            "reconnect.backoff.ms": 20,
            "reconnect.backoff.max.ms": 100,
            "retry.backoff.ms": 20,
            "log_level": 0,
        }
    )
    closed = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()
    out = sys.stdout

    def delivered(n):
        def callback(error, message):
            if error is not None:
                raise KafkaException(error)
            out.write(f"{message.partition()} {message.offset()} {n}\n")

        return callback

    n = 0
    while not closed.is_set():
        if len(producer) >= IN_FLIGHT_MAX:
            producer.poll(0.01)
            continue
        value = f'{{"producer":"{name}","n":{n}}}'
        producer.produce(topic, key=f"{name}/{n % KEYS}", value=value, on_delivery=delivered(n))
        producer.poll(0)
        n += 1
    if producer.flush(SECONDS) > 0:
        raise TimeoutError("records were not acknowledged")
    out.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
