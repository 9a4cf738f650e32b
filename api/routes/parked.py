"""Parked work: all of it, or one; and an operator's decision about one, with an answer."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from activities.parking.visibility import cursor_of
from api.dependencies import SEES_ALL, Decider, Engine, KeyFirst, Limit, Temporal, by
from api.http.fields import NAME, PROCESS, REASON, WORKFLOW_ID, Moment, Text
from api.http.pages import Page
from api.http.problems import documented
from api.services import Services
from billing.admin_log import AdminAction, AdminRecord, Values
from billing.errors import NotFound
from billing.ledger.money import Money
from billing.organizations import ApiKey
from billing.parking.admin_log import VERDICTS, decided_about
from billing.parking.parked_work import (
    DecisionRecord,
    ParkedFilter,
    ParkedTotal,
    ParkedWork,
    Verdict,
)
from processes import parked as parked_process
from store import admin_log, parking
from store.alerts import changes
from workflows.shared.decision_answer import DecisionAnswer

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/parked",
    tags=["parked"],
    responses=documented(401, 403, 422, 503),
)

# Nobody decides more often about one process, and remembers it.
_MOST_DECISIONS = 100
_MOST_CHANGES = 10


@dataclass(frozen=True, slots=True)
class ParkedItem:
    """A process that waits. `choices` are the signals that it understands; `url` is its page.

    What people have `decided` so far, newest first, comes with one process, and not in lists; so
    does what they have `changed` last about its organisation's limits, oldest first.
    """

    workflow_id: str
    run_id: str
    process: str
    org_id: str | None
    reason: str
    since: datetime
    until: datetime | None
    at_risk: Money | None
    happened: str
    advice: str
    choices: tuple[str, ...]
    url: str | None
    decided: tuple[DecisionRecord, ...] | None = None
    changed: tuple[AdminRecord, ...] | None = None


class ParkedList(Page[ParkedItem]):
    """A part of what is parked, and on the first page the sums of all that fits, by reason.

    The last page may be empty.
    """

    totals: list[ParkedTotal] | None = None


class NewVerdict(BaseModel):
    """Why an operator decides; who it is, the key says."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"note": "Stripe is back, ticket 4711"}]}
    )

    note: Text


@dataclass(frozen=True, slots=True)
class Decided:
    """What came of a decision: `settled`, `discarded`, `running`; or `parked` again, and why."""

    workflow_id: str
    standing: str
    reason: str | None = None
    happened: str | None = None


async def _wanted(
    org_id: Annotated[str | None, Query(pattern=NAME)] = None,
    reason: Annotated[str | None, Query(pattern=REASON)] = None,
    process: Annotated[
        str | None, Query(pattern=PROCESS, description="A workflow type, such as BillCall")
    ] = None,
    parked_before: Annotated[Moment | None, Query(description="Longer than since then")] = None,
) -> ParkedFilter:
    return ParkedFilter(org_id, reason, process, parked_before)


_Wanted = Annotated[ParkedFilter, Depends(_wanted)]
_Cursor = Annotated[
    str | None,
    Query(pattern=r"^[A-Za-z0-9_=-]{1,2000}$", description="The last page's next_cursor"),
]
_WorkflowId = Annotated[str, Path(pattern=WORKFLOW_ID, examples=["call/abc"])]


@router.get("", dependencies=[Depends(SEES_ALL)])
async def list_all(
    which: _Wanted,
    request: Request,
    cursor: _Cursor = None,
    limit: Limit = 50,
) -> ParkedList:
    """List what is parked, the youngest processes first. Lists lag behind by a moment.

    Give `org_id`, `reason`, `process` and `parked_before`, or some of them, for what fits them all.
    """
    services = Services.of(request)
    found = await parked_process.list_parked(services.temporal, which, limit, cursor)
    totals = None if cursor else await parked_process.sum_up(services.temporal, which)
    return ParkedList(
        items=[_item(one, services.workflows_url) for one in found.items],
        next_cursor=cursor_of(found.next_page_token),
        totals=None if totals is None else list(totals),
    )


