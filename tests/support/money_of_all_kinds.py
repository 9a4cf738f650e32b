"""Make an organisation that has every kind of movement of money, and whose ledger agrees."""

import json
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from stripe import StripeClient
from temporalio.testing import ActivityEnvironment

from activities.adjustments import AdjustmentActivities, AdjustmentOpening, Ruling
from activities.payments.payments import FetchedPayment, PaymentActivities
from activities.payments.stripe import read_payment
from api.webhooks.stripe import event_from
from billing.adjustments import ApprovalVerdict, Decision, Direction
from billing.inbox.webhook_event import Drain, EventStatus
from billing.ledger.money import Currency, Money
from billing.messages.message import MessageFacts, MessageStatus, SeenMessage
from billing.platform_rules import PlatformRules
from billing.recharges.attempt import AttemptState, Card
from billing.recharges.history import RechargeSettings
from devstack.providers.twilio.messages import ACCOUNT_SID
from store.calls import calls
from store.inbox import inbox
from store.ledger import wallets
from store.messages import messages
from store.payments import payments
from store.recharges import recharge_settings, recharges
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_assistant,
    an_organization,
    as_api,
    ended_call,
    unique,
)
from tests.support.inbox_events import accept, report_of
from tests.support.proposals import BOB, proposed
from tests.support.stand_ins import StripeStandIn

# Make everything old: the audit leaves alone what has been handled only lately.
_AGED = (
    "UPDATE webhook_events SET handled_at = now() - interval '3 days' WHERE status = 'handled'",
    "UPDATE recharge_attempts SET written_at = now() - interval '3 days'",
    "UPDATE disputes SET updated_at = now() - interval '3 days'",
)


@dataclass(frozen=True)
class Books:
    """An organisation and the ids of what happened to it, by name."""

    engine: AsyncEngine
    org_id: str
    names: dict[str, str]


async def all_kinds(engine: AsyncEngine, stripe: StripeStandIn, client: StripeClient) -> Books:
    org_id = await an_organization(engine)
    names = {"org_id": org_id}
    before = await stripe.make_event()
    names |= await _pays(stripe, org_id) | await _is_recharged(engine, stripe, org_id)
    await _settles(engine, stripe, client, before, {names["given_up"]})
    async with engine.begin() as connection:
        await payments.discard(connection, names["given_up"], "Bob: it was a test")
    names |= await _calls(engine, org_id) | await _texts(engine, org_id)
    names |= await _is_given_and_taken(engine, org_id)
    async with engine.begin() as connection:
        for statement in _AGED:
            await connection.execute(text(statement))
    return Books(engine, org_id, names)


async def _pays(stripe: StripeStandIn, org_id: str) -> dict[str, str]:
    """Make payments, with refunds in part, in full and failed, and disputes won, lost and open."""
    paid = {name: await stripe.payment(org_id, 2500) for name in (
        "refunded_in_part", "refunded", "refund_failed", "won", "lost", "disputed", "given_up",
    )}  # fmt: skip
    paid["by_checkout"] = await stripe.checkout(org_id, 2500, type="wallet_topup", org_id=org_id)
    paid["captured"] = await stripe.payment(org_id, 2500, capture="manual")
    await stripe.capture(paid["captured"], 1000)
    refunds = {
        "part": await stripe.refund(paid["refunded_in_part"], amount=900),
        "whole": await stripe.refund(paid["refunded"]),
        "failed": await stripe.refund(paid["refund_failed"], amount=700, status="pending"),
    }
    await stripe.refund_becomes(refunds["failed"], "failed")
    disputes = {
        f"dispute_{name}": await stripe.dispute(paid[name]) for name in ("won", "lost", "disputed")
    }
    await stripe.dispute_becomes(disputes["dispute_won"], "won")
    await stripe.dispute_becomes(disputes["dispute_lost"], "lost")
    await _pays_what_is_not_credited(stripe, org_id)
    return paid | refunds | disputes


async def _pays_what_is_not_credited(stripe: StripeStandIn, org_id: str) -> None:
    """Make payments for another product, of no organisation, and ones that park as a mismatch."""
    await stripe.payment(org_id, 2500, type="subscription")
    await stripe.payment(None, 2500, type="")
    await stripe.payment("nobody", 2500)
    await stripe.payment(org_id, 2500, amount_minor="2400")
    await stripe.payment(org_id, 2500, currency="usd")


