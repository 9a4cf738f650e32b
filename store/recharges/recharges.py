"""Attempts to charge a saved card, and all that a decision about one needs."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState
from billing.ledger.entry import Entry, EntryKind, payment_credit_key
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.messages.message import MessageState
from billing.payments.payment import AskedFor
from billing.recharges.attempt import UNDER_WAY, Attempt, AttemptState, Card
from billing.recharges.history import (
    HISTORY,
    Caps,
    RechargeHistory,
    RechargeSettings,
    gap_of_returns,
)
from store.ledger import ledger
from store.recharges import recharge_settings
from store.schema import calls, discarded_payments, disputes, freezes, messages
from store.schema import recharge_attempts as table
from store.schema import recharge_settings as settings_table

# The condition of the unique index that lets an organisation have one attempt under way.
_NOT_OVER = table.c.state.in_([str(state) for state in UNDER_WAY])


async def history(
    connection: AsyncConnection, wallet: Wallet, now: datetime, fingerprint: str | None = None
) -> RechargeHistory:
    """Read everything that a decision about an organisation needs; its wallet should be locked.

    With a card's `fingerprint`, the attempts at that card elsewhere are read too.
    """
    org_id = wallet.org_id
    found = await connection.execute(
        select(settings_table).where(settings_table.c.org_id == org_id)
    )
    row = found.one_or_none()
    of_calls = select(
        func.coalesce(func.sum(func.coalesce(calls.c.waiting_minor, calls.c.amount_minor)), 0)
    ).where(calls.c.org_id == org_id, calls.c.state == CallState.DEBT_LIMIT)
    of_messages = select(func.coalesce(func.sum(messages.c.amount_minor), 0)).where(
        messages.c.org_id == org_id, messages.c.state == MessageState.DEBT_LIMIT
    )
    waiting = select(of_calls.scalar_subquery() + of_messages.scalar_subquery())
    is_open = select(disputes.c.dispute_id).where(disputes.c.org_id == org_id, disputes.c.is_open)
    in_force = select(freezes.c.freeze_id).where(
        freezes.c.org_id == org_id, freezes.c.thawed_at.is_(None)
    )
    settings = recharge_settings.of(row) if row else RechargeSettings()
    return RechargeHistory(
        wallet=wallet,
        settings=settings,
        waiting_minor=int(await connection.scalar(waiting) or 0),
        attempts=await _attempts(connection, org_id, now - HISTORY, fingerprint),
        suspension=recharge_settings.suspension_in(row) if row else None,
        lifted_number=row.lifted_number if row else 0,
        is_disputed=await connection.scalar(is_open.limit(1)) is not None,
        is_frozen=await connection.scalar(in_force) is not None,
        returned_minor=await _returned(connection, wallet, settings.threshold_minor),
        kept=Caps(row.kept_charge_minor or 0, row.kept_day_minor or 0) if row else Caps(),
        set_caps=await recharge_settings.said_caps(connection, org_id),
    )


async def write_down(
    connection: AsyncConnection, org_id: str, amount: Money, card: Card, now: datetime
) -> Attempt:
    """Record an attempt under the next number; the wallet must be locked.

    The unique index refuses a second attempt while one is under way.
    """
    number = await connection.scalar(
        update(settings_table)
        .where(settings_table.c.org_id == org_id)
        .values(last_number=settings_table.c.last_number + 1)
        .returning(settings_table.c.last_number)
    )
    made = await connection.execute(
        insert(table)
        .values(
            attempt_id=f"recharge-{org_id}-{number}",
            org_id=org_id,
            number=number,
            state=AttemptState.OPEN,
            amount_minor=amount.amount_minor,
            currency=amount.currency,
            customer_id=card.customer_id,
            payment_method_id=card.payment_method_id,
            card_fingerprint=card.fingerprint,
            created_at=now,
        )
        .returning(*table.c)
    )
    return _attempt(made.one())


async def change(connection: AsyncConnection, attempt_id: str, **values: object) -> Attempt | None:
    """Change an attempt that is under way; return None if it was over already."""
    changed = await connection.execute(
        update(table)
        .where(table.c.attempt_id == attempt_id, _NOT_OVER)
        .values(**values)
        .returning(*table.c)
    )
    row = changed.one_or_none()
    return _attempt(row) if row else None


async def asked_for(
    connection: AsyncConnection, payment_id: str, attempt_id: str | None, customer_id: str | None
) -> AskedFor | None:
    """Read what was written down of a charge before Stripe made this payment; None if nothing was.

    Until the payment is recorded with its attempt, only Stripe's metadata say which that is. They
    are believed if the payer is the customer whose card was to be charged.
    """
    by_metadata = and_(table.c.attempt_id == attempt_id, table.c.customer_id == customer_id)
    found = await connection.execute(
        select(table)
        .where(or_(table.c.payment_id == payment_id, by_metadata))
        .order_by((table.c.payment_id == payment_id).desc().nulls_last())
        .limit(1)
    )
    row = found.one_or_none()
    if row is None:
        return None
    return AskedFor(row.org_id, Money(row.amount_minor, Currency(row.currency)), row.customer_id)


async def asked_of(
    connection: AsyncConnection, made: Collection[tuple[str, str | None, str | None]]
) -> dict[str, str]:
    """Read for whom payments were asked, by their ids, as `asked_for` does; leave out others.

    Of each are given its id, the attempt that its metadata name, and its customer.
    """
    recorded = table.c.payment_id == func.any([payment_id for payment_id, _, _ in made])
    named = table.c.attempt_id == func.any([attempt_id for _, attempt_id, _ in made if attempt_id])
    rows = (await connection.execute(select(table).where(or_(recorded, named)))).all()
    by_metadata = {(row.attempt_id, row.customer_id): row.org_id for row in rows}
    by_payment = {row.payment_id: row.org_id for row in rows if row.payment_id}
    found = {
        payment_id: by_payment.get(payment_id) or by_metadata.get((attempt_id, customer_id))
        for payment_id, attempt_id, customer_id in made
    }
    return {payment_id: org_id for payment_id, org_id in found.items() if org_id is not None}


async def _attempts(
    connection: AsyncConnection, org_id: str, since: datetime, fingerprint: str | None
) -> tuple[Attempt, ...]:
    """Read the attempts since a time and those under way, oldest first.

    With a card's fingerprint, other organisations' attempts at that card since then are among them.
    """
    own = and_(table.c.org_id == org_id, or_(table.c.created_at >= since, _NOT_OVER))
    same_card = and_(table.c.card_fingerprint == fingerprint, table.c.created_at >= since)
    query = (
        select(table)
        .where(own if fingerprint is None else or_(own, same_card))
        .order_by(table.c.created_at, table.c.number)
    )
    rows = (await connection.execute(query)).all()
    keys = {row.payment_id: payment_credit_key(row.payment_id) for row in rows if row.payment_id}
    credited = await ledger.by_keys(connection, keys.values()) if keys else {}
    given_up = await _given_up(connection, keys)
    return tuple(
        _attempt(
            row,
            is_credited=keys.get(row.payment_id) in credited,
            is_given_up=row.payment_id in given_up,
        )
        for row in rows
    )


async def _returned(connection: AsyncConnection, wallet: Wallet, threshold_minor: int) -> int:
    """Read how far refunds and disputes hold a wallet below its threshold, by its last entries."""
    if wallet.balance_minor >= threshold_minor:
        return 0
    last = await ledger.last_below(connection, wallet.org_id, threshold_minor)
    paid = [one.key[len("payment:") : -len(":credit")] for one in last if _is_topup(one)]
    query = select(table.c.payment_id).where(table.c.payment_id == func.any(paid))
    recharged = set(await connection.scalars(query)) if paid else set[str]()
    return gap_of_returns(reversed(last), threshold_minor, set(map(payment_credit_key, recharged)))


def _is_topup(entry: Entry) -> bool:
    return entry.kind is EntryKind.TOPUP and entry.key.startswith("payment:")


async def _given_up(connection: AsyncConnection, payment_ids: Collection[str]) -> set[str]:
    """Return those of these payments that a person has discarded."""
    query = select(discarded_payments.c.payment_id).where(
        discarded_payments.c.payment_id == func.any(list(payment_ids))
    )
    return set(await connection.scalars(query))


def _attempt(row: Any, *, is_credited: bool = False, is_given_up: bool = False) -> Attempt:
    return Attempt(
        attempt_id=row.attempt_id,
        org_id=row.org_id,
        number=row.number,
        amount=Money(row.amount_minor, Currency(row.currency)),
        card=Card(row.customer_id, row.payment_method_id, row.card_fingerprint),
        created_at=row.created_at,
        written_at=row.written_at,
        state=AttemptState(row.state),
        payment_id=row.payment_id,
        code=row.code,
        link=row.link,
        session_id=row.session_id,
        deadline=row.deadline,
        is_credited=is_credited,
        is_given_up=is_given_up,
        sent_at=row.sent_at,
    )
