"""LiteLLM proxy: asks llmcost before each request, and refuses with its 429 what a hard budget blocks.

Put this file beside the proxy's config.yaml, and into that:

    litellm_settings:
      callbacks: ["otel", "litellm_budgets.budgets"]

`otel` sends the proxy's own spans to llmcost (llmcost connect litellm): they are what is counted. LLMCOST_URL is
where llmcost listens for HTTP, LLMCOST_TOKEN its token, if it asks for one. While llmcost does not answer, requests
go through, unless LLMCOST_FAIL_CLOSED is set.
"""

import json
import os
from typing import Any

import httpx
import litellm
from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

URL = os.environ.get("LLMCOST_URL", "http://127.0.0.1:4318")
TOKEN = os.environ.get("LLMCOST_TOKEN")
FAIL_CLOSED = bool(os.environ.get("LLMCOST_FAIL_CLOSED"))
SECONDS = 2.0
RESERVATION = "llmcost_reservation"


class Budgets(CustomLogger):
    """A budget decision before each request, with a reservation that is settled when its cost is known."""

    def __init__(self) -> None:
        super().__init__()
        headers = {"authorization": f"Bearer {TOKEN}"} if TOKEN else {}
        self._llmcost = httpx.AsyncClient(base_url=URL, timeout=SECONDS, headers=headers)

    async def async_pre_call_hook(
        self, user_api_key_dict: Any, cache: Any, data: dict[str, Any], call_type: str
    ) -> Any:
        """Ask, and raise what the proxy answers with where a hard budget blocks."""
        key, metadata = user_api_key_dict, data.setdefault("metadata", {})
        asked = {
            "org": key.org_id,
            "team": key.team_alias or key.team_id,
            "key": key.key_alias,
            "user": key.end_user_id or data.get("user"),
            "tag": metadata.get("tags") or [],
            "model": data.get("model"),
            "estimated_cost_usd": at_most(data),
        }
        try:
            answer = await self._llmcost.post("/v1/budget/decision", json=asked)
        except httpx.HTTPError as error:
            if FAIL_CLOSED:
                raise HTTPException(503, {"error": f"budgets are not known: {error}"}) from error
            return data
        if answer.status_code == 429:
            after = answer.headers.get("retry-after")
            raise HTTPException(429, {"error": answer.json()}, {"retry-after": after} if after else None)
        if answer.is_success:
            metadata[RESERVATION] = answer.json().get("reservation_id")
        elif FAIL_CLOSED:
            raise HTTPException(503, {"error": f"budgets are not known: {answer.text}"})
        return data

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """The request cost so much: hold that until its span has landed."""
        cost = kwargs.get("response_cost")
        await self._settle(kwargs, {} if cost is None else {"cost_usd": f"{cost:.9f}"})

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: Any, end_time: Any
    ) -> None:
        """The request failed: nothing need be held for it."""
        await self._settle(kwargs, {"released": True})

    async def _settle(self, kwargs: dict[str, Any], came_to: dict[str, Any]) -> None:
        name = ((kwargs.get("litellm_params") or {}).get("metadata") or {}).get(RESERVATION)
        if name:
            try:
                await self._llmcost.post("/v1/budget/settle", json={"reservation_id": name, **came_to})
            except httpx.HTTPError:
                return  # it expires by itself


def at_most(data: dict[str, Any]) -> str | None:
    """What a request may cost at most: no token is shorter than a byte, and no answer longer than it may be."""
    prices = litellm.model_cost.get(priced_as(data.get("model"))) or {}
    longest = data.get("max_tokens") or data.get("max_completion_tokens") or prices.get("max_output_tokens")
    if not prices or not longest:
        return None
    sent = len(json.dumps([data.get("messages"), data.get("input"), data.get("tools")], ensure_ascii=False).encode())
    each = prices.get("input_cost_per_token", 0), prices.get("output_cost_per_token", 0)
    return f"{sent * each[0] + int(longest) * (data.get('n') or 1) * each[1]:.9f}"


def priced_as(name: str | None) -> str | None:
    """What LiteLLM's price list calls the model of a name in the proxy's config."""
    from litellm.proxy.proxy_server import llm_router  # noqa: PLC0415  (it is there once the proxy has started)

    for deployment in llm_router.model_list if llm_router else ():
        if deployment["model_name"] == name:
            return str(deployment["litellm_params"]["model"]).removeprefix("openai/")
    return name


budgets = Budgets()
