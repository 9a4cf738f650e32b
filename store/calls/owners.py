"""Whose calls are: of whoever paid, or was found to owe them, or had what they came over."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Text,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import EndedCall, call_transfer
from billing.errors import Conflict
from billing.ledger.entry import Booked, Transfer, call_key
from billing.ledger.wallet import Wallet
from billing.organizations import NAMES_OF_CALLS, AgentKind
from billing.tariffs.tariff import Charge
from store.database import additions
from store.database.additions import Addition
from store.database.rowset import rowset
from store.ledger import ledger, wallets
from store.organizations.registrations import owners_of, was_given_to
from store.schema import calls as table
from store.schema import registrations

_MOMENT = DateTime(timezone=True)
# In the order of NAMES_OF_CALLS. A squad's member may be known as the call's assistant as well.
_NAMES = ("call_id", "squad_id", "workflow_id", "assistant_id", "phone_number_id")
_rows = rowset((*(Column(name, Text) for name in _NAMES), Column("began_at", _MOMENT)))
_given = select(_rows).cte("given")
_registered = owners_of(_given, "call_id", "began_at", NAMES_OF_CALLS, *_NAMES).subquery(
    "registered_to"
)
# The owner that was found of a call stays its owner. One that was found without knowing when the
# call began is asked for again.
_FOUND_BEFORE = case(
    (
        or_(
            table.c.facts["started_at"].astext.is_not(None),
            table.c.facts["provider_ended"].astext == "true",
        ),
        table.c.org_id,
    )
)
_OWNERS = select(
    _given.c.call_id, func.coalesce(_FOUND_BEFORE, _registered.c.org_id).label("org_id")
).select_from(
    _given.outerjoin(table, table.c.call_id == _given.c.call_id).outerjoin(
        _registered, _registered.c.call_id == _given.c.call_id
    )
)


@dataclass(frozen=True, slots=True)
class Payers:
    """Whose calls are, by their ids; their wallets, which are locked; and what is booked."""

    owners: Mapping[str, str]
    locked: Mapping[str, Wallet]
    booked: Mapping[str, Booked]

    def wallet(self, call_id: str) -> Wallet | None:
        """Return the wallet that pays for a call; None for a call of nobody's."""
        return self.locked.get(self.owners.get(call_id, ""))

    def transfer(self, call: EndedCall, charge: Charge) -> Transfer | None:
        """Return what is to be posted for a call of theirs; None when there is nothing to."""
        owner, booked = self.owners[call.call_id], self.booked.get(call.call_id)
        return call_transfer(call, owner, charge, booked)


async def of_calls(connection: AsyncConnection, calls: Iterable[EndedCall]) -> dict[str, str]:
    """Return the organisation of each call by its id: the one that was found before, or else who
    had the call itself, its squad or workflow, its assistant, or else its number, when it began.

    Without a beginning it is who had them when the call ended, or now. A call of nobody's is left
    out. An organisation that a webhook's body names is never believed.
    """
    rows = [
        {
            **{name: getattr(call, name) for name in _NAMES},
            "began_at": call.started_at or call.ended_at,
        }
        for call in calls
    ]
    found = await connection.execute(_OWNERS, {"rows": rows})
    return {row.call_id: row.org_id for row in found if row.org_id is not None}


async def lock_payers(connection: AsyncConnection, calls: Collection[EndedCall]) -> Payers:
    """Find whose calls are, which are locked already, and lock their wallets in the order of ids.

    A correction is of whoever paid, whoever has the assistant now.
    """
    booked = await _booked(connection, calls)
    paid = {call_id: one.org_id for call_id, one in booked.items()}
    owners = await of_calls(connection, calls) | paid
    lost = [call for call in calls if call.call_id not in owners]
    if lost:
        await additions.miss(connection, Addition.REGISTRATION)
        owners |= await of_calls(connection, lost)
    return Payers(owners, await wallets.lock(connection, set(owners.values())), booked)


def came_to_be_of(org_id: str) -> ColumnElement[bool]:
    """Return the condition that a call of nobody's is this organisation's by now."""
    facts = table.c.facts
    began_at = func.coalesce(
        cast(facts["started_at"].astext, _MOMENT), table.c.ended_at, func.now()
    )
    names = (facts[name].astext for name in _NAMES)
    return was_given_to(org_id, began_at, NAMES_OF_CALLS, *names)


async def register(connection: AsyncConnection, call_id: str, org_id: str) -> bool:
    """Give a call to an organisation whatever it came over; False if it was given before.

    It holds from the beginning, for the call may have begun before. Raise Conflict if it is
    another's: given to them, or found to be theirs.
    """
    await additions.add(connection, Addition.REGISTRATION)
    given = insert(registrations).values(
        agent_id=call_id, kind=AgentKind.CALL, org_id=org_id, since=literal_column("'-infinity'")
    )
    # Or SQLAlchemy would read the whole key back, and Python has no such time.
    new = given.on_conflict_do_nothing().returning(registrations.c.agent_id)
    is_new = (await connection.execute(new)).first() is not None
    found = await of_calls(connection, [EndedCall(call_id)])
    if found.get(call_id) != org_id:
        raise Conflict(f"{call_id} is another organisation's already")
    return is_new


async def _booked(connection: AsyncConnection, calls: Iterable[EndedCall]) -> dict[str, Booked]:
    """Read what was charged for calls whose facts are from Vapi's API, and may correct it."""
    keys = {call_key(call.call_id): call.call_id for call in calls if call.provider_ended}
    found = await ledger.booked(connection, keys) if keys else {}
    return {keys[key]: booked for key, booked in found.items()}
