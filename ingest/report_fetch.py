"""Reports from a provider's API: page after page, waiting where it says so. Reads only, and keeps no key.

OpenAI: GET /v1/organization/usage/completions, /embeddings and /costs, an admin key as bearer token. Anthropic: GET
/v1/organizations/usage_report/messages and /cost_report, an Admin API key as x-api-key. Both answer `has_more` and
`next_page`, which is the next request's `page`.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from http.client import HTTPException
from typing import Any

from ..models.errors import ReportError, UsageError
from .reports import Row

_TRIES = 6
_FIRST_PAUSE_SECONDS = 1.0
_MOST_PAUSE_SECONDS = 60.0
_MOST_PAGES = 10_000
_MOST_BYTES = 64 << 20
_TRY_AGAIN = (408, 409, 429, 500, 502, 503, 504, 529)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One report of an API: the kind and part it is stored as, its path, and what to ask for."""

    kind: str
    part: str | None
    path: str
    query: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Api:
    """One provider's reports: where they are, how a request names its time and its key, and what to set for that."""

    base_url: str
    key_variable: str
    endpoints: tuple[Endpoint, ...]
    time_names: tuple[str, str]
    time_of: Callable[[datetime], str]
    headers: Callable[[str], dict[str, str]]


def _grouped(name: str, *dimensions: str, limit: int) -> tuple[tuple[str, str], ...]:
    return (("bucket_width", "1d"), ("limit", str(limit)), *((name, dimension) for dimension in dimensions))


_OPENAI_NAMES = ("project_id", "api_key_id", "model")
APIS: Mapping[str, Api] = {
    "openai": Api(
        "https://api.openai.com/v1",
        "OPENAI_ADMIN_KEY",
        (
            Endpoint(
                "openai-usage",
                "completions",
                "/organization/usage/completions",
                _grouped("group_by", *_OPENAI_NAMES, "batch", "service_tier", limit=31),
            ),
            Endpoint(
                "openai-usage",
                "embeddings",
                "/organization/usage/embeddings",
                _grouped("group_by", *_OPENAI_NAMES, limit=31),
            ),
            Endpoint(
                "openai-costs",
                None,
                "/organization/costs",
                _grouped("group_by", "project_id", "line_item", limit=180),
            ),
        ),
        ("start_time", "end_time"),
        lambda moment: str(int(moment.timestamp())),
        lambda key: {"Authorization": f"Bearer {key}"},
    ),
    "anthropic": Api(
        "https://api.anthropic.com/v1",
        "ANTHROPIC_ADMIN_KEY",
        (
            Endpoint(
                "anthropic-usage",
                None,
                "/organizations/usage_report/messages",
                _grouped("group_by[]", "workspace_id", "api_key_id", "model", "service_tier", limit=31),
            ),
            Endpoint(
                "anthropic-costs",
                None,
                "/organizations/cost_report",
                _grouped("group_by[]", "workspace_id", "description", limit=31),
            ),
        ),
        ("starting_at", "ending_at"),
        lambda moment: moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
        lambda key: {"x-api-key": key, "anthropic-version": "2023-06-01"},
    ),
}
"""The APIs that can be asked, by provider."""


def pages(
    api: Api,
    endpoint: Endpoint,
    key: str,
    since: datetime,
    until: datetime,
    *,
    base_url: str | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Row]:
    """Every page of a report over [since, until), in order; `pause` waits that many seconds.

    A busy or failing server is asked again, up to six times, after what it says in Retry-After or twice the last
    pause. Raises UsageError for a base_url that would send the key unencrypted, and ReportError for what the server
    refuses, and where it fails for good.
    """
    root = _checked(base_url or api.base_url)
    first, last = api.time_names
    asked = [(first, api.time_of(since)), (last, api.time_of(until)), *endpoint.query]
    token: str | None = None
    seen: set[str] = set()
    for _ in range(_MOST_PAGES):
        query = urllib.parse.urlencode([*asked, *([("page", token)] if token else [])])
        page = _asked(f"{root}{endpoint.path}?{query}", api, key, pause)
        yield page
        token = page.get("next_page") if page.get("has_more") else None
        if not token:
            return
        if token in seen:
            break
        seen.add(token)
    raise ReportError(f"{root}{endpoint.path} does not end: it names the same next_page again, or too many")


def _checked(base_url: str) -> str:
    parts = urllib.parse.urlsplit(base_url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        raise UsageError(f'--base-url "{base_url}": the key goes with each request, so it must begin with https://')
    return base_url.rstrip("/")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _asked(url: str, api: Api, key: str, pause: Callable[[float], None]) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={**api.headers(key), "Accept": "application/json"})  # noqa: S310  (_checked)
    opener = urllib.request.build_opener(_NoRedirect)
    wait = _FIRST_PAUSE_SECONDS
    place = url.partition("?")[0]
    for attempt in range(_TRIES):
        try:
            with opener.open(request, timeout=60) as answer:
                found = json.loads(answer.read(_MOST_BYTES), parse_float=Decimal)
            if not isinstance(found, dict) or not isinstance(found.get("data"), Sequence):
                raise ReportError(f"{place} answers something else than a page of a report")
            return found
        except urllib.error.HTTPError as error:
            failure, told = f"{error.code} {error.reason}", error.headers.get("Retry-After")
            said = _said(error)
            if error.code not in _TRY_AGAIN:
                hint = f": set {api.key_variable} to an admin key" if error.code in (401, 403) else ""
                raise ReportError(f"{place} refuses: {failure}{said}{hint}") from None
        except (OSError, HTTPException, ValueError) as error:
            failure, told = str(error), None
        if attempt + 1 < _TRIES:
            pause(min(_MOST_PAUSE_SECONDS, _seconds(told) or wait))
            wait *= 2
    raise ReportError(f"{place} failed {_TRIES} times, the last time with {failure}: try again later")


def _seconds(told: str | None) -> float | None:
    return float(told) if told and told.replace(".", "", 1).isdigit() else None


def _said(error: urllib.error.HTTPError) -> str:
    """The server's own words, where it has any."""
    try:
        message = json.loads(error.read(65536))["error"]["message"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f" ({str(message)[:200]})"
