"""Notices on their way: what each receiver gets, what is tried again, and what is remembered meanwhile."""

from __future__ import annotations

import base64
import email
import email.policy
import hashlib
import hmac
import io
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.lakes import NOW
from support.marts import booked, write_marts
from support.receivers import PAGERDUTY, SLACK, Answer, Receiver, http_receiver, mail_receiver
from typer.testing import CliRunner

from llmcost.cli import alert_bodies, alert_channels
from llmcost.cli.alert_channels import Sender, Sent, printed
from llmcost.cli.alert_file import AlertFile
from llmcost.cli.alert_round import Round, go_round
from llmcost.cli.alert_trial import made_up
from llmcost.cli.keeper import Parent, Watch
from llmcost.cli.keeper_order import Order
from llmcost.cli.main import app
from llmcost.models.alert_settings import Alerts
from llmcost.models.alerts import Figure, Notice, State
from llmcost.models.errors import LakeBusy, LakeError
from llmcost.models.lake import Lake
from llmcost.models.settings import Settings
from llmcost.sql import Warehouse

ROUTING_KEY = "r" * 32
HOUR = timedelta(hours=1)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http_receiver() as found:
        monkeypatch.setenv("HOOK", "whsec_" + base64.b64encode(b"a key of ours").decode())
        monkeypatch.setenv("SLACK", f"{found.url}/slack/services/T0/B0/secret-part")
        monkeypatch.setenv("PAGER", ROUTING_KEY)
        yield found


def channels(receiver: Receiver, *kinds: str, **more: object) -> Alerts:
    every: dict[str, dict[str, Any]] = {
        "hook": {"kind": "webhook", "url": f"{receiver.url}/hook", "secret_env": "HOOK"},
        "chat": {"kind": "slack", "secret_env": "SLACK"},
        "oncall": {"kind": "pagerduty", "url": f"{receiver.url}/pagerduty", "secret_env": "PAGER"},
        "log": {"kind": "stdout"},
    }
    return Alerts.model_validate({"channels": {name: every[name] for name in kinds}, "retry_seconds": 3, **more})


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def sender(self, settings: Alerts, out: io.StringIO | None = None) -> Sender:
        return Sender(
            settings,
            out=partial(printed, out or io.StringIO()),
            now=lambda: NOW,
            monotonic=lambda: self.seconds,
            sleep=self.sleep,
        )


def notice(state: str = "firing", **shown: str) -> Notice:
    made = made_up(NOW)
    violation = made.alert.violation.model_copy(update={"shown": {**made.alert.violation.shown, **shown}})
    alert = made.alert.model_copy(update={"rule": "tenant-spend-delta", "violation": violation})
    return Notice(state=state, alert=alert, at=NOW, owner="Ada")  # type: ignore[arg-type]


def test_a_webhook_is_signed_over_its_id_time_and_body(receiver: Receiver) -> None:
    """As Standard Webhooks says; the id is the same when it is sent again, another for the resolve."""
    settings = channels(receiver, "hook")
    sender = Clock().sender(settings)
    for each in (notice(), notice(), notice("resolved")):
        assert Sent("delivered") == sender.send(settings.channels["hook"], each)
    first, again, over = receiver.asked
    ids = [asked.headers["webhook-id"] for asked in receiver.asked]
    signed = b".".join((ids[0].encode(), str(int(NOW.timestamp())).encode(), first.body))
    expected = base64.b64encode(hmac.new(b"a key of ours", signed, hashlib.sha256).digest()).decode()
    assert f"v1,{expected}" == first.headers["webhook-signature"]
    assert (ids[0], first.body) == (ids[1], again.body)
    assert ids[0] != ids[2]
    assert first.json["data"]["key"] == over.json["data"]["key"]


def test_a_notice_says_what_where_whose_how_much_and_what_to_open(receiver: Receiver) -> None:
    """On every channel: rule, feature, deployment, model, owner, the numbers against the baseline, traces."""
    settings = channels(receiver, "hook", "chat", "oncall", "log", trace_url="https://traces.example/{trace_id}")
    out = io.StringIO()
    for channel in settings.channels.values():
        assert Sent("delivered") == Clock().sender(settings, out).send(channel, notice(customer_id="acme"))
    texts = [*(asked.body.decode() for asked in receiver.asked), out.getvalue()]
    assert 4 == len(texts)
    for text in texts:
        for expected in ("tenant-spend-delta", "example", "example-model", "Ada", "acme", "48.20", "12.10", "24.20",
                         "https://traces.example/0123456789abcdef0123456789abcdef"):  # fmt: skip
            assert expected in text, text


