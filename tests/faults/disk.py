"""The broker's disk as the shim makes it: what it does now, and what a power cut leaves of it."""

import mmap
import os
import struct

# One page of the cache is written back as a whole, unless the disk tears it at a sector.
PAGE = 4096
SECTOR = 512

# The layout of `struct control` in shim.h.
FIELDS = {
    "clock_offset_ns": ("<q", 0),
    "sync_delay_ns": ("<q", 8),
    "syncs_to_fail": ("<i", 16),
    "full": ("<i", 20),
    "no_space": ("<i", 24),
    "lie": ("<i", 28),
    "writes": ("<q", 32),
    "syncs": ("<q", 40),
    "failed": ("<q", 48),
    "refused": ("<q", 56),
    "fail_path": ("64s", 64),
}
CONTROL_BYTES = 128


class Control:
    """The control file, by the names of its fields."""

    def __init__(self, path):
        with open(path, "wb") as file:
            file.truncate(CONTROL_BYTES)
        with open(path, "r+b") as file:
            object.__setattr__(self, "memory", mmap.mmap(file.fileno(), CONTROL_BYTES))

    def __getattr__(self, name):
        kind, at = FIELDS[name]
        return struct.unpack_from(kind, self.memory, at)[0]

    def __setattr__(self, name, value):
        kind, at = FIELDS[name]
        struct.pack_into(kind, self.memory, at, value)

    def heal(self):
        for name in ("clock_offset_ns", "sync_delay_ns", "syncs_to_fail", "full", "no_space"):
            setattr(self, name, 0)


class Disk:
    """The data directory and the shim's record of what is not durable in it. The broker must be
    down for everything but `control`."""

    def __init__(self, home):
        self.data = os.path.join(home, "data")
        self.undo = os.path.join(home, "undo")
        os.makedirs(self.undo)
        self.control = Control(os.path.join(home, "control"))

    def environment(self):
        control = os.path.join(os.path.dirname(self.undo), "control")
        return {"FAULTS_DATA": self.data, "FAULTS_UNDO": self.undo, "FAULTS_CONTROL": control}

    def power_cut(self, rng):
        """Loses of what was not synced whatever `rng` says; what is left is durable. Says how
        much was lost."""
        names = self._cut_names(rng)
        bytes_lost = 0
        paths = self._paths()
        for record in sorted(os.listdir(self.undo)):
            if record.isdigit() and int(record) in paths:
                with open(os.path.join(self.undo, record), "rb") as file:
                    writes = read_writes(file.read())
                bytes_lost += cut_file(paths[int(record)], writes, rng)
        for record in os.listdir(self.undo):
            os.unlink(os.path.join(self.undo, record))
        return {"names": names, "bytes": bytes_lost}

    def forget_removed(self):
        """Gives back the space of files whose removal is durable."""
        wanted = {kept for _, _, kept in self._open_names()}
        for record in os.listdir(self.undo):
            path = os.path.join(self.undo, record)
            if record.endswith(".gone") and path not in wanted:
                if os.stat(path).st_nlink == 1:
                    remove(path.removesuffix(".gone"))
                os.unlink(path)

    def _open_names(self):
        """What was done to names in directories that were not synced since."""
        done = []
        try:
            with open(os.path.join(self.undo, "names")) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            lines = []
        for line in lines:
            what, path, other = line.split("\t")
            if what == "sync":
                done = [one for one in done if os.path.dirname(one[1]) != path]
            else:
                done.append((what, path, other))
        return done

    def _cut_names(self, rng):
        """Undoes the last changes of each directory, as a journalling file system would."""
        done = self._open_names()
        directories = sorted({os.path.dirname(path) for _, path, _ in done})
        left = {one: rng.choice([0, rng.randint(0, len(done)), len(done)]) for one in directories}
        undone = 0
        for what, path, other in reversed(done):
            directory = os.path.dirname(path)
            if left[directory] == 0:
                continue
            left[directory] -= 1
            undone += 1
            if what == "create":
                remove(path)
            elif what == "unlink" and not os.path.lexists(path) and os.path.isdir(directory):
                os.link(other, path)
            elif what == "rename" and os.path.lexists(path):
                os.rename(path, other)
        return undone

    def _paths(self):
        found = {}
        for directory, _, files in os.walk(self.data):
            for name in files:
                path = os.path.join(directory, name)
                found[os.stat(path).st_ino] = path
        return found


def remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def read_writes(record):
    """The writes that a file's record lists: (at, bytes, size of the file before, what was there).
    A kill may have cut off the last, which was then not made."""
    writes = []
    at = 0
    while at + 32 <= len(record):
        start, count, size, kept = struct.unpack_from("<qqqq", record, at)
        at += 32
        if at + kept > len(record):
            break
        writes.append((start, count, size, record[at : at + kept]))
        at += kept
    return writes


def cut_file(path, writes, rng):
    """Of each page of the file some of the last writes are lost. Says how many bytes that was."""
    if not writes:
        return 0
    mood = rng.choice(["everything", "suffix", "pages", "sectors", "nothing"])
    if mood == "nothing":
        return 0
    # From this write on all is lost, and the length is that from before it; pages that tear
    # decide for themselves.
    first_lost = 0 if mood == "everything" else rng.randint(0, len(writes))
    unit = SECTOR if mood == "sectors" else PAGE
    fate = {}
    lost = 0
    now = os.path.getsize(path)
    with open(path, "r+b") as file:
        for index in reversed(range(len(writes))):
            start, count, size, old = writes[index]
            covered = max(count, len(old))
            for page in range(start // unit, -(-(start + covered) // unit)):
                if mood in ("pages", "sectors") and page not in fate:
                    fate[page] = rng.randint(0, len(writes))
                if index < fate.get(page, first_lost):
                    continue
                begin = max(start, page * unit)
                end = min(start + covered, (page + 1) * unit)
                before = old[begin - start : end - start]
                file.seek(begin)
                file.write(before + bytes(end - begin - len(before)))
                lost += end - begin
        # Pages that come back from behind a cut make the file longer meanwhile.
        file.flush()
        file.truncate(writes[first_lost][2] if first_lost < len(writes) else now)
    return lost
