"""One decision about all parked work that fits, made at a bearable pace."""

import uuid
from dataclasses import dataclass
from typing import Self

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, model_validator

from api import idempotency
from api.dependencies import SEES_ALL, Decider, Id, KeyFirst, StartsWork, Temporal, by
from api.http.fields import NAME, PROCESS, REASON, Moment, Text
from api.http.problems import described, documented
from api.idempotency import MayActOnce
from api.routes.parked import page_of, said_by
from api.services import Services
from billing.organizations import ApiKey
from billing.parking.admin_log import decided_about_many
from billing.parking.parked_work import (
    DEFAULT_PER_SECOND,
    MOST_PER_SECOND,
    BulkDecision,
    BulkProgress,
    ParkedFilter,
    ParkedTotal,
    Verdict,
    bulk_id,
)
from processes import parked
from store.alerts import changes
from store.idempotency import Answer
from workflows.decide_parked import workflow_id

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/bulk-decisions",
    tags=["parked"],
    responses=documented(401, 403, 422, 503),
)


class NewBulkDecision(BaseModel):
    """What is decided about which parked work, and why; only what has parked before is told.

    At least one of `org_id`, `reason`, `process` and `parked_before`, or else `all`. A `dry_run`
    says how much that is, and changes nothing.
    """

    model_config = ConfigDict(
        extra="forbid",
        validate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "verdict": "reprocess",
                    "reason": "fault",
                    "note": "Stripe is back, ticket 4711",
                    "per_second": 50,
                },
                {
                    "verdict": "discard",
                    "org_id": "acme",
                    "process": "BillCall",
                    "parked_before": "2026-11-01T00:00:00Z",
                    "note": "Load test, agreed with Ben",
                    "dry_run": True,
                },
                {"verdict": "reprocess", "all": True, "note": "After the outage of 2 November"},
            ]
        },
    )

    verdict: Verdict
    org_id: str | None = Field(default=None, pattern=NAME)
    reason: str | None = Field(default=None, pattern=REASON)
    process: str | None = Field(
        default=None, pattern=PROCESS, description="A workflow type, such as BillCall"
    )
    parked_before: Moment | None = Field(default=None, description="Longer than since then")
    everything: StrictBool = Field(default=False, alias="all", description="Whatever is parked")
    note: Text = Field(description="Each process records it with the key and the bulk's id")
    per_second: StrictInt = Field(default=DEFAULT_PER_SECOND, ge=1, le=MOST_PER_SECOND)
    dry_run: StrictBool = False

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.which == ParkedFilter() and not self.everything:
            raise ValueError("say which parked work is meant, or that it is all")
        return self

    @property
    def which(self) -> ParkedFilter:
        """What it is about."""
        return ParkedFilter(self.org_id, self.reason, self.process, self.parked_before)


@dataclass(frozen=True, slots=True)
class DryRun:
    """How much a bulk decision would be about just now."""

    count: int
    totals: tuple[ParkedTotal, ...]


@dataclass(frozen=True, slots=True)
class BulkStanding:
    """How far a bulk decision is; `url` is its page in the Temporal UI.

    `matched` is an estimate until it is `done`; `gone` is what had ended before it was told.
    """

    bulk_id: str
    workflow_id: str
    url: str | None
    matched: int
    told: int
    gone: int
    done: bool


@router.post(
    "",
    status_code=202,
    dependencies=[StartsWork],
    response_model=BulkStanding,
    responses={
        200: {"model": DryRun, "description": "A dry run: nothing was told"},
        409: described("The Idempotency-Key was used for something else, or is in use"),
        **documented(400),
    },
)
async def create(
    new: NewBulkDecision, key: Decider, once: MayActOnce, request: Request
) -> Response:
    """Decide about all that fits. Each process is told once, and records who and why."""
    services = Services.of(request)
    bulk = _bulk(new, key, once.key if once else uuid.uuid4().hex)

    async def act() -> Answer:
        if new.dry_run:
            totals = await parked.sum_up(services.temporal, new.which)
            return idempotency.answer(200, DryRun(sum(one.count for one in totals), totals))
        async with services.engine.begin() as connection:
            await changes.record(connection, decided_about_many(by(key), bulk))
        progress = await parked.begin(services.temporal, bulk)
        return idempotency.answer(202, _standing(bulk.bulk_id, progress, services.workflows_url))

    if once is not None:
        return await once.answer(new, act)
    answer = await act()
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.get("/{bulk_id}", dependencies=[Depends(SEES_ALL)], responses=documented(404))
async def read(bulk_id: Id, temporal: Temporal, request: Request) -> BulkStanding:
    """Say how far it is. What was decided about each process is in `/v1/decisions`."""
    progress = await parked.follow(temporal, bulk_id)
    return _standing(bulk_id, progress, Services.of(request).workflows_url)


def _bulk(new: NewBulkDecision, key: ApiKey, idempotency_key: str) -> BulkDecision:
    return BulkDecision(
        bulk_id=bulk_id(key.caller, idempotency_key),
        verdict=new.verdict,
        which=new.which,
        who_and_why=said_by(key, new.note),
        per_second=new.per_second,
    )


def _standing(bulk_id: str, progress: BulkProgress, workflows_url: str | None) -> BulkStanding:
    process = workflow_id(bulk_id)
    return BulkStanding(
        bulk_id=bulk_id,
        workflow_id=process,
        url=page_of(process, workflows_url),
        matched=progress.matched,
        told=progress.told,
        gone=progress.gone,
        done=progress.done,
    )
