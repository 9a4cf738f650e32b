"""No organisation reads what operators call their keys, nor what they write to each other."""

from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.adjustments import AdjustmentActivities, AdjustmentOpening, Ruling
from activities.calls.calls import CallActivities
from billing.adjustments import ApprovalVerdict, Decision, Who
from billing.calls.call import CallState, EndedCall
from billing.calls.call_record import DiscardedCall
from billing.calls.length import StatedLength
from billing.organizations import Scope
from billing.recharges.history import CardCaps
from billing.reconciliation.given_up import RUN_GIVEN_UP
from billing.reconciliation.payment_comparison import left_alone
from billing.reconciliation.reconciliation import RunStatus
from store.calls import gate
from store.messages import discards
from store.organizations import api_keys
from store.recharges import recharge_settings
from store.reconciliation import findings, runs
from tests.activities.payments.test_payments import payment_of
from tests.api.test_who_may import ask
from tests.store.test_discarded_messages import a_message_over_the_limit
from tests.support.api_server import Api
from tests.support.factories import NOON, an_assistant, as_api, ended_call, keys_of
from tests.support.proposals import proposed
from tests.support.reconciliation_runs import a_finding, a_run, record

LABEL, NAME, NOTE, OTHER = "Ann's own key", "Ann Example", "they are a nuisance", "key-of-bob"
# Where an operator reads one of these.
TELLING = {
    "GET /v1/organizations/{org_id}/entries",
    "GET /v1/entries/{entry}",
    "GET /v1/organizations/{org_id}/calls",
    "GET /v1/calls/{call_id}",
    "GET /v1/organizations/{org_id}/messages",
    "GET /v1/messages/{sid}",
    "GET /v1/organizations/{org_id}/adjustments",
    "GET /v1/adjustments/{adjustment_id}",
    "GET /v1/reconciliations",
    "GET /v1/reconciliations/{run_id}",
    "GET /v1/reconciliations/{run_id}/findings",
    "GET /v1/api-keys",
}


@dataclass(frozen=True)
class Operator:
    """An operator's key, and how it is written down with what they decide."""

    key_id: str

    @property
    def who(self) -> Who:
        return Who(self.key_id, LABEL, NAME)

    @property
    def who_and_why(self) -> str:
        return f"{LABEL} ({self.key_id}): {NOTE}"


async def bill(engine: AsyncEngine, call: EndedCall) -> CallState:
    return (await ActivityEnvironment().run(CallActivities(engine).bill_call, call)).state


async def its_calls(engine: AsyncEngine, org_id: str, ann: Operator) -> list[str]:
    """One of a stated length, one given up, and one whose correction is given up."""
    assistant = await an_assistant(engine, org_id)
    length = StatedLength(Decimal(60), ann.who_and_why, NOON)
    stated = replace(ended_call(assistant), stated=length)
    given_up, charged = ended_call(assistant, 3600), ended_call(assistant)
    longer = as_api(ended_call(assistant, 3600, call_id=charged.call_id))
    assert await bill(engine, stated) is CallState.SETTLED
    assert await bill(engine, charged) is CallState.SETTLED
    for call in (given_up, longer):
        assert await bill(engine, call) is CallState.DEBT_LIMIT
        decision = DiscardedCall(call, ann.who_and_why)
        await ActivityEnvironment().run(CallActivities(engine).discard_call, decision)
    return [stated.call_id, given_up.call_id, charged.call_id]


async def its_adjustments(engine: AsyncEngine, org_id: str, ann: Operator) -> list[str]:
    """One that was approved, one that was discarded, and one that waits."""
    activities, asked = AdjustmentActivities(engine), []
    for decision in (
        Decision(ApprovalVerdict.APPROVED, replace(ann.who, key_id=OTHER), NOTE, NOON),
        Decision(ApprovalVerdict.REJECTED, Who(None, "a signal"), ann.who_and_why, NOON),
        None,
    ):
        proposal = replace(proposed(org_id), requested_by=ann.who)
        opening = AdjustmentOpening(proposal, NOON, NOON + timedelta(days=7))
        await activities.open_adjustment(opening)
        if decision is not None:
            ruling = Ruling(proposal.adjustment_id, NOON, decision)
            await ActivityEnvironment().run(activities.settle_adjustment, ruling)
        asked.append(proposal.adjustment_id)
    return asked


