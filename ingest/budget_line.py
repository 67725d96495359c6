"""The line from a receiver to the process that decides on budgets: one connection, questions and answers in order.

There may be several receivers and there is one who counts, so that two of them cannot give the same dollar away.
While nobody answers there, the setting budgets.when_unknown decides here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from ..models.budget_file import BudgetFile
from ..models.decisions import asked_of, line, undecided
from ..models.lake import Lake
from ..models.settings import Budgeting
from ..models.verdicts import Ceilings

log = logging.getLogger(__name__)

ANSWER_SECONDS = 2.0
_AGAIN_SECONDS = 0.2
_LONGEST_ANSWER = 1 << 20


class NobodyThere(Exception):
    """Nobody answers at the other end."""


class BudgetLine:
    """Asks the process that decides on budgets. Use from one event loop."""

    def __init__(self, lake: Lake, settings: Budgeting) -> None:
        self._socket = lake.budget_socket
        self._file = BudgetFile(settings.file or lake.budgets)
        self._block = settings.when_unknown == "block"
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: deque[asyncio.Future[bytes]] = deque()
        self._opening = asyncio.Lock()
        self._try_at = 0.0
        self._reading: asyncio.Task[None] | None = None

    async def decide(self, body: Any, forced: Mapping[str, str]) -> dict[str, Any]:
        """The decision on a request that `body` describes. Raises ValueError for a body that cannot be read."""
        asked = asked_of(body, forced)
        try:
            return await self._ask({"ask": "decision", "body": body, "forced": dict(forced)})
        except NobodyThere:
            self._file.look()
            ceilings = None if self._file.problem else Ceilings(self._file.budgets)
            if ceilings is not None and ceilings.budgets.is_empty:
                return {"decision": "allow", "reason": "no_budget", "message": "no budget is set", "warnings": []}
            return undecided(
                ceilings, asked, "the process that decides on budgets does not answer", block=self._block
            )

    async def settle(self, body: Any) -> dict[str, Any]:
        """What a reservation came to. Raises ValueError for what cannot be read, NobodyThere."""
        return await self._ask({"ask": "settle", "body": body})

    async def close(self) -> None:
        """Hang up."""
        self._hang_up()
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=1)

    async def _ask(self, question: dict[str, Any]) -> dict[str, Any]:
        writer = self._writer or await self._open()
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(answered)
        writer.write(line(question))
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                answer = json.loads(await answered)
        except TimeoutError:
            self._hang_up()  # answers come in order: a late one would be taken for the next
            raise NobodyThere from None
        if "wrong" in answer:
            raise ValueError(answer["wrong"])
        found: dict[str, Any] = answer
        return found

    async def _open(self) -> asyncio.StreamWriter:
        async with self._opening:
            if self._writer is not None:
                return self._writer
            if time.monotonic() < self._try_at:
                raise NobodyThere
            try:
                reader, writer = await asyncio.open_unix_connection(self._socket, limit=_LONGEST_ANSWER)
            except OSError as error:
                self._try_at = time.monotonic() + _AGAIN_SECONDS
                raise NobodyThere from error
            self._writer = writer
            self._reading = asyncio.create_task(self._read(reader, writer))
            return writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while answer := await reader.readline():
                future = self._waiting.popleft()
                if not future.done():
                    future.set_result(answer)
        except (OSError, ValueError) as error:
            log.warning("the line to who decides on budgets broke: %s", error)
        finally:
            if self._writer is writer:
                self._hang_up()

    def _hang_up(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
        waiting, self._waiting = self._waiting, deque()
        for future in waiting:
            if not future.done():
                future.set_exception(NobodyThere())
