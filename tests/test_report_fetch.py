"""Fetching reports from an API, against a stand-in here that answers in the documented shapes, in pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from llmcost.cli.main import app
from llmcost.ingest.report_fetch import APIS, pages
from llmcost.models.errors import ReportError, UsageError
from llmcost.models.lake import Lake

SINCE, UNTIL = datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
Answer = tuple[int, dict[str, str], Any]


class StandIn:
    """A server that answers each request as a test says, and remembers what it was asked."""

    def __init__(self, answer: Callable[[str, dict[str, list[str]], int], Answer]) -> None:
        self.asked: list[tuple[str, dict[str, list[str]], dict[str, str]]] = []
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                query = parse_qs(parts.query)
                stand_in.asked.append((parts.path, query, dict(self.headers)))
                status, headers, body = answer(parts.path, query, len(stand_in.asked))
                content = json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"


@contextmanager
def standing_in(answer: Callable[[str, dict[str, list[str]], int], Answer]) -> Iterator[StandIn]:
    stand_in = StandIn(answer)
    thread = threading.Thread(target=stand_in.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.server.shutdown()
        stand_in.server.server_close()
        thread.join()


def openai_page(path: str, query: dict[str, list[str]]) -> dict[str, Any]:
    """Two pages of a day each; embeddings have none, and the second day of completions is empty."""
    day = 1 if "page" in query else 0
    start = int(query["start_time"][0]) + day * 86400
    what = path.rpartition("/")[2]
    results: list[dict[str, Any]] = []
    if what == "completions" and not day:
        result = {"input_tokens": 1000, "output_tokens": 100, "num_model_requests": 3, "model": "gpt-4o-mini"}
        results = [{"object": "organization.usage.completions.result", **result, "batch": False}]
    if what == "costs":
        amount = {"value": 0.25 + day, "currency": "usd"}
        results = [{"object": "organization.costs.result", "amount": amount, "line_item": "gpt-4o-mini, input"}]
    bucket = {"object": "bucket", "start_time": start, "end_time": start + 86400, "results": results}
    return {"object": "page", "data": [bucket], "has_more": not day, "next_page": None if day else "page_2"}


def test_every_page_of_every_report_is_asked_for_and_imported(tmp_path: Path) -> None:
    """The key goes as a header, names by which to group as parameters, and the next page by its token."""
    Lake.create(tmp_path / "lake")
    with standing_in(lambda path, query, _: (200, {}, openai_page(path, query))) as server:
        arguments = ["--since", "2026-11-19", "--until", "2026-11-21", "--base-url", server.url]
        command = ["reconcile", "fetch", "openai", *arguments, "--lake", str(tmp_path / "lake")]
        ended = CliRunner().invoke(app, command, env={"OPENAI_ADMIN_KEY": "sk-admin-test"})

    assert ended.exit_code == 0, ended.output
    assert 6 == len(server.asked)
    path, query, headers = server.asked[0]
    assert ("/v1/organization/usage/completions", "Bearer sk-admin-test") == (path, headers["Authorization"])
    assert {"model", "project_id", "api_key_id", "batch", "service_tier"} == set(query["group_by"])
    assert [str(int(SINCE.timestamp()))] == query["start_time"]
    assert ["page_2"] == server.asked[1][1]["page"]
    told = "select source, report, sum(input_tokens) as t, sum(billed_cost_usd) as c from provider_usage"
    summed = f"{told} group by all order by all"
    rows = CliRunner().invoke(app, ["sql", summed, "--format", "json", "--lake", str(tmp_path / "lake")])
    assert [
        {"source": "openai-costs", "report": "costs", "t": None, "c": "1.500000000"},
        {"source": "openai-usage", "report": "completions", "t": "1000", "c": None},
        {"source": "openai-usage", "report": "embeddings", "t": "0", "c": None},
    ] == json.loads(rows.output)["rows"]


def test_anthropic_is_asked_in_its_own_words() -> None:
    page = {"data": [], "has_more": False, "next_page": None}
    api = APIS["anthropic"]
    with standing_in(lambda *_: (200, {}, page)) as server:
        told = [list(pages(api, each, "sk-ant-admin", SINCE, UNTIL, base_url=server.url)) for each in api.endpoints]

    assert [[page], [page]] == told
    (first, query, headers), (second, *_) = server.asked
    assert ("/v1/organizations/usage_report/messages", "/v1/organizations/cost_report") == (first, second)
    assert ("sk-ant-admin", "2023-06-01") == (headers["X-Api-Key"], headers["Anthropic-Version"])
    assert (["2026-11-19T00:00:00Z"], ["2026-11-21T00:00:00Z"]) == (query["starting_at"], query["ending_at"])
    assert {"workspace_id", "api_key_id", "model", "service_tier"} == set(query["group_by[]"])


def test_a_busy_server_is_asked_again_after_what_it_says() -> None:
    """Retry-After is kept; without it the pause doubles."""
    page = {"data": [], "has_more": False}
    answers: list[Answer] = [(429, {"Retry-After": "7"}, {}), (503, {}, {}), (500, {}, {}), (200, {}, page)]
    paused: list[float] = []
    api = APIS["openai"]
    with standing_in(lambda _p, _q, number: answers[number - 1]) as server:
        told = list(pages(api, api.endpoints[0], "k", SINCE, UNTIL, base_url=server.url, pause=paused.append))

    assert ([page], [7.0, 2.0, 4.0]) == (told, paused)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {}, {"error": {"message": "no such key"}}), r"401 Unauthorized \(no such key\): set OPENAI_ADMIN_KEY"),
        ((400, {}, {"error": {"message": "start_time"}}), r"400 Bad Request \(start_time\)"),
        ((302, {"Location": "https://elsewhere.example/"}, {}), "302 Found"),
        ((500, {}, {}), "failed 6 times, the last time with 500"),
        ((200, {}, ["no page"]), "something else than a page"),
        ((200, {}, {"data": [], "has_more": True, "next_page": "again"}), "names the same next_page again"),
    ],
)
def test_a_server_that_refuses_or_misbehaves_is_told_of(answer: Answer, said: str) -> None:
    """A redirect is not followed: it would take the key to another host."""
    api = APIS["openai"]
    with standing_in(lambda *_: answer) as server, pytest.raises(ReportError, match=said) as refused:
        list(pages(api, api.endpoints[0], "sk-secret", SINCE, UNTIL, base_url=server.url, pause=lambda _: None))
    assert "sk-secret" not in str(refused.value)


def test_the_key_goes_over_tls_or_to_this_machine() -> None:
    api = APIS["openai"]
    with pytest.raises(UsageError, match="must begin with https://"):
        list(pages(api, api.endpoints[0], "k", SINCE, UNTIL, base_url="http://api.example.com/v1"))


def test_without_a_key_nothing_is_asked(tmp_path: Path) -> None:
    Lake.create(tmp_path)
    command = ["reconcile", "fetch", "anthropic", "--lake", str(tmp_path)]
    ended = CliRunner().invoke(app, command, env={"ANTHROPIC_ADMIN_KEY": ""})
    assert isinstance(ended.exception, UsageError)
    assert "set ANTHROPIC_ADMIN_KEY" in str(ended.exception)
