"""The broker under faults: one process after the other on the same directory and ports, with the
shim before its libc."""

import json
import os
import signal
import socket
import subprocess
import threading

# How long a start may take on two busy cores.
PATIENCE = 90


class Broker:
    def __init__(self, program, home, disk, shim, settings=()):
        self.program = program
        self.disk = disk
        self.shim = shim
        self.log_path = os.path.join(home, "broker.log")
        self.kafka, self.postgres, self.web = free_ports(3)
        self.settings = [
            f"data_dir={disk.data}",
            f"kafka.listen={self.address()}",
            f"postgres.listen=127.0.0.1:{self.postgres}",
            f"web.listen=127.0.0.1:{self.web}",
            "telemetry.format=json",
            *settings,
        ]
        self.process = None
        self.life = None
        self.starts = 0
        # Lines that say that something is wrong with the broker itself.
        self.alarms = []

    def address(self):
        return f"127.0.0.1:{self.kafka}"

    def start(self):
        """Starts the broker, which says for itself when it is ready: see `wait_ready`."""
        self.disk.forget_removed()
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("ANABRANCH_") and name != "LD_LIBRARY_PATH"
        }
        environment |= self.disk.environment() | {"LD_PRELOAD": self.shim}
        command = [self.program, "serve"]
        for setting in self.settings:
            command += ["--set", setting]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment,
        )
        self.starts += 1
        self.life = Life(self, self.process.stderr)

    def wait_ready(self):
        self.life.wait_for("ready", PATIENCE)

    def restart(self):
        self.start()
        self.wait_ready()

    def kill(self):
        """SIGKILL: what was written is still in the page cache."""
        self.process.kill()
        self.process.wait()
        self.life.thread.join()
        self.process = None

    def stop(self):
        """SIGTERM, as an administrator would."""
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(PATIENCE)
        self.life.thread.join()
        self.process = None
        if status != 0:
            raise Unwell(f"after SIGTERM the broker ended with status {status}")

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def forget_peak(self):
        """Begins a new measurement of the most memory that was used."""
        with open(f"/proc/{self.process.pid}/clear_refs", "w") as file:
            file.write("5")

    def memory_bytes(self):
        """(most since `forget_peak`, now), without files that are mapped."""
        found = {}
        with open(f"/proc/{self.process.pid}/status") as file:
            for line in file:
                name, _, rest = line.partition(":")
                found[name] = rest.split()
        return tuple(int(found[name][0]) * 1024 for name in ("VmHWM", "RssAnon"))


class Unwell(Exception):
    """The broker does not do what it should; not a matter of histories."""


class Life:
    """What one process of the broker says."""

    def __init__(self, broker, stderr):
        self.broker = broker
        self.lines = []
        self.changed = threading.Condition()
        self.ended = False
        self.thread = threading.Thread(target=self.follow, args=(stderr,), daemon=True)
        self.thread.start()

    def follow(self, stderr):
        with open(self.broker.log_path, "ab") as log:
            log.write(b'{"message":"---- start %d"}\n' % self.broker.starts)
            for raw in stderr:
                log.write(raw)
                log.flush()
                text = raw.decode(errors="replace").rstrip()
                # It says in plain words why it does not start: that is looked at elsewhere.
                if "panicked" in text or not text.startswith(("{", "error:")):
                    self.broker.alarms.append(text)
                with self.changed:
                    self.lines.append(text)
                    self.changed.notify_all()
        with self.changed:
            self.ended = True
            self.changed.notify_all()

    def has_said(self, start):
        return any(message_of(line).startswith(start) for line in list(self.lines))

    def wait_for(self, part, seconds):
        """Waits for a line; fails if the broker ends before it."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or self.has_said(part), seconds)
        if not self.has_said(part):
            ended = " and ended" if self.ended else ""
            raise Unwell(f"the broker never said {part!r}{ended}; its last lines:\n{self.tail()}")

    def wait_for_end(self, start, seconds):
        """Waits for a line, or until the broker has ended."""
        with self.changed:
            self.changed.wait_for(lambda: self.ended or self.has_said(start), seconds)

    def tail(self, count=15):
        return "\n".join(self.lines[-count:])


def message_of(line):
    try:
        return str(json.loads(line).get("message", ""))
    except ValueError:
        return line


def free_ports(count):
    """Ports below those that the system gives to outgoing connections, lest a client that tries
    again connects to itself while the broker is down."""
    found = []
    port = 15_000 + os.getpid() * 61 % 17_000
    while len(found) < count:
        port = 15_000 + (port + 1 - 15_000) % 17_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                found.append(port)
            except OSError:
                pass
    return found
