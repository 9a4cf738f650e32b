"""The audits of the ledger, one an hour, with what did not agree."""

from fastapi import APIRouter, Depends

from api.dependencies import SEES_ALL, KeyFirst, Limit, Transaction
from api.http.pages import Page, Position, page
from api.http.problems import documented
from billing.ledger.audit import Audit
from store.ledger import audit

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/audits",
    tags=["audits"],
    responses=documented(401, 403, 422, 503),
)


@router.get("", dependencies=[Depends(SEES_ALL)])
async def list_all(
    transaction: Transaction, cursor: Position = None, limit: Limit = 50
) -> Page[Audit]:
    """List audits, newest first, each with the rows that did not agree."""
    found = await audit.page(transaction, cursor, limit + 1)
    return page(found, limit, lambda one: one.position)
