"""Resident memory of a process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from statistics import median

MIB = 1024 * 1024


def resident_mib(process: int | str = "self") -> float:
    """Megabytes of `process` in memory now; 0 if it has ended. Away from Linux the most this process ever held."""
    status = Path(f"/proc/{process}/status")
    if not Path("/proc/self").exists():
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / (MIB if sys.platform == "darwin" else 1024)
    try:
        lines = status.read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def growth_mib(samples: list[float]) -> float:
    """How much more the last quarter of a run held than its second, each in the middle of its samples."""
    quarter = len(samples) // 4
    return median(samples[-quarter:]) - median(samples[quarter : 2 * quarter]) if quarter else 0.0
