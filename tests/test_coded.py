"""Rows whose repeating text is codes: the files they are written to cannot be told from those of plain rows."""

from __future__ import annotations

from pathlib import Path

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from llmcost.ingest.columns import Decoder
from llmcost.ingest.delta import LandedTable, landed_tables
from llmcost.ingest.journal import Request
from llmcost.ingest.parquet import write_parquet
from llmcost.ingest.privacy import Privacy
from llmcost.ingest.wire import Signal
from llmcost.models import conventions
from llmcost.models.lake import Lake
from llmcost.models.schema import EVENTS, SPANS
from llmcost.models.settings import Landing

NOON_NS = 1_795_348_800_000_000_000
DAY_NS = 86_400_000_000_000


def request(number: int, spans: int = 6) -> bytes:
    """Spans of two resources and two days, some with a kind, a status, attributes and an event, some without."""
    sent = ExportTraceServiceRequest()
    for resource in range(2):
        group = sent.resource_spans.add()
        for key, text in {"service.name": f"service-{number}", "host": f"host-{resource}"}.items():
            if resource or key == "host":
                group.resource.attributes.add(key=key).value.string_value = text
        group.resource.attributes.add(key=f"empty-{number}")
        scope = group.scope_spans.add()
        scope.scope.name = f"scope-{number}" if resource else ""
        for place in range(spans):
            span = scope.spans.add(name="n", kind=place % 7, start_time_unix_nano=NOON_NS - place % 2 * DAY_NS)
            span.trace_id, span.span_id = bytes([number + 1] * 16), bytes([number + 1, resource + 1, *[place] * 6])
            span.status.code = place % 4
            for key in ("colour", f"key-{number}", "secret")[: place % 4]:
                span.attributes.add(key=key).value.string_value = f"{key} of {place}"
            event = span.events.add(name="e", time_unix_nano=NOON_NS)
            event.attributes.add(key="colour").value.int_value = place
    return sent.SerializeToString()


def decoded(bodies: list[bytes], *, coded: bool) -> dict[str, pa.Table]:
    """The rows of each of `bodies` decoded alone, which therefore have dictionaries of their own."""
    decoder = Decoder(conventions.load(), "drop", Landing(), Privacy(deny=("secret",)), coded=coded)
    parts = [decoder.decode([Request(Signal.TRACES, NOON_NS // 1000, body)]) for body in bodies]
    return {
        "spans": pa.concat_tables([part.spans for part in parts]),
        "events": pa.concat_tables([part.events for part in parts]),
    }


@pytest.mark.parametrize("name", ["spans", "events"])
def test_every_reader_finds_the_same_plain_text(tmp_path: Path, name: str) -> None:
    """Codes or text, several dictionaries, two days, NULLs: the same files by pyarrow, DuckDB and polars."""
    bodies = [request(number) for number in range(3)]
    columns = {"spans": SPANS, "events": EVENTS}[name]
    found = []
    for coded in (False, True):
        table: LandedTable = dict(
            zip(("spans", "events"), landed_tables(Lake.create(tmp_path / str(coded))), strict=True)
        )[name]
        files = sorted(table.write(decoded(bodies, coded=coded)[name]), key=lambda file: file.day)
        paths = [file.path for file in files]
        read = [pq.ParquetFile(path).read() for path in paths]
        assert all(columns.names == rows.column_names for rows in read)
        found.append(
            (
                [(file.day, file.rows, file.first_at, file.last_at, file.null_counts) for file in files],
                [rows.schema for rows in read],
                [rows.to_pylist() for rows in read],
                [duckdb.read_parquet(str(path)).to_arrow_table().to_pylist() for path in paths],
                [duckdb.read_parquet(str(path)).types for path in paths],
                [pl.read_parquet(path).to_dicts() for path in paths],
                [pl.read_parquet(path).schema for path in paths],
                [statistics(path) for path in paths],
            )
        )
    assert found[0] == found[1]


def statistics(path: Path) -> list[tuple[object, ...]]:
    """Of each column chunk: its name, and what a reader may skip it by."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunks = [group.column(at) for at in range(group.num_columns)]
    return [
        (chunk.path_in_schema, chunk.is_stats_set)
        + ((chunk.statistics.min, chunk.statistics.max, chunk.statistics.null_count) if chunk.is_stats_set else ())
        for chunk in chunks
    ]


def test_codes_of_several_decodes_are_written_as_codes(tmp_path: Path) -> None:
    """A second dictionary in a row group would end its encoding: no page may hold plain text."""
    rows = decoded([request(number) for number in range(3)] * 100, coded=True)["spans"].drop_columns(["day"])
    write_parquet(rows, tmp_path / "codes.parquet")
    group = pq.ParquetFile(tmp_path / "codes.parquet").metadata.row_group(0)
    chunks = {group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)}
    for leaf in ("service_name", "resource_attributes.key_value.value", "attributes.key_value.key"):
        assert "RLE_DICTIONARY" in chunks[leaf].encodings
        assert chunks[leaf].total_uncompressed_size < 3 * chunks[leaf].num_values  # text has its length in 4 bytes


def test_more_distinct_text_than_a_dictionary_page_holds_is_written_whole(tmp_path: Path) -> None:
    """Four megabytes of resources, each different: Parquet gives the dictionary up, and no value is lost."""
    sent = ExportTraceServiceRequest()
    for number in range(2_000):
        group = sent.resource_spans.add()
        group.resource.attributes.add(key=f"key-{number}").value.string_value = f"{number:06}" * 350
        span = group.scope_spans.add().spans.add(name="n", start_time_unix_nano=NOON_NS)
        span.trace_id, span.span_id = bytes([1] * 16), (number + 1).to_bytes(8)
    rows = decoded([sent.SerializeToString()], coded=True)["spans"].drop_columns(["day"])
    write_parquet(pa.concat_tables([rows, rows]), tmp_path / "large.parquet")
    read = pq.ParquetFile(tmp_path / "large.parquet").read(["resource_attributes"]).column(0).to_pylist()
    assert [[(f"key-{number}", f"{number:06}" * 350)] for number in range(2_000)] * 2 == read


def test_a_dropped_key_is_not_among_the_words() -> None:
    """A dictionary is written whole: nothing may stand in it that no row holds."""
    maps = decoded([request(0)], coded=True)["spans"].column("attributes").chunk(0)
    assert {"colour", "key-0"} == set(maps.keys.dictionary.to_pylist())
