"""The decision endpoint: what it answers, what it holds for requests under way, and what survives its processes."""

from __future__ import annotations

import asyncio
import json
import runpy
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import pytest
from budget_run import CALL_USD, EACH_USD, ROOM_USD, Asking, at_once, spans
from hypothesis import given, settings
from hypothesis import strategies as st
from support.lakes import NOW
from support.marts import booked, write_marts
from support.server import PATIENCE_SECONDS, Server

from llmcost.ingest.budget_line import BudgetLine, NobodyThere
from llmcost.ingest.tokens import TokenFile
from llmcost.models.budget_file import BudgetFile, parse
from llmcost.models.lake import Lake
from llmcost.models.money import nanos, usd
from llmcost.models.reservations import Reservations
from llmcost.models.settings import Budgeting, Settings
from llmcost.models.verdicts import NOTHING_HELD, Ceilings
from llmcost.sql.desk import Desk
from llmcost.sql.spending import as_said


class Clock:
    """A clock that stands until it is told to go on."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def goes_on(self, **length: float) -> None:
        self.at += timedelta(**length)


class Table:
    """A desk over a lake of booked calls, without processes."""

    def __init__(self, folder: Path, budgets: str, *calls: dict[str, Any], **settings: Any) -> None:
        self.lake = write_marts(folder / "lake", calls=calls)
        self.lake.budgets.write_text(f"budgets: {budgets}")
        self.clock = Clock()
        self.settings = Settings().model_copy(update={"budgets": Budgeting(**settings)})
        self.start()

    def start(self) -> None:
        """Begin, or begin again after a kill."""
        self.desk = Desk(self.lake, self.settings, BudgetFile(self.lake.budgets), as_said, self.clock)
        self.look()

    def look(self) -> None:
        self.desk.take(self.desk.look())

    def decide(self, forced: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
        return self.desk.decide(body, forced or {})


def test_reservations_count_until_their_calls_have_landed(tmp_path: Path) -> None:
    """At the estimate while under way, at the cost once settled, and not at all once the figures hold the call."""
    table = Table(tmp_path, "{teams: {x: {limit: 10, hard: true}}}", booked("a", "4", team="x"))
    first = table.decide(team="x", estimated_cost_usd="5")
    assert "allow" == first["decision"]
    second = table.decide(team="x", estimated_cost_usd="1.5")
    assert ("block", "5.000000000") == (second["decision"], second["budget"]["reserved_usd"])
    assert 5 == second["retry_after_seconds"], "only a reservation is in the way"
    assert table.desk.settle({"reservation_id": first["reservation_id"], "cost_usd": "2"})["settled"]
    third = table.decide(team="x", estimated_cost_usd="4")
    assert ("allow", "2.000000000") == (third["decision"], third["budget"]["settled_usd"])
    assert table.decide(team="x", estimated_cost_usd="5")["retry_at"] == "2026-12-01T00:00:00Z", "settled is spent"
    assert table.desk.settle({"reservation_id": third["reservation_id"], "released": True})["settled"]
    table.clock.goes_on(seconds=29)
    table.look()
    assert "2.000000000" == table.decide(team="x")["budget"]["settled_usd"]
    table.clock.goes_on(seconds=1)
    assert "2.000000000" == table.decide(team="x")["budget"]["settled_usd"], "the figures are of a second ago"
    table.look()
    assert "0.000000000" == table.decide(team="x")["budget"]["settled_usd"]
    assert not table.desk.settle({"reservation_id": first["reservation_id"]})["settled"]


def test_what_nobody_settles_expires_and_a_period_starts_from_nothing(tmp_path: Path) -> None:
    table = Table(tmp_path, "{default_period: daily, org: {limit: 3, hard: true}}", reservation_seconds=60)
    table.decide(estimated_cost_usd=1)
    table.clock.goes_on(seconds=60)
    table.look()
    assert "0.000000000" == table.decide()["budget"]["reserved_usd"]
    table.clock.at = NOW.replace(hour=23, minute=59, second=59)
    table.look()
    under_way, settled = (table.decide(estimated_cost_usd=1)["reservation_id"] for _ in range(2))
    table.desk.settle({"reservation_id": settled})

    def held() -> list[str]:
        budget = table.decide()["budget"]
        return [budget["reserved_usd"], budget["settled_usd"]]

    assert ["1.000000000", "1.000000000"] == held()
    table.clock.goes_on(seconds=2)
    assert ["1.000000000", "0.000000000"] == held(), "the settled one was yesterday's"
    table.desk.settle({"reservation_id": under_way})
    assert ["0.000000000", "1.000000000"] == held()


def test_a_desk_that_was_killed_keeps_what_it_promised(tmp_path: Path) -> None:
    """Reserved and settled, and not what was released or has expired; a torn line is none."""
    table = Table(tmp_path, "{org: {limit: 30, hard: true}}", booked("a", "4"))
    kept, settled, released = (table.decide(estimated_cost_usd=each)["reservation_id"] for each in (1, 2, 4))
    table.desk.settle({"reservation_id": settled, "cost_usd": "3"})
    table.desk.settle({"reservation_id": released, "released": True})
    with table.lake.reservations.open("ab") as file:
        file.write(b'{"id": "torn')

    def standing() -> list[str]:
        budget = table.decide()["budget"]
        return [budget[name] for name in ("spent_usd", "settled_usd", "reserved_usd")]

    assert ["4.000000000", "3.000000000", "1.000000000"] == standing()
    table.start()
    assert ["4.000000000", "3.000000000", "1.000000000"] == standing()
    assert table.desk.settle({"reservation_id": kept})["settled"]
    table.clock.goes_on(seconds=31)
    table.start()
    assert ["4.000000000", "0.000000000", "0.000000000"] == standing()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["reserve", "settle", "drop", "wait", "turn"]), st.integers(0, 9), st.integers(0, 50)
        ),
        max_size=60,
    )
)
def test_what_is_held_is_the_sum_of_what_is_under_way(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is reserved, settled, dropped and forgotten in whatever order; and all of it ends at nothing."""
    ceilings = Ceilings(parse("budgets: {org: {limit: 1}, teams: {a: {limit: 1}}}"))
    made: list[str] = []
    open_: dict[str, int] = {}
    held, now = Reservations(timedelta(seconds=30)), NOW
    (org,) = ceilings.over({})
    for what, which, amount in steps:
        name = made[which % len(made)] if made else "none"
        if what == "reserve":
            entities = {"team": ["a"]} if amount % 2 else {}
            counters = ceilings.over(entities)
            made.append(held.make(entities, amount, counters, now=now, lasts=timedelta(days=9)).id)
            open_[made[-1]] = amount
        elif what == "settle":
            if held.settle(name, amount, now) is not None:
                open_[name] = amount
        elif what == "drop":
            held.drop(name)
            open_.pop(name, None)
        elif what == "turn":
            held.arrange(ceilings.over, lambda _: NOW)
        else:
            now += timedelta(seconds=which)
            held.sweep(now, None)
        assert sum(open_.values()) == held.held(org).reserved + held.held(org).settled
    held.sweep(now + timedelta(days=9), now + timedelta(days=9))
    assert (NOTHING_HELD, 0) == (held.held(org), len(held))


