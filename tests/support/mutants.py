"""OTLP requests with something wrong with them: real ones, taken apart and put together otherwise.

Two kinds of damage. By structure: a field is changed and the lengths around it are set right, so that the damage
is found deep inside. By bytes: flips, cuts and splices, so that the lengths themselves lie.
"""

from __future__ import annotations

import random
import re
import struct
from base64 import b64decode
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llmcost.ingest.wire import Signal
from llmcost.models import conventions

from . import captures

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
LARGEST_SEED = 6_000
DEEPEST = 300

# What stands inside which message, by field number: where a walk goes down.
_KEY_VALUE: dict[int, Any] = {2: {}}
_KEY_VALUE[2] |= {5: {1: _KEY_VALUE[2]}, 6: {1: _KEY_VALUE}}
_SCOPE, _RESOURCE = {3: _KEY_VALUE}, {1: _KEY_VALUE}
_SPAN = {9: _KEY_VALUE, 11: {3: _KEY_VALUE}, 13: {4: _KEY_VALUE}, 15: {}}
_LOG = {5: _KEY_VALUE[2], 6: _KEY_VALUE}
NESTING = {
    Signal.TRACES: {1: {1: _RESOURCE, 2: {1: _SCOPE, 2: _SPAN}}},
    Signal.LOGS: {1: {1: _RESOURCE, 2: {1: _SCOPE, 2: _LOG}}},
}

_KEYS = tuple(sorted(key.encode() for key in conventions.load().keys))
_NUMBERS = (
    *("NaN", "nan", "Infinity", "-inf", "1e400", "-1", "0", "-0.0", "9223372036854775807", "9223372036854775808"),
    *("1" * 400, "0x10", "1_000", " 5 ", "١٢", "1.", ".5", "1e-99", "00012", "1,5", "true", "None", ""),
)
_TEXTS = (
    b'{"a":' * 400, b"[" * 3000, b"(" * 300 + b")" * 300, b"{'a': None, 'b': True}", b"{'it': \"it's\", 'n': 1e999}",
    b'{"usage": {"input_tokens": 1e999}}', b"{'usage': {'input_tokens': -1, 'output_tokens': 'None'}}", b'"\\ud83d"',
    b'{"k": "\\ud83d cut"}', b"\xff\xfe\xfd", b"caf\xe9", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\x00", b"a\x00b",
    b'"' * 50, b"{}", b"[]", b"null", b"'", b"\\", b"{'a': b'\\xff'}", b"{1: {2}, (): ...}", b"9" * 5000,
    "\N{REPLACEMENT CHARACTER}".encode(), "\u202e\U0001f4b8".encode() * 20, b"x" * 70_000, b"2026-11-22T00:00:00Z",
)  # fmt: skip


