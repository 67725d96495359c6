"""Libraries and forwarders that send by themselves: run by tests/senders.py, by name.

LiteLLM and Langfuse are driven against a fake OpenAI-compatible server on 127.0.0.1. What they sent is what
their exporter was told is accepted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from senders import SDKS, Sent, endpoint, node_is_installed

from llmcost.cli.receiver_process import receiver

_PATIENCE_SECONDS = 30.0


class _FakeOpenAI(BaseHTTPRequestHandler):
    """Answers every chat completion, as a stream where that is asked for."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        head = {"id": f"chatcmpl-{time.time_ns()}", "created": int(time.time()), "model": asked["model"]}
        if asked.get("stream"):
            delta = {"index": 0, "delta": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
            chunks: list[dict[str, Any]] = [{**head, "object": "chat.completion.chunk", "choices": [delta]}]
            chunks.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
            body = b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks) + b"data: [DONE]\n\n"
            form = "text/event-stream"
        else:
            message = {"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
            body = json.dumps({**head, "object": "chat.completion", "choices": [message], "usage": usage}).encode()
            form = "application/json"
        self.send_response(200)
        self.send_header("content-type", form)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def _fake_openai() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _FakeOpenAI)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()


def _watch(kind: type[SpanExporter], sent: Sent) -> None:
    """Note every span that exporters of `kind` were told is accepted."""
    export = kind.export

    def watched(self: SpanExporter, spans: Any) -> SpanExportResult:
        result = export(self, spans)
        assert result is SpanExportResult.SUCCESS, result
        sent.spans.extend(f"{span.context.span_id:016x}" for span in spans)
        return result

    kind.export = watched  # type: ignore[method-assign]


def _asked(client: Any, model: str, **more: Any) -> None:
    """A plain call and a stream."""
    messages = [{"role": "user", "content": "hello"}]
    client(model=model, messages=messages, **more)
    for _ in client(model=model, messages=messages, stream=True, stream_options={"include_usage": True}, **more):
        pass


def from_litellm(lake: Path) -> Sent:
    """LiteLLM's SDK with its callback `otel`, over HTTP."""
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else it fetches a price list when it is imported
    import litellm
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    sent = Sent()
    _watch(OTLPSpanExporter, sent)
    with receiver(lake) as running, _fake_openai() as openai:
        os.environ |= {"OTEL_EXPORTER": "otlp_http", "OTEL_ENDPOINT": f"{running.http_endpoint}/v1/traces"}
        litellm.callbacks = ["otel"]
        for _ in range(5):
            _asked(litellm.completion, "openai/gpt-5-mini", api_base=openai, api_key="none")
        _wait_while_it_grows(sent, trace.get_tracer_provider())
    return sent


def from_langfuse(lake: Path) -> Sent:
    """Langfuse's SDK with its OpenAI wrapper; it is told the host only, the path is its own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    sent = Sent()
    _watch(OTLPSpanExporter, sent)
    with receiver(lake) as running, _fake_openai() as openai:
        from langfuse import Langfuse
        from langfuse.openai import OpenAI

        client = Langfuse(public_key="pk-lf-none", secret_key="sk-lf-none", base_url=running.http_endpoint)
        with client.start_as_current_observation(name="POST /chat", as_type="span"):
            for _ in range(5):
                _asked(OpenAI(base_url=openai, api_key="none").chat.completions.create, "gpt-5-mini")
        client.flush()
        client.shutdown()
    return sent


def _wait_while_it_grows(sent: Sent, provider: Any) -> None:
    """LiteLLM ends its spans in threads of its own: wait until nothing more has come for two seconds."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    before = -1
    while before != len(sent.spans) and time.monotonic() < deadline:
        before = len(sent.spans)
        time.sleep(2)
        provider.force_flush()


def from_rotel(lake: Path) -> Sent:
    """Rotel between the SDKs and the receiver: OTLP in, OTLP out, over gRPC and over HTTP."""
    found = importlib.util.find_spec("rotel")
    if found is None or found.origin is None:
        sys.exit("Rotel is not installed: pip install --group bench")
    agent = str(Path(found.origin).with_name("rotel-agent"))
    sent = Sent()
    with receiver(lake) as running:
        for protocol in ("grpc", "http"):
            in_grpc, in_http = _free_port(), _free_port()
            command = [agent, "start", "--exporter", "otlp", "--otlp-exporter-protocol", protocol]
            command += ["--otlp-exporter-endpoint", endpoint(running, protocol)]
            command += [
                "--otlp-grpc-endpoint",
                f"127.0.0.1:{in_grpc}",
                "--otlp-http-endpoint",
                f"127.0.0.1:{in_http}",
            ]
            forwarder = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                _wait_for_port(in_grpc)
                _wait_for_port(in_http)
                for name, send in SDKS.items():
                    by = name.split()[1]
                    if by == "http/json" or (name.startswith("node") and not node_is_installed()):
                        continue  # Rotel takes no OTLP/JSON
                    sent += send(f"http://127.0.0.1:{in_grpc if by == 'grpc' else in_http}", name, by)
                time.sleep(2)  # its batches leave after 200 ms
            finally:
                forwarder.terminate()
                forwarder.wait(_PATIENCE_SECONDS)
    return sent


def from_fluent_bit(lake: Path) -> Sent:
    """Fluent Bit: OTLP in, OTLP/HTTP out, where its program is installed."""
    program = shutil.which("fluent-bit")
    if program is None:
        sys.exit("fluent-bit is not installed; Debian and PyPI have no package of it: see https://docs.fluentbit.io")
    sent = Sent()
    with receiver(lake) as running:
        port = _free_port()
        command = [program, "-i", "opentelemetry", "-p", "listen=127.0.0.1", "-p", f"port={port}"]
        command += ["-o", "opentelemetry", "-m", "*", "-p", "host=127.0.0.1", "-p", f"port={running.http_port}"]
        command += ["-p", "traces_uri=/v1/traces", "-p", "logs_uri=/v1/logs", "-f", "1"]
        forwarder = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _wait_for_port(port)
            name = "python http/protobuf"
            sent += SDKS[name](f"http://127.0.0.1:{port}", name, "http/protobuf")
            time.sleep(3)
        finally:
            forwarder.terminate()
            forwarder.wait(_PATIENCE_SECONDS)
    return sent


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.05)
        else:
            return


SENDERS: dict[str, Callable[[Path], Sent]] = {
    "litellm": from_litellm,
    "langfuse": from_langfuse,
    "rotel": from_rotel,
    "fluent-bit": from_fluent_bit,
}
