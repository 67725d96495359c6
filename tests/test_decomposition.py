"""The parts of a change: they sum exactly, are what all orders give on average, and guess nothing."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcost.sql.decomposition import Driver, Factor, Sums, WindowSums, decompose
from llmcost.sql.driver_figures import figures
from llmcost.sql.segments import allocate

QUICK = settings(max_examples=30, deadline=None)


@st.composite
def model_sums(draw: st.DrawFn) -> Sums:
    """A model's calls in a window: failed ones, free ones and a gateway's cache among them."""
    calls = draw(st.integers(1, 50))
    paid_in, hit_in = draw(st.integers(0, 90_000)), draw(st.sampled_from([0, 0, 4000]))
    paid_out, hit_out = draw(st.integers(0, 9_000)), draw(st.sampled_from([0, 0, 300]))
    full = draw(st.integers(0, 10**9)) if paid_in else 0
    return Sums(
        calls,
        input_tokens=paid_in + hit_in,
        output_tokens=paid_out + hit_out,
        paid_input_tokens=paid_in,
        paid_output_tokens=paid_out,
        full_input_nano=full,
        input_nano=draw(st.integers(0, 2 * full)),
        output_nano=draw(st.integers(0, 10**9)) if paid_out else 0,
        call_nano=draw(st.sampled_from([0, 0, 5_000_000])),
    )


@st.composite
def windows(draw: st.DrawFn) -> WindowSums:
    """A window with some of three models, or with nothing at all."""
    models = draw(st.dictionaries(st.sampled_from(["a", "b", None]), model_sums(), max_size=3))
    calls = sum(each.calls for each in models.values())
    requests = draw(st.integers(1, calls)) if calls else 0
    return WindowSums(requests, draw(st.integers(0, requests)), draw(st.integers(0, 10**8)), models)


def whole_of(segments: dict[str, WindowSums]) -> WindowSums:
    """Segments added up."""
    models: dict[str | None, Sums] = {}
    for each in segments.values():
        for model, sums in each.models.items():
            models[model] = models.get(model, Sums()) + sums
    return WindowSums(
        sum(each.requests for each in segments.values()),
        sum(each.successes for each in segments.values()),
        sum(each.evals_nano for each in segments.values()),
        models,
    )


def one(calls: int = 10, **more: int) -> WindowSums:
    """Ten requests, five successes, one model."""
    sums = Sums(calls, 1000, 100, 1000, 100, 2_000_000, 1_500_000, 1_000_000, 0)
    return WindowSums(10, 5, 400_000, {"a": dataclasses.replace(sums, **more)})


@QUICK
@given(windows(), windows())
def test_the_parts_sum_to_the_change_of_the_rounded_figures(before: WindowSums, after: WindowSums) -> None:
    found = decompose(before, after)

    assert after.cost_nano - before.cost_nano == sum(found.cost.parts.values())
    assert (found.per_success is None) == (not before.successes or not after.successes)
    if found.per_success:
        assert found.per_success.after - found.per_success.before == sum(found.per_success.parts.values())
        assert abs(found.per_success.after - Fraction(after.cost_nano, after.successes)) <= Fraction(1, 2)


@QUICK
@given(windows(), windows())
def test_the_way_back_has_the_same_parts_with_the_other_sign(before: WindowSums, after: WindowSums) -> None:
    there, back = decompose(before, after), decompose(after, before)
    for driver in Driver:
        assert abs(there.cost.parts[driver] + back.cost.parts[driver]) <= 1


@QUICK
@given(windows())
def test_no_change_has_no_parts(window: WindowSums) -> None:
    found = decompose(window, window)
    assert set(found.cost.parts.values()) == {0}
    assert found.per_success is None or set(found.per_success.parts.values()) == {0}


@QUICK
@given(windows(), windows())
def test_a_factor_that_did_not_change_has_no_part(before: WindowSums, after: WindowSums) -> None:
    found = decompose(before, after)
    for driver in Driver:
        levers = [lever for lever in found.levers if lever.factor.driver is driver]
        if all(lever.before == lever.after for lever in levers):
            assert found.cost.parts[driver] == 0
            assert found.per_success is None or found.per_success.parts[driver] == 0


def by_all_orders(before: WindowSums, after: WindowSums, *, per_success: bool) -> dict[Driver, Fraction]:
    """The definition: every order of the drivers, one by one, with the formula written out."""
    pairs = decompose(before, after).pairs()
    models = list(dict.fromkeys([*before.models, *after.models]))

    def figure(moved: frozenset[Driver]) -> Fraction:
        def at(factor: Factor, model: str | None = None) -> Fraction:
            return pairs[factor, model][factor.driver in moved]

        call = sum(
            (
                at(Factor.SHARE, m)
                * (
                    at(Factor.INPUT, m) * at(Factor.INPUT_PRICE, m) * at(Factor.INPUT_CACHE, m)
                    + at(Factor.OUTPUT, m) * at(Factor.OUTPUT_PRICE, m) * at(Factor.OUTPUT_CACHE, m)
                    + at(Factor.CALL_PRICE, m)
                )
                for m in models
            ),
            Fraction(0),
        )
        request = at(Factor.CALLS) * call + at(Factor.EVALS)
        return request * at(Factor.FAILURES) if per_success else request * at(Factor.REQUESTS)

    drivers = list(Driver)
    parts = dict.fromkeys(drivers, Fraction(0))
    known = {
        moved: figure(moved) for size in range(10) for moved in map(frozenset, itertools.combinations(drivers, size))
    }
    for driver in drivers:
        others = [each for each in drivers if each is not driver]
        for size in range(len(others) + 1):
            weight = Fraction(_factorial(size) * _factorial(8 - size), _factorial(9))
            for moved in map(frozenset, itertools.combinations(others, size)):
                parts[driver] += weight * (known[moved | {driver}] - known[moved])
    return parts


def _factorial(number: int) -> int:
    return 1 if number < 2 else number * _factorial(number - 1)


@settings(max_examples=8, deadline=None)
@given(windows(), windows())
def test_the_parts_are_what_all_orders_give_on_average(before: WindowSums, after: WindowSums) -> None:
    """Against the definition over all 512 coalitions; rounding moves a part by less than two nano-dollars."""
    found = decompose(before, after)
    if not before.requests or not after.requests:
        return
    slow = by_all_orders(before, after, per_success=False)
    assert all(abs(slow[driver] - found.cost.parts[driver]) < 2 for driver in Driver)
    if found.per_success:
        slow = by_all_orders(before, after, per_success=True)
        assert all(abs(slow[driver] - found.per_success.parts[driver]) < 2 for driver in Driver)


@QUICK
@given(*[st.fixed_dictionaries({"x": windows(), "y": windows(), "z": windows()})] * 2)
def test_the_segments_sum_to_each_driver(before: dict[str, WindowSums], after: dict[str, WindowSums]) -> None:
    """In both measures, to the nano-dollar, with segments that come and go."""
    found = decompose(whole_of(before), whole_of(after))
    parts = allocate(found, {value: (before[value], after[value]) for value in before})
    for driver in Driver:
        assert found.cost.parts[driver] == sum(each.cost[driver] for each in parts.values())
        if found.per_success:
            assert found.per_success.parts[driver] == sum((each.per_success or {})[driver] for each in parts.values())
    figures(found)


def test_a_segment_that_did_not_change_has_no_part() -> None:
    """Prompt x grew from 100 to 150 input tokens a call; y is as it was."""
    before = {"x": one(), "y": one()}
    after = {"x": one(input_tokens=1500, paid_input_tokens=1500, full_input_nano=3_000_000, input_nano=2_250_000)}
    after["y"] = one()
    found = decompose(whole_of(before), whole_of(after))
    parts = allocate(found, {value: (before[value], after[value]) for value in before})

    assert found.cost.parts[Driver.INPUT_TOKENS] == 2_250_000 - 1_500_000
    assert parts["x"].cost == found.cost.parts
    assert set(parts["y"].cost.values()) == {0}


def test_a_new_model_is_model_mix() -> None:
    """Half of the calls go to a model at twice the money: nothing else has a part."""
    before = WindowSums(10, 5, 0, {"a": Sums(10, 1000, 0, 1000, 0, 1_000_000, 1_000_000, 0, 0)})
    halved = {
        "a": Sums(5, 500, 0, 500, 0, 500_000, 500_000, 0, 0),
        "b": Sums(5, 900, 0, 900, 0, 1_000_000, 1_000_000, 0, 0),
    }
    found = decompose(before, WindowSums(10, 5, 0, halved))

    assert found.cost.parts == {driver: 500_000 if driver is Driver.MODEL_MIX else 0 for driver in Driver}


def test_without_a_request_before_all_is_volume() -> None:
    found = decompose(WindowSums(0, 0, 7, {}), one())
    assert found.cost.parts == {driver: one().cost_nano - 7 if driver is Driver.VOLUME else 0 for driver in Driver}
    assert found.per_success is None


def test_a_gateways_cache_is_cache() -> None:
    """Half of the tokens answered without the provider: half of the money, and none of it is a price."""
    after = one(paid_input_tokens=500, paid_output_tokens=50, full_input_nano=1_000_000, input_nano=750_000)
    sums = dataclasses.replace(after.models["a"], output_nano=500_000)
    found = decompose(one(), dataclasses.replace(after, models={"a": sums}))

    assert {driver: -1_250_000 if driver is Driver.CACHE else 0 for driver in Driver} == found.cost.parts


def test_requests_without_calls_are_refused() -> None:
    with pytest.raises(ValueError, match="requests without calls"):
        decompose(WindowSums(1, 1, 0, {}), one())
