"""What people have decided about parked work: who, why, when, and in what state it was."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.dependencies import SEES_ALL, KeyFirst, Limit, Transaction
from api.http.fields import NAME, WORKFLOW_ID
from api.http.pages import Page, Position, page
from api.http.problems import documented
from billing.parking.parked_work import DecisionRecord
from store import parking

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/decisions",
    tags=["parked"],
    responses=documented(401, 403, 422, 503),
)


@router.get("", dependencies=[Depends(SEES_ALL)])
async def list_all(
    transaction: Transaction,
    workflow_id: Annotated[str | None, Query(pattern=WORKFLOW_ID)] = None,
    org_id: Annotated[str | None, Query(pattern=NAME)] = None,
    cursor: Position = None,
    limit: Limit = 50,
) -> Page[DecisionRecord]:
    """List decisions, newest first: all, or those about one process or organisation."""
    found = await parking.page(
        transaction, cursor, limit + 1, workflow_id=workflow_id, org_id=org_id
    )
    return page(found, limit, lambda one: one.position)
