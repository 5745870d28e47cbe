"""The clients that live through all rounds, one process each.

    load.py LIFE ROLE BROKER NAME [ARGUMENT…]

LIFE counts the processes that had the role before.
Each prints its history as JSON lines, `k` for what happened and `at` for when (monotonic seconds):
README.md lists them. When its standard input closes, a client finishes what it has begun, reads
what there is to read, and ends.
"""

import sys

import load_consumers
import load_keyed
import load_other
import load_producers
import load_web
from say import listen, say

ROLES = {
    "produce": load_producers.produce,
    "bulk": load_producers.bulk,
    "dawdle": load_producers.dawdle,
    "transact": load_producers.transact,
    "read": load_consumers.read,
    "join": load_consumers.join,
    "copy": load_consumers.copy,
    "aiojoin": load_other.join,
    "query": load_other.query,
    "insert": load_other.insert,
    "upsert": load_keyed.upsert,
    "reread": load_keyed.reread,
    "look": load_keyed.look,
    "publish": load_web.publish,
    "follow": load_web.follow,
}

if __name__ == "__main__":
    life, role, broker, name, *arguments = sys.argv[1:]
    listen(f"{name}.{life}")
    ROLES[role](broker, name, *arguments)
    say("done")
