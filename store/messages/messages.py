"""Messages: merge what is heard of them, charge them in sets, and keep what became of each."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import and_, case, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.ledger.entry import Posting, message_key, reversal_key
from billing.ledger.wallet import Wallet
from billing.messages.message import (
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
from billing.messages.message_charge import MessageEntries, MessagePlan, billed, plan
from billing.tariffs.channel import Channel
from store.database import additions
from store.database.additions import Addition
from store.database.rowset import rowset
from store.ledger import ledger, wallets
from store.messages import owners
from store.messages.watch import UNWATCHED
from store.schema import messages as table
from store.tariffs import sms_tariffs

_SEEN = (
    "sid", "account_sid", "status", "status_rank", "error_code", "channel", "state", "workflow_id",
)  # fmt: skip
_FACTS = ("sent_at", "segments", "destination", "sender", "service_sid", "channel")
_KEPT = ("org_id", "amount_minor", "currency", "sms_tariff_id")
_BILLED = (*_KEPT, "state", "note", "workflow_id")

_seen = rowset(table.c[name] for name in _SEEN)
_new = insert(table).from_select([*_seen.c.keys(), "watch_at"], select(_seen, UNWATCHED))
# The condition keeps a status from going back, in whatever order callbacks come, and an account
# from changing a message of another. The same status again may only add an error code. What
# Twilio's API says of the channel stands, whatever callbacks say later.
_OBSERVE = _new.on_conflict_do_update(
    index_elements=["sid"],
    set_={
        "status": _new.excluded.status,
        "status_rank": _new.excluded.status_rank,
        "error_code": func.coalesce(_new.excluded.error_code, table.c.error_code),
        "channel": func.coalesce(table.c.channel, _new.excluded.channel),
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
    .values({name: _facts.c[name] for name in _FACTS if name != "channel"})
    .values(channel=func.coalesce(_facts.c.channel, table.c.channel))
)

# A bill without a charge leaves the columns of the charge as they are, so that what a message cost
# stays on record when it is given back. `updated_at` is when the state last changed.
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
    """Merge statuses: the highest of each message stays, whatever order they come in.

    ON CONFLICT takes each row only once, so `highest` merges what is given first. Its order of ids
    keeps two who merge the same messages from a deadlock.
    """
    rows = [
        {
            "sid": one.sid,
            "account_sid": one.account_sid,
            "status": one.status,
            "status_rank": one.status.rank,
            "error_code": one.error_code,
            "channel": one.channel,
            "state": MessageState.PENDING,
            "workflow_id": message_workflow_id(one.sid),
        }
        for one in highest(seen)
    ]
    if rows:
        await connection.execute(_OBSERVE, {"rows": rows})


async def keep_facts(connection: AsyncConnection, facts: Mapping[str, MessageFacts]) -> None:
    """Keep what Twilio's API says of messages, given by their ids."""
    rows = [
        {"sid": sid, **{name: getattr(one, name) for name in _FACTS}}
        for sid, one in sorted(facts.items())
    ]
    if rows:
        await connection.execute(_KEEP_FACTS, {"rows": rows})


