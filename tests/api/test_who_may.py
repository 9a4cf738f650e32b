"""Who may do what: each operation of the OpenAPI document, by each kind of key.

An operation that is not in the table fails, and so does an answer that is another than the table's.
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.testing import ActivityEnvironment

from activities.adjustments import AdjustmentActivities, AdjustmentOpening
from activities.calls.calls import CallActivities
from billing.organizations import Scope
from store.organizations import api_keys
from tests.store.test_messages import seen
from tests.store.test_messages import settle as settle_message
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import (
    NOON,
    a_sender,
    a_sid,
    an_assistant,
    an_organization,
    credit,
    ended_call,
)
from tests.support.proposals import proposed
from tests.support.reconciliation_runs import a_run, record


class Who(NamedTuple):
    """The answers to a good key. `GOES_ON` is whatever comes after the key has been found good."""

    operator: int
    support: int
    read: int
    metrics: int
    own: int
    own_read: int
    other: int


# What OpenAPI calls them.
ROLES = {
    "operator": "operator",
    "support": "support",
    "read": "read",
    "metrics": "metrics",
    "own": "organization:full",
    "own_read": "organization:read",
}
# Any documented answer but 401, 403 and 429: the key is good for it.
GOES_ON = 0
# What others have is as unknown as what never was.
OWNERS = Who(200, 200, 200, 403, 200, 200, 404)
OPERATORS = Who(GOES_ON, 403, 403, 403, 403, 403, 403)
DECIDERS = Who(GOES_ON, GOES_ON, 403, 403, 403, 403, 403)
ALL_SEEING = Who(GOES_ON, GOES_ON, GOES_ON, 403, 403, 403, 403)
SCRAPERS = Who(GOES_ON, GOES_ON, GOES_ON, GOES_ON, 403, 403, 403)
MEMBERS = Who(GOES_ON, GOES_ON, GOES_ON, 403, GOES_ON, GOES_ON, 403)
FULL_MEMBERS = Who(GOES_ON, 403, 403, 403, GOES_ON, 403, 403)
# Each organisation sees and makes keys of its own. Any key may rotate itself, these ones others.
KEY_LISTERS = Who(GOES_ON, GOES_ON, GOES_ON, 403, GOES_ON, 403, GOES_ON)
KEY_KEEPERS = Who(GOES_ON, 403, 403, 403, GOES_ON, 403, GOES_ON)
ROTATION = "POST /v1/api-keys/{key_id}/rotate"

EXPECTED = {
    "POST /v1/organizations": OPERATORS,
    "GET /v1/organizations": ALL_SEEING,
    "GET /v1/organizations/{org_id}": MEMBERS,
    "GET /v1/organizations/{org_id}/wallet": MEMBERS,
    "PUT /v1/organizations/{org_id}/debt-limit": OPERATORS,
    "GET /v1/organizations/{org_id}/allowance": MEMBERS,
    "PUT /v1/organizations/{org_id}/frozen": OPERATORS,
    "DELETE /v1/organizations/{org_id}/frozen": OPERATORS,
    "GET /v1/organizations/{org_id}/entries": MEMBERS,
    "GET /v1/entries/{entry}": OWNERS,
    "GET /v1/organizations/{org_id}/calls": MEMBERS,
    "POST /v1/organizations/{org_id}/calls": OPERATORS,
    "GET /v1/calls/{call_id}": OWNERS,
    "POST /v1/calls/{call_id}/length": OPERATORS,
    "GET /v1/organizations/{org_id}/messages": MEMBERS,
    "GET /v1/organizations/{org_id}/messages/summary": MEMBERS,
    "GET /v1/messages/{sid}": OWNERS,
    "POST /v1/organizations/{org_id}/checkout-sessions": FULL_MEMBERS,
    "GET /v1/organizations/{org_id}/auto-recharge": MEMBERS,
    "PUT /v1/organizations/{org_id}/auto-recharge": FULL_MEMBERS,
    "PUT /v1/organizations/{org_id}/auto-recharge/caps": OPERATORS,
    "DELETE /v1/organizations/{org_id}/auto-recharge/caps": OPERATORS,
    "POST /v1/organizations/{org_id}/assistants": OPERATORS,
    "GET /v1/organizations/{org_id}/assistants": MEMBERS,
    "DELETE /v1/organizations/{org_id}/assistants/{agent_id}": OPERATORS,
    "GET /v1/audits": ALL_SEEING,
    "POST /v1/organizations/{org_id}/senders": OPERATORS,
    "GET /v1/organizations/{org_id}/senders": MEMBERS,
    "DELETE /v1/organizations/{org_id}/senders/{sender_id}": OPERATORS,
    "POST /v1/tariffs": OPERATORS,
    "GET /v1/tariffs": ALL_SEEING,
    "GET /v1/organizations/{org_id}/tariffs": MEMBERS,
    "POST /v1/sms-tariffs": OPERATORS,
    "GET /v1/sms-tariffs": ALL_SEEING,
    "GET /v1/organizations/{org_id}/sms-tariffs": MEMBERS,
    "POST /v1/quotes": MEMBERS,
    "POST /v1/organizations/{org_id}/adjustments": OPERATORS,
    "GET /v1/organizations/{org_id}/adjustments": MEMBERS,
    "GET /v1/adjustments/{adjustment_id}": OWNERS,
    "POST /v1/adjustments/{adjustment_id}/approve": OPERATORS,
    "POST /v1/adjustments/{adjustment_id}/reject": OPERATORS,
    "POST /v1/reconciliations": FULL_MEMBERS,
    "GET /v1/reconciliations": MEMBERS,
    "GET /v1/reconciliations/reliability": MEMBERS,
    "GET /v1/reconciliations/reliability.svg": MEMBERS,
    "GET /v1/reconciliations/{run_id}": OWNERS,
    "GET /v1/reconciliations/{run_id}/findings": OWNERS,
    "GET /v1/parked": ALL_SEEING,
    "POST /v1/parked/{workflow_id}/reprocess": DECIDERS,
    "POST /v1/parked/{workflow_id}/discard": DECIDERS,
    "GET /v1/parked/{workflow_id}": ALL_SEEING,
    "POST /v1/bulk-decisions": DECIDERS,
    "GET /v1/bulk-decisions/{bulk_id}": ALL_SEEING,
    "GET /v1/decisions": ALL_SEEING,
    "GET /v1/admin-log": ALL_SEEING,
    "POST /v1/api-keys": KEY_KEEPERS,
    "GET /v1/api-keys": KEY_LISTERS,
    ROTATION: KEY_KEEPERS,
    "DELETE /v1/api-keys/{key_id}": KEY_KEEPERS,
    "GET /v1/webhook-events": ALL_SEEING,
    "GET /v1/webhook-events/{event_id}": ALL_SEEING,
    "GET /v1/monitoring": ALL_SEEING,
    "GET /metrics": SCRAPERS,
}
# They have no key: webhooks have a signature, and health says no more than it says to all.
OPEN = {
    "POST /webhooks/stripe": (401, 400),
    "POST /webhooks/vapi": (401, 400),
    "POST /webhooks/twilio/sms-status": (401, 400, 415),
    "GET /health": (200, 503),
    "GET /health/ready": (200, 503),
}


@dataclass(frozen=True)
class Callers:
    """Clients by the kind of their key, and ids of what the organisation has that `own` is of."""

    ids: dict[str, str]
    nobodys: dict[str, httpx.AsyncClient]
    good: dict[str, httpx.AsyncClient]


async def what_it_has(engine: AsyncEngine, org_id: str) -> dict[str, str]:
    """Make what is an organisation's: an entry, a call, a message, an adjustment, a run."""
    entry = (await credit(engine, org_id, 1000)).entry
    call, sid = ended_call(await an_assistant(engine, org_id)), a_sid()
    await ActivityEnvironment().run(CallActivities(engine).bill_call, call)
    await settle_message(engine, await a_sender(engine, org_id), seen(sid, "sent"))
    proposal = proposed(org_id)
    opening = AdjustmentOpening(proposal, NOON, NOON + timedelta(days=7))
    await AdjustmentActivities(engine).open_adjustment(opening)
    run = await record(engine, a_run(org_id=org_id))
    assert entry is not None
    return {
        "org_id": org_id,
        "entry": entry.key,
        "call_id": call.call_id,
        "sid": sid,
        "adjustment_id": proposal.adjustment_id,
        "run_id": run.run_id,
    }


