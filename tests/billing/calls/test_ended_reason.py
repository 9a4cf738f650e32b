"""Why a call ended decides with its time what it costs; every reason that Vapi has is known."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from billing.calls.call import CallState, EndedCall, free_by, rate, why_unknown
from billing.calls.ended_reason import NEVER_CONNECTED, FreeEnding, FreeRule
from billing.calls.length import StatedLength
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.tariffs.tariff import Charge
from tests.billing.tariffs.test_tariff import DOLLARS, POUNDS
from tests.support.factories import NOON, as_api, ended_call
from tests.support.vapi_types import values_of

WALLET = Wallet("org", Currency.GBP, 0)
INSTALLED = (FreeRule(FreeEnding.NEVER_CONNECTED, NOON - timedelta(days=1)),)
FAULTS_FREE = (*INSTALLED, FreeRule(FreeEnding.PROVIDER_FAULT, NOON - timedelta(days=1)))
FAULT = "call.in-progress.error-vapifault-worker-died"
# What may have taken time: it is charged by the time that it took.
_IN_PROGRESS = ("pipeline-error-", "call.in-progress.error-")
_CONNECTED = {
    "assistant-ended-call",
    "assistant-ended-call-after-message-spoken",
    "assistant-ended-call-with-hangup-task",
    "assistant-forwarded-call",
    "assistant-join-timed-out",
    "assistant-request-returned-forwarding-phone-number",
    "assistant-said-end-call-phrase",
    "call-deleted",
    "call.ending.hook-executed-say",
    "call.ending.hook-executed-transfer",
    "call.forwarding.no-answer",
    "call.forwarding.operator-busy",
    "call.in-progress.sip-completed-call",
    "call.in-progress.twilio-completed-call",
    "call.ringing.hook-executed-say",
    "call.ringing.hook-executed-transfer",
    "customer-ended-call",
    "customer-ended-call-after-warm-transfer-attempt",
    "customer-ended-call-before-warm-transfer",
    "customer-ended-call-during-transfer",
    "exceeded-max-duration",
    "manually-canceled",
    "phone-call-provider-closed-websocket",
    "silence-timed-out",
    "sip-outbound-carrier-released-call",
    "voicemail",
    "vonage-completed",
    "vonage-disconnected",
    "worker-shutdown",
}


def rated(
    call: EndedCall, rules: Iterable[FreeRule] = INSTALLED, wallet: Wallet | None = WALLET
) -> Charge | CallState:
    return rate(call, wallet, (POUNDS, DOLLARS), NOON, rules)


def cost(call: EndedCall, rules: Iterable[FreeRule] = INSTALLED) -> int:
    charge = rated(call, rules)
    assert isinstance(charge, Charge)
    return charge.amount.amount_minor


def unanswered(seconds: float | None, reason: str = "customer-did-not-answer") -> EndedCall:
    call = replace(ended_call(seconds=seconds or 0), ended_reason=reason)
    return call if seconds is not None else replace(call, started_at=None)


def test_every_reason_that_vapi_publishes_is_known() -> None:
    published = values_of("CallEndedReason")
    assert published >= NEVER_CONNECTED | _CONNECTED
    unknown = published - NEVER_CONNECTED - _CONNECTED
    assert {one for one in unknown if not one.startswith(_IN_PROGRESS)} == set()


def test_what_may_have_connected_is_not_said_to_have_never_been() -> None:
    of_its_own = {one for one in NEVER_CONNECTED if "connect" in one or "sip" in one}
    similar = {one for one in values_of("CallEndedReason") if "failed-to-connect" in one}
    assert similar <= of_its_own
    assert not NEVER_CONNECTED & _CONNECTED


@pytest.mark.parametrize("reason", sorted(NEVER_CONNECTED))
def test_what_never_connected_costs_nothing_though_vapi_was_not_asked(reason: str) -> None:
    assert cost(unanswered(None, reason)) == 0
    assert cost(unanswered(5, reason)) == 0
    assert rated(unanswered(5.001, reason)) is CallState.UNKNOWN_DURATION


def test_what_never_connected_and_took_time_says_so() -> None:
    said = "It is said to have taken 61 s, and never to have connected (customer-busy)."
    call = unanswered(61, "customer-busy")
    assert why_unknown(call, NOON, INSTALLED) == said
    assert why_unknown(as_api(call), NOON, INSTALLED) == said
    reported = replace(unanswered(None, "customer-busy"), reported_seconds=Decimal(61))
    assert why_unknown(reported, NOON, INSTALLED) == said


def test_a_start_without_an_end_is_still_unknown() -> None:
    call = replace(unanswered(3), ended_at=None)
    assert rated(call) is CallState.UNKNOWN_DURATION


def test_what_has_no_times_at_all_costs_nothing_if_it_never_connected() -> None:
    assert cost(EndedCall("id", ended_reason="scheduled-call-deleted")) == 0
    assert rated(EndedCall("id")) is CallState.UNKNOWN_DURATION


def test_what_costs_nothing_waits_for_no_owner_and_for_no_price() -> None:
    call = unanswered(None, "assistant-request-returned-error")
    assert rated(call, wallet=None) is CallState.SETTLED
    assert rate(call, WALLET, (), NOON, INSTALLED) is CallState.SETTLED
    assert rated(ended_call(), wallet=None) is CallState.UNKNOWN_ASSISTANT
    assert rate(ended_call(), WALLET, (), NOON, INSTALLED) is CallState.NO_TARIFF


def test_a_person_s_word_about_the_length_counts_before_the_reason() -> None:
    call = replace(unanswered(61), stated=StatedLength(Decimal(60), "Ann: it did", NOON))
    assert cost(call) == 56


def test_a_rule_is_for_calls_that_begin_after_it_was_installed() -> None:
    began = unanswered(4).started_at
    assert began is not None
    for since, minor in ((began, 0), (began + timedelta(microseconds=1), 4)):
        assert cost(unanswered(4), [FreeRule(FreeEnding.NEVER_CONNECTED, since)]) == minor


def test_a_fault_of_vapi_s_own_is_charged_unless_a_rule_makes_it_free() -> None:
    call = replace(ended_call(), ended_reason=FAULT)
    assert (cost(call), cost(call, FAULTS_FREE)) == (56, 0)
    assert cost(ended_call(), FAULTS_FREE) == 56
    unknown = replace(call, started_at=None)
    assert rated(unknown) is CallState.UNKNOWN_DURATION
    assert cost(unknown, FAULTS_FREE) == 0


def test_a_rule_that_has_ended_holds_for_what_began_before() -> None:
    rule = FreeRule(FreeEnding.PROVIDER_FAULT, NOON - timedelta(days=2), NOON)
    for began_at, ending in (
        (NOON - timedelta(seconds=1), FreeEnding.PROVIDER_FAULT),
        (NOON, None),
    ):
        call = EndedCall("id", started_at=began_at, ended_reason=FAULT)
        assert free_by(call, NOON, [rule]) is ending


def test_all_faults_that_vapi_calls_its_own_are_its_own() -> None:
    own = {one for one in values_of("CallEndedReason") - NEVER_CONNECTED
           if free_by(EndedCall("id", ended_reason=one), NOON, FAULTS_FREE)}  # fmt: skip
    assert len(own) > 150
    assert all("error-vapifault-" in one for one in own)


@pytest.mark.parametrize("reason", [None, "", "customer-ended-call", "never-heard-of"])
def test_any_other_reason_makes_nothing_free(reason: str | None) -> None:
    assert cost(unanswered(4, reason or ""), FAULTS_FREE) == 4
    assert rated(unanswered(None, reason or "")) is CallState.UNKNOWN_DURATION


def test_an_unanswered_call_is_free_in_the_wallet_s_own_money() -> None:
    charge = rated(unanswered(3))
    assert isinstance(charge, Charge)
    assert (charge.amount, charge.billed_seconds) == (Money(0, Currency.GBP), 0)
