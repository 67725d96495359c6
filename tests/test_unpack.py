"""Content-Encoding: what is unpacked, and where it stops."""

from __future__ import annotations

import gzip
import subprocess
import sys
import zlib

import pyarrow as pa
import pytest

from llmcost.ingest.refusals import MALFORMED, TOO_LARGE, UNSUPPORTED, Reason, Refused
from llmcost.ingest.unpack import unpack

MIB = 1 << 20
PLAIN = b"an OTLP request, " * 100


def zstd(plain: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(plain, asbytes=True)
    return packed


def raw_deflate(plain: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(plain) + stream.flush()


PACKED = {
    "gzip": gzip.compress(PLAIN),
    "gzip in two members": gzip.compress(PLAIN[:500]) + gzip.compress(PLAIN[500:]),
    "deflate": zlib.compress(PLAIN),
    "deflate without its envelope": raw_deflate(PLAIN),
    "zstd": zstd(PLAIN),
    "zstd in two frames": zstd(PLAIN[:500]) + zstd(PLAIN[500:]),
    "identity": PLAIN,
}


def refusal(encoding: str, body: bytes, limit: int = MIB) -> Reason:
    with pytest.raises(Refused) as raised:
        unpack(encoding, body, limit)
    return raised.value.reason


@pytest.mark.parametrize("name", PACKED)
def test_what_senders_pack_is_unpacked(name: str) -> None:
    assert PLAIN == unpack(name.split(maxsplit=1)[0], PACKED[name], MIB)


@pytest.mark.parametrize("name", [name for name in PACKED if name != "identity"])
def test_the_bound_is_exact(name: str) -> None:
    """As many bytes as may be are taken; one more is too large."""
    assert PLAIN == unpack(name.split(maxsplit=1)[0], PACKED[name], len(PLAIN))
    assert refusal(name.split(maxsplit=1)[0], PACKED[name], len(PLAIN) - 1) is TOO_LARGE


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_body_that_is_cut_or_another_thing_is_malformed(encoding: str) -> None:
    assert refusal(encoding, PACKED[encoding][:-5]) is MALFORMED
    assert refusal(encoding, b"no such thing") is MALFORMED


def test_nothing_at_all_is_no_gzip() -> None:
    assert refusal("gzip", b"") is MALFORMED


@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", "snappy"])
def test_another_encoding_is_not_supported(encoding: str) -> None:
    assert refusal(encoding, PLAIN) is UNSUPPORTED


_BOMB = """
import resource, sys
from llmcost.ingest.refusals import Refused
from llmcost.ingest.unpack import unpack
encoding, bomb = sys.argv[1], sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    unpack(encoding, bomb, 8 << 20)
except Refused as refused:
    print(refused.reason.name, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
def test_a_bomb_takes_no_more_memory_than_the_bound_allows(encoding: str) -> None:
    """One MiB that unpacks to a GiB stops at the bound of 8 MiB."""
    bomb = make_bomb(encoding, 1024)
    assert len(bomb) < 2 * MIB
    ended = subprocess.run([sys.executable, "-c", _BOMB, encoding], input=bomb, capture_output=True, check=True)
    reason, grown = ended.stdout.split()
    unit = 1024 if sys.platform.startswith("linux") else 1
    assert b"too_large" == reason
    assert int(grown) * unit < 48 * MIB


def make_bomb(encoding: str, mib: int) -> bytes:
    """A body that unpacks to `mib` MiB of nothing, made without holding them."""
    nothing = bytes(MIB)
    if encoding == "zstd":
        sink = pa.BufferOutputStream()
        with pa.CompressedOutputStream(sink, "zstd") as stream:
            for _ in range(mib):
                stream.write(nothing)
        packed: bytes = sink.getvalue().to_pybytes()
        return packed
    deflating = zlib.compressobj(9, wbits=31 if encoding == "gzip" else 15)
    return b"".join(deflating.compress(nothing) for _ in range(mib)) + deflating.flush()
