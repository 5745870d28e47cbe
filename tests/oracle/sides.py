"""The two that are asked: PostgreSQL and the broker, each started for the campaign."""

import os
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass

from psycopg import pq

# Seconds in which a server must come up, and go.
PATIENCE = 60
# Milliseconds that a statement may take.
STATEMENT_MAX = 10_000


@dataclass(frozen=True)
class Answer:
    """What a statement gave: columns and rows, or an error."""

    names: tuple = ()
    types: tuple = ()
    rows: tuple = ()
    error: str | None = None
    message: str = ""


class Side:
    """One connection, made again when it is lost."""

    def __init__(self, conninfo):
        self.conninfo = conninfo
        self.connection = None

    def _connected(self):
        if self.connection is None or self.connection.status != pq.ConnStatus.OK:
            if self.connection is not None:
                self.connection.finish()
            self.connection = pq.PGconn.connect(self.conninfo.encode())
            if self.connection.status != pq.ConnStatus.OK:
                raise ConnectionError(self.connection.get_error_message())
            for name, value in (
                ("statement_timeout", str(STATEMENT_MAX)),
                ("TimeZone", "UTC"),
                ("DateStyle", "ISO, MDY"),
                ("client_min_messages", "error"),
            ):
                self.connection.exec_(f"SET {name} = '{value}'".encode())
        return self.connection

    def ask(self, statement):
        result = self._connected().exec_(statement.encode())
        if result.status == pq.ExecStatus.TUPLES_OK:
            columns = range(result.nfields)
            return Answer(
                tuple(result.fname(column).decode() for column in columns),
                tuple(result.ftype(column) for column in columns),
                tuple(
                    tuple(text(result.get_value(row, column)) for column in columns)
                    for row in range(result.ntuples)
                ),
            )
        if result.status in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY):
            return Answer()
        state = result.error_field(pq.DiagnosticField.SQLSTATE)
        message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b""
        return Answer(
            error=state.decode() if state else "lost", message=message.decode(errors="replace")
        )

    def must(self, statement):
        answer = self.ask(statement)
        if answer.error:
            raise RuntimeError(f"{statement}\n{answer.error}: {answer.message}")
        return answer

    def close(self):
        if self.connection is not None:
            self.connection.finish()


def text(value):
    return None if value is None else value.decode(errors="replace")


def free_port():
    """Below the ports that the system gives to outgoing connections."""
    while True:
        port = random.SystemRandom().randrange(15_000, 32_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
            return port
        except OSError:
            continue


class Server:
    """A server process on a port of its own."""

    def __init__(self, arguments, conninfo, log, **options):
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, **options
            )
        end = time.monotonic() + PATIENCE
        while True:
            connection = pq.PGconn.connect(conninfo.encode())
            status = connection.status
            connection.finish()
            if status == pq.ConnStatus.OK:
                break
            if self.process.poll() is not None or time.monotonic() > end:
                self.stop()
                with open(log, errors="replace") as said:
                    raise RuntimeError(f"{arguments[0]} does not come up:\n{said.read()[-2000:]}")
            time.sleep(0.05)
        self.side = Side(conninfo)

    def stop(self):
        # SIGINT: PostgreSQL's fast shutdown, and the broker's usual one.
        if self.process.poll() is None:
            self.process.send_signal(2)
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def postgresql(programs, home):
    """PostgreSQL with collation C, UTF8 and UTC. It does not run as root."""
    data, port = os.path.join(home, "postgresql"), free_port()
    options = {}
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chmod(home, 0o755)
        options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        os.makedirs(data)
        os.chown(data, user.pw_uid, user.pw_gid)
    subprocess.run(
        [os.path.join(programs, "initdb"), "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8"]
        + ["--locale=C", "--no-sync"],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd="/",
        **options,
    )
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "TimeZone": "UTC",
        "jit": "off",
    }
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return Server(
        [os.path.join(programs, "postgres"), "-D", data, *flags],
        f"host=127.0.0.1 port={port} user=tester dbname=postgres connect_timeout=10",
        os.path.join(home, "postgresql.log"),
        cwd="/",
        **options,
    )


def anabranch(program, home):
    ports = {name: free_port() for name in ("kafka", "postgres", "web")}
    settings = {"data_dir": os.path.join(home, "anabranch")}
    settings |= {f"{name}.listen": f"127.0.0.1:{port}" for name, port in ports.items()}
    flags = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return Server(
        [program, "serve", *flags],
        f"host=127.0.0.1 port={ports['postgres']} user=tester dbname=anabranch connect_timeout=10",
        os.path.join(home, "anabranch.log"),
    )


class Home:
    """A directory that goes with the campaign."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="oracle")
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)
