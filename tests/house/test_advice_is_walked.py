"""Every reason to park is walked in a test that does what its advice says, and sees it settle.

The tests are in `tests/workflows/advice/`, one file for each kind of work. A reason counts as
walked where such a file names it, by its text or by its name.
"""

import ast
import re

from billing.parking.parked import Parked
from tests.support.advice import requests_in
from tests.support.repository import OPERATIONS, ROOT, read

ADVICE = "tests/workflows/advice"
# In the column `on` of the table, the work that waits, and where its advice is walked.
WALKS = {
    "call": (f"{ADVICE}/test_calls.py",),
    "message": (f"{ADVICE}/test_messages.py",),
    "payment": (f"{ADVICE}/test_payments.py",),
    "recharge": (f"{ADVICE}/test_recharges.py",),
    "adjustment": ("tests/workflows/test_adjust.py",),
    "reconciliation": ("tests/workflows/test_vapi_second_list.py",),
    "any process": (f"{ADVICE}/test_payments.py", f"{ADVICE}/test_recharges.py"),
    "both": (f"{ADVICE}/test_calls.py", f"{ADVICE}/test_messages.py"),
}


def rows() -> list[tuple[str, list[str], str]]:
    """Read each reason, what it is on, and what is to be done, from the operators' table."""
    section = read(OPERATIONS).split("## What a reason means")[1].split("\n### ")[0]
    found = re.findall(r"^\| `([a-z_]+)` \| ([^|]+) \| [^|]+ \| (.+) \|$", section, re.MULTILINE)
    return [(reason, on.split(", "), to_do) for reason, on, to_do in found]


def names_in(file: str) -> set[str]:
    """Return all texts, and names of attributes, of a file; nothing if there is no such file."""
    path = ROOT / file
    if not path.exists():
        return set()
    tree = ast.parse(path.read_text())
    names = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            names.add(node.value)
        if isinstance(node, ast.Attribute):
            names.add(node.attr.lower())
    return names


def not_walked() -> dict[str, set[str]]:
    missing: dict[str, set[str]] = {}
    for reason, works, _ in rows():
        for work in works:
            if any(reason not in names_in(file) for file in WALKS[work]):
                missing.setdefault(work, set()).add(reason)
    return missing


def test_every_reason_to_park_is_walked_as_its_advice_says() -> None:
    assert len(rows()) > 20
    assert not_walked() == {}


def test_the_page_of_a_process_asks_for_whatever_the_operators_table_asks_for() -> None:
    """A request that the table names is on the page too, letter for letter."""
    for reason, _, to_do in rows():
        on_the_page = set(requests_in(Parked(reason, "").advice))
        assert set(requests_in(to_do)) <= on_the_page, reason
