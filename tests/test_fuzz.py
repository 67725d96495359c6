"""The short form of tests/fuzz_run.py: what nobody should send harms nobody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import fuzz_run
import pytest
from support import fuzz_live
from support.mutants import Mutants

from llmcost.ingest.columns import Decoder


def test_mutants_land_or_are_set_aside_and_harm_no_neighbour() -> None:
    """In short what `--cases 1000000` tries at length."""
    report = fuzz_run.run(1_500, seed=20261122)
    assert 1_500 == report.cases
    assert report.outcomes["accepted"] > 400, report
    assert report.outcomes["refused"] > 400, report


def test_json_mutants_are_read_or_refused_and_harm_no_neighbour() -> None:
    """And what is read of them is as safe to land."""
    report = fuzz_run.run(600, seed=20261122, json=True)
    assert report.outcomes["accepted"] > 50, report
    assert report.outcomes["refused as JSON"] > 100, report


def test_mutants_are_the_same_for_the_same_seed() -> None:
    """In another process too: a failure can be repeated."""
    line = "from support.mutants import Mutants; m = Mutants(7); print([m.next()[1].hex() for _ in range(50)])"
    command = [sys.executable, "-c", line]
    again = subprocess.run(command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True)
    mutants = Mutants(7)
    assert str([mutants.next()[1].hex() for _ in range(50)]) == again.stdout.strip()


def test_a_failing_case_is_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """One request is left of a batch, and of it what the failure needs."""
    decode = Decoder.decode

    def choke(decoder: Decoder, requests: list[fuzz_run.Request]) -> object:
        if any(b"\x99\x98" in request.body for request in requests):
            raise ValueError("cannot swallow this")
        return decode(decoder, requests)

    monkeypatch.setattr(Decoder, "decode", choke)
    bench = fuzz_run.Bench()
    bodies = [b"", b"abc\x99\x98def", b"ghi"]
    requests = [
        fuzz_run.Request(bench.good[0].signal, fuzz_run.FIRST_US + at, body) for at, body in enumerate(bodies)
    ]
    broken = fuzz_run.smaller(bench, fuzz_run.Broken("raised", requests))
    assert [b"\x99\x98"] == [request.body for request in broken.requests]


def test_a_running_server_rides_out_mutants(tmp_path: Path) -> None:
    """Every good span that it acknowledged is in the lake once, and no process died."""
    live = fuzz_live.run(tmp_path / "lake", seconds=2, seed=1)
    assert [] == live.faults(), live
    assert len(live.acknowledged) > 20, live