@pytest.fixture(scope="module")
async def callers(api: Api) -> Callers:
    org_id, elsewhere = await an_organization(api.engine), await an_organization(api.engine)
    async with api.engine.begin() as connection:
        key, revoked = await api_keys.issue(connection, "revoked", None)
        await api_keys.revoke(connection, key.key_id)
    return Callers(
        ids=await what_it_has(api.engine, org_id),
        nobodys={
            "none": api.anonymous,
            "wrong": api.with_key(f"cw_{key.key_id}_wrong"),
            "revoked": api.with_key(revoked),
        },
        good={
            "operator": api.operator,
            "support": await api.client(scope=Scope.SUPPORT),
            "read": await api.client(scope=Scope.READ),
            "metrics": await api.client(scope=Scope.METRICS),
            "own": await api.tenant(org_id),
            "own_read": await api.client(org_id, Scope.READ),
            "other": await api.tenant(elsewhere),
        },
    )


@pytest.fixture(scope="module")
async def operations(api: Api) -> dict[str, dict[str, Any]]:
    document = (await api.anonymous.get("/openapi.json")).json()
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_is_in_the_table_once(operations: dict[str, dict[str, Any]]) -> None:
    assert EXPECTED.keys() & OPEN.keys() == set()
    assert EXPECTED.keys() | OPEN.keys() == operations.keys()


