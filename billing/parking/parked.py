"""Work that waits: why, since when, what is at stake, and what a person can do about it."""

import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from billing.calls.call import CallBill, CallState
from billing.errors import CallMissing, CallNotEnded, KeyRefused, MessageMissing, PaymentMissing
from billing.ledger.entry import Posting
from billing.ledger.money import Money
from billing.messages.message import MessageBill, MessageState
from billing.payments.payment import Mismatch, Settlement, received
from billing.recharges.recharge import HoldReason
from billing.text import code, inert

FAULT = "fault"
APPROVAL = "approval"
# A fault that outlasted its retries is tried again after this long, doubling up to the longest.
FIRST_HEAL = timedelta(seconds=30)
LONGEST_HEAL = timedelta(hours=1)

# What a provider did not know, as often as it was asked for.
MISSING = frozenset({CallMissing.code, MessageMissing.code, PaymentMissing.code})
# Reasons that go away by themselves are tried again without anybody asking.
_HEALING = MISSING | {
    FAULT,
    KeyRefused.code,
    CallNotEnded.code,
    CallState.UNKNOWN_DURATION,
    MessageState.UNKNOWN_SEGMENTS,
}

_ADVICE = {
    CallState.DEBT_LIMIT: "Nothing, if the customer tops up: it settles by itself, oldest first,"
    " when money arrives. Or raise the debt limit (`PUT /v1/organizations/{org_id}/debt-limit`).",
    CallState.UNKNOWN_ASSISTANT: "Register the assistant, squad, workflow or phone number to its"
    " organisation (`POST /v1/organizations/{org_id}/assistants`), or this call alone"
    " (`POST /v1/organizations/{org_id}/calls`), whose ids `GET /v1/calls/{call_id}` shows. It then"
    " settles by itself.",
    CallState.UNKNOWN_DURATION: "Look the call up in Vapi's dashboard. Reprocess once Vapi shows"
    " when it started and ended; or charge the length that is said, or another"
    " (`POST /v1/calls/{call_id}/length`); discard it if it never took place.",
    CallState.NO_TARIFF: "Add a tariff that was in effect when the call started"
    " (`POST /v1/tariffs`; for a message `POST /v1/sms-tariffs`, a price of its `channel` for where"
    " and when it was sent). It then settles by itself.",
    MessageState.UNKNOWN_SENDER: "Register the number or Messaging Service that sends to its"
    " organisation (`POST /v1/organizations/{org_id}/senders`); it then settles by itself.",
    MessageState.UNKNOWN_CHANNEL: "There is no price for such messages here. If the customer is to"
    " pay for it, take that by an adjustment (`POST /v1/organizations/{org_id}/adjustments`). Then"
    " discard it.",
    MessageState.UNKNOWN_SEGMENTS: "Look the message up in Twilio's console. It is asked for again"
    " by itself; discard it if it was never sent.",
    "message_missing": "Check that `TWILIO_AUTH_TOKENS` has the account that sent the message. It"
    " is asked for again by itself, ever more slowly; discard it if it was deleted at Twilio.",
    "call_not_ended": "Nothing to do: Vapi is asked again, ever more slowly.",
    "call_missing": "Check that the Vapi API key is of the account that made the call. It is asked"
    " for again by itself, ever more slowly; discard it if the call was deleted.",
    "listing_stuck": "Reconcile the time before and after that instant by hand"
    " (`callwallet reconcile vapi --from … --to …`), look the calls of the instant up in Vapi's"
    " dashboard, then discard this run.",
    "payment_missing": "Check that the Stripe API key is of the account (and mode, live or test)"
    " that sent the event. It is asked for again by itself, ever more slowly; discard it if the"
    " payment is not ours.",
    KeyRefused.code: "Is `STRIPE_API_KEY` revoked or mistyped, or does a restricted key lack a"
    " permission? Make another in Stripe's dashboard, set it, restart the workers. It is tried"
    " again by itself; reprocess to have it now.",
    Mismatch.UNKNOWN_ORGANIZATION: "Create the organisation or correct the payment's metadata in"
    " Stripe, then reprocess; or refund the payment in Stripe and discard.",
    Mismatch.ORGANIZATION_MISMATCH: "The payment and its checkout session name two organisations."
    " Correct the payment's metadata in Stripe, then reprocess.",
    Mismatch.CUSTOMER_MISMATCH: "Find out in Stripe whose payment it is: its customer is not the"
    " organisation's. Correct `org_id` in its metadata there, then reprocess; or refund it there"
    " and discard. If it is theirs after all, discard it, which is for good, and credit it by hand"
    " (`POST /v1/organizations/{org_id}/adjustments`).",
    Mismatch.CURRENCY_MISMATCH: "The wallet is in another currency. Refund the payment in Stripe,"
    " then discard.",
    Mismatch.AMOUNT_MISMATCH: "The card was asked for another amount than the platform meant, or"
    " paid more. Correct `amount_minor` in the payment's metadata in Stripe, then reprocess; or"
    " refund it there and discard.",
    Mismatch.DISPUTE_CURRENCY_MISMATCH: "Work out in the wallet's currency what the dispute took"
    " and gave back, settle that with the customer, then discard.",
    APPROVAL: "Look into it, then decide with another operator's key than the one that asked:"
    " `POST /v1/adjustments/{adjustment_id}/approve`, or `…/reject`.",
    HoldReason.CARD_DECLINED: "Nothing: it charges the card again by itself when the time above has"
    " come. Another card (a checkout with `save_card`), or a top-up by the customer, ends the wait;"
    " `reprocess` charges now.",
    HoldReason.RECHARGE_SUSPENDED: "Ask the customer for another card, by a checkout with"
    " `save_card`, or for a top-up by checkout: either resumes it. Reprocess if the card is known"
    " to work again: it is charged now.",
    HoldReason.REQUIRES_ACTION: "Send the customer the link in"
    " `GET /v1/organizations/{org_id}/auto-recharge`. If nobody pays there until the time above,"
    " it is withdrawn, and the card is charged no more.",
    HoldReason.RECHARGE_CAPPED: "Nothing: it goes on by itself when the day or month is over. Or"
    " raise the cap (`PUT /v1/organizations/{org_id}/auto-recharge`).",
    HoldReason.RECHARGE_ABOVE_CAP: "Is so much plausible? Reprocess charges it, this once, and no"
    " more than is shown above. Or raise the caps of this organisation's card"
    " (`PUT /v1/organizations/{org_id}/auto-recharge/caps`), or have the customer top up by"
    " checkout.",
    HoldReason.DISPUTE_OPEN: "Answer the dispute in Stripe. It goes on by itself when the dispute"
    " is won or lost; meanwhile the customer can top up by checkout.",
    HoldReason.ORGANIZATION_FROZEN: "Nothing, while the organisation is to start no calls. It goes"
    " on by itself when calls are allowed again (`DELETE /v1/organizations/{org_id}/frozen`).",
    HoldReason.NO_SAVED_CARD: "Ask the customer to top up by checkout and to save the card there;"
    " it goes on by itself when the payment arrives.",
    FAULT: "It is tried again by itself, ever more slowly. Reprocess once the cause is mended.",
}
_WHY_MESSAGE_WAITS = {
    MessageState.UNKNOWN_SENDER: "Nobody has registered what sent it, or its Messaging Service.",
    MessageState.UNKNOWN_CHANNEL: "It went neither as SMS or MMS, nor over WhatsApp or RCS.",
    MessageState.UNKNOWN_SEGMENTS: "Twilio has sent it, and does not say in how many segments.",
    MessageState.NO_TARIFF: "There was no price of its channel for where and when it was sent, or"
    " one by which it costs more than anything can.",
}
_ADVICE_FOR_OTHERS = "Mend the cause named above, then reprocess; or discard."


