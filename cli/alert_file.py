"""What is remembered of alerts: LAKE/alerts/state.json, changed by one process at a time and replaced whole.

What it holds is on disk before anything is sent, and again after each notice that a channel took. So a crash loses no
alert and forgets no firing; between a delivery and its record it leads to that one notice being sent again, with the
same id and key.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..models.errors import LakeBusy, LakeError, LakeNotWritable

if TYPE_CHECKING:
    from ..models.alerts import State
    from ..models.lake import Lake

_LOOK_SECONDS = 0.1


class AlertFile:
    """The file of one lake. Hold `locked` while reading to write."""

    def __init__(self, lake: Lake) -> None:
        self.path = lake.alerts / "state.json"

    def read(self) -> State:
        """What is remembered; nothing if there is no file.

        Raises LakeError for a file that is damaged: to begin anew would tell every alert again.
        """
        from pydantic import ValidationError  # noqa: PLC0415  start-up time

        from ..models.alerts import State  # noqa: PLC0415

        try:
            return State.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise LakeError(f'cannot read "{self.path}": {error.strerror}') from error
        except ValidationError as error:
            raise LakeError(
                f'"{self.path}" is damaged ({error.errors()[0]["msg"]}): put back a good copy, or remove it: then '
                "whatever is open now is told again"
            ) from error

    def write(self, state: State) -> None:
        """Replace the file, on disk before this returns. Raises LakeNotWritable."""
        from ..ingest.journal import sync_folder  # noqa: PLC0415  start-up time

        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            with temporary.open("w", encoding="utf-8") as file:
                file.write(state.model_dump_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise LakeNotWritable(f'cannot write "{self.path}": {error.strerror}') from error

    @contextmanager
    def locked(self, wait_seconds: float = 0.0) -> Iterator[None]:
        """Be the only process that looks and tells. Raises LakeBusy after waiting so long, LakeNotWritable."""
        deadline = time.monotonic() + wait_seconds
        lock = self.path.with_name("lock")
        try:
            lock.parent.mkdir(exist_ok=True)
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o640)
        except OSError as error:
            raise LakeNotWritable(f'cannot write "{lock}": {error.strerror}') from error
        try:
            while not _taken(handle, lock):
                if time.monotonic() >= deadline:
                    raise LakeBusy("another process looks for alerts in this lake now: wait until it is done")
                time.sleep(_LOOK_SECONDS)
            yield
        finally:
            os.close(handle)


def _taken(handle: int, lock: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise LakeNotWritable(f'cannot lock "{lock}": {error.strerror}') from error
    return True
