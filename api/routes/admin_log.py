"""The book of powers: what people have changed, who, when, before and after."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from api.dependencies import SEES_ALL, KeyFirst, Limit, Transaction
from api.http.fields import NAME, NOT_BLANK, Moment
from api.http.pages import Page, Position, page
from api.http.problems import documented
from billing.admin_log import AdminAction, AdminLogFilter, AdminRecord
from store import admin_log

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/admin-log",
    tags=["admin log"],
    responses=documented(401, 403, 422, 503),
)


async def _which(
    *,
    org_id: Annotated[str | None, Query(pattern=NAME)] = None,
    actor: Annotated[
        str | None,
        Query(pattern=NOT_BLANK, max_length=200, description="A key's id, its label, or a name"),
    ] = None,
    subject: Annotated[
        str | None,
        Query(pattern=NOT_BLANK, max_length=1000, description="The id of what was changed"),
    ] = None,
    action: AdminAction | None = None,
    recorded_after: Moment | None = None,
    recorded_before: Moment | None = None,
) -> AdminLogFilter:
    return AdminLogFilter(org_id, actor, subject, action, recorded_after, recorded_before)


@router.get("", dependencies=[Depends(SEES_ALL)])
async def list_all(
    which: Annotated[AdminLogFilter, Depends(_which)],
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
) -> Page[AdminRecord]:
    """List what people have changed, newest first; give what is to fit, or some of it, or nothing.

    `by.key_id` was authenticated, or is null: then it was a command beside the database, or
    somebody in Temporal. Nothing in it is ever changed or removed.
    """
    found = await admin_log.page(transaction, which, cursor, limit + 1)
    return page(found, limit, lambda line: line.position)
