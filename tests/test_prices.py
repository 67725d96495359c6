"""What a call costs: the SQL against the library's own arithmetic, and the user's layers on top."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from genai_prices import Usage, calc_price
from genai_prices.types import PriceCalculation
from support.lakes import SmallLake
from support.pricing import NOW, Case, cases, priced
from support.spans import call as span

from llmcost.models.conventions import load as load_conventions
from llmcost.models.errors import PriceBookError
from llmcost.models.layers import Layers
from llmcost.models.prices import PriceBook
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
    # A day's calls have some tens of price keys; with the ten thousand of these, joining them takes most of the time.
    calls = [
        call
        for first in range(0, len(asked), 4000)
        for call in priced(rules(), [request(case) for case in asked[first : first + 4000]])
    ]

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


def layers(folder: Path, text: str) -> Layers:
    """The layers of one price file."""
    (folder / "own.toml").write_text(text)
    return Layers.load(folder)


def million(model: str, provider: str | None = None, at: datetime = NOW, **columns: Any) -> dict[str, Any]:
    """A request of a million tokens in and a million out, so that prices show as they are written."""
    counts = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    return {"provider": provider, "response_model": model, "started_at": at, **counts, **columns}


def costs(calls: list[dict[str, Any]]) -> list[Decimal | None]:
    """What was booked."""
    return [call["cost_usd"] for call in calls]


def test_an_own_price_wins_and_its_parts_default_to_the_whole(tmp_path: Path) -> None:
    """A cached token costs what an input token does unless the entry says otherwise."""
    own = layers(
        tmp_path,
        """
        [[list]]
        model = "acme-*"
        input = 2
        output = 8
        cache_read = 0.5
        per_request = 0.01
        """,
    )
    calls = priced(
        rules(own),
        [
            million("acme-7b"),
            million("acme-7b", cache_read_tokens=400_000, cache_write_1h_tokens=100_000),
            million("other-7b"),
        ],
    )

    assert costs(calls) == [
        Decimal("0.01") + 2 + 8,
        Decimal("0.01") + mtok("2", 600_000) + mtok("0.5", 400_000) + 8,
        None,
    ]
    assert [call["provider"] for call in calls] == [None, None, None]


def test_an_own_price_holds_from_its_day_on_over_the_book_before(tmp_path: Path) -> None:
    """A price written for tomorrow does not leave today without one; broader entries hold before it too."""
    own = layers(
        tmp_path,
        """
        [[list]]
        model = "gpt-4o-*"
        from = 2026-03-01
        input = 1
        output = 1

        [[list]]
        model = "gpt-4o-mini"
        from = 2026-11-01
        input = 3
        output = 3

        [[list]]
        model = "acme-7b"
        from = 2026-11-01
        input = 3
        output = 3
        """,
    )
    before, after = datetime(2026, 10, 31, 23, 59, 59, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
    early = datetime(2026, 2, 28, tzinfo=UTC)
    moments = (early, before, after)
    calls = priced(rules(own), [million(model, at=at) for model in ("gpt-4o-mini", "acme-7b") for at in moments])

    assert costs(calls) == [Decimal("0.15") + Decimal("0.60"), 2, 6, None, None, 6]
    assert [call["unpriced_reason"] for call in calls[3:]] == ["before_first_own_price"] * 2 + [None]


def test_an_alias_names_what_a_deployment_runs(tmp_path: Path) -> None:
    """An Azure deployment's name, a Bedrock profile's ARN: by regex, the whole name, the last written wins."""
    own = layers(
        tmp_path,
        """
        [[alias]]
        match = "our-.*"
        model = "gpt-4o"

        [[alias]]
        match = "our-mini(-v[0-9]+)?"
        model = "gpt-4o-mini"

        [[alias]]
        match = "arn:aws:bedrock:.*:application-inference-profile/abc123"
        provider = "anthropic"
        model = "claude-haiku-4-5"
        """,
    )
    arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile"
    calls = priced(
        rules(own),
        [
            million("our-mini-v2", "azure"),
            million("our-big", "azure"),
            million("not-our-mini", "azure"),
            million(f"{arn}/abc123", "aws"),
            million(f"{arn}/def456", "aws"),
        ],
    )

    assert costs(calls) == [Decimal("0.15") + Decimal("0.60"), Decimal("2.50") + 10, None, 1 + 5, None]
    assert {call["unpriced_reason"] for call in calls} == {None, "model_not_in_price_book"}
    assert calls[0]["model"] == "gpt-4o-mini"


def test_a_contract_is_a_percentage_by_day_and_customer(tmp_path: Path) -> None:
    """The last entry that matches holds, from its first day to the day before its last."""
    own = layers(
        tmp_path,
        """
        [[contract]]
        provider = "openai"
        percent = -10

        [[contract]]
        model = "gpt-4o*"
        customer_id = "acme"
        from = 2026-11-01
        until = 2026-12-01
        percent = -33.3333

        [[contract]]
        key_id = "surcharged"
        percent = 2.5
        """,
    )
    first, last = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    mini = Decimal("0.15") + Decimal("0.60")
    calls = priced(
        rules(own),
        [
            million("gpt-4o-mini", "openai", first, customer_id="acme"),
            million("gpt-4o-mini", "openai", last, customer_id="acme"),
            million("gpt-4o-mini", "openai", first - timedelta(seconds=1), customer_id="acme"),
            million("gpt-4o-mini", "openai", last + timedelta(seconds=1), customer_id="acme"),
            million("gpt-4o-mini", "openai", last, customer_id="globex"),
            million("claude-haiku-4-5", "anthropic", last, key_id="surcharged"),
            million("claude-haiku-4-5", "anthropic", last),
            million("acme-7b", "openai", last),
        ],
    )

    assert costs(calls) == [
        mini * Decimal("0.666667"),
        mini * Decimal("0.666667"),
        mini * Decimal("0.9"),
        mini * Decimal("0.9"),
        mini * Decimal("0.9"),
        6 * Decimal("1.025"),
        6,
        None,
    ]
    assert {call["list_cost_usd"] for call in calls[:5]} == {mini}
    assert [call["cost_basis"] for call in calls] == ["contract"] * 6 + ["list", None]


def test_a_contract_holds_over_a_reported_cost(tmp_path: Path) -> None:
    """A gateway reports list money; the contract is what is paid. Both stay beside the booked figure."""
    own = layers(tmp_path, "[[contract]]\npercent = -50")
    reported = {"reported_cost_usd": 0.7, "cost_ignores_cache": False}
    (call,) = priced(rules(own), [million("gpt-4o-mini", "openai", **reported)])
    (without,) = priced(rules(), [million("gpt-4o-mini", "openai", **reported)])

    assert (call["cost_usd"], call["reported_cost_usd"], call["list_cost_usd"]) == (
        Decimal("0.375"), Decimal("0.7"), Decimal("0.75"),
    )  # fmt: skip
    assert (without["cost_usd"], without["cost_basis"]) == (Decimal("0.7"), "reported")


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4-mini"),
        ("openai", "acme-7b"),
        ("acme", "gpt-4o-mini"),
        ("azure", "our-deployment"),
        ("aws", "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abc123"),
        (None, "acme-7b"),
    ],
)
def test_an_unknown_model_is_unpriced_never_free_and_never_another(provider: str | None, model: str) -> None:
    """No price is NULL with a reason; the nearest name in the book is not asked."""
    (call,) = priced(rules(), [million(model, provider)])

    assert (call["cost_usd"], call["list_cost_usd"], call["cost_basis"]) == (None, None, None)
    assert call["unpriced_reason"] == "model_not_in_price_book"


@pytest.mark.parametrize(
    ("provider", "model", "paid"),
    [
        ("anthropic", "claude-haiku-4-5", "anthropic"),
        ("anthropic", "anthropic/claude-haiku-4-5", "anthropic"),
        (None, "anthropic/claude-haiku-4-5", "anthropic"),
        ("openai", "claude-haiku-4-5", "anthropic"),
        (None, "claude-haiku-4-5", "anthropic"),
    ],
)
def test_a_vendors_model_has_its_price_under_other_spellings(provider: str | None, model: str, paid: str) -> None:
    """With a vendor's prefix, through an OpenAI-compatible client, or without a word on the vendor."""
    (call,) = priced(rules(), [million(model, provider)])

    assert (call["cost_usd"], call["provider"]) == (Decimal(1 + 5), paid)


