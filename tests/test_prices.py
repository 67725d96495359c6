"""What a call costs: the SQL against the library's own arithmetic, and the user's layers on top."""

from __future__ import annotations

from collections import Counter
from decimal import ROUND_HALF_UP, Decimal

import pytest
from genai_prices import Usage, calc_price
from genai_prices.types import PriceCalculation
from support.pricing import Case, cases, priced

from llmcost.models.conventions import load as load_conventions
from llmcost.models.prices import Layers, PriceBook
from llmcost.sql.derive import Rules

SEED = 20261122


def rules(layers: Layers | None = None) -> Rules:
    """The rules of a lake with these price layers."""
    return Rules(load_conventions(), PriceBook(layers or Layers()), "reported", {})


def test_any_call_costs_what_the_library_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Over every resolvable model, date, tier, variant and time of day: equal to the nano-dollar.

    Two answers differ from the library's on purpose. It refuses cached tokens beside audio where cached
    audio has a price of its own, because nobody told how much of the cached input is audio: none, then.
    And a price by hours or characters alone makes tokens cost 0 there; here such a cost is unknown.
    """
    asked = list(cases(SEED))
    refused: Counter[str] = Counter()
    expected = [library_cost(case, refused) for case in asked]
    calls = priced(rules(), [request(case) for case in asked])

    wrong = [
        (case, cost, call["list_cost_usd"])
        for case, cost, call in zip(asked, expected, calls, strict=True)
        if cost != call["list_cost_usd"]
    ]
    assert wrong == []
    assert len(asked) >= 20_000
    assert set(refused) <= {"cache_audio_read_tokens"}
    reasons = {call["unpriced_reason"] for call, cost in zip(calls, expected, strict=True) if cost is None}
    assert reasons == {"not_priced_by_tokens", "usage_missing"}
    with capsys.disabled():
        models = len({(case.provider, case.model) for case in asked})
        print(  # noqa: T201  (how much was compared is this test's result)
            f"\n{len(asked):,} requests to {models:,} models priced as by the library; {sum(refused.values())} "
            f"refused by it (cached beside audio), {expected.count(None):,} not priced by tokens or without any"
        )


def request(case: Case) -> dict[str, object]:
    """A case as a row of the chain's `requests`."""
    return {
        "provider": case.provider,
        "response_model": case.model,
        "started_at": case.at,
        "service_tier": case.tier,
        "is_batch": case.is_batch,
        **case.usage,
    }


def library_cost(case: Case, refused: Counter[str]) -> Decimal | None:
    """The library's Decimal, rounded half up to nano-dollars; None where tokens have no price."""
    usage = case.usage
    written = [usage.get(f"cache_write_{ttl}_tokens", 0) for ttl in ("5m", "1h")]
    counts = {
        "input_tokens": usage["input_tokens"],
        "cache_read_tokens": usage.get("cache_read_tokens", 0),
        "cache_write_tokens": sum(written),
        "cache_write_5m_tokens": written[0],
        "cache_write_1h_tokens": written[1],
        "input_audio_tokens": usage.get("audio_input_tokens", 0),
        "output_tokens": usage["output_tokens"],
        "output_reasoning_tokens": usage.get("reasoning_tokens", 0),
        "output_audio_tokens": usage.get("audio_output_tokens", 0),
    }
    if usage["input_tokens"] + usage["output_tokens"] == 0:
        return None
    try:
        price = library_price(case, counts)
    except ValueError as error:
        missing = str(error).removeprefix("Missing usage for ").partition(":")[0]
        refused[missing] += 1
        price = library_price(case, counts | {missing: 0})
    units = {name for name, value in price.model_price.__dict__.items() if value is not None}
    if units and not any(name.endswith("_mtok") or name == "requests_kcount" for name in units):
        return None
    return price.total_price.quantize(Decimal("1e-9"), ROUND_HALF_UP)


def library_price(case: Case, counts: dict[str, int]) -> PriceCalculation:
    """The library's calculation."""
    return calc_price(
        Usage(**counts),
        model_ref=case.model,
        provider_id=case.provider,
        genai_request_timestamp=case.at,
        price_context=case.context or None,
    )

