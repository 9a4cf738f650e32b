"""The demo: what a stranger sees first must be right, and must not say so when it is not."""

import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from billing.ledger.money import Currency, Money
from devstack.demo import check, run, scenes

# One demo is made for all cases.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
async def shown(state: Path) -> str:
    """What a demo in a terminal of its own prints; it ends with status 0."""
    command = (sys.executable, "-m", "cli", "demo", "--state", str(state))
    process = await create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


def rows(shown: str) -> list[list[str]]:
    """The cells of each line of the table."""
    lines = [line for line in shown.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("Globex: balance", "1.51 USD"),
        ("Initech: balance", "3.11 GBP"),
        ("Acme: balance", "62.66 GBP"),
        ("Acme: 15 calls charged", "33.41 GBP"),
        ("Hooli: entries in the ledger", "242"),
        ("a report with a wrong secret", "401"),
        ("Stripe answered first", "500 429"),
        ("tries it took", "3"),
        ("answers to Vapi's reports", "287 accepted, 287 duplicate"),
    ],
)
def test_the_table_has_the_right_figures(shown: str, figure: str, value: str) -> None:
    assert [figure, value, value, "✓"] in [cells[1:] for cells in rows(shown)]


def test_the_demo_leaves_links_and_says_how_to_come_back(shown: str, state: Path) -> None:
    assert "✗" not in shown
    assert "/namespaces/billing/workflows/call%2F" in shown
    assert "query=BillingState%3D%22parked%22" in shown
    assert f"callwallet up --state {state}" in shown


async def test_a_second_demo_on_the_same_state_fails_loudly_when_a_number_is_wrong(
    shown: str, state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ("top-ups credited", "calls charged by the tariff", "totals")
    monkeypatch.setattr(run, "SCENES", {name: run.SCENES[name] for name in some})
    monkeypatch.setattr(check, "PATIENCE_SECONDS", 5.0)
    monkeypatch.setitem(scenes.PENCE, 60, 55)
    assert await run.demo(state, stay=False) == 1
    printed = capsys.readouterr().out
    assert "WRONG Acme: 15 calls charged: expected 33.42 GBP, found 33.41 GBP" in printed
    assert "✗" in printed
    assert "Acme: balance" not in printed


async def test_a_figure_that_never_comes_says_what_did_not_happen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def penniless() -> Money:
        return Money(0, Currency.GBP)

    monkeypatch.setattr(check, "PATIENCE_SECONDS", 0.1)
    figure = await check.becomes("the balance", Money(1, Currency.GBP), penniless)
    assert not figure.agrees
    assert figure.complaint() == "the balance: expected 0.01 GBP, found 0.00 GBP"
