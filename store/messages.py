"""Messages: merge what is heard of them, charge them in sets, and keep what became of each."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger import Posting, message_key, reversal_key
from billing.message import (
    Message,
    MessageBill,
    MessageFacts,
    MessageRef,
    MessageState,
    MessageStatus,
    SeenMessage,
    highest,
    message_workflow_id,
)
from billing.message_bill import Plan, Posted, billed, plan
from billing.wallet import Wallet
from store import ledger, senders, sms_tariffs, wallets
from store.rowset import rowset
from store.schema import agents
from store.schema import messages as table

_SEEN = ("sid", "account_sid", "status", "status_rank", "error_code", "state", "workflow_id")
_FACTS = ("sent_at", "segments", "destination", "sender", "service_sid")
_KEPT = ("org_id", "amount_minor", "currency", "sms_tariff_id")
_BILLED = (*_KEPT, "state", "note", "workflow_id")

# A message that no workflow watches is given one if its end is not known by then.
UNWATCHED_SECONDS = 600.0

_seen = rowset(table.c[name] for name in _SEEN)
# Nobody watches it yet; the first step of a workflow of its own takes the time away.
_UNWATCHED = func.now() + func.make_interval(0, 0, 0, 0, 0, 0, UNWATCHED_SECONDS)
_new = insert(table).from_select([*_seen.c.keys(), "watch_at"], select(_seen, _UNWATCHED))
# A status never steps back, and nobody moves a message of somebody else's account.
_OBSERVE = _new.on_conflict_do_update(
    index_elements=["sid"],
    set_={
        "status": _new.excluded.status,
        "status_rank": _new.excluded.status_rank,
        "error_code": func.coalesce(_new.excluded.error_code, table.c.error_code),
        "updated_at": func.now(),
    },
    where=and_(
        _new.excluded.account_sid == table.c.account_sid,
        or_(
            _new.excluded.status_rank > table.c.status_rank,
            and_(
                _new.excluded.status_rank == table.c.status_rank,
                _new.excluded.error_code.is_not(None),
                table.c.error_code.is_(None),
            ),
        ),
    ),
)

_facts = rowset(table.c[name] for name in ("sid", *_FACTS))
_KEEP_FACTS = (
    update(table)
    .where(table.c.sid == _facts.c.sid)
    .values({name: _facts.c[name] for name in _FACTS})
)

# What a message cost stays on record when it is given back.
_bills = rowset(table.c[name] for name in ("sid", *_BILLED))
_RECORD = (
    update(table)
    .where(table.c.sid == _bills.c.sid)
    .values({name: func.coalesce(_bills.c[name], table.c[name]) for name in _BILLED})
    .values(
        updated_at=case((table.c.state != _bills.c.state, func.now()), else_=table.c.updated_at)
    )
)


async def observe(connection: AsyncConnection, seen: Sequence[SeenMessage]) -> None:
    """Merge statuses: the highest of each message stays, whatever order they come in."""
    rows = [
        {
            "sid": one.sid,
            "account_sid": one.account_sid,
            "status": one.status,
            "status_rank": one.status.rank,
            "error_code": one.error_code,
            "state": MessageState.PENDING,
            "workflow_id": message_workflow_id(one.sid),
        }
        for one in highest(seen)
    ]
    if rows:
        await connection.execute(_OBSERVE, {"rows": rows})


async def keep_facts(connection: AsyncConnection, facts: Mapping[str, MessageFacts]) -> None:
    """Keep what Twilio's API says of messages, by their ids."""
    rows = [
        {"sid": sid, **{name: getattr(one, name) for name in _FACTS}}
        for sid, one in sorted(facts.items())
    ]
    if rows:
        await connection.execute(_KEEP_FACTS, {"rows": rows})


async def without_facts(connection: AsyncConnection, sids: Collection[str]) -> list[MessageRef]:
    """Of these messages, those that have got somewhere and of which Twilio was not asked yet."""
    query = select(table.c.sid, table.c.account_sid).where(
        table.c.sid == func.any(list(sids)),
        table.c.status_rank >= MessageStatus.SENT.rank,
        or_(table.c.sent_at.is_(None), table.c.state == MessageState.UNKNOWN_SEGMENTS),
    )
    return [MessageRef(row.sid, row.account_sid) for row in await connection.execute(query)]


async def settle(
    connection: AsyncConnection,
    sids: Sequence[str],
    *,
    reverse_undelivered: bool,
    settled_by: str | None = None,
) -> list[MessageBill]:
    """Post what is due for any number of messages, one after another; answers in the same order.

    In the caller's transaction: locks the messages and then the wallets, each in id order, decides
    each message by its highest status and the ledger, posts, and records where it now stands.
    `settled_by` names the workflow if it is another than the message's own.
    """
    known = await _locked(connection, sids)
    posted = await _posted(connection, sids)
    owners = await senders.owners(connection, known.values())
    payers = owners | {sid: one.charge.org_id for sid, one in posted.items() if one.charge}
    locked = await wallets.lock(connection, set(payers.values()))
    prices = await sms_tariffs.for_organizations(connection, set(payers.values()))
    purses = {sid: locked.get(payers.get(sid, "")) for sid in sids}
    plans = {
        sid: plan(
            known[sid], posted[sid], purses[sid], prices, reverse_undelivered=reverse_undelivered
        )
        for sid in sids
    }
    postings = await _post(connection, locked, plans)
    bills = [billed(known[sid], purses[sid], plans[sid], postings.get(sid)) for sid in sids]
    await _record(connection, bills, settled_by)
    return bills


