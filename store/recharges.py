"""Auto-recharge: settings, attempts to charge a card, and which disputes are open."""

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.attempt import UNDER_WAY, Attempt, AttemptState, Card
from billing.call import CallState
from billing.ledger import payment_credit_key
from billing.message import MessageState
from billing.money import Currency, Money
from billing.recharge import HISTORY, RechargeSettings, Standing, Suspension, recharge_below
from billing.wallet import Wallet
from store import ledger
from store.schema import calls, disputes, messages
from store.schema import recharge_attempts as table
from store.schema import recharge_settings as settings_table
from store.schema import wallets as wallets_table

_SETTINGS = tuple(RechargeSettings.__dataclass_fields__)
_NOT_OVER = table.c.state.in_([str(state) for state in UNDER_WAY])


async def configure(connection: AsyncConnection, org_id: str, wanted: RechargeSettings) -> None:
    """Keep what an organisation wants, and put its threshold on the wallet, for charges to read."""
    values = asdict(wanted)
    await connection.execute(
        insert(settings_table)
        .values(org_id=org_id, **values)
        .on_conflict_do_update(index_elements=["org_id"], set_={**values, "updated_at": func.now()})
    )
    await connection.execute(
        update(wallets_table)
        .where(wallets_table.c.org_id == org_id)
        .values(recharge_below_minor=recharge_below(wanted))
    )


async def standing(
    connection: AsyncConnection, wallet: Wallet, now: datetime, fingerprint: str | None = None
) -> Standing:
    """Read all that a decision about an organisation is made of; its wallet should be locked.

    With a card's `fingerprint`, that card's declines elsewhere are read too.
    """
    org_id = wallet.org_id
    found = await connection.execute(
        select(settings_table).where(settings_table.c.org_id == org_id)
    )
    row = found.one_or_none()
    of_calls = select(func.coalesce(func.sum(calls.c.amount_minor), 0)).where(
        calls.c.org_id == org_id, calls.c.state == CallState.DEBT_LIMIT
    )
    of_messages = select(func.coalesce(func.sum(messages.c.amount_minor), 0)).where(
        messages.c.org_id == org_id, messages.c.state == MessageState.DEBT_LIMIT
    )
    waiting = select(of_calls.scalar_subquery() + of_messages.scalar_subquery())
    is_open = select(disputes.c.dispute_id).where(disputes.c.org_id == org_id, disputes.c.is_open)
    return Standing(
        wallet=wallet,
        settings=_settings(row) if row else RechargeSettings(),
        waiting_minor=int(await connection.scalar(waiting) or 0),
        attempts=await _attempts(connection, org_id, now - HISTORY, fingerprint),
        suspension=_suspension(row) if row else None,
        lifted_number=row.lifted_number if row else 0,
        is_disputed=await connection.scalar(is_open.limit(1)) is not None,
    )


async def write_down(
    connection: AsyncConnection, org_id: str, amount: Money, card: Card, now: datetime
) -> Attempt:
    """Write an attempt down under the next number; the wallet must be locked."""
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
    """Change an attempt that is under way; None when it was over already."""
    changed = await connection.execute(
        update(table)
        .where(table.c.attempt_id == attempt_id, _NOT_OVER)
        .values(**values)
        .returning(*table.c)
    )
    row = changed.one_or_none()
    return _attempt(row) if row else None


async def suspend(connection: AsyncConnection, org_id: str, suspension: Suspension) -> None:
    """Keep why a card is charged no more."""
    await connection.execute(
        update(settings_table)
        .where(settings_table.c.org_id == org_id)
        .values(
            suspended_code=suspension.code,
            suspended_at=suspension.since,
            suspended_card=suspension.fingerprint,
        )
    )


async def lift(connection: AsyncConnection, org_id: str) -> None:
    """End a suspension, and forgive the declines so far."""
    await connection.execute(
        update(settings_table)
        .where(settings_table.c.org_id == org_id)
        .values(
            lifted_number=settings_table.c.last_number,
            suspended_code=None,
            suspended_at=None,
            suspended_card=None,
        )
    )


async def note_dispute(
    connection: AsyncConnection, org_id: str, payment_id: str, dispute_id: str, *, is_open: bool
) -> None:
    """Keep whether a dispute is open: the ledger cannot say it, for a lost one posts nothing."""
    values = {"is_open": is_open, "updated_at": func.now()}
    await connection.execute(
        insert(disputes)
        .values(dispute_id=dispute_id, org_id=org_id, payment_id=payment_id, is_open=is_open)
        .on_conflict_do_update(index_elements=["dispute_id"], set_=values)
    )


async def _attempts(
    connection: AsyncConnection, org_id: str, since: datetime, fingerprint: str | None
) -> tuple[Attempt, ...]:
    """Read the attempts since a time and those under way, oldest first."""
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
    return tuple(_attempt(row, is_credited=keys.get(row.payment_id) in credited) for row in rows)


def _settings(row: Any) -> RechargeSettings:
    return RechargeSettings(**{name: getattr(row, name) for name in _SETTINGS})


def _suspension(row: Any) -> Suspension | None:
    if row.suspended_code is None:
        return None
    return Suspension(row.suspended_code, row.suspended_at, row.suspended_card)


def _attempt(row: Any, *, is_credited: bool = False) -> Attempt:
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
    )
