"""Users, grants and what follows from them, as clients see it.

    access.py LIBRARY BROKER

Reads a JSON array a line from standard input, does what it says with confluent-kafka or
kafka-python, and prints a JSON value for each: what was found, or {"error": NAME}.

    ["user", LOGIN, NAME, PASSWORD, MECHANISM]        sets a password
    ["grant", LOGIN, PRINCIPAL, KIND, NAME, PATTERN, OPERATION, PERMISSION]
    ["grants", LOGIN]                                 how many there are
    ["create", LOGIN, TOPIC]
    ["produce", LOGIN, TOPIC, VALUE]
    ["consume", LOGIN, TOPIC, GROUP]                  the values, from the beginning
    ["topics", LOGIN]                                 the names

LOGIN is null, or [MECHANISM, NAME, PASSWORD].
"""

import json
import sys

SECONDS = 30


class Confluent:
    def __init__(self, broker):
        self.broker = broker
        self.admins = []

    def config(self, login):
        config = {"bootstrap.servers": self.broker, "log_level": 0}
        if login is not None:
            mechanism, name, password = login
            config |= {
                "security.protocol": "SASL_PLAINTEXT",
                "sasl.mechanism": mechanism,
                "sasl.username": name,
                "sasl.password": password,
            }
        return config

    def admin(self, login):
        from confluent_kafka.admin import AdminClient

        # Kept: what it was asked ends with it.
        self.admins.append(AdminClient(self.config(login)))
        return self.admins[-1]

    def user(self, login, name, password, mechanism):
        from confluent_kafka import admin

        kind = admin.ScramMechanism[mechanism.replace("-", "_")]
        info = admin.ScramCredentialInfo(kind, 4096)
        change = admin.UserScramCredentialUpsertion(name, info, password.encode())
        futures = self.admin(login).alter_user_scram_credentials([change])
        return futures[name].result(SECONDS)

    def grant(self, login, principal, kind, name, pattern, operation, permission):
        from confluent_kafka import admin

        binding = admin.AclBinding(
            admin.ResourceType[kind],
            name,
            admin.ResourcePatternType[pattern],
            principal,
            "*",
            admin.AclOperation[operation],
            admin.AclPermissionType[permission],
        )
        return self.admin(login).create_acls([binding])[binding].result(SECONDS)

    def grants(self, login):
        from confluent_kafka import admin

        everything = admin.AclBindingFilter(
            admin.ResourceType.ANY,
            None,
            admin.ResourcePatternType.ANY,
            None,
            None,
            admin.AclOperation.ANY,
            admin.AclPermissionType.ANY,
        )
        return len(self.admin(login).describe_acls(everything).result(SECONDS))

    def create(self, login, topic):
        from confluent_kafka.admin import NewTopic

        futures = self.admin(login).create_topics([NewTopic(topic, 1, 1)])
        return futures[topic].result(SECONDS)

    def produce(self, login, topic, value):
        from confluent_kafka import KafkaException, Producer

        told = []
        errors = []
        config = self.config(login) | {"message.timeout.ms": SECONDS * 1000}
        producer = Producer(config | {"error_cb": errors.append})
        producer.produce(topic, value, on_delivery=lambda error, _: told.append(error))
        while not told and not any(error.name() == "_AUTHENTICATION" for error in errors):
            producer.poll(0.1)
        if told and told[0] is None:
            return None
        raise KafkaException(told[0] if told else errors[0])

    def consume(self, login, topic, group):
        from confluent_kafka import Consumer, KafkaException

        config = self.config(login) | {
            "group.id": group,
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
        consumer = Consumer(config)
        consumer.subscribe([topic])
        values = []
        while True:
            message = consumer.poll(SECONDS)
            if message is None:
                raise TimeoutError("nothing came")
            error = message.error()
            if error is None:
                values.append(message.value().decode())
            elif error.name() == "_PARTITION_EOF":
                consumer.commit(asynchronous=False) if values else None
                consumer.close()
                return values
            else:
                consumer.close()
                raise KafkaException(error)

    def topics(self, login):
        return sorted(self.admin(login).list_topics(timeout=SECONDS).topics)

    @staticmethod
    def name(error):
        from confluent_kafka import KafkaException

        return error.args[0].name() if isinstance(error, KafkaException) else None


class KafkaPython:
    def __init__(self, broker):
        self.broker = broker

    def config(self, login):
        config = {"bootstrap_servers": self.broker}
        if login is not None:
            mechanism, name, password = login
            config |= {
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": mechanism,
                "sasl_plain_username": name,
                "sasl_plain_password": password,
            }
        return config

    def produce(self, login, topic, value):
        from kafka import KafkaProducer

        producer = KafkaProducer(**self.config(login), max_block_ms=SECONDS * 1000)
        producer.send(topic, value.encode()).get(SECONDS)
        producer.close()

    def consume(self, login, topic, group):
        from kafka import KafkaConsumer

        consumer = KafkaConsumer(
            topic,
            **self.config(login),
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        )
        values = []
        while not values:
            for records in consumer.poll(SECONDS * 1000).values():
                values += [record.value.decode() for record in records]
        consumer.commit()
        consumer.close()
        return values

    def topics(self, login):
        from kafka import KafkaConsumer

        consumer = KafkaConsumer(**self.config(login))
        topics = sorted(consumer.topics())
        consumer.close()
        return topics

    @staticmethod
    def name(error):
        from kafka.errors import KafkaError

        return type(error).__name__ if isinstance(error, KafkaError) else None


def main(library, broker):
    client = {"confluent": Confluent, "kafka-python": KafkaPython}[library](broker)
    for line in sys.stdin:
        what, *arguments = json.loads(line)
        try:
            found = getattr(client, what)(*arguments)
        except Exception as error:
            name = client.name(error)
            if name is None:
                raise
            found = {"error": name}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
