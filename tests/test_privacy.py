"""Content rules: what is allowed although it is content, denied, or landed as a hash. Nothing else may leak."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from pydantic import SecretStr
from support.captures import RawRequest
from support.lakes import NOW
from support.spans import SpanOf, request

from llmcost.ingest.columns import Decoded, Decoder
from llmcost.ingest.forced import packed
from llmcost.ingest.orders import WorkerOrder
from llmcost.ingest.privacy import Privacy, hash_key
from llmcost.ingest.wire import Signal
from llmcost.models import conventions, settings
from llmcost.models.errors import SettingsError
from llmcost.models.lake import Lake
from llmcost.models.settings import Content, Landing, Settings

KEY = b"0123456789abcdef0123456789abcdef"
NAME = "clear-text-user"
RECEIVED_US = int(NOW.timestamp() * 1e6)


def mark(value: str) -> str:
    """The hash as the documentation promises it to somebody with the key and another tool."""
    return "hmac:" + hmac.new(KEY, value.encode(), hashlib.sha256).hexdigest()[:32]


def decode(*requests: RawRequest, policy: str = "drop", **rules: tuple[str, ...]) -> Decoded:
    decoded = Decoder(conventions.load(), policy, Landing(), Privacy(**rules, key=KEY)).decode(requests)
    decoded.spans.validate(full=True)
    decoded.events.validate(full=True)
    return decoded


def sent(*spans: SpanOf, forced: bytes = b"") -> RawRequest:
    return RawRequest(Signal.TRACES, RECEIVED_US, request(spans), forced)


def only(decoded: Decoded) -> dict[str, Any]:
    [row] = decoded.spans.to_pylist(maps_as_pydicts="strict")
    return dict(row)


def test_content_that_is_allowed_is_kept_and_the_rest_is_not() -> None:
    """The policy stays drop."""
    attributes = {"gen_ai.tool.call.arguments": "{}", "gen_ai.tool.description": "adds", "input.value": "hello"}
    row = only(decode(sent(SpanOf("t", "a", attributes=attributes)), allow=("gen_ai.tool.*",)))
    assert {"gen_ai.tool.call.arguments": "{}", "gen_ai.tool.description": "adds"} == row["attributes"]


def test_what_is_denied_is_neither_kept_nor_read() -> None:
    """Over every policy, in spans, resources and events; a dimension is not read from it either."""
    attributes = {"user.email": NAME, "user.id": NAME, "x": "1"}
    span = SpanOf("t", "a", attributes=attributes, resource=attributes, events={"e": attributes})
    decoded = decode(sent(span), policy="keep", allow=("*",), deny=("user.*",))
    [event] = decoded.events.to_pylist(maps_as_pydicts="strict")
    for row in (only(decoded), event):
        assert (None, None) == (row["user_id"], row["developer"])
        assert ({"x": "1"}, {"x": "1"}) == (row["attributes"], row["resource_attributes"])
    assert NAME not in str(decoded.spans.to_pylist() + decoded.events.to_pylist())


def test_a_denied_outcome_attribute_is_not_in_its_map() -> None:
    """The map column is filled by a prefix, not by a key."""
    attributes = {"outcome.name": "resolved", "outcome.note": NAME}
    row = only(decode(sent(SpanOf("t", "a", attributes=attributes)), deny=("outcome.note",)))
    assert {"name": "resolved"} == row["outcome_attributes"]


def test_a_denied_service_name_is_unknown() -> None:
    """It has a column of its own, read from the resource."""
    assert only(decode(sent(SpanOf("t", "a", resource={"service.name": NAME})), deny=("service.*",)))[
        "service_name"
    ] is None  # fmt: skip


def _shown(spelling: conventions.Spelling, value: str) -> dict[str, str]:
    """An attribute that says `value` in this spelling."""
    if spelling.path is None:
        return {spelling.key: value}
    said: Any = value
    for step in reversed(spelling.path.split(".")[1:]):
        said = {step: said}
    return {spelling.key: json.dumps(said)}


SPELLINGS = conventions.load().spellings["user_id"]


@pytest.mark.parametrize("spelling", SPELLINGS, ids=str)
def test_a_hashed_user_stands_nowhere_in_clear(spelling: conventions.Spelling) -> None:
    """Under every spelling the table knows, in spans, resources, span events and logs."""
    attributes = _shown(spelling, NAME)
    span = SpanOf("t", "a", attributes=attributes, resource=attributes, events={"e": attributes})
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add()
    for key, value in attributes.items():
        record.attributes.add(key=key).value.string_value = value
    decoded = decode(
        sent(span), RawRequest(Signal.LOGS, RECEIVED_US, logs.SerializeToString()), policy="keep", hash=("user_id",)
    )
    rows = decoded.spans.to_pylist() + decoded.events.to_pylist()
    assert [mark(NAME)] * 3 == [row["user_id"] for row in rows]
    assert NAME not in str(rows)


def test_one_user_stays_one_user_in_every_spelling() -> None:
    """Plain, JSON-encoded, in JSON, as a number: sums by user are what they were."""
    ways: list[dict[str, Any]] = [_shown(spelling, "42") for spelling in SPELLINGS]
    spans = [SpanOf("t", f"s{i}", attributes=way) for i, way in enumerate([*ways, {"user.id": 42}])]
    decoded = decode(sent(*spans), hash=("user_id",))
    assert {mark("42")} == set(decoded.spans.column("user_id").to_pylist())


def test_other_values_in_the_same_json_are_still_read() -> None:
    """The carrier is read, then dropped with a note; JSON that does not hold the value stays."""
    both = json.dumps({"user_id": NAME, "feature": "refunds"})
    other = json.dumps({"feature": "refunds", "note": "kept"})
    spans = [SpanOf("t", "a", attributes={"metadata": both}), SpanOf("t", "b", attributes={"metadata": other})]
    rows = decode(sent(*spans), hash=("user_id",)).spans.to_pylist(maps_as_pydicts="strict")
    assert [(mark(NAME), "refunds", {}, "carrier_dropped"), (None, "refunds", {"metadata": other}, None)] == [
        (row["user_id"], row["feature"], row["attributes"], row["landing_notes"]) for row in rows
    ]


@pytest.mark.parametrize("broken", [f'{{"user_id": "{NAME}"', f"{{'user_id': '{NAME}', oops}}", f'["{NAME}'])
def test_json_that_cannot_be_read_is_not_landed(broken: str) -> None:
    """The user may stand in it."""
    span = SpanOf("t", "a", attributes={"metadata": broken}, resource={"metadata": broken})
    assert NAME not in str(decode(sent(span), hash=("user_id",)).spans.to_pylist())


def test_a_long_carrier_is_not_cut_and_then_kept() -> None:
    """Cut at the limit of a value it is no JSON any more."""
    carrier = json.dumps({"user_id": NAME, "x": "y" * 100_000})
    row = only(decode(sent(SpanOf("t", "a", attributes={"metadata": carrier})), hash=("user_id",)))
    assert mark(NAME) == row["user_id"]
    assert NAME not in str(row)


def test_the_value_that_lost_is_hashed_as_well() -> None:
    """Two spellings on one span: one is promoted, the other stays an attribute."""
    row = only(decode(sent(SpanOf("t", "a", attributes={"user.id": "first", "enduser.id": NAME})), hash=("user_id",)))
    assert (mark("first"), {"enduser.id": mark(NAME)}) == (row["user_id"], row["attributes"])


def test_attributes_are_hashed_by_glob() -> None:
    """Beside dimensions: any attribute, the outcome map, the service name."""
    attributes = {"app.secret.one": NAME, "app.plain": "1", "outcome.agent": NAME, "user.id": "u"}
    span = SpanOf("t", "a", attributes=attributes, resource={"service.name": NAME})
    row = only(decode(sent(span), hash=("app.secret.*", "outcome.agent", "service.name")))
    assert ({"app.secret.one": mark(NAME), "app.plain": "1"}, "u") == (row["attributes"], row["user_id"])
    assert {"agent": mark(NAME)} == row["outcome_attributes"]
    assert mark(NAME) == row["service_name"] == row["resource_attributes"]["service.name"]


@pytest.mark.parametrize("blank", ["", "None", "null"])
def test_nobody_has_no_hash(blank: str) -> None:
    """A blank counts as absent, as it does without hashing."""
    row = only(decode(sent(SpanOf("t", "a", attributes={"user.id": blank, "enduser.id": NAME})), hash=("user_id",)))
    assert mark(NAME) == row["user_id"]


def test_a_forced_user_is_hashed_like_a_sent_one() -> None:
    """Or one user would be two."""
    said = sent(SpanOf("t", "a", attributes={"user.id": NAME}), forced=packed({"user_id": NAME}))
    row = only(decode(said, hash=("user_id",)))
    assert (mark(NAME), None) == (row["user_id"], row["landing_notes"])


# --- The key ----------------------------------------------------------------------------------------------


def test_no_key_is_needed_where_nothing_is_hashed() -> None:
    assert b"" == hash_key(Content())


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line end of a file is no part of it."""
    path = tmp_path / "hash.key"
    path.write_bytes(KEY + b"\n")
    assert KEY == hash_key(Content(hash=("user_id",), hash_key_file=path))
    monkeypatch.setenv("LLMCOST_CONTENT__HASH_KEY", KEY.decode())
    monkeypatch.setenv("LLMCOST_CONTENT__HASH", '["user_id"]')
    assert KEY == hash_key(settings.load().content)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({}, "needs a key"),
        ({"hash_key": "short"}, "has 5 bytes"),
        ({"hash_key": "short", "hash_key_file": "hash.key"}, "has two keys"),
        ({"hash_key_file": "/no/such/file"}, "cannot read content.hash_key_file"),
    ],
)
def test_a_start_without_a_good_key_is_refused(content: dict[str, Any], expected: str, tmp_path: Path) -> None:
    """Before the server starts, and without showing what there is of a key."""
    lake = Lake.create(tmp_path / "lake")
    asked = Settings(content={"hash": ["user_id"], **content})
    with pytest.raises(SettingsError, match=expected) as raised:
        WorkerOrder.of(asked, lake, ["0123456789ab"])
    assert "short" not in str(raised.value)


def test_the_key_reaches_the_worker_and_nobody_else(tmp_path: Path) -> None:
    """On stdin; no representation shows it."""
    lake = Lake.create(tmp_path / "lake")
    asked = Settings(content=Content(hash=("user_id",), hash_key=SecretStr(KEY.decode())))
    order = WorkerOrder.of(asked, lake, ["0123456789ab"])
    received = WorkerOrder.parse(order.line())
    assert (KEY, ("user_id",)) == (received.privacy.key, received.privacy.hash)
    for shown in (repr(asked), repr(order), repr(received.privacy), str(asked.model_dump())):
        assert KEY.decode() not in shown
        assert KEY.hex() not in shown


@pytest.mark.parametrize("name", ["LLMCOST_CONTENT__HASH_KYE", "LLMCOST_CONTENT"])
def test_a_misspelt_key_is_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error that names the value would put it on the terminal and into a log."""
    monkeypatch.setenv(name, json.dumps(KEY.decode()))
    with pytest.raises(SettingsError) as raised:
        settings.load()
    assert KEY.decode() not in str(raised.value)