def test_the_model_that_answered_has_the_first_word() -> None:
    """Then the one a gateway called, then the one asked for."""
    calls = priced(
        rules(),
        [
            million("gpt-4o-mini", "openai", request_model="gpt-4o"),
            million("our-alias", "openai", gateway_model="anthropic/claude-haiku-4-5", request_model="gpt-4o"),
            million("our-alias", "openai", request_model="gpt-4o"),
        ],
    )

    assert [(call["provider"], call["model"]) for call in calls] == [
        ("openai", "gpt-4o-mini"),
        ("anthropic", "claude-haiku-4-5"),
        ("openai", "gpt-4o"),
    ]


def test_azure_and_bedrock_have_no_tiers_of_their_own() -> None:
    """Where the book takes a model from its maker it takes the standard price, as the library does."""
    tiers = (None, "priority", "flex", "batch")
    azure = priced(rules(), [million("gpt-5-mini", "azure", service_tier=tier) for tier in tiers])
    openai = priced(rules(), [million("gpt-5-mini", "openai", service_tier=tier) for tier in tiers])
    (bedrock,) = priced(rules(), [million("us.anthropic.claude-haiku-4-5-20251001-v1:0", "aws")])

    standard = Decimal("0.25") + 2
    assert costs(azure) == [standard] * 4
    assert costs(openai) == [standard, Decimal("0.45") + Decimal("3.6"), standard / 2, standard / 2]
    assert (bedrock["provider"], bedrock["cost_basis"]) == ("aws", "list")