async def waiting(connection: AsyncConnection, org_id: str, limit: int) -> dict[str, Message]:
    """Lock the messages that wait for an organisation, by id, oldest first.

    They wait for its money; or for the registration of their sender, and now it has one.
    """
    registered = select(agents.c.agent_id).where(agents.c.org_id == org_id)
    query = (
        select(table)
        .where(
            or_(
                and_(table.c.org_id == org_id, table.c.state == MessageState.DEBT_LIMIT),
                and_(
                    table.c.state == MessageState.UNKNOWN_SENDER,
                    or_(table.c.sender.in_(registered), table.c.service_sid.in_(registered)),
                ),
            )
        )
        .order_by(table.c.sent_at, table.c.sid)
        .limit(limit)
        .with_for_update()
    )
    return {row.sid: _message(row) for row in await connection.execute(query)}


async def discard(connection: AsyncConnection, sid: str, note: str) -> bool:
    """Record that a person gave this charge up; False when it was charged in the meantime."""
    paid = (MessageState.CHARGED, MessageState.REVERSED)
    done = await connection.execute(
        update(table)
        .where(table.c.sid == sid, table.c.state.not_in(paid))
        .values(state=MessageState.DISCARDED, note=note, watch_at=None, updated_at=func.now())
        .returning(table.c.sid)
    )
    return done.first() is not None


async def watched(connection: AsyncConnection, sids: Collection[str]) -> set[str]:
    """Of these messages, those whose end a workflow of their own waits for."""
    query = select(table.c.sid).where(
        table.c.sid == func.any(list(sids)),
        table.c.watch_at.is_(None),
        table.c.status_rank < MessageStatus.DELIVERED.rank,
    )
    return {row.sid for row in await connection.execute(query)}


async def stop_watching(connection: AsyncConnection, sids: Collection[str]) -> None:
    """Note that a workflow watches these messages, or that there is nothing left to watch."""
    await connection.execute(
        update(table).where(table.c.sid == func.any(list(sids))).values(watch_at=None)
    )


async def take_unwatched(connection: AsyncConnection, limit: int) -> list[SeenMessage]:
    """Take messages whose end should be known by now, and that no workflow watches.

    They are there again, later, if none does then.
    """
    late = (
        select(table.c.sid)
        .where(table.c.watch_at <= func.now())
        .order_by(table.c.watch_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    taken = await connection.execute(
        update(table)
        .where(table.c.sid.in_(late))
        .values(watch_at=_UNWATCHED)
        .returning(table.c.sid, table.c.account_sid, table.c.status)
    )
    return [SeenMessage(row.sid, row.account_sid, MessageStatus(row.status)) for row in taken]


async def _locked(connection: AsyncConnection, sids: Collection[str]) -> dict[str, Message]:
    query = (
        select(table)
        .where(table.c.sid == func.any(list(sids)))
        .order_by(table.c.sid)
        .with_for_update()
    )
    return {row.sid: _message(row) for row in await connection.execute(query)}


async def _posted(connection: AsyncConnection, sids: Collection[str]) -> dict[str, Posted]:
    keys = {sid: message_key(sid) for sid in sids}
    reversals = [reversal_key(key) for key in keys.values()]
    found = await ledger.by_keys(connection, [*keys.values(), *reversals])
    return {sid: Posted(found.get(key), found.get(reversal_key(key))) for sid, key in keys.items()}


async def _post(
    connection: AsyncConnection, locked: Mapping[str, Wallet], plans: Mapping[str, Plan]
) -> dict[str, Posting]:
    transfers = {sid: one.transfer for sid, one in plans.items() if one.transfer is not None}
    postings = await ledger.post_locked(connection, locked, list(transfers.values()))
    return dict(zip(transfers, postings, strict=True))


async def _record(
    connection: AsyncConnection, bills: Sequence[MessageBill], settled_by: str | None
) -> None:
    rows = [
        {
            "sid": one.sid,
            "state": one.state,
            "org_id": one.org_id,
            "amount_minor": one.charge and one.charge.amount.amount_minor,
            "currency": one.charge and one.charge.amount.currency,
            "sms_tariff_id": one.charge and one.charge.sms_tariff_id,
            "note": one.charge and one.charge.note,
            "workflow_id": (None if one.state.waits else settled_by)
            or message_workflow_id(one.sid),
        }
        for one in bills
    ]
    await connection.execute(_RECORD, {"rows": rows})


def _message(row: Any) -> Message:
    facts = None
    if row.sent_at is not None:
        facts = MessageFacts(**{name: getattr(row, name) for name in _FACTS})
    return Message(
        row.sid, row.account_sid, MessageStatus(row.status), MessageState(row.state), facts
    )