@dataclass(frozen=True, slots=True)
class Parked:
    """Why a workflow waits, and `until` when, if it knows.

    `at_risk` is the money that is not where it should be, if that is known.
    """

    reason: str
    happened: str
    org_id: str | None = None
    at_risk: Money | None = None
    until: datetime | None = None

    @property
    def heals(self) -> bool:
        """Whether it makes sense to try again although nobody has done anything."""
        return self.reason in _HEALING

    @property
    def advice(self) -> str:
        """What a person can do."""
        return _ADVICE.get(self.reason, _ADVICE_FOR_OTHERS)

    @property
    def signals(self) -> tuple[str, str]:
        """The two signals between which a person can decide."""
        return ("approve", "reject") if self.reason == APPROVAL else ("reprocess", "discard")

    @property
    def decision(self) -> str:
        """What the signals are for."""
        if self.reason == APPROVAL:
            return "To decide here instead (it is recorded, and told, that no key was shown):"
        return "To try again now, or give it up:"


def is_refusal(code: str, *, is_final: bool) -> bool:
    """Return whether a step that failed had an answer of no, and no fault.

    So it is also where a provider was asked a few times for what it does not know.
    """
    return bool(code) and (is_final or code in MISSING)


def heal_after(attempt: int) -> timedelta:
    """Return how long to wait before the n-th try (from 0) of its own, doubling up to an hour."""
    doublings = min(attempt, 10)
    return min(FIRST_HEAL * (1 << doublings), LONGEST_HEAL)


def patience(parked: Parked, attempt: int, now: datetime) -> timedelta | None:
    """Return how long to wait before looking again after the n-th try (from 0); None: for ever."""
    if parked.until is not None:
        return max(parked.until - now, timedelta(0))
    return heal_after(attempt) if parked.heals else None


def parked_call(bill: CallBill) -> Parked:
    """Explain a call that could not be settled."""
    return Parked(
        reason=bill.state,
        happened=_what_happened(bill),
        org_id=bill.org_id,
        at_risk=_at_risk(bill),
    )