async def its_run(engine: AsyncEngine, org_id: str, ann: Operator) -> str:
    run = await record(engine, a_run(org_id=org_id), status=RunStatus.RUNNING)
    found = a_finding(org_id, 700, subject="pi_1")
    finding = left_alone(payment_of(org_id), found, ann.who_and_why)
    assert finding is not None
    async with engine.begin() as connection:
        await findings.add(connection, run.run_id, [finding])
        problem = f"{RUN_GIVEN_UP}{ann.who_and_why}"
        await runs.set_status(
            connection, run.run_id, RunStatus.DISCARDED, problem=problem, finished_at=NOON
        )
    return run.run_id


@dataclass(frozen=True)
class World:
    """An organisation that operators have had to do with, by all the ids that lead to it."""

    org_id: str
    ids: list[dict[str, str]]
    secrets: tuple[str, ...]
    tenants: tuple[httpx.AsyncClient, ...]


@pytest.fixture(scope="module")
async def world(api: Api) -> World:
    engine = api.engine
    async with engine.begin() as connection:
        key, _ = await api_keys.issue(connection, LABEL, None)
    ann = Operator(key.key_id)
    org_id, sid = await a_message_over_the_limit(engine)
    async with engine.begin() as connection:
        assert await discards.discard(connection, sid, ann.who_and_why)
        await gate.freeze(connection, org_id, "Chargebacks", key.key_id)
        caps = CardCaps(80_000, 200_000, ann.who_and_why, NOON)
        await recharge_settings.set_caps(connection, org_id, caps)
        _, full = await api_keys.issue(connection, "the tenant's", org_id, key)
        _, reader = await api_keys.issue(connection, "a reader", org_id, key, Scope.READ)
    calls = await its_calls(engine, org_id, ann)
    adjustments = await its_adjustments(engine, org_id, ann)
    run_id = await its_run(engine, org_id, ann)
    ids: list[dict[str, str]] = [{"sid": sid}, {"run_id": run_id}]
    ids += [{"call_id": one} for one in calls]
    ids += [{"adjustment_id": one} for one in adjustments]
    ids += [{"entry": one} for one in await keys_of(engine, org_id)]
    tenants = (api.with_key(full), api.with_key(reader))
    return World(org_id, ids, (LABEL, NAME, NOTE, key.key_id, OTHER), tenants)


async def everything_that_is_read(
    client: httpx.AsyncClient, world: World, operations: dict[str, dict[str, Any]]
) -> dict[str, str]:
    """What is answered to each GET about the organisation, whatever of it is asked for."""
    found = dict.fromkeys(operations, "")
    for name, operation in operations.items():
        named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path"}
        about = named - {"org_id"}
        for ids in [one for one in world.ids if about <= one.keys()] if about else [{}]:
            answer = await ask(client, name, operation, {"org_id": world.org_id, **ids})
            assert answer.status_code in (200, 403), (name, answer.text)
            found[name] += answer.text
    return found


async def test_no_organisation_reads_who_of_the_operators_has_done_what_or_what_they_wrote(
    api: Api, world: World
) -> None:
    document = (await api.anonymous.get("/openapi.json")).json()
    reads = {
        f"GET {path}": methods["get"]
        for path, methods in document["paths"].items()
        if any("organization:" in str(way) for way in methods.get("get", {}).get("security", []))
    }
    assert reads.keys() > TELLING
    told = await everything_that_is_read(api.operator, world, reads)
    assert {name for name, text in told.items() if any(map(text.count, world.secrets))} == TELLING
    for tenant in world.tenants:
        seen = await everything_that_is_read(tenant, world, reads)
        for name, text in seen.items():
            assert text, name
            assert [one for one in world.secrets if one in text] == [], (name, text)
