"""How the processes of one server speak with the parent that started them.

    parent -> child   its stdin: one line, the order (JSON). After it single bytes say why to look:
                      `s`, a segment was closed; `d`, finish what you have and exit. The end of the
                      stream means that the parent is gone.
    child -> parent   its stdout, a word a line: `ready`, it does what it was started for; `closed`, a
                      segment was closed; `alive`, it is not stuck; `failed` and a message, it cannot start.

Log lines go to stderr, which parent and children share.
"""

from __future__ import annotations

import contextlib
import os
import selectors

READY, CLOSED, ALIVE, FAILED = "ready", "closed", "alive", "failed"
SEGMENT, DRAIN = b"s", b"d"

BEAT_SECONDS = 1.0
"""How often a child that is well says so."""


def read_order(stdin: int = 0) -> bytes:
    """The first line, read byte by byte: what follows it are wishes. Empty if nobody gave an order."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(stdin, 1)
        if not byte:
            return b""
        line += byte
    return line


def say(word: str, message: str = "", *, stdout: int = 1) -> None:
    """Tell the parent. Never waits: what a parent that is stopped or gone cannot hear is dropped."""
    text = f"{word} {' '.join(message.split())}".strip()
    with contextlib.suppress(OSError):
        os.set_blocking(stdout, False)
        os.write(stdout, f"{text}\n".encode())


class Wishes:
    """What the parent, or a signal, wants of a child that works in a plain loop."""

    def __init__(self, stdin: int = 0) -> None:
        os.set_blocking(stdin, False)
        self._stdin = stdin
        self._selector = selectors.DefaultSelector()
        self._selector.register(stdin, selectors.EVENT_READ)
        self.drain = False
        self.orphaned = False

    def wait(self, seconds: float) -> None:
        """Return when there is something to do, at the latest after `seconds`."""
        if self.drain or self._selector.select(seconds):
            self.look()

    def look(self) -> None:
        """Take in what has been said, without waiting."""
        try:
            said = os.read(self._stdin, 4096)
        except BlockingIOError:
            return
        if not said:
            self.orphaned = True
        elif DRAIN in said:
            self.drain = True
