"""What `make test` leaves out is measured, named, and never the only one of its kind."""

from pathlib import Path

import pytest

from tests.support.long_tests import LONG_TESTS, Stopwatch, mark
from tests.support.repository import ROOT

CASES = """
import time

import pytest

def test_quick(): pass

def test_slow(): time.sleep(0.1)

@pytest.mark.always
def test_slow_and_alone(): pass

@pytest.mark.parametrize("case", "abc")
def test_cases(case): pass
"""
INI = """
[pytest]
markers = always: of a kind of its own
asyncio_default_fixture_loop_scope = function
"""
SLOW = ("test_slow", "test_slow_and_alone", "test_cases")


def test_what_is_listed_exists() -> None:
    listed = LONG_TESTS.read_text().splitlines()
    assert listed == sorted(set(listed))
    for name in listed:
        path, _, test = name.partition("::")
        assert f"def {test}(" in (ROOT / path).read_text(), f"{name}: run `make list-long`"


@pytest.fixture(autouse=True)
def apart(pytester: pytest.Pytester) -> None:
    """Tests of their own, which know nothing of ours."""
    pytester.makeini(INI)


def test_one_of_each_kind_is_not_left_out(pytester: pytest.Pytester) -> None:
    file = pytester.makepyfile(CASES)
    items, _ = pytester.inline_genitems(file)
    mark(items, frozenset(f"{file.name}::{test}" for test in SLOW))
    left_out = [item.name for item in items if item.get_closest_marker("long")]
    assert left_out == ["test_slow", "test_cases[b]", "test_cases[c]"]


def test_what_took_long_is_listed_and_what_was_not_run_stays(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    listed = tmp_path / "long_tests.txt"
    listed.write_text("elsewhere.py::test_other\ntest_it.py::test_quick\n")
    pytester.makepyfile(test_it=CASES)
    pytester.inline_run(plugins=[Stopwatch(listed, long_seconds=0.1)])
    assert listed.read_text() == "elsewhere.py::test_other\ntest_it.py::test_slow\n"
