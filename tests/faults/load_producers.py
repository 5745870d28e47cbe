"""Producers of the load, with librdkafka: idempotent ones, and transactions."""

import threading
import time

from confluent_kafka import KafkaException, Producer
from say import PAD, PATIENCE, closed, me, say, value_of

# Small enough that a client works through all of a round's moments, large enough for batches.
IN_FLIGHT_MAX = 400
BULK_IN_FLIGHT_MAX = 8
KEYS = 60

QUICK = {
    "reconnect.backoff.ms": 20,
    "reconnect.backoff.max.ms": 200,
    "retry.backoff.ms": 20,
    "retry.backoff.max.ms": 200,
    "socket.timeout.ms": 15_000,
    # Otherwise a client that was idle while the broker started again may hang: librdkafka's
    # issue 5511.
    "metadata.recovery.strategy": "none",
    "log_level": 0,
}


def produce(broker, name, topic, partitions):
    """An idempotent producer. Keys stay in their partition, so that order is theirs too."""
    n = 0
    while not closed.is_set():
        n = produce_until_fatal(broker, name, topic, int(partitions), n, {}, 0.004)


def bulk(broker, name, topic):
    """The same, few records but large ones."""
    n = 0
    while not closed.is_set():
        n = produce_until_fatal(broker, name, topic, 1, n, {"pad": PAD}, 0.5)


def idempotent(broker, fatal):
    """A producer that sets `fatal` once it is of no more use."""
    return Producer(
        {
            "bootstrap.servers": broker,
            "enable.idempotence": True,
            "linger.ms": 2,
            "delivery.timeout.ms": PATIENCE * 1000,
            "error_cb": lambda error: fatal.set() if error.fatal() else None,
            **QUICK,
        }
    )


def produce_until_fatal(broker, name, topic, partitions, n, padding, pause):
    fatal = threading.Event()
    producer = idempotent(broker, fatal)

    def delivered(n):
        def callback(error, message):
            if error is None:
                say("acked", t=topic, p=message.partition(), o=message.offset(), n=n)
            else:
                say("failed", t=topic, n=n, error=str(error))

        return callback

    while not closed.is_set() and not fatal.is_set():
        producer.poll(pause)
        if len(producer) >= (IN_FLIGHT_MAX if not padding else BULK_IN_FLIGHT_MAX):
            continue
        key = n % KEYS
        partition = key % partitions
        say("sent", t=topic, p=partition, n=n)
        producer.produce(
            topic,
            key=f"{me()}/{key}",
            value=value_of(by=me(), n=n, **padding),
            partition=partition,
            on_delivery=delivered(n),
        )
        n += 1
    if fatal.is_set():
        say("fatal")
    if producer.flush(PATIENCE) > 0:
        say("stuck", left=len(producer))
    return n


def transactional(broker, name):
    while True:
        producer = Producer(
            {
                "bootstrap.servers": broker,
                "transactional.id": name,
                "transaction.timeout.ms": 60_000,
                # Without it a fatal error is raised wherever Python is; the calls say so, too.
                "error_cb": lambda error: None,
                **QUICK,
            }
        )
        try:
            patiently(producer.init_transactions)
            return producer
        except KafkaException as error:
            say("init failed", error=str(error))


def patiently(call, *arguments):
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return call(*arguments, 10)
        except KafkaException as error:
            if not error.args[0].retriable() or time.monotonic() > end:
                raise


def dawdle(broker, name, *topics):
    """Transactions that stay open for a while: faults meet them half done."""
    transact(broker, name, *topics, pause=0.3)


def transact(broker, name, *topics, pause=0):
    """Transactions over all partitions of some topics; a third is aborted."""
    producer = transactional(broker, name)
    tx = 0
    while not closed.is_set():
        of = 1 + tx * 7 % 6
        how = "abort" if tx % 3 == 2 else "commit"
        say("begin", tx=tx, how=how, of=of)
        try:
            producer.begin_transaction()
            for i in range(of):
                fields = {"by": me(), "tx": tx, "i": i, "of": of, "how": how}
                topic = topics[(tx + i) % len(topics)]
                producer.produce(
                    topic,
                    key=f"{me()}/{i}",
                    value=value_of(**fields),
                    partition=i // len(topics) % 2,
                    on_delivery=part_delivered(tx, i, topic),
                )
                if pause:
                    producer.poll(pause)
            if how == "commit" or tx % 2 == 0:
                producer.flush(PATIENCE)
            else:
                # An abort of what is under way, for as long as chance has it. If the broker goes
                # meanwhile, librdkafka takes back what was sent and not answered, and the next
                # transaction has its sequence numbers again.
                time.sleep(tx // 6 % 8 * 0.004)
            if how == "commit":
                say("committing", tx=tx)
                patiently(producer.commit_transaction)
            else:
                patiently(producer.abort_transaction)
            say("end", tx=tx, result="committed" if how == "commit" else "aborted")
        except KafkaException as failure:
            producer = after_failure(producer, broker, name, tx, failure)
        tx += 1


def part_delivered(tx, i, topic):
    def callback(error, message):
        if error is None:
            say("acked", t=topic, p=message.partition(), o=message.offset(), tx=tx, i=i)

    return callback


def after_failure(producer, broker, name, tx, failure):
    """Aborts, or fences itself. Then nobody knows how the transaction ended, unless it was
    aborted."""
    say("trouble", tx=tx, error=str(failure))
    try:
        patiently(producer.abort_transaction)
        say("end", tx=tx, result="aborted")
        return producer
    except KafkaException as error:
        say("trouble", tx=tx, error=str(error))
    producer = transactional(broker, name)
    say("end", tx=tx, result="unknown")
    return producer
