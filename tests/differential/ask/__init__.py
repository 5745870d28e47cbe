"""What is asked, by theme: each function plans one request or a few that belong together."""

ASKS = []


def asks(weight=1):
    """How often it is asked, compared with others. The first word of the function's steps is the
    API, so a function may ask several."""
    def add(function):
        ASKS.append((function, weight))
        return function
    return add


from . import (  # noqa: E402,F401
    access, cluster, configs, groups, logs, migration, offsets, quotas, topics, transactions)
