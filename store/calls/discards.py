"""Give a call's charge up, for a person decided so; what is charged stays charged."""

from sqlalchemy import func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.calls.call import CallState, EndedCall, call_workflow_id
from billing.ledger.entry import Booked, call_key
from store.calls import calls, owners
from store.ledger import ledger, wallets
from store.schema import calls as table


async def discard(connection: AsyncConnection, call: EndedCall, note: str) -> bool:
    """Record that a person gave this charge up; False when the call is charged, which stands.

    It is decided under the locks of the call and of the wallet that pays or would pay, as charging
    is. Of a call that is charged, a correction that waits is given up, and not made later either.
    """
    await calls.lock(connection, [call.call_id])
    await wallets.lock(connection, await _would_pay(connection, call))
    booked = await ledger.booked(connection, [call_key(call.call_id)])
    for one in booked.values():
        await _let_stand(connection, call.call_id, one, note)
    return not booked and await _give_up(connection, call, note)


async def _would_pay(connection: AsyncConnection, call: EndedCall) -> set[str]:
    query = select(table.c.org_id).where(table.c.call_id == call.call_id)
    found = {await connection.scalar(query), *(await owners.of_calls(connection, [call])).values()}
    return {org_id for org_id in found if org_id is not None}


async def _let_stand(connection: AsyncConnection, call_id: str, booked: Booked, note: str) -> None:
    await connection.execute(
        update(table)
        .where(table.c.call_id == call_id, table.c.state != CallState.SETTLED)
        .values(
            state=CallState.SETTLED,
            amount_minor=booked.net.amount_minor,
            currency=booked.net.currency,
            waiting_minor=None,
            correction_given_up=True,
            note=note,
            updated_at=func.now(),
        )
    )


async def _give_up(connection: AsyncConnection, call: EndedCall, note: str) -> bool:
    """Discard a call that nothing is booked for; False if it is settled, and costs nothing."""
    row = {
        **calls.fact_columns(call),
        "state": CallState.DISCARDED,
        "workflow_id": call_workflow_id(call.call_id),
        "note": note,
    }
    done = await connection.execute(
        insert(table)
        .values(row)
        .on_conflict_do_update(
            index_elements=["call_id"],
            set_={"state": CallState.DISCARDED, "note": note, "updated_at": func.now()},
            where=table.c.state != CallState.SETTLED,
        )
        .returning(table.c.call_id)
    )
    return done.first() is not None
