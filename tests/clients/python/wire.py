"""What the Python clients share: records as JSON lines, commands from standard input."""

import faulthandler
import json
import queue
import sys
import threading

# At most as many records are in a transaction of `copy`.
TRANSACTION_MAX = 10
# `copy` gives up when it has copied nothing for so long.
PATIENCE = 60


def run(arguments, **commands):
    commands[arguments[1]](*arguments[2:])


def emit(what):
    print(json.dumps(what), flush=True)


def assign(positions, partitions):
    """Tells of an assignment, and forgets positions in partitions that others have now."""
    for partition in positions.keys() - set(partitions):
        del positions[partition]
    emit({"assigned": sorted(partitions)})


def to_hex(data):
    return None if data is None else bytes(data).hex()


def from_hex(text):
    return None if text is None else bytes.fromhex(text)


def producer_settings(options):
    """The options of `produce`, as kafka-python and aiokafka call them."""
    settings = {}
    names = {
        "compression": ("compression_type", lambda value: None if value == "none" else value),
        "idempotent": ("enable_idempotence", lambda value: value == "true"),
        "acks": ("acks", lambda value: value if value == "all" else int(value)),
    }
    for option in options:
        name, value = option.split("=", 1)
        setting, convert = names[name]
        settings[setting] = convert(value)
    return settings


def from_json(record):
    record["key"] = from_hex(record["key"])
    record["value"] = from_hex(record["value"])
    record["headers"] = [(name, from_hex(value)) for name, value in record["headers"]]
    return record


def read_records():
    for line in sys.stdin:
        yield from_json(json.loads(line))


def read_transactions():
    for line in sys.stdin:
        transaction = json.loads(line)
        yield [from_json(record) for record in transaction["records"]], transaction["end"]


def be_patient():
    """Ends the program, with a trace, unless called again within PATIENCE."""
    faulthandler.dump_traceback_later(PATIENCE, exit=True)


class Commands:
    """Lines of standard input, taken without waiting. Its end is `close`."""

    def __init__(self):
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in sys.stdin:
            self.lines.put(line.strip())
        self.lines.put("close")

    def next(self):
        try:
            return self.lines.get_nowait()
        except queue.Empty:
            return None