def test_the_word_auto_is_no_tier(tmp_path: Path) -> None:
    """A request may ask for "auto"; only the answer says what served it, on whichever span that stands."""
    wrapper = {"openai.response.service_tier": "flex"}
    lake = SmallLake(tmp_path / "lake").land(
        span("t", "outer", "gpt-5-mini", scope="outer", seconds=2, input=1_000_000, output=0, attributes=wrapper),
        span(
            "t", "inner", "gpt-5-mini", parent="outer", input=1_000_000, output=0,
            attributes={"openai.request.service_tier": "auto"},
        ),
    )  # fmt: skip
    (call,) = lake.warehouse.sql("from calls").to_pylist()

    assert (call["service_tier"], call["cost_usd"]) == ("flex", Decimal("0.125"))


def test_a_broken_counter_breaks_no_day(tmp_path: Path) -> None:
    """A count near 2^63 is shown, priced at nothing known, and the calls beside it cost what they cost."""
    most = 2**63 - 1
    lake = SmallLake(tmp_path / "lake").land(
        span("t", "good", "gpt-4o-mini", input=1_000_000, output=0),
        span("t", "broken", "gpt-4o-mini", input=most, output=most, cache_read=most),
    )
    good, broken = lake.warehouse.sql("from calls order by input_tokens").to_pylist()

    assert (good["cost_usd"], broken["cost_usd"]) == (Decimal("0.15"), None)
    assert broken["unpriced_reason"] == "usage_implausible"
    assert lake.warehouse.ask("cost-per-feature").coverage.cost_usd == Decimal("0.15")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[list]]\nmodel = "acme-7b"\ninput = 1', "[[list]] entry 1 (acme-7b): needs input and output"),
        ('[[list]]\nmodel = "a"\ninput = 1\noutput = "2"', "[[list]] entry 1 (a): output = '2' is not a number"),
        ('[[list]]\nmodel = "a"\ninput = -1\noutput = 2', "[[list]] entry 1 (a): input = -1 is not between 0 and"),
        ('[[list]]\nmodel = "a"\ninput = nan\noutput = 2', "[[list]] entry 1 (a): input = NaN is not between 0 and"),
        ('[[list]]\nmodel = "a"\ninputs = 1', '[[list]] entry 1 (a): unknown field "inputs": known are'),
        ("[[list]]\ninput = 1\noutput = 2", "[[list]] entry 1: needs model"),
        ('[[list]]\nmodel = "a"\ninput = 1\noutput = 2\nfrom = "May"', "from = 'May' is not a day such as 2026-"),
        ('[[alias]]\nmatch = "a("\nmodel = "b"', "[[alias]] entry 1 (b): missing ), unterminated subpattern"),
        ('[[alias]]\nmatch = "a"\nmodels = "b"', '[[alias]] entry 1 (a): unknown field "models"'),
        ("[[contract]]\npercent = -5\n[[contract]]\npercent = -101", "[[contract]] entry 2: percent = -101 is not"),
        ("[[contract]]\npercent = 0.12345", "[[contract]] entry 1: percent = 0.12345 has more than 4 decimal"),
        ("[[contract]]\nmodel = 'a'", "[[contract]] entry 1 (a): needs percent, or input and output"),
        ("[contract]\npercent = 1", "contract must be written as [[contract]] entries"),
        ("[[lists]]\nmodel = 'a'", "unknown table [lists]: known are list, contract, override, alias"),
        ("[[list]]\nmodel = acme", "Invalid value (at line 2, column 9)"),
    ],
)
def test_a_price_files_error_names_file_and_entry(tmp_path: Path, text: str, message: str) -> None:
    """What is wrong, where, and what would be right."""
    with pytest.raises(PriceBookError) as caught:
        layers(tmp_path, text)

    assert str(caught.value).startswith(f'price file "{tmp_path / "own.toml"}": ')
    assert message in str(caught.value)


def test_layers_change_the_name_of_the_book(tmp_path: Path) -> None:
    """A booked cost says which list and which layers priced it."""
    (plain,) = priced(rules(), [million("gpt-4o-mini")])
    (layered,) = priced(rules(layers(tmp_path, "[[contract]]\npercent = 0")), [million("gpt-4o-mini")])

    assert plain["price_book"] == "genai-prices 0.2.3"
    assert layered["price_book"].startswith("genai-prices 0.2.3+")


def mtok(price: str, tokens: int) -> Decimal:
    """Tokens at a price per million."""
    return Decimal(price) * tokens / 1_000_000
