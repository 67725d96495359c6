"""The LiteLLM proxy, the real one, under budgets: over the cap is a 429, and the next period lets it through.

    python -m venv /tmp/proxy && /tmp/proxy/bin/pip install 'litellm[proxy]' opentelemetry-sdk \
        opentelemetry-exporter-otlp-proto-http
    python tests/litellm_proxy_run.py /tmp/proxy

Starts llmcost, a model of its own that answers with $0.15 of usage, and that proxy with
docs/examples/litellm_budgets.py. Run by hand: the proxy has more dependencies than llmcost.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.server import Server, free_port

EXAMPLE = Path(__file__).parent.parent / "docs" / "examples" / "litellm_budgets.py"
CALL_USD = Decimal("0.15")
CAP_USD = Decimal("0.40")
MONTH_SECONDS = 31 * 24 * 3600
PATIENCE_SECONDS = 120.0
_CONFIG = """
model_list:
  - model_name: smart
    litellm_params: {{model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:{model}/v1", api_key: none}}
litellm_settings:
  callbacks: ["otel", "litellm_budgets.budgets"]
general_settings:
  custom_auth: keys.admitted
"""
_KEYS = '''
from litellm.proxy._types import UserAPIKeyAuth

async def admitted(request, api_key):
    """Two virtual keys, each of its team; the proxy's own need a database."""
    team = {"sk-support": "support", "sk-search": "search"}[api_key]
    return UserAPIKeyAuth(api_key=api_key, key_alias=f"key of {team}", team_id=team, team_alias=team)
'''


class Model(BaseHTTPRequestHandler):
    """Answers every chat with the usage of a million tokens in."""

    def do_POST(self) -> None:
        """One chat."""
        self.rfile.read(int(self.headers["content-length"]))
        message = {"role": "assistant", "content": "yes"}
        answer = {
            "id": f"chatcmpl-{time.time_ns()}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000},
        }
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Proxy:
    """A running LiteLLM proxy."""

    def __init__(self, home: Path, folder: Path, model_port: int, llmcost_port: int) -> None:
        self.port = free_port()
        shutil.copy(EXAMPLE, folder)
        (folder / "keys.py").write_text(_KEYS)
        (folder / "config.yaml").write_text(_CONFIG.format(model=model_port))
        url = f"http://127.0.0.1:{llmcost_port}"
        told = {
            "LLMCOST_URL": url,
            "OTEL_EXPORTER": "otlp_http",
            "OTEL_ENDPOINT": url,
            "OTEL_SERVICE_NAME": "litellm",
        }
        told |= {"USE_OTEL_LITELLM_REQUEST_SPAN": "true", "NO_PROXY": "127.0.0.1"}
        told |= {"LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(32)}"}
        self.log = folder / "proxy.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    home / "bin" / "litellm",
                    "--config",
                    "config.yaml",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(self.port),
                ],
                cwd=folder,
                env=os.environ | told,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.is_ready():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise SystemExit(f"the proxy did not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(0.5)

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health/liveliness", timeout=5):
                return True
        except OSError:
            return False

    def chat(self, key: str) -> tuple[int, dict[str, Any], str | None]:
        """One chat under a virtual key: status, answer, Retry-After."""
        body = {"model": "smart", "messages": [{"role": "user", "content": "?"}], "max_tokens": 10}
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        url = f"http://127.0.0.1:{self.port}/v1/chat/completions"
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=60
            ) as got:
                return got.status, json.load(got), None
        except urllib.error.HTTPError as error:
            return error.code, json.load(error), error.headers.get("retry-after")


def asked(port: int, **body: object) -> dict[str, Any]:
    """What llmcost itself decides."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/budget/decision", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        found = json.load(error)
    return found


def run(home: Path, folder: Path) -> None:
    """All of it; says each step, raises AssertionError where it is not so."""
    lake = folder / "lake"
    lake.mkdir()
    (lake / "budgets.yaml").write_text(f"budgets: {{teams: {{support: {{limit: {CAP_USD}, hard: true}}}}}}")
    model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=model.serve_forever, daemon=True).start()
    http = f"127.0.0.1:{free_port()}"
    place = folder / "proxy"
    place.mkdir()
    with Server(lake, desk=0, server__http=http) as server:
        proxy = Proxy(home, place, model.server_port, server.http_port())
        try:
            steps(server, proxy)
            server.stop()
            server._options = [f"desk={MONTH_SECONDS}"]
            server.start()
            wait(lambda: "budget" in asked(server.http_port(), team="support"))
            status, _, _ = proxy.chat("sk-support")
            say("a month later, team support:", status)
            assert 200 == status
        finally:
            proxy.process.terminate()
            proxy.process.wait()
            model.shutdown()
            say(f"the proxy's log: {len(proxy.log.read_text().splitlines())} lines")


def steps(server: Server, proxy: Proxy) -> None:
    """In this month: up to the cap, over it, and another team beside it."""
    wait(lambda: "budget" in asked(server.http_port(), team="support"))
    allowed = 0
    while (found := proxy.chat("sk-support"))[0] == 200:
        allowed += 1
        assert allowed < 9, "nothing blocks"
        time.sleep(1)  # the proxy settles a request after it has answered
    status, answer, after = found
    say(
        f"team support, {allowed} requests of ${CALL_USD} under a cap of ${CAP_USD}, then:",
        status,
        json.dumps(answer),
    )
    assert 429 == status, answer
    said = json.dumps(answer)
    assert "budget_exceeded" in said, said
    assert '"team' in said.replace("\\", ""), said
    say("retry-after:", after)
    other = proxy.chat("sk-search")[0]
    say("team search meanwhile:", other)
    assert 200 == other
    spent = allowed * CALL_USD
    wait(lambda: Decimal(asked(server.http_port(), team="support")["budget"]["spent_usd"]) == spent)
    say(f"its spans have landed: spent ${spent}")


def say(*words: object) -> None:
    """Print."""
    print(*words, flush=True)  # noqa: T201


def wait(until: Any) -> None:
    """Return once it is so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        run(Path(sys.argv[1]).resolve(), Path(made))
