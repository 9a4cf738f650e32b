"""Read everything that is known about an entry."""

from dataclasses import replace

from sqlalchemy import and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.errors import NotFound
from billing.explanations import Explanation, HeardEvent, Subject, SubjectKind, subject_of
from billing.inbox.webhook_event import Source
from billing.ledger.entry import Entry
from store import adjustments, admin_log
from store.calls import call_records
from store.ledger import ledger
from store.messages import message_records
from store.schema import messages, webhook_events
from store.tariffs import call_tariffs, sms_tariffs

_MOST_CHANGES = 10


async def explain(connection: AsyncConnection, name: str) -> Explanation:
    """Return everything about the entry of this key, or of this number; raise NotFound."""
    entry = await ledger.find(connection, name)
    if entry is None:
        raise NotFound(f"the ledger has no entry {name}")
    subject = subject_of(entry)
    explanation = Explanation(entry, subject, related=await _related(connection, entry))
    if subject is None:
        return explanation
    explanation = replace(explanation, events=await _events(connection, subject))
    explanation = await _in_detail(connection, explanation, subject)
    changes = await admin_log.over_charges(
        connection,
        entry.org_id,
        _MOST_CHANGES,
        subjects=explanation.changeable,
        until=entry.recorded_at,
    )
    return replace(explanation, changes=changes)


async def _in_detail(
    connection: AsyncConnection, explanation: Explanation, subject: Subject
) -> Explanation:
    try:
        match subject.kind:
            case SubjectKind.CALL:
                return await _of_call(connection, explanation, subject.subject_id)
            case SubjectKind.MESSAGE:
                return await _of_message(connection, explanation, subject.subject_id)
            case SubjectKind.ADJUSTMENT:
                asked = await adjustments.read(connection, subject.subject_id)
                return replace(explanation, adjustment=asked)
            case SubjectKind.PAYMENT:
                return explanation
    except NotFound:
        # What the entry is about is missing, which the audit reports. The rest is still worth it.
        return explanation


async def _of_call(
    connection: AsyncConnection, explanation: Explanation, call_id: str
) -> Explanation:
    call = await call_records.read(connection, call_id)
    tariff_id = call.charge.tariff_id if call.charge else None
    rates = await call_tariffs.for_organizations(connection, [explanation.entry.org_id])
    tariff = next((one for one in rates if one.tariff_id == tariff_id), None)
    return replace(explanation, call=call, tariff=tariff)


async def _of_message(
    connection: AsyncConnection, explanation: Explanation, sid: str
) -> Explanation:
    message = await message_records.read(connection, sid)
    query = select(messages.c.sms_tariff_id).where(messages.c.sid == sid)
    tariff_id = await connection.scalar(query)
    prices = await sms_tariffs.for_organizations(connection, [explanation.entry.org_id])
    price = next((one for one in prices if one.sms_tariff_id == tariff_id), None)
    return replace(explanation, message=message, sms_tariff=price)


async def _related(connection: AsyncConnection, entry: Entry) -> tuple[Entry, ...]:
    """Read the entry that this one reverses or corrects, and all that do so to the same entry."""
    family = await ledger.family(connection, entry.reverses or entry.key)
    return tuple(one for one in family if one.key != entry.key)


async def _events(connection: AsyncConnection, subject: Subject) -> tuple[HeardEvent, ...]:
    """Read the webhooks about the subject.

    Stripe's events have an index by subject, and the others one by key.
    """
    table = webhook_events.c
    about = and_(table.source == Source.STRIPE, table.subject == subject.subject_id)
    if subject.kind is not SubjectKind.PAYMENT:
        about = and_(
            table.source.in_((Source.VAPI, Source.TWILIO)),
            table.key == func.any(list(subject.event_keys)),
        )
    query = select(table.source, table.key, table.type, table.status, table.received_at)
    rows = await connection.execute(query.where(about).order_by(table.event_id))
    return tuple(HeardEvent(*row) for row in rows)