async def without_facts(connection: AsyncConnection, sids: Collection[str]) -> list[MessageRef]:
    """Return those of these messages that Twilio must be asked about.

    They are those that were sent, or have ended, and whose facts or segments are not known. Of what
    a person has given up nothing is asked.
    """
    query = select(table.c.sid, table.c.account_sid).where(
        table.c.sid == func.any(list(sids)),
        table.c.state != MessageState.DISCARDED,
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
    """Post what is due for any number of messages, one after another; return bills in that order.

    In the caller's transaction: lock the messages and then the wallets, each in id order as
    everybody does, decide each message by its highest status and the ledger, post, and record where
    it stands now. `settled_by` names the workflow if it is another than the message's own.
    """
    known = await _locked(connection, sids)
    posted = await _posted(connection, sids)
    payers = await owners.payers(connection, known.values(), posted)
    locked = await wallets.lock(connection, set(payers.values()))
    purses = {sid: locked.get(payers.get(sid, "")) for sid in sids}
    decide = partial(plan, reverse_undelivered=reverse_undelivered)
    may_be_free = any(_is_free_at_first(known[sid]) for sid, purse in purses.items() if not purse)

    async def plan_all() -> dict[str, MessagePlan]:
        prices = await sms_tariffs.for_organizations(connection, locked.keys())
        everybodys = await sms_tariffs.of_all(connection) if may_be_free else prices
        return {
            sid: decide(known[sid], posted[sid], purse, prices if purse else everybodys)
            for sid, purse in purses.items()
        }

    plans = await plan_all()
    if any(one.free or one.rated is MessageState.NO_TARIFF for one in plans.values()):
        await additions.miss(connection, Addition.TARIFF)
        plans = await plan_all()
    refused_before = {sid for sid in sids if _was_refused(known[sid], plans[sid])}
    postings = await _post(connection, locked, plans, refused_before)
    bills = [billed(known[sid], purses[sid], plans[sid], postings.get(sid)) for sid in sids]
    news = [
        one
        for one in bills
        if one.state is not MessageState.DEBT_LIMIT or one.sid not in refused_before
    ]
    await _record(connection, news, settled_by)
    return bills


async def read_many(connection: AsyncConnection, sids: Collection[str]) -> list[Message]:
    """Read what is known of messages, without a lock."""
    query = select(table).where(table.c.sid == func.any(list(sids)))
    return [message_of(row) for row in await connection.execute(query)]


async def _locked(connection: AsyncConnection, sids: Collection[str]) -> dict[str, Message]:
    query = select(table).where(table.c.sid == func.any(list(sids))).order_by(table.c.sid)
    found = await connection.execute(query.with_for_update())
    return {row.sid: message_of(row) for row in found}


async def _posted(connection: AsyncConnection, sids: Collection[str]) -> dict[str, MessageEntries]:
    keys = {sid: message_key(sid) for sid in sids}
    reversals = [reversal_key(key) for key in keys.values()]
    found = await ledger.by_keys(connection, [*keys.values(), *reversals])
    return {
        sid: MessageEntries(found.get(key), found.get(reversal_key(key)))
        for sid, key in keys.items()
    }


def _was_refused(known: Message, planned: MessagePlan) -> bool:
    """Return whether a message is known to wait for its wallet to pay this very amount."""
    transfer = planned.transfer
    if transfer is None or known.state is not MessageState.DEBT_LIMIT:
        return False
    is_same = known.priced_minor == transfer.amount.amount_minor
    return is_same and known.org_id == transfer.org_id


async def _post(
    connection: AsyncConnection,
    locked: Mapping[str, Wallet],
    plans: Mapping[str, MessagePlan],
    refused_before: Collection[str],
) -> dict[str, Posting]:
    transfers = {sid: one.transfer for sid, one in plans.items() if one.transfer is not None}
    again = {one.key for sid, one in transfers.items() if sid in refused_before}
    postings = await ledger.post_locked(connection, locked, [*transfers.values()], again)
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
            "note": one.charge.note if one.charge else one.free,
            "workflow_id": (None if one.state.waits else settled_by)
            or message_workflow_id(one.sid),
        }
        for one in bills
    ]
    await connection.execute(_RECORD, {"rows": rows})


def _is_free_at_first(message: Message) -> bool:
    return message.channel is not None and message.channel.is_free_at_first


def message_of(row: Any) -> Message:
    """Return what a message's row holds."""
    facts = None
    if row.sent_at is not None:
        found = {name: getattr(row, name) for name in _FACTS}
        channel = found["channel"]
        facts = MessageFacts(**{**found, "channel": Channel(channel) if channel else None})
    return Message(
        row.sid,
        row.account_sid,
        MessageStatus(row.status),
        MessageState(row.state),
        facts,
        row.org_id,
        row.amount_minor,
    )
