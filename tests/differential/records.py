"""Record batches (magic 2): built right or wrong on purpose, and taken apart to be compared."""

import gzip
import struct
from dataclasses import dataclass, field

from kafka import codec
from kafka.record.util import calc_crc32c

HEAD = struct.Struct(">qiibIhiqqqhii")
TRANSACTIONAL, CONTROL = 1 << 4, 1 << 5
CODECS = {
    0: (bytes, bytes),
    1: (lambda data: gzip.compress(data, mtime=0), codec.gzip_decode),
    2: (codec.snappy_encode, codec.snappy_decode),
    3: (codec.lz4_encode, codec.lz4_decode),
    4: (codec.zstd_encode, codec.zstd_decode),
}


def zigzag(value):
    value, out = (value << 1) ^ (value >> 63), bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def text(data):
    return zigzag(-1) if data is None else zigzag(len(data)) + data


@dataclass
class Record:
    time: int
    key: bytes
    value: bytes
    headers: list = field(default_factory=list)

    def encode(self, number, first):
        body = b"\x00" + zigzag(self.time - first) + zigzag(number) + text(self.key)
        body += text(self.value) + zigzag(len(self.headers))
        body += b"".join(text(name) + text(value) for name, value in self.headers)
        return zigzag(len(body)) + body


@dataclass
class Batch:
    """What a request carries for a partition. Producer id and epoch may be references; times are
    milliseconds since the start of the campaign. `head` overrides fields of the header before
    the checksum is taken, `damage` names what is done to the bytes afterwards."""
    records: list
    codec: int = 0
    producer: object = -1
    epoch: object = -1
    sequence: int = -1
    attributes: int = 0
    head: dict = field(default_factory=dict)
    damage: str = ""

    def resolve(self, resolve, base_ms):
        times = [base_ms + record.time for record in self.records] or [base_ms]
        first = self.records[0].time if self.records else 0
        body = b"".join(each.encode(at, first) for at, each in enumerate(self.records))
        count = len(self.records)
        head = {"base": 0, "leader_epoch": -1, "magic": 2,
                "attributes": self.codec | self.attributes, "last": count - 1, "first": times[0],
                "max": max(times), "producer": resolve(self.producer),
                "epoch": resolve(self.epoch), "sequence": self.sequence, "count": count}
        head |= {name: resolve(value) for name, value in self.head.items()}
        body = CODECS.get(self.codec, CODECS[0])[0](body)
        rest = struct.pack(">hiqqqhii", *(head[name] for name in (
            "attributes", "last", "first", "max", "producer", "epoch", "sequence", "count"))) + body
        front = struct.pack(">qiibI", head["base"], len(rest) + 9, head["leader_epoch"],
                            head["magic"], calc_crc32c(rest))
        return self.damaged(front, rest)

    def damaged(self, front, rest):
        match self.damage:
            case "checksum":
                return front[:17] + bytes(byte ^ 255 for byte in front[17:]) + rest
            case "truncated":
                return (front + rest)[:-3]
            case "twice":
                return (front + rest) * 2
            case "garbage":
                return b"\x00garbage" * 9
            case "long":
                return front[:8] + struct.pack(">i", len(rest) + 900) + front[12:] + rest
        return front + rest

    def __repr__(self):
        names = ("codec", "producer", "epoch", "sequence", "attributes", "head", "damage")
        said = [f"{name}={getattr(self, name)!r}" for name in names
                if getattr(self, name) != getattr(type(self), name, {})]
        return f"Batch({len(self.records)} records {' '.join(said)})"


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def varint(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return (value >> 1) ^ -(value & 1)

    def text(self):
        count = self.varint()
        if count < 0:
            return None
        self.at += count
        return bytes(self.data[self.at - count:self.at])


def parse(data):
    """Batches as dictionaries. What is left of a batch that was cut off is not looked at: clients
    ask for it again."""
    batches, at = [], 0
    while data and len(data) - at >= HEAD.size:
        (base, size, leader_epoch, magic, checksum, attributes, last, first, most, producer, epoch,
         sequence, count) = HEAD.unpack_from(data, at)
        end = at + 12 + size
        if end > len(data):
            break
        body = CODECS[attributes & 7][1](bytes(data[at + HEAD.size:end]))
        batches.append({
            "base_offset": base, "leader_epoch": leader_epoch, "magic": magic,
            "checksum_ok": calc_crc32c(bytes(data[at + 21:end])) == checksum,
            "attributes": attributes, "last_offset_delta": last, "base_timestamp": first,
            "max_timestamp": most, "producer_id": producer, "producer_epoch": epoch,
            "base_sequence": sequence,
            "records": list(parse_records(Reader(body), count, attributes)),
        })
        at = end
    return batches


def parse_records(reader, count, attributes):
    for _ in range(count):
        reader.varint()
        reader.at += 1
        time, number, key, value = (reader.varint(), reader.varint(), reader.text(),
                                    reader.text())
        if attributes & CONTROL:
            # Behind version and kind stands the coordinator's epoch, which only it understands.
            key, value = key[:4], value[:2]
        headers = [(reader.text(), reader.text()) for _ in range(reader.varint())]
        yield {"offset_delta": number, "time_delta": time, "key": key, "value": value,
               "headers": headers}