def varint(number: int) -> bytes:
    """A protobuf varint."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | LENGTH) + varint(len(payload)) + payload


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        octet = body[at]
        at += 1
        number |= (octet & 0x7F) << shift
        if octet < 0x80:
            return number, at
        shift += 7


class Field(NamedTuple):
    """Where a field of a request begins, where its payload is, and which field it stands in (-1: none)."""

    number: int
    wire_type: int
    start: int
    payload: int
    end: int
    parent: int


class Seed(NamedTuple):
    """A request, its fields at every depth, and which of them are attributes of spans or log records."""

    signal: Signal
    body: bytes
    fields: list[Field]
    attributes: list[int]

    @classmethod
    def of(cls, signal: Signal, body: bytes) -> Seed:
        """Index `body`. Raises IndexError or ValueError if it is broken."""
        found: list[Field] = []
        attributes: list[int] = []
        attribute = 9 if signal is Signal.TRACES else 6

        def walk(start: int, end: int, nesting: dict[int, Any], parent: int, depth: int) -> None:
            at = start
            while at < end:
                tag, payload = _read_varint(body, at)
                number, wire_type = tag >> 3, tag & 7
                begin = payload
                if wire_type == LENGTH:
                    size, begin = _read_varint(body, payload)
                    stop = begin + size
                elif wire_type == VARINT:
                    _, stop = _read_varint(body, payload)
                elif wire_type in (FIXED64, FIXED32):
                    stop = payload + (8 if wire_type == FIXED64 else 4)
                else:
                    raise ValueError(f"wire type {wire_type}")
                if stop > end:
                    raise ValueError("a field beyond the end of its message")
                if depth == 3 and number == attribute:
                    attributes.append(len(found))
                found.append(Field(number, wire_type, at, begin, stop, parent))
                if wire_type == LENGTH and number in nesting:
                    walk(begin, stop, nesting[number], len(found) - 1, depth + 1)
                at = stop

        walk(0, len(body), NESTING[signal], -1, 0)
        return cls(signal, body, found, attributes)

    def with_field(self, index: int, instead: bytes) -> bytes:
        """The request with other bytes in place of a field, the lengths around it set right."""
        at = self.fields[index]
        start, end, inside = at.start, at.end, instead
        while at.parent >= 0:
            at = self.fields[at.parent]
            inside = field(at.number, self.body[at.payload : start] + inside + self.body[end : at.end])
            start, end = at.start, at.end
        return self.body[:start] + inside + self.body[end:]

    def bytes_of(self, index: int) -> bytes:
        """The whole field."""
        at = self.fields[index]
        return self.body[at.start : at.end]


@lru_cache(maxsize=1)
def seeds() -> tuple[Seed, ...]:
    """The recorded requests, cut into requests of a span or a few, none larger than LARGEST_SEED."""
    found = []
    for name in captures.names():
        for request in captures.requests(name, logs=True):
            found += [Seed.of(Signal(request.signal), body) for body in _pieces(Signal(request.signal), request.body)]
    return tuple(found)


def _pieces(signal: Signal, body: bytes) -> list[bytes]:
    message = ExportTraceServiceRequest() if signal is Signal.TRACES else ExportLogsServiceRequest()
    message.ParseFromString(body)
    pieces = [] if len(body) > LARGEST_SEED else [body]
    outer, middle, inner = (
        ("resource_spans", "scope_spans", "spans") if signal is Signal.TRACES else
        ("resource_logs", "scope_logs", "log_records")
    )  # fmt: skip
    for resource in getattr(message, outer):
        for scope in getattr(resource, middle):
            for record in getattr(scope, inner):
                one = type(message)()
                held = getattr(one, outer).add(resource=resource.resource)
                below = getattr(held, middle).add(scope=scope.scope)
                getattr(below, inner).append(record)
                pieces.append(one.SerializeToString())
    return [piece for piece in pieces if len(piece) <= LARGEST_SEED]


def _nested(source: random.Random) -> bytes:
    """An AnyValue inside arrays and lists, up to DEEPEST of them."""
    value = field(1, b"deep")
    for _ in range(source.choice((3, 30, 90, 101, 150, DEEPEST))):
        value = (
            field(5, field(1, value))
            if source.random() < 0.5
            else field(6, field(1, field(1, b"k") + field(2, value)))
        )
    return value


def any_value(source: random.Random) -> bytes:  # noqa: PLR0911  (a table of damages)
    """An AnyValue that nobody should send, mostly valid protobuf."""
    match source.randrange(9):
        case 0:
            return field(1, source.choice(_TEXTS))
        case 1:
            return field(1, source.choice(_NUMBERS).encode())
        case 2:
            number = source.choice((float("nan"), float("inf"), -float("inf"), 1e308, -1.5, 5e-324, 2.0**63, -0.0))
            return b"\x21" + struct.pack("<d", number)
        case 3:
            return b"\x18" + source.choice(
                (varint(2**64 - 1), varint(2**63), b"\xff" * 9 + b"\x7f", b"\x80" * 9, varint(7))
            )
        case 4:
            return _nested(source)
        case 5:
            return b"\x10" + varint(source.choice((0, 1, 2, 300, 2**64 - 1)))
        case 6:
            return field(7, source.randbytes(source.randrange(40)))
        case 7:  # two members of the one-of
            return field(1, b"first") + b"\x18" + varint(source.randrange(2**40))
        case _:
            return source.randbytes(source.randrange(12))


def _unknown(source: random.Random) -> bytes:
    number = source.choice((12, 19, 99, 1000, 2**28))
    match source.randrange(5):
        case 0:
            return varint(number << 3) + varint(source.randrange(2**64))
        case 1:
            return varint(number << 3 | FIXED64) + source.randbytes(8)
        case 2:
            return varint(number << 3 | FIXED32) + source.randbytes(4)
        case 3:  # a group, which proto3 has not
            return varint(number << 3 | 3) + b"\x08\x01" + varint(number << 3 | 4)
        case _:
            return field(number, source.randbytes(source.randrange(30)))


_SPECIAL_64 = (0, 1, 2**64 - 1, 2**63, 2**63 - 1, 1_795_356_000_000_000_000, 10**15)


def _other_payload(source: random.Random, seed: Seed, at: Field) -> bytes:  # noqa: PLR0911  (a table of damages)
    """The same field with another value, of the right wire type as a rule."""
    tag = varint(at.number << 3 | at.wire_type)
    if at.wire_type == VARINT:
        return tag + source.choice(
            (varint(2**64 - 1), varint(2**31), varint(2**32 + 3), b"\x80" * 10 + b"\x01", b"\x81\x00")
        )
    if at.wire_type == FIXED64:
        return tag + struct.pack("<Q", source.choice(_SPECIAL_64))
    if at.wire_type == FIXED32:
        return tag + source.randbytes(4)
    payload = seed.body[at.payload : at.end]
    match source.randrange(5):
        case 0:
            return field(at.number, b"")
        case 1:
            return field(at.number, payload[: source.randrange(len(payload) + 1)])
        case 2:
            return field(at.number, payload + payload)
        case 3:
            return field(at.number, source.choice(_TEXTS))
        case _:
            return field(at.number, bytes(len(payload)))


def _by_structure(source: random.Random, seed: Seed, others: Sequence[Seed]) -> bytes:  # noqa: PLR0911  (a table of damages)
    index = source.randrange(len(seed.fields))
    at, whole = seed.fields[index], seed.bytes_of(index)
    match source.randrange(11):
        case 0:
            return seed.with_field(index, b"")
        case 1:
            return seed.with_field(index, whole * source.choice((2, 3, 20)))
        case 2:  # another wire type, with or without bytes that fit it
            tag = varint(at.number << 3 | source.randrange(8))
            return seed.with_field(index, tag + seed.body[at.payload : at.end])
        case 3:
            return seed.with_field(index, _other_payload(source, seed, at))
        case 4:
            return seed.with_field(index, source.choice((whole + _unknown(source), _unknown(source) + whole)))
        case 5:  # the length lies
            size = at.end - at.payload
            lie = source.choice((size + 1, max(0, size - 1), 0, 2**31 - 1, 2**32 - 1, 2**63, 2**64 - 1, size + 200))
            return seed.with_field(
                index, varint(at.number << 3 | LENGTH) + varint(lie) + seed.body[at.payload : at.end]
            )
        case 6:  # a field of another request
            other = source.choice(others)
            return seed.with_field(index, whole + other.bytes_of(source.randrange(len(other.fields))))
        case 7:  # a length or a tag written longer than it must be
            padded = varint(at.number << 3 | at.wire_type)
            padded = padded[:-1] + bytes([padded[-1] | 0x80]) + b"\x80" * source.randrange(8) + b"\x00"
            return seed.with_field(index, padded + whole[len(varint(at.number << 3 | at.wire_type)) :])
        case _:  # an attribute that the conventions read, holding what it should not
            entry = field(1, source.choice(_KEYS)) + field(2, any_value(source))
            index = source.choice(seed.attributes or [index])
            added = field(seed.fields[index].number, entry)
            return seed.with_field(index, source.choice((b"", seed.bytes_of(index))) + added)


def _flip(source: random.Random, body: bytearray, other: bytes) -> None:
    for _ in range(source.choice((1, 1, 2, 5, 20))):
        body[source.randrange(len(body))] ^= 1 << source.randrange(8)


def _overwrite(source: random.Random, body: bytearray, other: bytes) -> None:
    body[source.randrange(len(body))] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))


def _insert(source: random.Random, body: bytearray, other: bytes) -> None:
    at = source.randrange(len(body))
    body[at:at] = source.randbytes(source.choice((1, 2, 8, 100)))


def _delete(source: random.Random, body: bytearray, other: bytes) -> None:
    at = source.randrange(len(body))
    del body[at : at + source.choice((1, 1, 2, 8, 100))]


def _truncate(source: random.Random, body: bytearray, other: bytes) -> None:
    del body[source.randrange(len(body)) :]


def _splice(source: random.Random, body: bytearray, other: bytes) -> None:
    body[source.randrange(len(body)) :] = other[source.randrange(len(other)) :]


def _append(source: random.Random, body: bytearray, other: bytes) -> None:
    """Two requests in one: protobuf merges them."""
    body += other


_BY_BYTES: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    *(_flip, _flip, _flip, _overwrite, _insert, _delete, _truncate, _splice, _append),
)


class Mutants:
    """An endless, reproducible line of requests that are mostly wrong."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)  # noqa: S311  (which byte to break)
        self._seeds = seeds()
        self._by_signal = {signal: [one for one in self._seeds if one.signal is signal] for signal in Signal}

    def next(self) -> tuple[Signal, bytes]:
        """One more."""
        source = self._source
        seed = source.choice(self._seeds)
        signal, others = seed.signal, self._by_signal[seed.signal]
        if source.random() < 0.01:  # as the other signal, or nothing to do with OTLP
            if source.random() < 0.5:
                return (Signal.LOGS if signal is Signal.TRACES else Signal.TRACES), seed.body
            return signal, source.randbytes(source.choice((0, 1, 3, 20, 500)))
        body = seed.body
        rounds = source.choice((0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3))
        for left in range(rounds, 0, -1):
            body = _by_structure(source, seed, others)
            if left == 1:
                break
            try:
                seed = Seed.of(signal, body)
            except (IndexError, ValueError, RecursionError):
                break  # broken already: no more structure to go by
            if not seed.fields:
                break
        broken = bytearray(body)
        for _ in range(source.choice((0, 0, 1, 1, 2))):
            if broken:
                source.choice(_BY_BYTES)(source, broken, source.choice(others).body)
        return signal, bytes(broken)