async def _is_recharged(engine: AsyncEngine, stripe: StripeStandIn, org_id: str) -> dict[str, str]:
    payment_id = await stripe.payment(org_id, 5000, type="wallet_auto_recharge")
    written = []
    for state, paid in ((AttemptState.SUCCEEDED, payment_id), (AttemptState.DECLINED, None)):
        async with engine.begin() as connection:
            await recharge_settings.configure(connection, org_id, RechargeSettings(enabled=True))
            await wallets.lock(connection, [org_id])
            card, fifty = Card(unique("cus"), "pm", unique("f")), Money(5000, Currency.GBP)
            attempt = await recharges.write_down(connection, org_id, fifty, card, NOON)
            await recharges.change(connection, attempt.attempt_id, state=state, payment_id=paid)
        written.append(attempt.attempt_id)
    return {"recharge": payment_id, "attempt": written[0], "declined": written[1]}


async def _settles(
    engine: AsyncEngine,
    stripe: StripeStandIn,
    client: StripeClient,
    before: str,
    given_up: set[str],
) -> None:
    """Let every event have its effect, as a payment's process does."""
    made = await stripe.events_after(before)
    events = [event_from(json.dumps(event).encode()) for event in made]
    async with engine.begin() as connection:
        await inbox.accept(connection, events)
    waiting = [one for one in events if one.status is EventStatus.WAITING]
    activities = PaymentActivities(engine, PlatformRules())
    for payment_id in dict.fromkeys(one.subject for one in waiting):
        keys = tuple(one.key for one in waiting if one.subject == payment_id)
        if payment_id in given_up:
            await ActivityEnvironment().run(activities.take_over, keys)
        else:
            fetched = FetchedPayment(await read_payment(client, payment_id), keys)
            await ActivityEnvironment().run(activities.settle_payment, fetched)


async def _calls(engine: AsyncEngine, org_id: str) -> dict[str, str]:
    assistant = await an_assistant(engine, org_id)
    plain, longer, reported = (ended_call(assistant, 60) for _ in range(3))
    await accept(engine, report_of(reported))
    later = NOON + timedelta(seconds=30)
    for billed in (plain, longer, reported, as_api(replace(longer, ended_at=later))):
        async with engine.begin() as connection:
            await calls.charge(connection, [billed])
    async with engine.begin() as connection:
        due = await inbox.take_due(connection, Drain.INBOX, 10)
        await inbox.handled(connection, [one.event_id for one in due])
    return {"call": plain.call_id, "corrected": longer.call_id, "reported": reported.call_id}


async def _texts(engine: AsyncEngine, org_id: str) -> dict[str, str]:
    sender, sent, lost = await a_sender(engine, org_id), a_sid(), a_sid()
    facts = MessageFacts(NOON, 2, "447700", sender, None)
    for sid, status in ((sent, "sent"), (sent, "delivered"), (lost, "sent"), (lost, "failed")):
        async with engine.begin() as connection:
            seen = SeenMessage(sid, ACCOUNT_SID, MessageStatus(status))
            await messages.observe(connection, [seen])
            await messages.keep_facts(connection, {sid: facts})
            await messages.settle(connection, [sid], reverse_undelivered=True)
    return {"sent": sent, "lost_message": lost}


async def _is_given_and_taken(engine: AsyncEngine, org_id: str) -> dict[str, str]:
    given = proposed(org_id, 500, needs_approval=False)
    taken = replace(proposed(org_id, 300), direction=Direction.DEBIT)
    rejected = proposed(org_id, 700)
    said = [
        None,
        *(
            Decision(one, BOB, "so", NOON)
            for one in (ApprovalVerdict.APPROVED, ApprovalVerdict.REJECTED)
        ),
    ]
    activities = AdjustmentActivities(engine)
    for proposal, decision in zip((given, taken, rejected), said, strict=True):
        await activities.open_adjustment(
            AdjustmentOpening(proposal, NOON, NOON + timedelta(days=7))
        )
        await activities.settle_adjustment(Ruling(proposal.adjustment_id, NOON, decision))
    return {
        "given": given.adjustment_id,
        "taken": taken.adjustment_id,
        "rejected": rejected.adjustment_id,
    }