def test_bodies_are_as_slack_and_pagerduty_document_them(receiver: Receiver) -> None:
    """The stand-in takes nothing else; also where names are long, empty or hostile."""
    settings = channels(receiver, "chat", "oncall")
    long = "<!channel> & <http://x|y>\n\x1b[2J" + "x" * 5000
    hostile = {"feature": long, "team": "", **{f"d{n}": "v" for n in range(40)}}
    for each in (notice(), notice("resolved"), notice(**hostile), notice("resolved", **hostile)):
        for channel in settings.channels.values():
            assert Sent("delivered") == Clock().sender(settings).send(channel, each)
    slack = [asked.json for asked in receiver.asked if asked.path.startswith("/slack")]
    events = [asked.json for asked in receiver.asked if asked.path.startswith("/pagerduty")]
    assert not any("<!" in json.dumps(message) or "\\u001b" in json.dumps(message) for message in slack)
    assert ["trigger", "resolve"] * 2 == [event["event_action"] for event in events]
    assert 1 == len({event["dedup_key"] for event in events})


def test_the_schemas_refuse_what_is_wrong() -> None:
    """Or they would prove nothing."""
    settings = Alerts()
    message, event = alert_bodies.slack(notice(), settings), alert_bodies.pagerduty(notice(), settings, ROUTING_KEY)
    for schema, body, broken in (
        (SLACK, message, {"blocks": []}),
        (SLACK, message, {"blocks": [{"type": "header", "text": {"type": "mrkdwn", "text": "x"}}]}),
        (PAGERDUTY, event, {"payload": {**event["payload"], "severity": "fatal"}}),
        (PAGERDUTY, event, {"dedup_key": "x" * 256}),
    ):
        jsonschema.validate(body, schema)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(body | broken, schema)


def test_what_may_help_is_tried_again_for_a_while(receiver: Receiver) -> None:
    """Later each time, and not before Retry-After."""
    settings = channels(receiver, "hook")
    clock = Clock()
    receiver.next = [Answer(503), Answer(429, {"retry-after": "2"}), Answer(200)]
    assert Sent("delivered") == clock.sender(settings).send(settings.channels["hook"], notice())
    assert 3 == len(receiver.asked)
    assert 0.25 <= clock.slept[0] <= 0.5
    assert 2 == clock.slept[1]


def test_it_gives_up_for_this_round_when_the_time_is_over(receiver: Receiver) -> None:
    """At once where the receiver asks for longer."""
    settings = channels(receiver, "hook")
    receiver.next = [Answer(500)] * 50
    clock = Clock()
    sent = clock.sender(settings).send(settings.channels["hook"], notice())
    assert "later" == sent.result
    assert clock.seconds <= 3
    receiver.next = [Answer(429, {"retry-after": "600"})]
    assert 600 == clock.sender(settings).send(settings.channels["hook"], notice()).wait_seconds


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(400, body=b"invalid_payload"), "never"),
        (Answer(403), "later"),
        (Answer(404, body=b"no_service"), "later"),
        (Answer(302, {"location": "http://127.0.0.1:1/else"}), "later"),
    ],
)
def test_what_no_other_try_helps_is_tried_once(receiver: Receiver, answer: Answer, result: str) -> None:
    settings = channels(receiver, "chat")
    receiver.next = [answer] * 2
    sent = Clock().sender(settings).send(settings.channels["chat"], notice())
    assert result == sent.result
    assert 1 == len(receiver.asked)
    assert "secret-part" not in sent.reason


