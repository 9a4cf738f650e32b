"""Calls: what they cost, why, and which workflow saw to them."""

from fastapi import APIRouter

from api.dependencies import Id, Key, Limit, Member, Transaction
from api.pages import Page, Position, page
from api.problems import documented
from billing.call import CallRecord, CallState
from billing.errors import NotFound
from billing.organization import Scope
from store import calls, wallets

router = APIRouter(tags=["calls"], responses=documented(401, 404, 422, 503))


@router.get("/v1/organizations/{org_id}/calls", responses=documented(403))
async def list_all(
    org_id: Member,
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
    state: CallState | None = None,
) -> Page[CallRecord]:
    """List an organisation's calls, the last seen first."""
    await wallets.read(transaction, org_id)
    found = await calls.page(transaction, org_id, cursor, limit + 1, state)
    return page(found, limit, lambda call: call.position)


@router.get("/v1/calls/{call_id}")
async def read(call_id: Id, key: Key, transaction: Transaction) -> CallRecord:
    """Read one call. A call of another organisation is as unknown as one that never was."""
    call = await calls.read(transaction, call_id)
    if key.scope is not Scope.OPERATOR and key.org_id != call.org_id:
        raise NotFound(f"no call {call_id} has been received")
    return call
