"""Histories and the final state, as the rules want to look at them."""


class Recorded:
    """`histories`: events by client. `final`: what was read at the end, see final.py."""

    def __init__(self, histories, final):
        self.histories = histories
        self.final = final
        self.source = final["source"]
        self.compacted = set(final["compacted"])
        self.sql_topics = set(final["sql_topics"])
        self.log = by_place(final["log"])
        self.keys = {tuple(record[:3]): record[4] for record in final["log"]}
        self.committed = by_place(final["committed"])
        self.sql = by_place(final["sql"])
        self.tables = final["tables"]
        self.groups = final["groups"]
        self.inserted = {
            (value["by"], value["n"]) for value in self.log.values() if value.get("row")
        }
        for who, events in histories.items():
            for event in events:
                event["who"] = who
        self.sent = {(event["by"], event["n"]) for event in self.events("sent")}
        self.transactions = {
            (event["by"], event["tx"]): event for event in self.events("begin")
        }
        self.results = {
            (event["by"], event["tx"]): event["result"] for event in self.events("end")
        }

    def events(self, *kinds):
        for events in self.histories.values():
            for event in events:
                if event["k"] in kinds:
                    yield event

    def who(self, start):
        return [who for who in self.histories if who.startswith(start)]

    def is_aborted(self, tx):
        """Its client never asked for a commit, or was told that it is aborted."""
        begun = self.transactions.get(tx)
        return begun is not None and (
            begun["how"] == "abort" or self.results.get(tx) == "aborted"
        )

    def is_open(self, tx):
        """Its client was never told how it ended, or that it is aborted."""
        return tx in self.transactions and self.results.get(tx) != "committed"

    def is_compacted(self, event):
        """A keyed stream keeps the last record of a key alone."""
        return event["t"] in self.compacted


def by_place(records):
    return {(topic, p, offset): value for topic, p, offset, value, *_ in records}
