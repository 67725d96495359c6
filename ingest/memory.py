"""Keeping freed memory for the next request or batch, instead of giving it back and faulting it in again.

Landing allocates and frees the same tens of megabytes for every batch, and so does receiving. By default
glibc returns such blocks to the kernel at once; touching them again was more than half of a server's page faults.
"""

from __future__ import annotations

import ctypes

KEPT_BYTES = 256 * 1024 * 1024
"""Free memory at the end of a heap before glibc gives it back; what an idle process may keep resident."""

_LARGEST_KEPT_BLOCK = 32 * 1024 * 1024  # the most glibc accepts
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Ask glibc to do so; elsewhere (musl, macOS) nothing happens. To be called before there are threads."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BLOCK)
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