def test_a_block_says_what_blocks_and_when_to_try_again(tmp_path: Path) -> None:
    table = Table(tmp_path, "{teams: {x: {limit: 4, hard: true}}}", booked("a", "4", team="x", user_id="u"))
    answer = table.decide(team="x", user="u")
    budget = answer["budget"]
    assert ("block", "budget_exceeded") == (answer["decision"], answer["reason"])
    assert ("team", "x", "monthly", True) == tuple(budget[name] for name in ("level", "entity", "period", "hard"))
    assert ("4.000000000", "4.000000000") == (budget["limit_usd"], budget["spent_usd"])
    assert "2026-12-01T00:00:00Z" == budget["period_end"] == answer["retry_at"]
    assert (datetime(2026, 12, 1, tzinfo=UTC) - NOW).total_seconds() == answer["retry_after_seconds"]
    assert 0 == answer["age_seconds"]


def test_a_tokens_word_stands_over_the_bodys_and_hides_what_others_spend(tmp_path: Path) -> None:
    table = Table(
        tmp_path,
        "{org: {limit: 1, hard: true}, customers: {acme: {limit: 9, hard: true}, beta: {limit: 1, hard: true}}}",
        booked("a", "4", customer_id="acme"),
    )
    answer = table.decide({"customer_id": "acme"}, customer="beta")
    assert ("block", "org") == (answer["decision"], answer["budget"]["level"])
    assert not {"spent_usd", "limit_usd", "left_usd"} & answer["budget"].keys()
    assert "$" not in answer["message"]
    table.lake.budgets.write_text("budgets: {customers: {acme: {limit: 9, hard: true}}}")
    table.look()
    assert "4.000000000" == table.decide({"customer_id": "acme"}, customer="beta")["budget"]["spent_usd"]


