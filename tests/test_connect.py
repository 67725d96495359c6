"""`llmcost connect`: what it prints is what the other system reads."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from deltalake import DeltaTable
from support.server import Server
from typer.testing import CliRunner

from llmcost.cli.connections import Protocol, System, protocol_of, receiver, snippets
from llmcost.cli.main import app
from llmcost.models.errors import UsageError
from llmcost.models.lake import Lake

ADDRESSES = {Protocol.GRPC: "127.0.0.1:4317", Protocol.HTTP: "127.0.0.1:4318"}
TOKEN = "LLMCOST_TOKEN"


def possible(system: System) -> list[Protocol]:
    found = []
    for protocol in Protocol:
        try:
            found.append(protocol_of(system, protocol))
        except UsageError:
            assert system is System.VERCEL
    return found


CASES = [
    (system, protocol, token, tls)
    for system in System
    for protocol, token, tls in itertools.product(possible(system), (None, TOKEN), (False, True))
]


def files(
    system: System, protocol: Protocol | None = None, *, token: str | None = None, tls: bool = False
) -> dict[str, str]:
    to = receiver(ADDRESSES, tls=tls, token_env=token)
    return {snippet.name: snippet.text for snippet in snippets(system, protocol_of(system, protocol), to)}


def said(*options: str) -> str:
    answer = CliRunner().invoke(app, ["connect", *options], prog_name="llmcost")
    assert answer.exit_code == 0, answer.exception
    return answer.output


def environment_of(script: str) -> dict[str, str]:
    """The variables a shell holds after reading `script`."""
    shown = subprocess.run(
        ["/bin/sh", "-euc", f"{script}\nenv"],
        env={TOKEN: "s3cret"},
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(line.split("=", 1) for line in shown.stdout.splitlines())


@pytest.mark.parametrize(("system", "protocol", "token", "tls"), CASES)
def test_every_file_reads_as_what_its_name_says(
    system: System, protocol: Protocol, token: str | None, tls: bool
) -> None:
    for name, text in files(system, protocol, token=token, tls=tls).items():
        assert "{{" not in text.replace("{{ ", "{{")
        assert text.endswith("\n")
        match name.rpartition(".")[2]:
            case "sh":
                subprocess.run(["/bin/sh", "-n"], input=text, check=True, text=True)
            case "py":
                compile(text, name, "exec")
            case "yaml":
                assert yaml.safe_load(text)
            case "toml":
                assert tomllib.loads(text)
            case kind:
                assert kind in ("mjs", "ts")
                assert text.count("{") == text.count("}")


@pytest.mark.parametrize(("system", "protocol", "token", "tls"), CASES)
def test_address_and_token_stand_where_the_system_looks(
    system: System, protocol: Protocol, token: str | None, tls: bool
) -> None:
    everything = "".join(files(system, protocol, token=token, tls=tls).values())
    assert ADDRESSES[protocol] in everything
    assert (token is not None) == (TOKEN in everything)
    if system is not System.COLLECTOR or protocol is Protocol.HTTP:
        assert ("https://127.0.0.1" in everything) == tls


@pytest.mark.parametrize(
    ("protocol", "exporter"), [(Protocol.GRPC, "otlp/llmcost"), (Protocol.HTTP, "otlphttp/llmcost")]
)
def test_a_collector_keeps_on_disk_what_it_could_not_deliver(protocol: Protocol, exporter: str) -> None:
    read: dict[str, Any] = yaml.safe_load(files(System.COLLECTOR, protocol, token=TOKEN)["collector.yaml"])
    settings = read["exporters"][exporter]
    assert {"grpc": "127.0.0.1:4317", "http": "http://127.0.0.1:4318"}[protocol] == settings["endpoint"]
    assert {"insecure": True} == settings["tls"]
    assert {"authorization": "Bearer ${env:LLMCOST_TOKEN}"} == settings["headers"]
    assert "0s" == settings["retry_on_failure"]["max_elapsed_time"]
    storage = settings["sending_queue"]["storage"]
    assert storage in read["extensions"]
    assert [storage] == read["service"]["extensions"]
    for pipeline in ("traces", "logs"):
        assert [exporter] == read["service"]["pipelines"][pipeline]["exporters"]
    ports = {address["endpoint"] for address in read["receivers"]["otlp"]["protocols"].values()}
    assert not ports & set(ADDRESSES.values()), "it would take the receiver's own port"


def test_the_sdks_variables() -> None:
    held = environment_of(files(System.NODE, Protocol.HTTP, token=TOKEN)["environment.sh"])
    assert "http://127.0.0.1:4318" == held["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert "http/protobuf" == held["OTEL_EXPORTER_OTLP_PROTOCOL"]
    assert "authorization=Bearer%20s3cret" == held["OTEL_EXPORTER_OTLP_HEADERS"], "SDKs decode it as a URL"


def test_litellms_variables() -> None:
    """litellm/integrations/opentelemetry.py splits headers at , and = and decodes nothing."""
    held = environment_of(files(System.LITELLM, Protocol.GRPC, token=TOKEN)["environment.sh"])
    assert ("otlp_grpc", "http://127.0.0.1:4317") == (held["OTEL_EXPORTER"], held["OTEL_ENDPOINT"])
    assert "authorization=Bearer s3cret" == held["OTEL_HEADERS"]
    assert "true" == held["USE_OTEL_LITELLM_REQUEST_SPAN"]
    read = yaml.safe_load(files(System.LITELLM)["config.yaml"])
    assert {"litellm_settings": {"callbacks": ["otel"]}} == read


def test_claude_codes_variables() -> None:
    held = environment_of(files(System.CLAUDE_CODE, token=TOKEN)["environment.sh"])
    assert ("1", "1") == (held["CLAUDE_CODE_ENABLE_TELEMETRY"], held["CLAUDE_CODE_ENHANCED_TELEMETRY_BETA"])
    exporters = [held[f"OTEL_{signal}_EXPORTER"] for signal in ("TRACES", "LOGS", "METRICS")]
    assert ["otlp", "otlp", "none"] == exporters
    assert ("grpc", "http://127.0.0.1:4317") == (
        held["OTEL_EXPORTER_OTLP_PROTOCOL"],
        held["OTEL_EXPORTER_OTLP_ENDPOINT"],
    )


@pytest.mark.parametrize("protocol", Protocol)
def test_codex_sends_its_logs_and_its_spans(protocol: Protocol) -> None:
    read = tomllib.loads(files(System.CODEX, protocol, token=TOKEN)["config.toml"])["otel"]
    paths = {"exporter": "/v1/logs", "trace_exporter": "/v1/traces"}
    for name, path in paths.items():
        [(kind, settings)] = read[name].items()
        assert f"otlp-{protocol}" == kind
        assert f"http://{ADDRESSES[protocol]}{path if protocol is Protocol.HTTP else ''}" == settings["endpoint"]
        assert {"authorization": "Bearer ${LLMCOST_TOKEN}"} == settings["headers"]


@pytest.mark.parametrize("protocol", Protocol)
def test_the_python_snippet_runs_and_its_span_and_outcome_land(tmp_path: Path, protocol: Protocol) -> None:
    """As printed: the variables read by a shell, the code by Python."""
    with Server(tmp_path / "lake") as server:
        port = server.port if protocol is Protocol.GRPC else server.http_port()
        address = ("--protocol", protocol, "--endpoint", f"http://127.0.0.1:{port}")
        script = said("python", *address, "--token-env", TOKEN, "--format", "json")
        printed = {file["name"]: file["text"] for file in json.loads(script)["files"]}
        held = environment_of(printed["environment.sh"])
        ran = subprocess.run(
            [sys.executable, "-W", "error", "-c", printed["tracing.py"]],
            env=os.environ | held,
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        )
        assert ("", "") == (ran.stdout, ran.stderr)
        assert 0 == server.stop()
    columns = ["trace_id", "name", "feature", "customer_id", "service_name", "span_id", "parent_span_id"]
    rows = DeltaTable(tmp_path / "lake" / "spans").to_pyarrow_table(columns=columns).to_pylist()
    by_name = {row["name"]: row for row in rows}
    chat, outcome = by_name["POST /chat"], by_name["outcome"]
    assert ("support", "acme", "my-service") == (chat["feature"], chat["customer_id"], chat["service_name"])
    assert (chat["trace_id"], chat["span_id"]) == (outcome["trace_id"], outcome["parent_span_id"])


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
@pytest.mark.parametrize("protocol", Protocol)
def test_the_node_snippet_is_javascript(tmp_path: Path, protocol: Protocol) -> None:
    script = tmp_path / "tracing.mjs"
    script.write_text(files(System.NODE, protocol)["tracing.mjs"])
    subprocess.run(["node", "--check", script], check=True)  # noqa: S607


def test_the_outcome_by_curl_is_a_span_of_the_trace(tmp_path: Path) -> None:
    """What curl would send, caught by a curl that writes it to a file, and what becomes of it."""
    caught = tmp_path / "curl"
    caught.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/arguments\ncat > {tmp_path}/body\n')
    caught.chmod(0o755)
    trace_id = "0123456789abcdef0123456789abcdef"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "TRACE_ID": trace_id, TOKEN: "s3cret"}
    script = files(System.COLLECTOR, token=TOKEN)["outcome.sh"]
    subprocess.run(["/bin/sh", "-euc", script], env=environment, check=True)
    arguments = (tmp_path / "arguments").read_text().splitlines()
    assert {"http://127.0.0.1:4318/v1/traces", "authorization: Bearer s3cret"} <= set(arguments)
    [span] = json.loads((tmp_path / "body").read_text())["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert (trace_id, "outcome") == (span["traceId"], span["name"])
    assert 8 == len(bytes.fromhex(span["spanId"]))
    assert [{"key": "outcome.resolved", "value": {"boolValue": True}}] == span["attributes"]
    with Server(tmp_path / "lake") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port())
        connection.request(
            "POST", "/v1/traces", (tmp_path / "body").read_bytes(), {"content-type": "application/json"}
        )
        assert 200 == connection.getresponse().status
        connection.close()
        assert 0 == server.stop()
    [row] = DeltaTable(tmp_path / "lake" / "spans").to_pyarrow_table(columns=["trace_id", "name"]).to_pylist()
    assert {"trace_id": trace_id, "name": "outcome"} == row


def test_a_coding_agents_outcome_is_imported_by_its_session(tmp_path: Path) -> None:
    lake = Lake.create(tmp_path / "lake")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LLMCOST_LAKE": str(lake.root),
        "SESSION_ID": "5b1f",
    }
    script = files(System.CODEX)["outcome.sh"]
    ran = subprocess.run(["/bin/sh", "-euc", script], env=environment, check=True, capture_output=True, text=True)
    assert "imported 1 outcome" in ran.stdout


def test_addresses_are_those_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a server listens everywhere, it is reached on this machine."""
    monkeypatch.setenv("LLMCOST_SERVER__GRPC", "0.0.0.0:14000")
    assert '"http://127.0.0.1:14000"' in said("python", "--only", "environment.sh")
    assert '"https://llmcost.internal:14000"' in said("python", "--host", "llmcost.internal", "--tls")


