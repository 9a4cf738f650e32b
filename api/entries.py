"""The ledger, read."""

from fastapi import APIRouter

from api.dependencies import Limit, Member, Transaction
from api.pages import Page, Position, page
from api.problems import documented
from billing.ledger import Entry
from store import ledger, wallets

router = APIRouter(
    prefix="/v1/organizations/{org_id}/entries",
    tags=["entries"],
    responses=documented(401, 403, 404, 422, 503),
)


@router.get("")
async def list_all(
    org_id: Member, transaction: Transaction, cursor: Position = None, limit: Limit = 50
) -> Page[Entry]:
    """List the entries of a wallet, newest first."""
    await wallets.read(transaction, org_id)
    found = await ledger.page(transaction, org_id, cursor, limit + 1)
    return page(found, limit, lambda entry: entry.entry_id)
