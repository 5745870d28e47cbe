"""What the clients of the load share: how they say what happened, and when they shall finish."""

import ctypes
import json
import signal
import sys
import threading
import time

# A fault may last long; whoever drives the rounds says when a client is stuck.
PATIENCE = 600

PR_SET_PDEATHSIG = 1

# Set once standard input is closed: what was begun is finished, and what is there is read.
closed = threading.Event()
printing = threading.Lock()


# What makes a record large: enough for the log to write it past its journal.
PAD = "anabranch " * 30_000

# Who speaks. A client that takes the place of one that was killed has a name of its own.
name = ""


def listen(speaker):
    global name
    name = speaker
    # A load whose campaign was killed is nobody's.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()


def me():
    return name


def say(kind, **fields):
    line = json.dumps({"k": kind, "at": round(time.monotonic(), 4), "by": name, **fields})
    with printing:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def value_of(**fields):
    return json.dumps(fields, separators=(",", ":"))


def fields_of(value):
    return json.loads(value)