def test_no_secret_stands_in_what_is_said(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in the settings as they print; where one is missing, its place is named."""
    settings = channels(receiver, "chat", "oncall", "hook")
    receiver.next = [Answer(403, body=f"{os.environ[name]} is wrong".encode()) for name in ("SLACK", "PAGER", "HOOK")]
    for name, channel in settings.channels.items():
        said = Clock().sender(settings).once(channel, notice()).reason
        assert "(hidden) is wrong" in said, name
    monkeypatch.setenv("SLACK", "http://bad host/secret-part")
    assert "secret-part" not in Clock().sender(settings).once(settings.channels["chat"], notice()).reason
    monkeypatch.delenv("PAGER")
    missing = Clock().sender(settings).send(settings.channels["oncall"], notice())
    assert ("later", "there is no secret in the environment variable PAGER: set it where llmcost runs") == (
        missing.result,
        missing.reason,
    )


def test_mail_says_it_in_plain_text_and_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line end of a name becomes a header; a full mailbox is tried again, a wrong one is not."""
    with mail_receiver() as mailbox:
        channel = {"kind": "email", "host": "127.0.0.1", "port": mailbox.port, "security": "none",
                   "sender": "llmcost@example.com", "to": ["ada@example.com", "bo@example.com"]}  # fmt: skip
        settings = Alerts.model_validate({"channels": {"mail": channel}, "retry_seconds": 1})
        hurtful = notice(feature="x\r\nBcc: eve@example.com")
        for each in (hurtful, notice("resolved")):
            assert Sent("delivered") == Clock().sender(settings).send(settings.channels["mail"], each)
        first, second = (email.message_from_bytes(m, policy=email.policy.default) for m in mailbox.messages)
        assert first["Bcc"] is None
        assert "ada@example.com, bo@example.com" == first["To"]
        assert "$48.20" in first.get_content()  # type: ignore[attr-defined]
        assert first["Message-ID"] == second["In-Reply-To"]


def over_the_hour(tmp_path: Path, settings: Alerts) -> tuple[Warehouse, list[datetime]]:
    """A lake whose model without a price is used for an hour, asked at the instant that the list holds."""
    rows = [booked(f"t{n}", None, NOW - HOUR, model="acme-7b", provider="acme") for n in range(12)]
    lake = write_marts(tmp_path / "lake", calls=rows)
    at = [NOW]
    changed = settings.model_copy(update={"rules": {}})
    return Warehouse(lake.root, Settings(alerts=changed), now=lambda: at[0]), at


def went(warehouse: Warehouse, sender: Sender, at: datetime) -> Round:
    return go_round(warehouse, sender, at, rule="unpriced-spend")


def test_a_round_tells_once_waits_for_a_receiver_that_is_away_and_resolves(
    tmp_path: Path, receiver: Receiver
) -> None:
    """In order: the resolve is not told before the alert; and a new process knows what was told."""
    settings = channels(receiver, "hook", "log", settle="0m")
    warehouse, at = over_the_hour(tmp_path, settings)
    sender = Clock().sender(settings)
    receiver.next = [Answer(500)] * 20
    first = went(warehouse, sender, at[0])
    assert (1, 1, ["hook"]) == (first.fired, first.delivered, [each.channel for each in first.undelivered])

    receiver.next = [Answer(500)] * 20
    at[0] = NOW + 25 * HOUR
    second = went(warehouse, sender, at[0])
    assert (0, 1, 1) == (second.fired, second.resolved, second.delivered)
    assert ["firing", "resolved"] == [queued.notice.state for queued in second.state.queue]

    receiver.next.clear()
    receiver.asked.clear()
    third = went(warehouse, Clock().sender(settings), at[0] + HOUR)
    assert ["alert.firing", "alert.resolved"] == [asked.json["type"] for asked in receiver.asked]
    assert ((), ()) == (third.state.queue, third.state.open)
    assert third.state == AlertFile(warehouse.lake).read()


def test_a_crash_after_a_delivery_sends_that_notice_once_more(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same id; the firing itself is not forgotten, and not told to those who had it recorded."""
    settings = channels(receiver, "hook", "oncall")
    warehouse, at = over_the_hour(tmp_path, settings)

    class Killed(BaseException):
        pass

    written = AlertFile.write
    count = [0]

    def dies(self: AlertFile, state: State) -> None:
        count[0] += 1
        if count[0] == 2:
            raise Killed
        written(self, state)

    with monkeypatch.context() as patched:
        patched.setattr(AlertFile, "write", dies)
        with pytest.raises(Killed):
            went(warehouse, Clock().sender(settings), at[0])
    assert ["/hook"] == [asked.path for asked in receiver.asked]
    went(warehouse, Clock().sender(settings), at[0])
    went(warehouse, Clock().sender(settings), at[0])
    assert ["/hook", "/hook", "/pagerduty"] == [asked.path for asked in receiver.asked]
    assert receiver.asked[0].headers["webhook-id"] == receiver.asked[1].headers["webhook-id"]


def test_a_notice_that_is_refused_or_old_is_given_up_and_holds_up_no_other(
    tmp_path: Path, receiver: Receiver
) -> None:
    settings = channels(receiver, "hook", "oncall", keep_hours=1)
    warehouse, at = over_the_hour(tmp_path, settings)
    receiver.next = [Answer(400)]
    (refused,) = went(warehouse, Clock().sender(settings), at[0]).undelivered
    assert ("hook", True) == (refused.channel, refused.given_up)
    assert ["/hook", "/pagerduty"] == [asked.path for asked in receiver.asked]


def test_channels_hear_what_they_ask_for(tmp_path: Path, receiver: Receiver) -> None:
    """By rule, by severity, and with or without the resolve."""
    settings = channels(receiver, "log").model_copy(update={"settle": "0m"})
    wanted = {
        "loud": {"kind": "stdout", "severity": "error"},
        "other": {"kind": "stdout", "rules": ["tenant-*"]},
        "begin": {"kind": "stdout", "rules": ["unpriced-*"], "resolved": False},
    }
    settings = Alerts.model_validate({"channels": wanted, "settle": "0m"})
    warehouse, at = over_the_hour(tmp_path, settings)
    out = io.StringIO()
    sender = Clock().sender(settings, out)
    went(warehouse, sender, at[0])
    at[0] = NOW + 25 * HOUR
    went(warehouse, sender, at[0])
    assert ["alert.firing"] == [json.loads(line)["type"] for line in out.getvalue().splitlines()]


def test_one_process_looks_at_a_time_and_a_damaged_record_is_not_begun_anew(tmp_path: Path) -> None:
    lake = Lake.create(tmp_path / "lake")
    file = AlertFile(lake)
    with file.locked(), pytest.raises(LakeBusy, match="wait until it is done"), file.locked():
        pass
    assert State() == file.read()
    file.path.write_text('{"version": 1, "open": [')
    with pytest.raises(LakeError, match="is damaged"):
        file.read()


def test_the_keeper_looks_once_a_while_and_says_a_broken_rule_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = Alerts.model_validate({"channels": {"log": {"kind": "stdout"}}, "every_seconds": 60})
    warehouse, _ = over_the_hour(tmp_path, settings)
    warehouse.lake.alerts.mkdir(exist_ok=True)
    (warehouse.lake.alerts / "half.sql").write_text("-- Half a rule.\nselect from where\n")
    order = Order(warehouse.settings.model_copy(update={"lake": warehouse.lake.root}))
    ours, theirs = os.pipe()
    seconds = [100.0]
    watch = Watch(order, Parent(ours), monotonic=lambda: seconds[0])
    watch()
    assert {} == watch()
    seconds[0] += 61
    watch()
    assert 1 == sum("half.sql" in record.getMessage() for record in caplog.records)
    os.close(theirs)
    os.close(ours)


def test_alerts_test_tries_each_channel(tmp_path: Path, receiver: Receiver) -> None:
    """And exits with 1 if one does not take it; PagerDuty is told that it is over."""
    config = tmp_path / "llmcost.toml"
    config.write_text(
        f'[alerts]\nretry_seconds = 0\n[alerts.channels.chat]\nkind = "slack"\nsecret_env = "SLACK"\n'
        f'[alerts.channels.oncall]\nkind = "pagerduty"\nsecret_env = "PAGER"\nurl = "{receiver.url}/pagerduty"\n'
    )
    lake = Lake.create(tmp_path / "lake")
    command = ["alerts", "test", "--lake", str(lake.root), "--config", str(config), "--format", "json"]
    ran = CliRunner().invoke(app, command)
    assert (0, {"delivered"}) == (ran.exit_code, {row["result"] for row in json.loads(ran.stdout)["rows"]})
    assert ["trigger", "resolve"] == [
        asked.json["event_action"] for asked in receiver.asked if asked.path.startswith("/pagerduty")
    ]
    receiver.next = [Answer(404, body=b"no_service")]
    ran = CliRunner().invoke(app, command)
    assert 1 == ran.exit_code
    assert "answered 404 no_service" in ran.stdout
    unknown = CliRunner().invoke(app, [*command, "--channel", "nobody"]).exception
    assert 'no channel "nobody": configured are chat, oncall' == str(unknown)


def test_money_is_told_with_every_digit() -> None:
    exact = Figure(meaning="spent", value=Decimal("0.000000001"), unit="USD")
    made = notice()
    alert = made.alert.model_copy(update={"violation": made.alert.violation.model_copy(update={"observed": exact})})
    body = alert_bodies.webhook(made.model_copy(update={"alert": alert}), Alerts())
    assert {"value": "0.000000001", "unit": "USD", "meaning": "spent"} == body["data"]["observed"]
    assert re.fullmatch(r"alert_[0-9a-f]{32}", alert_bodies.message_id(made, Alerts()))
    assert alert_channels.TIMEOUT_SECONDS > 0