def test_one_file_is_printed_as_it_is() -> None:
    assert files(System.COLLECTOR)["collector.yaml"] == said("collector", "--only", "collector.yaml")
    text = said("collector")
    assert "# ---- collector.yaml ----\n" in text
    assert "\n\n# ---- outcome.sh ----\n" in text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("vercel", "--protocol", "grpc"), "vercel sends over http only: leave out --protocol grpc"),
        (("python", "--only", "x"), 'no file "x" here: choose environment.sh or tracing.py'),
        (("python", "--endpoint", "llmcost:4317"), "is not a URL without a path, such as https://"),
        (("python", "--endpoint", "http://llmcost/v1/traces"), "is not a URL without a path"),
        (("python", "--host", "a b"), "is not a host name or address: write the whole address as --endpoint"),
        (("python", "--host", 'a"; rm'), "is not a host name"),
    ],
)
def test_what_cannot_be_is_one_clear_line(options: tuple[str, ...], reason: str) -> None:
    answer = CliRunner().invoke(app, ["connect", *options])
    assert isinstance(answer.exception, UsageError)
    assert reason in str(answer.exception)


def test_a_token_in_the_place_of_a_name_is_not_repeated() -> None:
    answer = CliRunner().invoke(app, ["connect", "python", "--token-env", "llmc-7f3a-secret"])
    assert isinstance(answer.exception, UsageError)
    assert "secret" not in str(answer.exception)
    assert "name of an environment variable" in str(answer.exception)
