"""The server as a process: start, stop, kill, start again."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fault_run
import grpc
import pytest
import typer
from deltalake import DeltaTable
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from support import captures
from support.otlp import span_ids, trace_request
from support.server import CHILDREN, PATIENCE_SECONDS, Server, landed_span_ids, wait_until
from test_http_receiver import JSON, PROTOBUF, ask, told
from test_otlp_json import otlp_json
from test_unpack import make_bomb
from typer.testing import CliRunner

from llmcost.cli.serve import serve as serve_command
from llmcost.ingest.serve import Companion, serve
from llmcost.ingest.services import LOGS, TRACES
from llmcost.ingest.wire import Signal
from llmcost.models import settings
from llmcost.models.errors import SettingsError


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "a lake"


def once(ids: Sequence[bytes]) -> Counter[str]:
    return Counter(span_id.hex() for span_id in ids)


def test_an_sdk_exports_and_the_spans_land(lake: Path) -> None:
    """OpenTelemetry's own exporter, and a landing by age, without a stop."""
    with Server(lake) as server:
        provider = TracerProvider()
        exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.port}", insecure=True)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        with provider.get_tracer("tests").start_as_current_span("chat") as span:
            span.set_attribute("gen_ai.operation.name", "chat")
        provider.shutdown()
        server.wait_until_landed()
        assert {f"{span.get_span_context().span_id:016x}": 1} == landed_span_ids(lake)
        assert 0 == server.stop()
    assert "event=landed spans=1 events=0" in server.log()


def test_a_stop_lands_what_was_received(lake: Path) -> None:
    """SIGTERM closes the segment, however young, lands it, and exits 0."""
    ids = span_ids(50)
    with Server(lake, landing__segment_seconds=3600) as server:
        for first in range(0, 50, 10):
            server.send(trace_request(ids[first : first + 10]))
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)
    assert "everything is landed" in server.log()


def test_what_a_killed_server_acknowledged_lands_after_the_next_start(lake: Path) -> None:
    """The receiver keeps its id, and its numbers go on."""
    ids = span_ids(20)
    with Server(lake, landing__segment_seconds=3600) as server:
        server.send(trace_request(ids[:10]))
        server.kill_all()
        assert [".open"] == [path.suffix for path in lake.glob("journal/*/0*")]
        server.start()
        server.send(trace_request(ids[10:]))
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)
    assert 1 == len(list(lake.glob("journal/*")))
    assert "closed a segment that was left open" in server.log()


def test_a_dead_worker_is_replaced(lake: Path) -> None:
    """And the log says so."""
    ids = span_ids(20)
    with Server(lake, landing__segment_seconds=0.2) as server:
        server.send(trace_request(ids[:10]))
        server.wait_until_landed()
        server.signal_child("landing worker")
        server.send(trace_request(ids[10:]))
        server.wait_until_landed()
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)
    assert 'event="the landing worker ended, starting it again" reason=SIGKILL' in server.log()


def test_what_a_stop_cannot_land_in_time_is_said_and_landed_later(lake: Path) -> None:
    """A stop keeps its promise of how long it takes; the journal keeps the rest."""
    ids = span_ids(10)
    with Server(lake, landing__segment_seconds=3600, server__stop_seconds=0.001) as server:
        server.send(trace_request(ids))
        assert 0 == server.stop()
        assert "the rest waits in the journal for the next start" in server.log()
    with Server(lake) as server:
        server.wait_until_landed()
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)


def test_two_servers_share_one_lake(lake: Path) -> None:
    """Each with a receiver id of its own."""
    ids = span_ids(20)
    with Server(lake) as one, Server(lake) as other:
        one.send(trace_request(ids[:10]))
        other.send(trace_request(ids[10:]))
        assert (0, 0) == (one.stop(), other.stop())
    assert once(ids) == landed_span_ids(lake)
    assert 2 == len(list(lake.glob("journal/*")))


def test_what_a_receiver_that_is_gone_left_lands_too(lake: Path) -> None:
    """Two were killed and one starts again: the other's acknowledged requests do not wait for ever."""
    ids = span_ids(20)
    slow = {"landing__segment_seconds": 3600}
    with Server(lake, **slow) as one, Server(lake, **slow) as other:
        one.send(trace_request(ids[:10]))
        other.send(trace_request(ids[10:]))
        one.kill_all()
        other.kill_all()
    with Server(lake) as server:
        server.wait_until_landed()
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)


def test_a_lake_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    """No traceback, and what to do next."""
    (tmp_path / "lake").write_text("not a folder")
    with pytest.raises(AssertionError) as raised:
        Server(tmp_path / "lake")
    last = str(raised.value).splitlines()[-1]
    assert last.startswith("cannot write the lake")
    assert "choose another folder with --lake" in last


