"""What the architecture page says of entries and processes is all that there is."""

import re
from collections import Counter

from temporalio.client import ScheduleActionStartWorkflow

from billing.explanations import subject_of
from billing.ledger.entry import Entry, EntryKind
from billing.ledger.money import Currency, Money
from processes.schedules import schedules
from tests.support.factories import NOON
from tests.support.repository import ARCHITECTURE, OPERATIONS, section, table
from worker import WORKFLOWS

PENNY = Money(1, Currency.GBP)


def keys_of_entries() -> list[list[str]]:
    """The keys that an entry of each kind can have, the first one first, without names in them."""
    [_, *rows] = table(ARCHITECTURE, "## The ledger")
    return [unnamed(re.findall(r"`([^`]+)`", row[1])) for row in rows]


def unnamed(keys: list[str]) -> list[str]:
    return [re.sub(r"{\w+}", "1", key) for key in keys]


def entry(key: str) -> Entry:
    return Entry(
        1, key, EntryKind.CALL, "org", "from", "to", PENNY, PENNY, NOON, NOON,
        "stripe refund re_1 of payment pi_1", "system",
    )  # fmt: skip


def test_the_ledger_s_table_has_every_kind_of_entry_once() -> None:
    [_, *rows] = table(ARCHITECTURE, "## The ledger")
    assert Counter(row[0] for row in rows) == Counter(f"`{kind}`" for kind in EntryKind)


def test_every_kind_of_entry_can_be_explained() -> None:
    unexplained = {key for keys in keys_of_entries() for key in keys if not subject_of(entry(key))}
    assert unexplained == set()


def test_operators_are_told_every_key_that_they_can_ask_about() -> None:
    told = re.findall(r"`(\w+:{[^`]+)`", section(OPERATIONS, "## Explain any penny"))
    own = {keys[0] for keys in keys_of_entries() if not keys[0].endswith(":reversal")}
    assert Counter(unnamed(told)) == Counter(own)


def test_every_process_is_on_the_page_once() -> None:
    [_, *rows] = table(ARCHITECTURE, "## The processes")
    named = Counter(name for row in rows for name in re.findall(r"`(\w+)`", row[0]))
    assert named == Counter(one.__name__ for one in WORKFLOWS)


def test_every_schedule_is_beside_the_process_that_it_starts() -> None:
    [_, *rows] = table(ARCHITECTURE, "## The processes")
    started_by = {name: row[2] for row in rows for name in re.findall(r"`(\w+)`", row[0])}
    for schedule_id, schedule in schedules().items():
        assert isinstance(schedule.action, ScheduleActionStartWorkflow)
        assert f"`{schedule_id}`" in started_by[schedule.action.workflow], schedule_id
