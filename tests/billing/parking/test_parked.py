"""What an operator reads about work that waits, and how long it waits before it tries again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from billing.calls.call import CallBill, CallState
from billing.ledger.entry import Outcome, Posting, Refusal
from billing.ledger.money import Currency, Money
from billing.parking.parked import Parked, describe, heal_after, parked_call, parked_payment
from billing.payments.payment import Mismatch, Settlement
from billing.tariffs.tariff import Charge
from tests.billing.payments.test_payment import CREDIT, PAYMENT
from tests.support.factories import NOON

CHARGE = Charge(Money(57, Currency.GBP), Money(72, Currency.USD), 61, "default")
BALANCE, WOULD_BE = Money(-480, Currency.GBP), Money(-537, Currency.GBP)
REFUSED = Posting(
    Outcome.REFUSED,
    None,
    BALANCE,
    BALANCE,
    Refusal("debt_limit", WOULD_BE, Money(37, Currency.GBP)),
)
OVER_THE_LIMIT = CallBill("abc", CallState.DEBT_LIMIT, "org", CHARGE, REFUSED)
WAITING = [state for state in CallState if state not in (CallState.SETTLED, CallState.DISCARDED)]


def page(parked: Parked) -> str:
    return describe(parked, "call/abc", NOON, "billing")


def test_a_parked_page_names_the_commands_that_an_operator_can_paste() -> None:
    command = "temporal workflow signal --namespace billing --workflow-id call/abc"
    written = page(parked_call(OVER_THE_LIMIT))
    assert f"{command} --name reprocess --input '\"your name: why\"'" in written
    assert f"{command} --name discard --input '\"your name: why\"'" in written


def test_what_others_have_written_is_text_on_a_parked_page_and_in_a_shell() -> None:
    said = Parked("fault", "Stripe: [pay](https://evil.example) <b>now</b>\n# paid", "_org_")
    written = describe(said, "call/$(reboot)`x", NOON, "billing")
    assert r"Stripe: \[pay](https:\//evil.example) \<b>now\</b>\\n# paid" in written
    assert r"**Organisation:** \_org\_ ·" in written
    assert (
        "`` temporal workflow signal --namespace billing --workflow-id 'call/$(reboot)`x'"
        in written
    )


def test_a_charge_over_the_limit_explains_every_amount() -> None:
    parked = parked_call(OVER_THE_LIMIT)
    assert parked.happened == (
        "The wallet cannot pay this call (61 s = 0.72 USD, charged as 0.57 GBP (default)):"
        " its balance of -4.80 GBP would become -5.37 GBP, 0.37 GBP below the debt limit."
        " Nothing was charged."
    )
    assert parked.at_risk == Money(57, Currency.GBP)
    assert "**Organisation:** org" in page(parked)
    assert "**Money at risk:** 0.57 GBP" in page(parked)
    assert "**Since:** 2026-11-02 12:00:00 UTC" in page(parked)


@pytest.mark.parametrize("state", WAITING)
def test_every_reason_why_a_call_waits_has_an_explanation_and_an_advice(state: CallState) -> None:
    posting = REFUSED if state is CallState.DEBT_LIMIT else None
    parked = parked_call(CallBill("abc", state, "org", CHARGE, posting))
    assert f"## Parked: {state}" in page(parked)
    assert parked.happened in page(parked)
    assert parked.advice != Parked("something else", "").advice


@pytest.mark.parametrize(
    "problem", [one for one in Mismatch if one is not Mismatch.DISPUTE_CURRENCY_MISMATCH]
)
def test_a_payment_that_does_not_fit_shows_what_was_paid_and_what_was_asked_for(
    problem: Mismatch,
) -> None:
    parked = parked_payment(Settlement(PAYMENT, "org", mismatch=problem), problem)
    assert "Stripe holds 2500 minor units of GBP from pi_1 for org" in page(parked)
    assert "2500 were asked for. Nothing was credited." in page(parked)
    assert parked.at_risk == Money(2500, Currency.GBP)
    assert parked.advice != Parked("something else", "").advice


def test_a_payment_that_was_credited_says_so_on_its_page() -> None:
    problem = Mismatch.CURRENCY_MISMATCH
    dollars = replace(PAYMENT, currency="usd", org_id="another")
    parked = parked_payment(Settlement(dollars, "org", mismatch=problem, credit=CREDIT), problem)
    assert "25.00 GBP were credited to org before, in another currency." in page(parked)
    assert "Nothing was credited." not in page(parked)
    assert parked.org_id == "org"


def test_a_dispute_in_another_currency_says_that_all_else_was_posted() -> None:
    problem = Mismatch.DISPUTE_CURRENCY_MISMATCH
    edited = replace(PAYMENT, org_id="another")
    parked = parked_payment(Settlement(edited, "org", mismatch=problem), problem)
    assert "another currency than that of the wallet of org." in page(parked)
    assert "A dispute of pi_1 has moved money in another currency" in page(parked)
    assert "All else that is due was posted; this was not." in page(parked)
    assert parked.advice != Parked("something else", "").advice


def test_work_of_an_unknown_organisation_and_amount_says_so() -> None:
    written = page(Parked("fault", "fetch_call failed three times: no answer."))
    assert "**Organisation:** unknown · **Money at risk:** unknown" in written


@pytest.mark.parametrize(
    ("reason", "heals"),
    [
        ("fault", True),
        ("call_not_ended", True),
        ("unknown_duration", True),
        ("debt_limit", False),
        ("unknown_assistant", False),
        ("amount_mismatch", False),
        ("payment_missing", True),
        ("call_missing", True),
        ("message_missing", True),
    ],
)
def test_only_what_may_go_away_unattended_is_tried_again_unattended(
    reason: str, *, heals: bool
) -> None:
    assert Parked(reason, "it happened").heals is heals


def test_its_own_tries_come_after_thirty_seconds_doubling_up_to_an_hour() -> None:
    minutes = [heal_after(attempt) / timedelta(minutes=1) for attempt in range(9)]
    assert minutes == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    assert heal_after(10**9) == timedelta(hours=1)
