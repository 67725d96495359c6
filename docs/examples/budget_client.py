"""llmcost budgets from any Python program, with the standard library only: ask, make the request, settle.

    with reserved(team="support", model="gpt-4o-mini", estimated_cost_usd="0.02") as request:
        answer = call_the_model()
        request.cost_usd = "0.0131"     # what it came to, where you know; its span tells llmcost in any case

Raises Blocked, with llmcost's answer, where a hard budget or a limit of the agent's run does not allow the request.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

URL = os.environ.get("LLMCOST_URL", "http://127.0.0.1:4318")
TOKEN = os.environ.get("LLMCOST_TOKEN")
SECONDS = 2.0


class Blocked(Exception):
    """A budget does not allow the request. `answer` names the level, the limit, the spend and when to try again."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(answer["message"])
        self.answer = answer


@dataclass
class Reserved:
    """A request that is allowed; `cost_usd` is what it came to, as text, where you know it."""

    answer: dict[str, Any]
    cost_usd: str | None = None


def decide(**asked: Any) -> dict[str, Any]:
    """The decision on a request of this team, user, key, tag, agent, agent_run_id, model and so on."""
    status, answer = _post("/v1/budget/decision", asked)
    if status == 429:
        raise Blocked(answer)
    if status != 200:
        raise RuntimeError(f"llmcost answered {status}: {answer.get('message')}")
    return answer


@contextmanager
def reserved(**asked: Any) -> Iterator[Reserved]:
    """Ask with an estimated_cost_usd that is held meanwhile; a request that fails gives it back."""
    request = Reserved(decide(**asked))
    came_to: dict[str, Any] = {"released": True}
    try:
        yield request
        came_to = {} if request.cost_usd is None else {"cost_usd": request.cost_usd}
    finally:
        if name := request.answer.get("reservation_id"):
            _post("/v1/budget/settle", {"reservation_id": name, **came_to})


def _post(path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {TOKEN}"} if TOKEN else {})
    request = urllib.request.Request(URL + path, json.dumps(body).encode(), headers)  # noqa: S310  (the URL is set by you)
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
