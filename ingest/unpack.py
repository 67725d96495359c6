"""Content-Encoding undone with a bound: a small body that unpacks to a huge one stops at the bound."""

from __future__ import annotations

import zlib

import pyarrow as pa

from .intake import too_large
from .refusals import MALFORMED, UNSUPPORTED, Refused

_CHUNK_BYTES = 1024 * 1024
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


def unpack(encoding: str, body: bytes, limit: int) -> bytes:
    """What `body` holds, at most `limit` bytes. Raises Refused if it is more, damaged, or of another encoding."""
    try:
        match encoding:
            case "" | "identity":
                return body
            case "gzip" | "x-gzip":
                return _inflate(body, _GZIP, limit)
            case "deflate":
                # RFC 9110 means zlib's format by this name; some senders send the bare stream.
                is_zlib = len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
                return _inflate(body, _ZLIB if is_zlib else _RAW, limit)
            case "zstd":
                return _zstd(body, limit)
    except (zlib.error, EOFError, OSError) as error:
        raise Refused(MALFORMED, f"the body is not {encoding}, as its Content-Encoding says: {error}") from error
    raise Refused(
        UNSUPPORTED, f'Content-Encoding "{encoding[:40]}" is not known here: send gzip, deflate, zstd or identity'
    )


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        stream = zlib.decompressobj(window)
        # One byte more than may be: what fills it is too large.
        parts.append(stream.decompress(body, limit + 1 - size))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit, "the unpacked request")
        if not stream.eof:
            raise EOFError("it is cut short")
        body = stream.unused_data
        if not body or window != _GZIP:  # a gzip file may be several in a row
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _zstd(body: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    with pa.CompressedInputStream(pa.BufferReader(body), "zstd") as stream:
        while part := stream.read(min(_CHUNK_BYTES, limit + 1 - size)):
            parts.append(part)
            size += len(part)
            if size > limit:
                raise too_large(limit, "the unpacked request")
    return b"".join(parts)
