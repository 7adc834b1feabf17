"""Fuzz by hand: python tests/fuzz/run.py --minutes 60

Runs new cases of every kind of input in turn until the time is over. A case that fails is reduced
and printed, the next kind begins, and the exit status is 1. Prints the counts at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "python")]

import fuzz  # noqa: E402
import pytest  # noqa: E402

EACH = 300  # cases of one kind before the next kind


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--kind", choices=list(fuzz.KINDS))
    chosen = parser.parse_args()
    end = time.monotonic() + 60 * chosen.minutes
    failures = 0
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        place = fuzz.Place(Path(folder), patch)
        while time.monotonic() < end:
            for kind in [chosen.kind] if chosen.kind else fuzz.KINDS:
                failures += not _try_some(place, kind)
    for (kind, status), number in sorted(place.counts.items()):
        print(f"{kind}: status {status}: {number:,}")
    print(f"{sum(place.counts.values()):,} cases, {failures} rounds with a failure")
    return 1 if failures else 0


def _try_some(place: fuzz.Place, kind: str) -> bool:
    try:
        fuzz.try_many(place, kind, EACH, same_each_time=False)
    except KeyboardInterrupt:
        raise
    except BaseException:
        traceback.print_exc()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