def test_the_command_passes_its_options_on(lake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--grpc and --http win over the settings; the help shows an example."""
    app = typer.Typer()
    app.command()(serve_command)
    asked: list[tuple[object, ...]] = []

    def started(settings: settings.Settings, *, lake: Path, companions: Sequence[Companion], log_format: str) -> None:
        beside = [companion.name for companion in companions]
        asked.append((settings.server.grpc, settings.server.http, lake, log_format, beside))

    monkeypatch.setattr("llmcost.ingest.serve.serve", started)
    options = ["--lake", str(lake), "--grpc", "127.0.0.1:1", "--http", "", "--log-format", "json"]
    assert 0 == CliRunner().invoke(app, options).exit_code
    assert [("127.0.0.1:1", "", lake, "json", ["keeper", "budget desk"])] == asked
    assert "llmcost serve --lake ./llmcost-lake" in CliRunner().invoke(app, ["--help"]).output


@pytest.mark.parametrize("address", ["4317", "localhost", "localhost:", "localhost:x", "localhost:65536"])
def test_an_address_is_host_and_port(lake: Path, address: str) -> None:
    """Said before anything is started."""
    server = settings.Server(grpc=address)
    with pytest.raises(SettingsError, match="is not HOST:PORT"):
        serve(settings.Settings(server=server), lake=lake)


def test_the_worker_is_no_command_of_its_own() -> None:
    """Started by hand it says what starts it."""
    answer = subprocess.run(
        [sys.executable, "-m", "llmcost.ingest.worker"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (1, "llmcost.ingest.worker is started by: llmcost serve\n") == (answer.returncode, answer.stderr)


def test_the_children_end_after_their_parent(lake: Path) -> None:
    """Killed with kill -9, a server leaves no process behind, and nothing in an open segment."""
    ids = span_ids(10)
    with Server(lake, landing__segment_seconds=3600) as server:
        server.send(trace_request(ids))
        children = [server.child_pid(name) for name in CHILDREN]
        server.kill()
        wait_until(lambda: not any(map(_runs, children)))
    assert [".seg"] == [path.suffix for path in lake.glob("journal/*/0*")]


def test_a_dead_receiver_is_replaced(lake: Path) -> None:
    """In its own folder, on the same port; what it acknowledged lands."""
    ids = span_ids(20)
    with Server(lake, landing__segment_seconds=3600) as server:
        server.send(trace_request(ids[:10]))
        server.signal_child("receiver")
        wait_until(lambda: 2 == server.log().count('event="receiver started"'))
        server.send(trace_request(ids[10:]), wait_for_ready=True)
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)
    assert 1 == len(list(lake.glob("journal/*")))
    assert 'event="the receiver ended, starting it again" reason=SIGKILL' in server.log()


@pytest.mark.parametrize("name", CHILDREN)
def test_a_process_that_is_stopped_is_replaced(lake: Path, name: str) -> None:
    """SIGSTOP, or a bug: it holds its locks and does nothing, so it is killed once it was silent for long."""
    ids = span_ids(10)
    with Server(lake, landing__silence_seconds=5) as server:
        server.signal_child(name, signal.SIGSTOP)
        wait_until(lambda: f'event="the {name} is silent and is killed"' in server.log())
        server.send(trace_request(ids), wait_for_ready=True)
        server.wait_until_landed()
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)


def test_receivers_share_a_port_and_workers_share_their_folders(lake: Path) -> None:
    """Three receivers behind one port, two workers; every connection is answered and everything lands once."""
    ids = span_ids(400)
    with Server(lake, server__receivers=3, landing__workers=2) as server:
        for first in range(0, 400, 10):  # each on a connection of its own
            server.send(trace_request(ids[first : first + 10]))
        assert 1 < len(list(lake.glob("journal/*/0*")))
        assert 0 == server.stop()
    assert once(ids) == landed_span_ids(lake)
    assert 3 == len(list(lake.glob("journal/*")))
    assert 2 == server.log().count('event="landing worker started"')


def test_a_port_that_is_taken_is_one_clear_line(tmp_path: Path) -> None:
    """Two servers never share a port in silence, though the receivers of one do."""
    with Server(tmp_path / "one") as one:
        with pytest.raises(AssertionError) as raised:
            Server(tmp_path / "other", port=one.port)
        last = str(raised.value).splitlines()[-1]
    assert last.startswith(f'cannot listen on server.grpc = "127.0.0.1:{one.port}": Address already in use')
    assert not (tmp_path / "other").exists()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
        # In a container nobody may collect the orphan's exit code: then it is there, but ended.
        return ") Z " not in Path(f"/proc/{process}/stat").read_text()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return not Path("/proc").is_dir()


def test_kills_at_random_moments_lose_nothing_and_bill_nothing_twice(lake: Path) -> None:
    """The short form of tests/fault_run.py."""
    counts = fault_run.run(lake, kills=9, seed=7, every=0.6)
    assert counts.is_exact, counts
    assert counts.kills >= 7, counts
    assert len(counts.acknowledged) >= 9 * fault_run.CALLS_A_REQUEST, counts


def test_the_same_over_either_transport_and_in_either_form_lands_the_same_rows(tmp_path: Path) -> None:
    """Every recorded export, traces and logs: as gRPC, as HTTP with protobuf, as HTTP with JSON."""
    rows = []
    for form in ("grpc", PROTOBUF, JSON):
        lake = tmp_path / form.rpartition("/")[2]
        with Server(lake) as server:
            for name in captures.names():
                for request in captures.requests(name, logs=True):
                    service = TRACES if request.signal == Signal.TRACES else LOGS
                    if form == "grpc":
                        server.send(request.body, service=service)
                    else:
                        message = service.request.FromString(request.body)
                        body = request.body if form == PROTOBUF else otlp_json(message)
                        assert 200 == ask(server.http_port(), f"/v1/{service.name}", body, form).status
            assert 0 == server.stop()
        rows.append({table: sorted(map(repr, all_rows(lake, table))) for table in ("spans", "events")})
    assert rows[0] == rows[1] == rows[2]
    assert all(rows[0].values())


def all_rows(lake: Path, table: str) -> list[dict[str, object]]:
    """Every row, without what tells when and how it was received."""
    found = DeltaTable(lake / table).to_pyarrow_table()
    return [
        {name: value for name, value in row.items() if not name.startswith("received")} for row in found.to_pylist()
    ]


def test_metrics_tell_of_every_process_of_the_server(lake: Path) -> None:
    """What the worker landed is on the receiver's page."""
    with Server(lake, landing__segment_seconds=0.2) as server:
        server.send(trace_request(span_ids(20), event="said"))
        server.wait_until_landed()
        page = told(server.http_port())
        while not page.get(("llmcost_landing_lag_seconds_count",)):
            page = told(server.http_port())
        assert (
            20 == page["llmcost_records_total", ("result", "accepted"), ("signal", "traces"), ("transport", "grpc")]
        )
        assert 20 == page["llmcost_landed_rows_total", ("table", "spans")]
        assert 20 == page["llmcost_landed_rows_total", ("table", "events")]
        assert 1 == page["llmcost_commit_seconds_count", ("table", "spans")]
        restarts = "llmcost_restarts_total", ("process", "landing worker")
        assert 0 == page[restarts]
        server.signal_child("landing worker")
        while 1 != told(server.http_port())[restarts]:
            time.sleep(0.05)
        assert 0 == server.stop()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of memory from /proc")
def test_bombs_over_both_transports_leave_memory_alone(lake: Path) -> None:
    """Bodies of 1 MiB that unpack to a GiB, eight at a time, gzip, zstd and JSON: all refused."""
    gzip_bomb, zstd_bomb = make_bomb("gzip", 1024), make_bomb("zstd", 1024)
    nested = b'{"resourceSpans":[' + b"{}," * (4 << 20) + b"{}]}"
    with Server(lake, server__max_message_mib=16, server__max_json_mib=4) as server:
        port = server.http_port()
        before = peak_bytes(server.child_pid("receiver"))

        def send(number: int) -> int:
            match number % 4:
                case 0:
                    return ask(port, body=gzip_bomb, content_encoding="gzip").status
                case 1:
                    return ask(port, body=zstd_bomb, content_encoding="zstd").status
                case 2:
                    return ask(port, body=gzip.compress(nested, 1), form=JSON, content_encoding="gzip").status
            with pytest.raises(grpc.RpcError) as raised:
                server.send(bytes(64 << 20), compression=grpc.Compression.Gzip)
            assert grpc.StatusCode.RESOURCE_EXHAUSTED == raised.value.code()
            return 413

        with ThreadPoolExecutor(8) as senders:
            assert {413} == set(senders.map(send, range(16)))
        assert peak_bytes(server.child_pid("receiver")) - before < 256 << 20
        server.send(trace_request(span_ids(1)))
        assert 0 == server.stop()


def peak_bytes(process: int) -> int:
    """The most memory a process has held."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024  # type: ignore[index]


def test_http_can_be_turned_off(lake: Path) -> None:
    with Server(lake, server__http="") as server:
        server.send(trace_request(span_ids(1)))
        assert 0 == server.stop()
    assert "http=" not in server.log()


@pytest.mark.parametrize("address", ["4318", "localhost:x"])
def test_an_http_address_is_host_and_port(lake: Path, address: str) -> None:
    with pytest.raises(SettingsError, match=r"server\.http = .* is not HOST:PORT"):
        serve(settings.Settings(server=settings.Server(http=address)), lake=lake)