def test_while_nobody_knows_the_setting_decides(tmp_path: Path) -> None:
    """And only hard budgets are closed by it."""
    budgets = "{teams: {x: {limit: 4, hard: true}, y: {limit: 4}}}"
    closed = Table(tmp_path / "closed", budgets, when_unknown="block", stale_seconds=60)
    opened = Table(tmp_path / "opened", budgets, stale_seconds=60)
    for table in (closed, opened):
        assert not table.decide(team="x")["is_stale"]
        table.clock.goes_on(seconds=61)
    assert ("block", "spend_unknown") == tuple(closed.decide(team="x")[name] for name in ("decision", "reason"))
    assert "allow" == closed.decide(team="y")["decision"]
    stale = opened.decide(team="x")
    assert ("allow", True, 61) == (stale["decision"], stale["is_stale"], stale["age_seconds"])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "must be a JSON object"),
        ({"taem": "x"}, 'unknown field "taem"'),
        ({"team": 3}, '"team" must be a text'),
        ({"team": ["x"]}, '"team" must be a text'),
        ({"estimated_cost_usd": "NaN"}, "not between"),
        ({"estimated_cost_usd": -1}, "not between"),
        ({"run": {"steps": 3}}, '"run" must be an object with some of'),
        ({"run": {"depth": -1}}, '"run.depth" must be a whole number'),
    ],
)
def test_a_body_that_cannot_be_read_is_refused_by_name(tmp_path: Path, body: Any, said: str) -> None:
    table = Table(tmp_path, "{org: {limit: 4}}")
    assert said in table.desk.answer(json.dumps({"ask": "decision", "body": body, "forced": {}}).encode())["wrong"]
    assert "wrong" in table.desk.answer(json.dumps({"ask": "settle", "body": body}).encode())


