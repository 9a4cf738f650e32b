"""Reconciliations: start one, read what it found, and see how many webhooks arrive.

An operator may see and start all. An organisation may see and start those of itself alone.
"""

from dataclasses import replace
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from api.dependencies import (
    Changer,
    Id,
    KeyFirst,
    Limit,
    Reader,
    StartsWork,
    Temporal,
    Transaction,
    by,
)
from api.http.fields import NAME, Digits, Moment
from api.http.pages import Page, Position, page
from api.http.problems import Forbidden, documented
from billing.errors import NotFound
from billing.inbox.webhook_event import Source
from billing.organizations import ApiKey
from billing.reconciliation import reliability_chart
from billing.reconciliation.admin_log import asked_for
from billing.reconciliation.reconciliation import Finding, Reconciliation, Report, Run
from billing.reconciliation.reliability import Day
from processes.reconciliations import reconcile
from store.alerts import changes
from store.organizations import organizations
from store.reconciliation import findings, reliability, runs

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/reconciliations",
    tags=["reconciliations"],
    responses=documented(401, 403, 422, 503),
)

# Twilio's messages are not reconciled: each message's own process asks Twilio for it.
Reconcilable = Literal[Source.VAPI, Source.STRIPE]


class NewReconciliation(BaseModel):
    """What is to be reconciled. Without a window: all since 48 hours before the last success.

    A `dry_run` reports and changes nothing. An organisation's key must give its own `org_id`.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"source": "vapi"},
                {
                    "source": "stripe",
                    "since": "2026-11-01T00:00:00Z",
                    "until": "2026-11-08T00:00:00Z",
                    "org_id": "acme",
                    "dry_run": True,
                },
            ]
        },
    )

    source: Reconcilable
    since: Moment | None = Field(default=None, description="From this moment on, with its offset")
    until: Moment | None = Field(default=None, description="Up to this moment")
    org_id: str | None = Field(default=None, pattern=NAME, description="This organisation only")
    dry_run: StrictBool = False


async def _narrowed(
    key: Reader, org_id: Annotated[str | None, Query(pattern=NAME)] = None
) -> str | None:
    """Return the organisation to show, None for all. Raise Forbidden.

    With an organisation's key it is always that organisation, asked for or not.
    """
    if key.is_operators:
        return org_id
    if org_id not in (None, key.org_id):
        raise Forbidden("this key is of another organization")
    return key.org_id


async def _visible(run_id: Id, key: Reader, transaction: Transaction) -> Run:
    """Read a run. Raise NotFound, also for a run that is not of the key's own organisation."""
    run = await runs.read(transaction, run_id)
    if not key.reaches(run.org_id):
        raise NotFound(f"there is no reconciliation {run_id}")
    return run


_OrgId = Annotated[str | None, Depends(_narrowed)]
_Run = Annotated[Run, Depends(_visible)]
_Days = Annotated[int, Query(ge=1, le=92, description="How many, today (UTC) included"), Digits]


@router.post("", status_code=202, dependencies=[StartsWork], responses=documented(400, 404))
async def start(
    new: NewReconciliation, key: Changer, transaction: Transaction, temporal: Temporal
) -> Run:
    """Start a run, or join the one that runs with the same source, window and organisation.

    Answers as soon as its window is decided; read it to see how far it is and what it found.
    """
    _require_own(key, new.org_id)
    if new.org_id is not None:
        await organizations.read(transaction, new.org_id)
    wanted = Reconciliation(new.source, new.since, new.until, new.org_id, new.dry_run)
    opened = await reconcile(temporal, wanted)
    await changes.record(transaction, asked_for(by(key), wanted, opened))
    return _shown(await runs.read(transaction, opened.run_id), key)


@router.get("")
async def list_all(
    *,
    org_id: _OrgId,
    key: Reader,
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
    source: Reconcilable | None = None,
) -> Page[Run]:
    """List runs, newest first; one organisation's are those that looked at it alone."""
    found = await runs.page(transaction, cursor, limit + 1, source=source, org_id=org_id)
    return page([_shown(run, key) for run in found], limit, lambda run: run.position)


@router.get("/reliability", responses=documented(404))
async def read_reliability(
    source: Reconcilable, org_id: _OrgId, transaction: Transaction, days: _Days = 30
) -> list[Day]:
    """Say for each of the last days how many there were and how many webhooks were missed.

    Dry runs do not count; days that no run has looked at are left out.
    """
    if org_id is not None:
        await organizations.read(transaction, org_id)
    return await reliability.last_days(transaction, source, org_id, days)


@router.get(
    "/reliability.svg",
    response_class=Response,
    responses={200: {"content": {reliability_chart.MEDIA_TYPE: {}}}, **documented(404)},
)
async def draw_reliability(
    source: Reconcilable, org_id: _OrgId, transaction: Transaction, days: _Days = 30
) -> Response:
    """Draw reliability by day, with the line below which there is an alert."""
    found = await read_reliability(source, org_id, transaction, days)
    drawn = reliability_chart.draw(found, source, org_id)
    return Response(drawn, media_type=reliability_chart.MEDIA_TYPE)


@router.get("/{run_id}", responses=documented(404))
async def read(run: _Run, key: Reader, transaction: Transaction) -> Report:
    """Read a run and what it found: in total, by organisation, and what it comes to in a year.

    Of a run under way, as it stands now.
    """
    report = await runs.report(transaction, run.run_id)
    return replace(report, run=_shown(report.run, key))


@router.get("/{run_id}/findings", responses=documented(404))
async def list_findings(
    run: _Run, key: Reader, transaction: Transaction, cursor: Position = None, limit: Limit = 50
) -> Page[Finding]:
    """List what a run found, in the order in which it found it."""
    found = await findings.page(transaction, run.run_id, cursor, limit + 1)
    if not key.is_operators:
        found = [one.for_organization() for one in found]
    return page(found, limit, lambda finding: finding.position)


def _shown(run: Run, key: ApiKey) -> Run:
    return run if key.is_operators else run.for_organization()


def _require_own(key: ApiKey, org_id: str | None) -> None:
    if not key.reaches(org_id):
        raise Forbidden("this key may reconcile its own organization only: give its org_id")