def _at_risk(bill: CallBill) -> Money | None:
    """Return what the wallet was refused for, or else what the call costs, as far as is known."""
    refused = bill.posting.refused_amount if bill.posting else None
    return refused or (bill.charge.amount if bill.charge else None)


def parked_message(bill: MessageBill) -> Parked:
    """Explain a message that could not be settled."""
    return Parked(
        reason=bill.state,
        happened=_WHY_MESSAGE_WAITS.get(bill.state) or _message_over_the_limit(bill),
        org_id=bill.org_id,
        at_risk=bill.charge.amount if bill.charge else None,
    )


def parked_payment(settlement: Settlement, problem: Mismatch) -> Parked:
    """Explain a payment that should be ours and does not fit."""
    return Parked(
        reason=problem,
        happened=_what_does_not_fit(settlement, problem),
        org_id=settlement.org_id,
        at_risk=received(settlement.payment),
    )


def describe(parked: Parked, workflow_id: str, since: datetime, namespace: str) -> str:
    """Write the page that an operator sees in the Temporal UI, in Markdown.

    The UI gives it half of its width. A command in a code block would run out of sight. In a line
    of text it wraps, and can still be copied whole. What others have written stays text.
    """
    one, other = parked.signals
    whose = f"--namespace {shlex.quote(namespace)} --workflow-id {shlex.quote(workflow_id)}"
    command = f"temporal workflow signal {whose}"
    return "\n".join(
        (
            f"## Parked: {parked.reason}",
            f"**What happened.** {inert(parked.happened)}",
            "",
            f"**Organisation:** {inert(parked.org_id or 'unknown')} · "
            f"**Money at risk:** {parked.at_risk or 'unknown'}",
            f"**Since:** {since:%Y-%m-%d %H:%M:%S} UTC" + _until(parked),
            "",
            f"**What to do.** {parked.advice}",
            "",
            f"**{parked.decision}** *More Actions*, *Send a Signal*, `{one}` or `{other}`, and as"
            " data, in quotes, who you are and why. The same in a shell:",
            "",
            code(f"{command} --name {one} --input '\"your name: why\"'"),
            code(f"{command} --name {other} --input '\"your name: why\"'"),
        )
    )


def _until(parked: Parked) -> str:
    if parked.until is None:
        return ""
    return f" · **Until:** {parked.until:%Y-%m-%d %H:%M:%S} UTC"


def _what_happened(bill: CallBill) -> str:
    match bill.state:
        case CallState.DEBT_LIMIT:
            return _over_the_limit(bill)
        case CallState.UNKNOWN_ASSISTANT:
            return "No organisation has registered what the call came over, or the call itself."
        case CallState.UNKNOWN_DURATION:
            return bill.unknown or "Nobody says how long the call took."
        case CallState.NO_TARIFF:
            return "No tariff was in effect then, or one by which it costs more than anything can."
        case CallState.SETTLED | CallState.DISCARDED:
            return "Nothing: the call is done with."
    assert_never(bill.state)


def _what_does_not_fit(settlement: Settlement, problem: Mismatch) -> str:
    payment, credit = settlement.payment, settlement.credit
    if problem is Mismatch.DISPUTE_CURRENCY_MISMATCH:
        return (
            f"A dispute of {payment.payment_id} has moved money in another currency than that of"
            f" the wallet of {settlement.org_id}. All else that is due was posted; this was not."
        )
    held = (
        f"Stripe holds {payment.received_minor} minor units of {payment.currency.upper()} from"
        f" {payment.payment_id} for {payment.owner}; {payment.expected_minor} were asked for."
    )
    if credit is not None:
        return (
            f"{held} {credit.amount} were credited to {credit.org_id} before, in another currency."
            " Nothing that goes back was posted."
        )
    payer = f" Its customer is {payment.customer_id}, who is not that organisation."
    return f"{held} Nothing was credited.{payer if problem is Mismatch.CUSTOMER_MISMATCH else ''}"


def _message_over_the_limit(bill: MessageBill) -> str:
    if bill.posting is None or bill.charge is None:
        raise ValueError(f"message {bill.sid} is {bill.state}, and waits for nothing")
    return _cannot_pay(f"this message ({bill.charge.note})", bill.posting)


def _over_the_limit(bill: CallBill) -> str:
    if bill.posting is None or bill.charge is None:
        raise ValueError(f"call {bill.call_id} is said to be refused, without a refusal")
    return _cannot_pay(f"this call ({bill.charge.explain()})", bill.posting)


def _cannot_pay(what: str, posting: Posting) -> str:
    if posting.refusal is None:
        raise ValueError(f"{what} was not refused")
    return (
        f"The wallet cannot pay {what}: its balance of"
        f" {posting.balance_before} would become {posting.refusal.would_be},"
        f" {posting.refusal.over_by} below the debt limit. Nothing was charged."
    )