def test_the_metrics_and_the_log_tell_how_budgets_stand(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A notice once for each share that is reached; users are no labels."""
    table = Table(
        tmp_path,
        "{teams: {x: {limit: 5, hard: true}}, users: {u: {limit: 40}}}",
        booked("a", "4", team="x", user_id="u"),
    )
    for _ in range(2):
        table.desk.tell()
    notices = [record.__dict__["fields"] for record in caplog.records]
    assert [("team x", 80)] == [(each["budget"], each["percent"]) for each in notices]
    table.decide(team="x", estimated_cost_usd=1)
    table.desk.tell()
    page = (table.lake.metrics / "budgets.prom").read_text()
    labels = '{level="team",entity="x",period="monthly",hard="true"}'
    for name, value in (("limit", "5.000000000"), ("spent", "4.000000000"), ("reserved", "1.000000000")):
        assert f"llmcost_budget_{name}_usd{labels} {value}" in page.splitlines()
    assert 'llmcost_budget_decisions_total{decision="allow"} 1' in page.splitlines()
    assert 'level="user"' not in page


HARD_AND_SOFT = "budgets: {teams: {nearly: {limit: 1, hard: true}}, users: {u: {limit: 0}}}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    lake = Lake.create(tmp_path_factory.mktemp("desk") / "lake")
    lake.budgets.write_text(HARD_AND_SOFT)
    with Server(lake.root, desk=0, server__receivers=2) as server:
        yield server


def test_the_endpoint_follows_the_lake_and_comes_back_with_the_same_figures(server: Server) -> None:
    """And of 40 requests at once it lets through those that there is room for; the long form is budget_run.py."""
    asking = Asking(server)
    asking.until(Decimal(0), team="nearly")
    server.send(spans(["a", "b"], team="nearly"))
    answer = asking.until(2 * CALL_USD, team="nearly")
    assert "allow" == answer["decision"]
    status, answer, after = asking.post("decision", {"team": "nearly", "estimated_cost_usd": 1})
    assert (429, "team") == (status, answer["budget"]["level"])
    assert answer["retry_after_seconds"] == int(after or 0)
    assert 200 == asking.decide(user="u")[0], "a soft one never blocks"
    assert ROOM_USD / EACH_USD == at_once(server, 40)
    server.wait_until_landed()
    server.kill_all()
    server.start()
    answer = Asking(server).until(2 * CALL_USD, team="nearly")
    assert ROOM_USD == Decimal(answer["budget"]["reserved_usd"]), "what was promised is kept"


def test_the_client_to_copy_asks_holds_and_settles(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/examples/budget_client.py, as somebody copies it."""
    monkeypatch.setenv("LLMCOST_URL", f"http://127.0.0.1:{server.http_port()}")
    client = runpy.run_path(str(Path(__file__).parents[1] / "docs/examples/budget_client.py"))
    reserved, blocked, asking = client["reserved"], client["Blocked"], Asking(server)
    asking.until(Decimal(0), user="u")

    def held(entity: str) -> list[str]:
        budget = asking.decide(user=entity)[1]["budget"]
        return [budget["reserved_usd"], budget["settled_usd"]]

    with reserved(user="u", estimated_cost_usd="0.02") as request:
        assert ["0.020000000", "0.000000000"] == held("u")
        request.cost_usd = "0.0131"
    assert ["0.000000000", "0.013100000"] == held("u")
    with pytest.raises(KeyError), reserved(user="u", estimated_cost_usd="0.02"):
        raise KeyError
    assert ["0.000000000", "0.013100000"] == held("u"), "a request that failed gives it back"
    with pytest.raises(blocked, match="hard budget of team nearly"), reserved(team="nearly", estimated_cost_usd=2):
        pass


def test_a_malformed_question_is_refused(server: Server) -> None:
    asking = Asking(server)
    status, answer, _ = asking.post("decision", b"{")
    assert 400 == status
    assert "not JSON" in answer["message"]
    status, answer, _ = asking.post("decision", {"taem": "x"})
    assert 'unknown field "taem"' in answer["message"]
    assert 404 == asking.post("settle", {"reservation_id": "none"})[0]


def test_a_token_is_asked_for_and_stands_over_the_body(tmp_path: Path) -> None:
    """On a server of its own: whoever asks it later shows a token too."""
    lake = Lake.create(tmp_path / "lake")
    lake.budgets.write_text(HARD_AND_SOFT)
    token = TokenFile(lake.tokens).create("x", forced={"team": "nearly"}, expires_at=None, now=datetime.now(UTC))
    with Server(lake.root, desk=0) as server:
        assert 401 == Asking(server).decide()[0]
        own = Asking(server, token)
        own.until(Decimal(0), team="somebody else")
        assert "nearly" == own.decide(team="somebody else")[1]["budget"]["entity"]


def test_without_budgets_everything_is_allowed_until_their_file_appears(tmp_path: Path) -> None:
    lake = Lake.create(tmp_path / "lake")
    with Server(lake.root, desk=0) as server:
        asking = Asking(server)
        status, answer = asking.decide(team="x")
        assert (200, "no_budget") == (status, answer["reason"])
        lake.budgets.write_text("budgets: {teams: {x: {limit: 0, hard: true}}}")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while asking.decide(team="x")[0] != 429:
            assert time.monotonic() < deadline, server.log()
            time.sleep(0.05)
        assert 0 == server.stop()


def test_while_the_desk_is_gone_the_setting_decides(tmp_path: Path) -> None:
    """Closed for what a hard budget may forbid, open for the rest."""
    lake = Lake.create(tmp_path / "lake")
    lake.budgets.write_text(HARD_AND_SOFT)

    async def ask(setting: Literal["allow", "block"]) -> list[str]:
        line = BudgetLine(lake, Budgeting(when_unknown=setting))
        answers = [await line.decide(body, {}) for body in ({"team": "nearly"}, {"user": "u"})]
        with pytest.raises(NobodyThere):
            await line.settle({"reservation_id": "none"})
        assert {"spend_unknown"} == {each["reason"] for each in answers}
        return [each["decision"] for each in answers]

    assert ["block", "allow"] == asyncio.run(ask("block"))
    assert ["allow", "allow"] == asyncio.run(ask("allow"))


def test_money_goes_into_nano_dollars_and_back() -> None:
    assert Decimal("0.000000001") == usd(nanos(Decimal("0.0000000001"))), "rounded up: a bound stays one"
