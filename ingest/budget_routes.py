"""The budget questions on the HTTP port: may this request be made, and what did it come to.

    POST /v1/budget/decision     200, or 429 with what blocks and when to try again
    POST /v1/budget/settle       200, or 404 for a reservation that nobody holds

Who may send may ask. What a sender's token forces stands over what the body says, and such a sender is told no
figures of others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from ..models.decisions import line
from .budget_line import BudgetLine, NobodyThere
from .intake import Intake, too_large
from .refusals import MALFORMED, RETRY_SECONDS, TOO_SLOW, Refused

DECISION, SETTLE = "/v1/budget/decision", "/v1/budget/settle"
_MOST_BYTES = 64 * 1024

Refusal = Callable[[Request, Refused], Response]


def budget_routes(intake: Intake, budgets: BudgetLine, refusal: Refusal, seconds: float) -> list[Route]:
    """The two routes; a body may take `seconds` to arrive."""

    async def decide(request: Request) -> Response:
        try:
            forced = intake.sender(request.headers.get("authorization")).forced
            answer = await budgets.decide(await _body(request, seconds), json.loads(forced) if forced else {})
        except Refused as refused:
            return refusal(request, refused)
        except ValueError as error:
            return refusal(request, Refused(MALFORMED, str(error)))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        return _decision(answer)

    async def settle(request: Request) -> Response:
        try:
            intake.sender(request.headers.get("authorization"))
            answer = await budgets.settle(await _body(request, seconds))
        except Refused as refused:
            return refusal(request, refused)
        except ValueError as error:
            return refusal(request, Refused(MALFORMED, str(error)))
        except ClientDisconnect:
            return Response(status_code=400)
        except NobodyThere:
            message = {"message": "the process that decides on budgets does not answer: send this again later"}
            return _json(message, 503, {"retry-after": str(RETRY_SECONDS)})
        return _json(answer, 200 if answer["settled"] else 404)

    return [Route(DECISION, decide, methods=["POST"]), Route(SETTLE, settle, methods=["POST"])]


def _decision(answer: dict[str, Any]) -> Response:
    if answer["decision"] == "allow":
        return _json(answer, 200)
    after = answer.get("retry_after_seconds")
    return _json(answer, 429, {} if after is None else {"retry-after": str(after)})


def _json(answer: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(line(answer), status, headers, media_type="application/json")


async def _body(request: Request, seconds: float) -> Any:
    """The body as JSON. Raises Refused, or ValueError if it is none."""
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > _MOST_BYTES:
                    raise too_large(_MOST_BYTES, "the body")
                body += chunk
    except TimeoutError as error:
        raise Refused(TOO_SLOW, f"the request did not arrive within {seconds:g} s") from error
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is not JSON: {error}") from error