# What is needed to get past the validation that comes before whose it is.
QUERY = {"source": "vapi"}
BODIES: dict[str, dict[str, Any]] = {
    "POST /v1/reconciliations": {"source": "vapi", "since": "2026-11-01T00:00:00Z",
                                 "until": "2026-11-01T00:00:00Z"},
    "POST /v1/quotes": {"duration_seconds": 60},
}  # fmt: skip


async def ask(
    client: httpx.AsyncClient, name: str, operation: dict[str, Any], ids: dict[str, str]
) -> httpx.Response:
    """Ask about what is the organisation's, as far as the operation is about one."""
    method, path = name.split()
    parameters = [(one["in"], one["name"]) for one in operation.get("parameters", [])]
    known = {**QUERY, **ids}
    url = path.format_map({one: ids.get(one, "nothing") for at, one in parameters if at == "path"})
    query = {one: known[one] for at, one in parameters if at == "query" and one in known}
    body = {"org_id": ids["org_id"], **BODIES[name]} if name in BODIES else {}
    return await client.request(
        method,
        url,
        params=query,
        headers={"Idempotency-Key": "who-may"},
        json=body if "requestBody" in operation else None,
    )


@pytest.mark.parametrize("kind", ["none", "wrong", "revoked"])
async def test_without_a_good_key_nothing_is_answered_but_that(
    api: Api, callers: Callers, operations: dict[str, dict[str, Any]], kind: str
) -> None:
    found = {}
    for name in EXPECTED:
        answer = await ask(callers.nobodys[kind], name, operations[name], callers.ids)
        found[name] = (answer.status_code, answer.json()["code"])
    assert found == dict.fromkeys(EXPECTED, (401, "unauthorized"))


@pytest.mark.parametrize("kind", Who._fields)
async def test_a_good_key_may_do_what_the_table_says(
    api: Api, callers: Callers, operations: dict[str, dict[str, Any]], kind: str
) -> None:
    found = {}
    for name, operation in operations.items():
        if name in EXPECTED:
            answer = await ask(callers.good[kind], name, operation, callers.ids)
            status = answer.status_code
            assert str(status) in operation["responses"], (name, answer.text)
            is_told = EXPECTED[name] is OWNERS or status in (401, 403, 429)
            if status == 403:
                problem(answer, 403, "forbidden")
            found[name] = status if is_told else GOES_ON
    assert found == {name: getattr(who, kind) for name, who in EXPECTED.items()}


async def test_whoever_lacks_a_scope_is_told_which_one_it_takes(callers: Callers) -> None:
    answer = await callers.good["read"].get("/v1/organizations/acme/wallet")
    assert answer.status_code == 404, "a key that reads all is let in"
    for kind, role in (("read", "read"), ("own", "organization:full")):
        answer = await callers.good[kind].post("/v1/organizations", json={})
        detail = problem(answer, 403, "forbidden")["detail"]
        assert detail == f"this needs scope operator; the key has {role}"
    answer = await callers.good["metrics"].post("/v1/bulk-decisions", json={})
    assert "operator or support" in problem(answer, 403, "forbidden")["detail"]


def test_openapi_says_of_each_operation_which_scopes_it_takes(
    operations: dict[str, dict[str, Any]],
) -> None:
    """Each is one way of several, so it stands in a requirement of its own."""
    told = {
        name: [role for way in operation.get("security", []) for role in way["HTTPBearer"]]
        for name, operation in operations.items()
    }
    expected = {
        name: [ROLES[kind] for kind in ROLES if getattr(who, kind) != 403]
        for name, who in EXPECTED.items()
    }
    expected[ROTATION] = list(ROLES.values())
    assert told == expected | {name: [] for name in OPEN}


async def test_what_is_open_asks_for_no_key_and_takes_none_for_a_signature(
    api: Api, callers: Callers, operations: dict[str, dict[str, Any]]
) -> None:
    for name, statuses in OPEN.items():
        for client in (*callers.nobodys.values(), *callers.good.values()):
            answer = await ask(client, name, operations[name], callers.ids)
            assert answer.status_code in statuses, name
