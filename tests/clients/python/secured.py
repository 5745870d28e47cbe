"""confluent-kafka with any of librdkafka's settings: produces a record and reads it back.

    secured.py BROKER TOPIC VALUE [NAME=VALUE…]

Prints the value that was read. Ends with librdkafka's words if the broker cannot be reached.
"""

import sys
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

SECONDS = 20


def main(broker, topic, value, *settings):
    errors = []
    common = {
        "bootstrap.servers": broker,
        "error_cb": lambda error: errors.append(str(error)),
        **dict(setting.split("=", 1) for setting in settings),
    }
    answers = []
    producer = Producer(common)
    producer.produce(topic, value, on_delivery=lambda error, message: answers.append(error))
    until = time.monotonic() + SECONDS
    while not answers and not errors and time.monotonic() < until:
        producer.poll(0.1)
    if answers != [None]:
        sys.exit(f"not produced: {errors or answers}")
    consumer = Consumer({**common, "group.id": "secured"})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    while time.monotonic() < until:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            print(message.value().decode())
            consumer.close()
            return
    sys.exit(f"nothing was read: {errors}")


if __name__ == "__main__":
    main(*sys.argv[1:])
