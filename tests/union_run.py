"""Whether each model request is one call, over as many synthetic traces as one likes.

    python tests/union_run.py --seeds 20 [--seed 1] [--traces 12000]

The truth of each trace is known by construction (tests/support/traces.py); what must hold is tests/test_union.py's,
which does it with a few. Stops at the first seed with which it does not.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import test_union


def main() -> None:
    """Run them and say how many requests were told apart."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--traces", type=int, default=12_000)
    options = parser.parse_args()
    requests, begun = 0, time.monotonic()
    for seed in range(options.seed, options.seed + options.seeds):
        with tempfile.TemporaryDirectory(prefix="llmcost-") as folder:
            derived = test_union.grown(Path(folder), options.traces, seed)
        print(f"seed {seed}: {len(derived.forest.ledger):,} requests", flush=True)  # noqa: T201
        test_union.test_every_request_is_exactly_one_call(derived)
        test_union.test_every_call_has_its_requests_tokens_and_cost(derived)
        test_union.test_what_is_not_billed_is_listed_with_what_stands_for_it(derived)
        requests += len(derived.forest.ledger)
    print(f"{requests:,} requests, each one call, in {time.monotonic() - begun:,.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