@router.post("/{workflow_id:path}/reprocess", responses=documented(400, 404, 409))
async def reprocess(
    workflow_id: _WorkflowId, new: NewVerdict, key: Decider, engine: Engine, temporal: Temporal
) -> Decided:
    """Have it try again now; answers with what came of it."""
    return await _decide(engine, temporal, workflow_id, Verdict.REPROCESS, key, new.note)


@router.post("/{workflow_id:path}/discard", responses=documented(400, 404, 409))
async def discard(
    workflow_id: _WorkflowId, new: NewVerdict, key: Decider, engine: Engine, temporal: Temporal
) -> Decided:
    """Give it up for good. Read `standing`: what was settled in the meantime stays `settled`."""
    return await _decide(engine, temporal, workflow_id, Verdict.DISCARD, key, new.note)


@router.get("/{workflow_id:path}", dependencies=[Depends(SEES_ALL)], responses=documented(404))
async def read(workflow_id: _WorkflowId, engine: Engine, request: Request) -> ParkedItem:
    """Read one as it is now, and what was decided about it; 404 if it is not parked."""
    services = Services.of(request)
    work = await parked_process.find(services.temporal, workflow_id)
    if work is None:
        raise NotFound(f"{workflow_id} is not parked")
    async with engine.connect() as connection:
        said = await parking.page(connection, None, _MOST_DECISIONS, workflow_id=workflow_id)
        org_id = work.parked.org_id
        changed = await admin_log.over_charges(connection, org_id, _MOST_CHANGES) if org_id else ()
    item = _item(work, services.workflows_url)
    return replace(item, decided=tuple(said), changed=changed)


def said_by(key: ApiKey, note: str) -> str:
    """Write who and why, as a process records it; who is what the key says."""
    return f"{key.label} ({key.key_id}): {note}"


def noting(
    engine: AsyncEngine,
    key: ApiKey,
    action: AdminAction,
    who_and_why: str,
    after: Values | None = None,
) -> parked_process.Note:
    """Return what writes a decision about a process into the book, before that hears of it."""

    async def note(work: ParkedWork) -> None:
        async with engine.begin() as connection:
            change = decided_about(by(key), action, work, who_and_why, after)
            await changes.record(connection, change)

    return note


def page_of(workflow_id: str, workflows_url: str | None) -> str | None:
    """Say where the Temporal UI shows a workflow, if that is known."""
    return f"{workflows_url}/{quote(workflow_id, safe='')}" if workflows_url else None


def decided(workflow_id: str, answer: DecisionAnswer) -> Decided:
    """Return what a process has answered to a decision, for the API."""
    parked = answer.parked
    if parked is None:
        return Decided(workflow_id, answer.state)
    return Decided(workflow_id, answer.state, parked.reason, parked.happened)


async def _decide(  # noqa: PLR0917
    engine: AsyncEngine,
    temporal: Client,
    workflow_id: str,
    verdict: Verdict,
    key: ApiKey,
    why: str,
) -> Decided:
    said = said_by(key, why)
    note = noting(engine, key, VERDICTS[verdict], said)
    answer = await parked_process.decide(temporal, workflow_id, verdict, said, note)
    return decided(workflow_id, answer)


def _item(work: ParkedWork, workflows_url: str | None) -> ParkedItem:
    parked = work.parked
    return ParkedItem(
        workflow_id=work.workflow_id,
        run_id=work.run_id,
        process=work.process,
        org_id=parked.org_id,
        reason=parked.reason,
        since=work.since,
        until=parked.until,
        at_risk=parked.at_risk,
        happened=parked.happened,
        advice=parked.advice,
        choices=parked.signals,
        url=page_of(work.workflow_id, workflows_url),
    )
