"""Kafka's messages, encoded and decoded as its own schemas say.

The schemas are the JSON files that Kafka ships in the jar of its Java client: exactly those of the
release that is compared with, for every API, and independent of what our broker decodes with. A
message is a dictionary; names are Kafka's in snake_case. A field that is left out has its default.
"""

import json
import re
import struct
import uuid
import zipfile

NUMBERS = {"int8": "b", "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q",
           "float64": "d"}
NIL = uuid.UUID(int=0)


class Undecodable(Exception):
    """Bytes are not what the schema says."""


def snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def versions(text):
    """`3+`, `3`, `3-5` or `none` as a range."""
    if not text or text == "none":
        return range(0)
    if text.endswith("+"):
        return range(int(text[:-1]), 1 << 15)
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise Undecodable(f"{count} bytes wanted, {len(self.data) - self.at} left")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, code):
        return struct.unpack(">" + code, self.take(struct.calcsize(code)))[0]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7

    def length(self, flexible, code):
        return self.varint() - 1 if flexible else self.number(code)


def varint(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def length(count, flexible, code):
    return varint(count + 1) if flexible else struct.pack(">" + code, count)


class Field:
    def __init__(self, spec, structs):
        self.name = snake(spec["name"])
        self.versions = versions(spec.get("versions"))
        self.nullable = versions(spec.get("nullableVersions"))
        self.tagged = versions(spec.get("taggedVersions"))
        self.tag = spec.get("tag")
        kind = spec["type"]
        self.array = kind.startswith("[]")
        self.kind = kind[2:] if self.array else kind
        inner = spec.get("fields") or structs.get(self.kind)
        self.fields = inner and [Field(each, structs) for each in inner]
        self.default = self.value_of(spec.get("default"))

    def value_of(self, default):
        if default == "null":
            return None
        if self.array:
            return []
        if self.fields:
            return {field.name: field.default for field in self.fields}
        if self.kind in NUMBERS:
            return int(str(default or 0), 0)
        return {"bool": str(default).lower() == "true", "uuid": NIL, "bytes": b"",
                "records": None}.get(self.kind, default or "")

    def write(self, value, version, flexible):
        if self.array:
            if value is None:
                return length(-1, flexible, "i")
            items = b"".join(self.write_one(item, version, flexible) for item in value)
            return length(len(value), flexible, "i") + items
        if self.fields and version in self.nullable:
            if value is None:
                return b"\xff"
            return b"\x01" + self.write_one(value, version, flexible)
        return self.write_one(value, version, flexible)

    def write_one(self, value, version, flexible):
        if self.fields:
            return write_fields(self.fields, value, version, flexible)
        if self.kind in NUMBERS:
            return struct.pack(">" + NUMBERS[self.kind], value)
        if self.kind == "bool":
            return b"\x01" if value else b"\x00"
        if self.kind == "uuid":
            return value.bytes
        code = "h" if self.kind == "string" else "i"
        if value is None:
            return length(-1, flexible, code)
        data = value.encode() if isinstance(value, str) else value
        return length(len(data), flexible, code) + data

    def read(self, reader, version, flexible):
        if self.array:
            count = reader.length(flexible, "i")
            if count == -1:
                return None
            if count > len(reader.data):
                raise Undecodable(f"{self.name}: an array of {count}")
            return [self.read_one(reader, version, flexible) for _ in range(count)]
        if self.fields and version in self.nullable and reader.number("b") == -1:
            return None
        return self.read_one(reader, version, flexible)

    def read_one(self, reader, version, flexible):
        if self.fields:
            return read_fields(self.fields, reader, version, flexible)
        if self.kind in NUMBERS:
            return reader.number(NUMBERS[self.kind])
        if self.kind == "bool":
            return reader.take(1) != b"\x00"
        if self.kind == "uuid":
            return uuid.UUID(bytes=reader.take(16))
        count = reader.length(flexible, "h" if self.kind == "string" else "i")
        if count == -1:
            if version not in self.nullable:
                raise Undecodable(f"{self.name} is null, which version {version} cannot say")
            return None
        data = reader.take(count)
        return data.decode() if self.kind == "string" else data


def write_fields(fields, values, version, flexible):
    out, tags = [], {}
    for field in fields:
        if version not in field.versions:
            continue
        if version in field.tagged:
            if field.name in values:
                tags[field.tag] = field.write(values[field.name], version, True)
        else:
            out.append(field.write(values.get(field.name, field.default), version, flexible))
    if flexible:
        out.append(varint(len(tags)))
        out += [varint(tag) + varint(len(data)) + data for tag, data in sorted(tags.items())]
    return b"".join(out)


def read_fields(fields, reader, version, flexible):
    values, tagged = {}, {}
    for field in fields:
        if version not in field.versions:
            continue
        if version in field.tagged:
            tagged[field.tag] = field
            values[field.name] = field.default
        else:
            values[field.name] = field.read(reader, version, flexible)
    for _ in range(reader.varint() if flexible else 0):
        tag, data = reader.varint(), Reader(reader.take(reader.varint()))
        if tag not in tagged:
            raise Undecodable(f"tag {tag} is unknown")
        values[tagged[tag].name] = tagged[tag].read(data, version, True)
    return values


class Message:
    """A request or a response, in all its versions."""

    def __init__(self, spec):
        structs = {each["name"]: each["fields"] for each in spec.get("commonStructs", ())}
        self.fields = [Field(each, structs) for each in spec.get("fields", ())]
        self.key, self.versions = spec.get("apiKey"), versions(spec["validVersions"])
        self.flexible = versions(spec.get("flexibleVersions"))

    def encode(self, values, version):
        return write_fields(self.fields, values, version, version in self.flexible)

    def decode(self, data, version):
        reader = Reader(data)
        values = read_fields(self.fields, reader, version, version in self.flexible)
        if reader.at != len(data):
            raise Undecodable(f"{len(data) - reader.at} bytes too many")
        return values


class Api:
    def __init__(self, name, request, response):
        self.name, self.request, self.response, self.key = name, request, response, request.key


def load(jar):
    """All APIs of the Kafka whose client's jar this is, by name."""
    with zipfile.ZipFile(jar) as files:
        def message(name):
            text = files.read(f"common/message/{name}.json").decode()
            return Message(json.loads(re.sub(r"(?m)^\s*//.*$", "", text)))

        names = re.findall(r"common/message/(\w+)Request\.json", "\n".join(files.namelist()))
        apis = [Api(name, message(name + "Request"), message(name + "Response"))
                for name in sorted(names)]
        # Some have no version any more.
        return {api.name: api for api in apis if api.request.versions}
