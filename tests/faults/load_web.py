"""Clients of the load over HTTP: one publishes events, one follows them."""

import http.client
import json

from say import PATIENCE, closed, me, say


def publish(address, name, stream):
    """Publishes events, each once: one whose outcome is not known is left as it is."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    n = 0
    while not closed.is_set():
        say("sent", t=stream, n=n)
        try:
            body = json.dumps({"by": me(), "n": n})
            connection.request("POST", f"/v1/streams/{stream}/events", body)
            answer = json.load(connection.getresponse())
            if "offsets" in answer:
                (place,) = answer["offsets"]
                say("acked", t=stream, p=place["partition"], o=place["offset"], n=n)
            else:
                say("failed", t=stream, n=n, error=str(answer)[:200])
        except (OSError, http.client.HTTPException, ValueError) as error:
            say("failed", t=stream, n=n, error=repr(error)[:200])
            connection.close()
        n += 1
        closed.wait(0.01)


def follow(address, name, stream):
    """Reads all events of a stream, and goes on where it was after each trouble."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    position = "beginning"
    while True:
        # What was published before this is set is in the answer.
        last = closed.is_set()
        try:
            path = f"/v1/streams/{stream}/events?from={position}&wait_ms=200&limit=1000"
            connection.request("GET", path)
            answer = json.load(connection.getresponse())
        except (OSError, http.client.HTTPException, ValueError) as error:
            say("error", error=repr(error)[:200])
            connection.close()
            closed.wait(0.05)
            continue
        for event in answer.get("events", ()):
            say("read", t=stream, p=event["partition"], o=event["offset"], v=event["value"])
        position = answer.get("next", position)
        if last and "events" in answer and not answer["events"]:
            return
