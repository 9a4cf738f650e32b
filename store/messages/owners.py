"""Whose messages are: of whom they were found to be, or of whoever had what sent them."""

from collections.abc import Collection, Iterable, Mapping

from sqlalchemy import Column, ColumnElement, DateTime, Text, select
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.messages.message import Message
from billing.messages.message_charge import MessageEntries
from billing.organizations import SENDERS, sender_id
from store.database import additions
from store.database.additions import Addition
from store.database.rowset import rowset
from store.organizations.registrations import owners_of, was_given_to
from store.schema import messages as table

# In the order in which they decide: a sender that is registered for the message's account only goes
# before one that is registered for any.
_NAMES = ("accounts_sender", "sender", "service_sid")
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
    """
    messages = list(messages)
    rows = [
        {
            "sid": one.sid,
            "accounts_sender": one.facts.sender and sender_id(one.facts.sender, one.account_sid),
            "sender": one.facts.sender,
            "service_sid": one.facts.service_sid,
            "sent_at": one.facts.sent_at,
        }
        for one in messages
        if one.facts
    ]
    found = await connection.execute(_OWNERS, {"rows": rows})
    registered = {row.sid: row.org_id for row in found}
    return registered | {one.sid: one.org_id for one in messages if one.org_id is not None}


def came_to_be_of(org_id: str) -> ColumnElement[bool]:
    """Return the condition that a message of nobody's is this organisation's by now."""
    accounts_sender = table.c.account_sid + ":" + table.c.sender
    names = (accounts_sender, table.c.sender, table.c.service_sid)
    return was_given_to(org_id, table.c.sent_at, SENDERS, *names)
