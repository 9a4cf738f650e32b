"""Whose messages are: of whom they were found to be, or of whoever had what sent them."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Column, ColumnElement, DateTime, Text, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.messages.message import Message, MessageFacts
from billing.messages.message_charge import MessageEntries
from billing.organizations import SENDERS, sender_id
from billing.tariffs.channel import without_channel
from store.database import additions
from store.database.additions import Addition
from store.database.rowset import rowset
from store.organizations.registrations import owners_of, was_given_to
from store.schema import messages as table

# In the order in which they decide: a sender that is registered for the message's account only goes
# before one that is registered for any, and `whatsapp:+44…` before the number alone.
_NAMES = ("accounts_sender", "accounts_number", "sender", "number", "service_sid")
_rows = rowset(
    (
        *(Column(name, Text) for name in ("sid", *_NAMES)),
        Column("sent_at", DateTime(timezone=True)),
    )
)
_OWNERS = owners_of(select(_rows).cte("given"), "sid", "sent_at", SENDERS, *_NAMES)


async def payers(
    connection: AsyncConnection,
    messages: Collection[Message],
    posted: Mapping[str, MessageEntries],
) -> dict[str, str]:
    """Return who pays for each message, by its id: who has paid, or whose it is, if anybody's."""
    paid = {sid: one.charge.org_id for sid, one in posted.items() if one.charge}
    found = await of_messages(connection, messages) | paid
    lost = [one for one in messages if one.sid not in found and one.facts]
    if lost:
        await additions.miss(connection, Addition.REGISTRATION)
        found |= await of_messages(connection, lost)
    return found


async def of_messages(connection: AsyncConnection, messages: Iterable[Message]) -> dict[str, str]:
    """Return the organisation of each message by its id: the one that was found before, or else who
    had its number, or else its Messaging Service, when it was sent. One of nobody's is left out.

    Who has a number has what is sent from it over any channel, unless somebody has that by itself.
    """
    messages = list(messages)
    rows = [_named(one, one.facts) for one in messages if one.facts]
    found = await connection.execute(_OWNERS, {"rows": rows})
    registered = {row.sid: row.org_id for row in found}
    return registered | {one.sid: one.org_id for one in messages if one.org_id is not None}


def _named(message: Message, facts: MessageFacts) -> dict[str, Any]:
    """Return the names by which a message has an owner, with its id and when it was sent."""
    sender, number = facts.sender, None
    if sender is not None and without_channel(sender) != sender:
        number = without_channel(sender)
    return {
        "sid": message.sid,
        "accounts_sender": sender and sender_id(sender, message.account_sid),
        "accounts_number": number and sender_id(number, message.account_sid),
        "sender": sender,
        "number": number,
        "service_sid": facts.service_sid,
        "sent_at": facts.sent_at,
    }


def came_to_be_of(org_id: str) -> ColumnElement[bool]:
    """Return the condition that a message of nobody's is this organisation's by now."""
    account, sender = table.c.account_sid + ":", table.c.sender
    number = func.regexp_replace(sender, "^[^:]*:", "")  # as `without_channel` does
    names = (account + sender, account + number, sender, number, table.c.service_sid)
    return was_given_to(org_id, table.c.sent_at, SENDERS, *names)