@lru_cache(maxsize=1)
def _json_seeds() -> dict[Signal, list[bytes]]:
    """Some of the seeds as OTLP/JSON: protobuf's, with ids in hex."""
    texts: dict[Signal, list[bytes]] = {signal: [] for signal in Signal}
    for seed in seeds()[::20]:
        message = (ExportTraceServiceRequest if seed.signal is Signal.TRACES else ExportLogsServiceRequest)()
        message.ParseFromString(seed.body)
        text = MessageToJson(message, indent=None)
        hexed = _JSON_ID.sub(lambda found: found[1] + b64decode(found[2]).hex() + '"', text)
        texts[seed.signal].append(hexed.encode())
    return texts


_JSON_ID = re.compile(r'("(?:traceId|spanId|parentSpanId)": ")([A-Za-z0-9+/=]*)"')
_JSON_PIECES = (
    *(
        b"null",
        b"{}",
        b"[]",
        b'""',
        b"-1",
        b"1e999",
        b"NaN",
        b"Infinity",
        b'"NaN"',
        b"true",
        b"9" * 400,
        b'"\\ud83d"',
    ),
    *(
        b"[" * 900 + b"]" * 900,
        b'{"a":' * 90 + b"1" + b"}" * 90,
        b'"\xff\xfe"',
        b'"' + b"x" * 70_000 + b'"',
        b'{"intValue": "12x"}',
        b'{"intValue": 1.5}',
    ),
    *(
        b'{"doubleValue": "-Infinity"}',
        b'{"bytesValue": "%%%"}',
        b'{"arrayValue": null}',
        b'{"kvlistValue": {"values": 3}}',
    ),
)
_JSON_VALUE = re.compile(rb'"[^"]*"(?!\s*:)|-?\d+|true|false|null|\{\}|\[\]')


def json_mutant(source: random.Random, signal: Signal) -> bytes:
    """An OTLP/JSON request with values of the wrong kind, bytes that are not JSON, or nothing wrong."""
    body = source.choice(_json_seeds()[signal])
    for _ in range(source.choice((0, 1, 1, 1, 2))):
        values = list(_JSON_VALUE.finditer(body))
        if values:
            found = source.choice(values)
            body = body[: found.start()] + source.choice(_JSON_PIECES) + body[found.end() :]
    broken = bytearray(body)
    for _ in range(source.choice((0, 0, 0, 1))):
        source.choice(_BY_BYTES)(source, broken, body)
        if not broken:
            break
    return bytes(broken)


class JsonMutants:
    """As Mutants, in OTLP/JSON."""

    def __init__(self, seed: int) -> None:
        self._source = random.Random(seed)  # noqa: S311

    def next(self) -> tuple[Signal, bytes]:
        """One more."""
        signal = self._source.choice(list(Signal))
        return signal, json_mutant(self._source, signal)
