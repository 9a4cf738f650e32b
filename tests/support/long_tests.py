"""Tell the tests that take long from the others, by what was measured, and measure it again.

`tests/long_tests.txt` has their names. `make test` leaves them out, so that it takes ten minutes,
but for the first case of each that has several, and what is marked `always`: one of each kind
stays. `make test-long` runs the rest.
"""

from collections import Counter, defaultdict
from pathlib import Path

import pytest

LONG_TESTS = Path(__file__).parents[1] / "long_tests.txt"
LONG_SECONDS = 1.0


def name_of(node_id: str) -> str:
    """Return what all cases of a test are called together."""
    return node_id.split("[", maxsplit=1)[0]


def mark(items: list[pytest.Item], names: frozenset[str]) -> None:
    """Mark as `long` what is named, but for first cases, and what is marked `always`."""
    seen: set[str] = set()
    for item in items:
        name = name_of(item.nodeid)
        is_first_case = item.nodeid != name and name not in seen
        seen.add(name)
        if name in names and not is_first_case and not item.get_closest_marker("always"):
            item.add_marker("long")


class Stopwatch:
    """Sum up how long each test took, and write down those that took long: all that were run."""

    def __init__(self, listed: Path = LONG_TESTS, long_seconds: float = LONG_SECONDS) -> None:
        self._listed, self._long_seconds = listed, long_seconds
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._cases: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Servers that many tests share are started in the `setup` of whichever comes first.
        if report.when == "call":
            name = name_of(report.nodeid)
            self._seconds[name] += report.duration
            self._cases[name] += 1

    def pytest_sessionfinish(self) -> None:
        long = {
            name
            for name, seconds in self._seconds.items()
            if seconds / self._cases[name] >= self._long_seconds
        }
        not_run = set(self._listed.read_text().splitlines()) - set(self._seconds)
        self._listed.write_text("".join(f"{name}\n" for name in sorted(long | not_run)))
