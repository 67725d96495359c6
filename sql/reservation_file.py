"""Reservations on disk, so that a desk that is killed keeps what it has promised: a line of JSON for each change.

A line is with the system before the decision is answered, and not fsynced: it outlives the process, not the machine's
power. The last line of a reservation holds; one that was torn is passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ..models.reservations import Reservation

_MOST_LINES = 20_000


class ReservationFile:
    """The file of one lake's reservations. Its process is the only one that writes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._lines = 0

    def read(self, now: datetime) -> list[Reservation]:
        """What is still held at `now`, in the order it was made; settled ones in the order they were settled."""
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return []
        found: dict[str, Reservation] = {}
        for line in text.splitlines():
            try:
                said = json.loads(line)
                name = said["id"]
                found.pop(name, None)
                if not said["is_gone"]:
                    found[name] = _reservation(said)
            except (ValueError, KeyError, TypeError):
                continue
        return [each for each in found.values() if each.settled_at is not None or each.expires_at > now]

    def write(self, reservation: Reservation, *, is_gone: bool = False) -> None:
        """Add how a reservation is now. Raises OSError."""
        if self._handle is None:
            self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(self._handle, _line(reservation, is_gone=is_gone))
        self._lines += 1

    def is_long(self, held: int) -> bool:
        """Whether most of its lines are of the past, where `held` reservations are not."""
        return self._lines > max(_MOST_LINES, 4 * held)

    def rewrite(self, reservations: Sequence[Reservation]) -> None:
        """Keep only these. Raises OSError."""
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.writelines(_line(each, is_gone=False) for each in reservations)
        temporary.replace(self._path)
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        self._lines = len(reservations)

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _line(reservation: Reservation, *, is_gone: bool) -> bytes:
    said = {
        "id": reservation.id,
        "is_gone": is_gone,
        "entities": {level: list(names) for level, names in reservation.entities.items()},
        "amount": reservation.amount,
        "expires_at": reservation.expires_at.isoformat(),
        "settled_at": reservation.settled_at.isoformat() if reservation.settled_at else None,
    }
    return json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _reservation(said: dict[str, Any]) -> Reservation:
    settled_at = said["settled_at"]
    return Reservation(
        said["id"],
        {level: tuple(names) for level, names in said["entities"].items()},
        int(said["amount"]),
        datetime.fromisoformat(said["expires_at"]),
        datetime.fromisoformat(settled_at) if settled_at else None,
    )
