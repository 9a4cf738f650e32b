"""The book of powers: each operation that changes something writes a line, once, for good.

An operation that is in neither table fails, and so does one that writes another line, or two.
"""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from structlog.testing import capture_logs

from billing.admin_log import AdminAction, AdminSubject
from tests.api.routes.test_stated_lengths import a_call_beyond_its_cap
from tests.api.routes.test_tariffs import wanted as price
from tests.support import adjustments
from tests.support.adjustments import another_operator
from tests.support.admin_log import done, key_id_of, lines, told
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import an_assistant, an_organization, credit, ended_call, unique
from tests.support.parked_workflows import calls_that_wait, start_bill, until_parked
from tests.support.reconciled_days import a_day
from tests.support.stand_ins import VapiStandIn

ORGANIZATION = "/v1/organizations/{org_id}"
# What a person changes by each operation, as the book calls it.
WRITES = {
    "POST /v1/organizations": "organization_made",
    f"PUT {ORGANIZATION}/debt-limit": "debt_limit_changed",
    f"PUT {ORGANIZATION}/frozen": "frozen",
    f"DELETE {ORGANIZATION}/frozen": "thawed",
    f"POST {ORGANIZATION}/calls": "call_registered",
    f"PUT {ORGANIZATION}/auto-recharge": "auto_recharge_changed",
    f"PUT {ORGANIZATION}/auto-recharge/caps": "caps_changed",
    f"DELETE {ORGANIZATION}/auto-recharge/caps": "caps_changed",
    f"POST {ORGANIZATION}/assistants": "assistant_registered",
    f"DELETE {ORGANIZATION}/assistants/{{agent_id}}": "assistant_removed",
    f"POST {ORGANIZATION}/senders": "sender_registered",
    f"DELETE {ORGANIZATION}/senders/{{sender_id}}": "sender_removed",
    f"POST {ORGANIZATION}/adjustments": "adjustment_asked",
    "POST /v1/adjustments/{adjustment_id}/approve": "adjustment_approved",
    "POST /v1/adjustments/{adjustment_id}/reject": "adjustment_rejected",
    "POST /v1/calls/{call_id}/length": "length_stated",
    "POST /v1/tariffs": "tariff_added",
    "POST /v1/sms-tariffs": "sms_tariff_added",
    "POST /v1/reconciliations": "reconciliation_asked",
    "POST /v1/parked/{workflow_id}/reprocess": "parked_reprocessed",
    "POST /v1/parked/{workflow_id}/discard": "parked_discarded",
    "POST /v1/bulk-decisions": "bulk_decided",
    "POST /v1/api-keys": "key_made",
    "POST /v1/api-keys/{key_id}/rotate": "key_rotated",
    "DELETE /v1/api-keys/{key_id}": "key_revoked",
}
# What changes nothing by a person's power, and why.
EXCEPTIONS = {
    f"POST {ORGANIZATION}/checkout-sessions": "it moves nothing: the customer pays, or does not",
    "POST /v1/quotes": "it only reads",
    "POST /webhooks/stripe": "Stripe is no person",
    "POST /webhooks/vapi": "Vapi is no person",
    "POST /webhooks/twilio/sms-status": "Twilio is no person",
}
# What is not the same when it is asked for again.
ANEW = {"POST /v1/api-keys"}


async def test_every_operation_that_changes_something_stands_in_the_book(api: Api) -> None:
    document = (await api.anonymous.get("/openapi.json")).json()
    operations = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
        if method != "get"
    }
    assert WRITES.keys() & EXCEPTIONS.keys() == set()
    assert WRITES.keys() | EXCEPTIONS.keys() == operations
    assert set(WRITES.values()) <= set(AdminAction)


def test_every_action_of_the_book_has_a_subject() -> None:
    from billing.admin_log import _SUBJECTS  # noqa: PLC0415

    assert _SUBJECTS.keys() == set(AdminAction)
    assert set(_SUBJECTS.values()) == set(AdminSubject)


@dataclass(frozen=True)
class Walk:
    """Somebody who does one thing after another, and looks into the book each time."""

    api: Api
    client: httpx.AsyncClient
    seen: set[str]

    async def does(self, name: str, body: dict[str, Any] | None = None, **ids: str) -> Any:
        """Do it twice. It stands there once, by this key, in these words."""
        action, before = WRITES[name], await self._lines()
        answer = await self._ask(name, body, ids)
        assert answer.is_success, (name, answer.text)
        line, *others = await self._lines()
        assert (others, line["action"], line["by"]["key_id"]) == (
            before, action, key_id_of(self.client),
        ), name  # fmt: skip
        if name not in ANEW:
            await self._ask(name, body, ids)
            assert await self._lines() == [line, *others], name
        self.seen.add(name)
        return answer.json() if answer.content else line

    async def _ask(
        self, name: str, body: dict[str, Any] | None, ids: dict[str, str]
    ) -> httpx.Response:
        method, path = name.split()
        key = {"Idempotency-Key": f"{name} {ids}"[:200].replace(" ", "_").replace("'", "")}
        return await self.client.request(method, path.format(**ids), json=body, headers=key)

    async def _lines(self) -> list[dict[str, Any]]:
        return await lines(self.api, actor=key_id_of(self.client))


async def test_each_writes_one_line_however_often_it_is_asked_for(
    working_api: Api, vapi: VapiStandIn
) -> None:
    api = working_api
    walk = Walk(api, await another_operator(api), set())
    await of_organizations(walk)
    await of_prices_and_keys(walk)
    await of_adjustments(walk, await another_operator(api))
    await of_parked_work(walk, vapi)
    assert walk.seen == WRITES.keys()


async def of_organizations(walk: Walk) -> None:
    org_id = unique("org")
    new = {"org_id": org_id, "name": "Acme", "currency": "gbp"}
    await walk.does("POST /v1/organizations", new)
    await walk.does(f"PUT {ORGANIZATION}/debt-limit", {"debt_limit_minor": 600}, org_id=org_id)
    await walk.does(f"PUT {ORGANIZATION}/frozen", {"reason": "a test"}, org_id=org_id)
    await walk.does(f"DELETE {ORGANIZATION}/frozen", org_id=org_id)
    await walk.does(f"POST {ORGANIZATION}/calls", {"call_id": unique("call")}, org_id=org_id)
    off = {"enabled": False, "threshold_minor": 700}
    await walk.does(f"PUT {ORGANIZATION}/auto-recharge", off, org_id=org_id)
    caps = {"charge_minor": 80_000, "day_minor": 200_000, "note": "ticket 4711"}
    await walk.does(f"PUT {ORGANIZATION}/auto-recharge/caps", caps, org_id=org_id)
    await walk.does(f"DELETE {ORGANIZATION}/auto-recharge/caps", org_id=org_id)
    agent, sender = unique("assistant"), "+15017122661"
    await walk.does(f"POST {ORGANIZATION}/assistants", {"assistant_id": agent}, org_id=org_id)
    await walk.does(f"DELETE {ORGANIZATION}/assistants/{{agent_id}}", org_id=org_id, agent_id=agent)
    await walk.does(f"POST {ORGANIZATION}/senders", {"phone_number": sender}, org_id=org_id)
    await walk.does(f"DELETE {ORGANIZATION}/senders/{{sender_id}}", org_id=org_id, sender_id=sender)
    day = a_day()
    run = {"source": "stripe", "org_id": org_id, "dry_run": True}
    run |= {"since": day.since.isoformat(), "until": day.until.isoformat()}
    await walk.does("POST /v1/reconciliations", run)


async def of_prices_and_keys(walk: Walk) -> None:
    org_id = await an_organization(walk.api.engine)
    await walk.does("POST /v1/tariffs", price("/v1/tariffs", org_id))
    await walk.does("POST /v1/sms-tariffs", price("/v1/sms-tariffs", org_id))
    made = await walk.does("POST /v1/api-keys", {"label": "Acme's portal", "org_id": org_id})
    [line] = await lines(walk.api, subject=made["api_key"]["key_id"])
    assert made["secret"] not in str(line)
    assert line["after"] == {"scope": "full", "label": "Acme's portal", "expires_at": None}
    rotated = await walk.does("POST /v1/api-keys/{key_id}/rotate", {}, key_id=line["subject_id"])
    [line] = await lines(walk.api, subject=rotated["api_key"]["key_id"])
    assert rotated["secret"] not in str(line)
    assert line["after"]["replaces"] == made["api_key"]["key_id"]
    await walk.does("DELETE /v1/api-keys/{key_id}", key_id=made["api_key"]["key_id"])


async def of_adjustments(walk: Walk, other: httpx.AsyncClient) -> None:
    org_id = await an_organization(walk.api.engine)
    asked = {**adjustments.wanted(amount_minor=100), "actor": "Ann"}
    await walk.does(f"POST {ORGANIZATION}/adjustments", asked, org_id=org_id)
    for verdict in ("approve", "reject"):
        waits = await adjustments.pending(other, org_id)
        path = f"POST /v1/adjustments/{{adjustment_id}}/{verdict}"
        await walk.does(path, {"note": "fine"}, adjustment_id=waits["adjustment_id"])
        last, first = await lines(walk.api, subject=waits["adjustment_id"])
        assert (first["action"], first["by"]["key_id"]) == ("adjustment_asked", key_id_of(other))
        assert last["reason"] == "fine"


async def of_parked_work(walk: Walk, vapi: VapiStandIn) -> None:
    api = walk.api
    org_id, handles = await calls_that_wait(api.temporal, api.engine, 2)
    note = {"note": "ticket 4711"}
    await walk.does("POST /v1/parked/{workflow_id}/discard", note, workflow_id=handles[0].id)
    await credit(api.engine, org_id, 10_000)
    await walk.does("POST /v1/parked/{workflow_id}/reprocess", note, workflow_id=handles[1].id)
    _, call, _ = await a_call_beyond_its_cap(api, vapi)
    await walk.does("POST /v1/calls/{call_id}/length", note, call_id=call.call_id)
    bulk = {"verdict": "reprocess", "org_id": org_id, **note}
    await walk.does("POST /v1/bulk-decisions", bulk)


# ---- what is written


async def test_nobody_takes_a_line_back(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    await api.operator.put(f"/v1/organizations/{org_id}/frozen", json={"reason": "a test"})
    for statement in ("UPDATE admin_log SET actor = 'x'", "DELETE FROM admin_log",
                      "TRUNCATE admin_log"):  # fmt: skip
        with pytest.raises(DBAPIError, match="append-only"):
            async with api.engine.begin() as connection:
                await connection.execute(text(statement))


async def test_what_is_refused_is_logged_and_writes_nothing(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    tenant = await api.tenant(org_id)
    path = f"/v1/organizations/{org_id}"
    with capture_logs() as logged:
        refused = await tenant.put(f"{path}/debt-limit", json={"debt_limit_minor": 1})
        problem(refused, 403, "forbidden")
    [attempt] = [one for one in logged if one["event"] == "a key may not do that"]
    assert (attempt["key_id"], attempt["about"]) == (key_id_of(tenant), {"org_id": org_id})
    problem(await api.operator.delete(f"{path}/frozen"), 404, "not_found")
    unknown = await api.operator.post("/v1/parked/call/nothing/discard", json={"note": "a test"})
    problem(unknown, 404, "not_found")
    assert await lines(api, org_id=org_id) == []


async def test_lines_are_found_by_whatever_is_known_of_them(working_api: Api) -> None:
    api = working_api
    org_id, elsewhere = await an_organization(api.engine), await an_organization(api.engine)
    for one in (org_id, elsewhere):
        await api.operator.put(f"/v1/organizations/{one}/frozen", json={"reason": "a test"})
    await api.operator.delete(f"/v1/organizations/{org_id}/frozen")
    assert await done(api, org_id=org_id) == ["frozen", "thawed"]
    last, first = await lines(api, subject=org_id)
    assert await lines(api, org_id=org_id, action="thawed") == [last]
    assert await lines(api, org_id=org_id, actor="the tests' operator") == [last, first]
    assert await lines(api, org_id=org_id, actor="somebody else") == []
    assert await lines(api, org_id=org_id, recorded_after=first["at"]) == [last]
    assert await lines(api, org_id=org_id, recorded_before=last["at"]) == [first]
    page = await api.operator.get("/v1/admin-log", params={"org_id": org_id, "limit": 1})
    assert page.json()["items"] == [last]
    following = {"org_id": org_id, "limit": 1, "cursor": page.json()["next_cursor"]}
    rest = (await api.operator.get("/v1/admin-log", params=following)).json()
    assert (rest["items"], rest["next_cursor"]) == ([first], None)


async def test_a_tenant_s_own_change_names_its_key(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    tenant = await api.tenant(org_id)
    off = {"enabled": False, "threshold_minor": 700}
    (await tenant.put(f"/v1/organizations/{org_id}/auto-recharge", json=off)).raise_for_status()
    [line] = await lines(api, org_id=org_id)
    assert (line["by"]["key_id"], line["by"]["label"]) == (key_id_of(tenant), "a tenant's")
    assert (line["before"]["threshold_minor"], line["after"]["threshold_minor"]) == (500, 700)


# ---- what is told to processes


async def test_what_is_told_to_a_process_in_temporal_stands_there_as_told_by_somebody(
    working_api: Api,
) -> None:
    api = working_api
    org_id, [handle] = await calls_that_wait(api.temporal, api.engine, 1)
    await handle.signal("discard", "ana: a test call")
    await handle.result()
    [line] = await lines(api, subject=handle.id)
    assert (line["action"], line["org_id"]) == ("parked_discarded", org_id)
    assert line["by"] == {"key_id": None, "label": "Temporal", "name": "ana"}
    assert line["reason"] == "ana: a test call"


async def test_a_decision_about_many_is_one_line_and_not_one_for_each(working_api: Api) -> None:
    api = working_api
    org_id, handles = await calls_that_wait(api.temporal, api.engine, 3)
    bulk = {"verdict": "discard", "org_id": org_id, "note": "a load test"}
    (await api.operator.post("/v1/bulk-decisions", json=bulk)).raise_for_status()
    for handle in handles:
        await handle.result()
        assert await lines(api, subject=handle.id) == []
    assert await done(api, org_id=org_id) == ["bulk_decided"]


async def test_who_names_a_bulk_that_nobody_made_is_written_down(working_api: Api) -> None:
    api = working_api
    _, [handle] = await calls_that_wait(api.temporal, api.engine, 1)
    await handle.signal("discard", f"Ann (key): fine (bulk {unique('bulk')})")
    await handle.result()
    assert await done(api, subject=handle.id) == ["parked_discarded"]


async def test_a_dry_run_decides_nothing(working_api: Api) -> None:
    org_id = await an_organization(working_api.engine)
    bulk = {"verdict": "discard", "org_id": org_id, "note": "a test", "dry_run": True}
    (await working_api.operator.post("/v1/bulk-decisions", json=bulk)).raise_for_status()
    assert await lines(working_api, org_id=org_id) == []


# ---- where it is shown


async def test_a_call_that_was_refused_shows_who_lowered_the_limit(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    assistant = await an_assistant(api.engine, org_id)
    path = f"/v1/organizations/{org_id}/debt-limit"
    (await api.operator.put(path, json={"debt_limit_minor": 0})).raise_for_status()
    handle = await start_bill(api.temporal, ended_call(assistant))
    await until_parked(handle, "debt_limit")
    shown = (await api.operator.get(f"/v1/parked/{handle.id}")).json()
    [line] = shown["changed"]
    assert (line["action"], line["by"]["label"]) == ("debt_limit_changed", "the tests' operator")
    await credit(api.engine, org_id, 1000)
    await handle.signal("reprocess", "ana: paid")
    await handle.result()
    entry = f"/v1/entries/call:{handle.id.removeprefix('call/')}"
    explained = (await api.operator.get(entry)).json()
    assert explained["changes"] == [line]
    tenant = await api.tenant(org_id)
    assert (await tenant.get(entry)).json()["changes"] == []


# ---- what is told at once


async def test_a_new_operator_key_is_told_once_and_a_tenant_s_is_not(working_api: Api) -> None:
    api = working_api
    made = (await api.operator.post("/v1/api-keys", json={"label": "another"})).json()
    key_id = made["api_key"]["key_id"]
    assert await told(api.engine, f"api-key/{key_id}") == ["There is a new operator's key"]
    org_id = await an_organization(api.engine)
    new = {"label": "a portal", "org_id": org_id}
    tenants = (await api.operator.post("/v1/api-keys", json=new)).json()["api_key"]["key_id"]
    assert await told(api.engine, f"api-key/{tenants}") == []


@pytest.mark.parametrize(
    ("changes", "is_told"),
    [
        ({"rate_minor_per_minute": "65"}, False),
        ({"rate_minor_per_minute": "20"}, True),
        ({"rate_minor_per_minute": "0"}, True),
        ({"fx_rate": "0.000001"}, True),
        ({"rate_minor_per_minute": "0", "minimum_minor": 65}, True),
    ],
)
async def test_a_price_that_falls_by_more_than_half_is_told(
    working_api: Api, changes: dict[str, Any], is_told: bool
) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    new = price("/v1/tariffs", org_id, **changes)
    (await api.operator.post("/v1/tariffs", json=new)).raise_for_status()
    assert bool(await told(api.engine, f"price/{new['tariff_id']}")) is is_told


async def test_what_another_organisation_pays_for_from_now_on_is_told(working_api: Api) -> None:
    api = working_api
    owner, heir = await an_organization(api.engine), await an_organization(api.engine)
    assistant = await an_assistant(api.engine, owner)
    await api.operator.delete(f"/v1/organizations/{owner}/assistants/{assistant}")
    new = {"assistant_id": assistant}
    path = "/v1/organizations/{}/assistants"
    (await api.operator.post(path.format(heir), json=new)).raise_for_status()
    assert await done(api, subject=assistant) == ["assistant_removed", "assistant_registered"]
    line = (await lines(api, subject=assistant))[0]
    assert (line["before"]["org_id"], line["after"]["org_id"]) == (owner, heir)
    assert await told(api.engine, f"registration/{line['position']}") == [
        "Another organisation pays from now on"
    ]


async def test_a_number_that_is_answered_by_what_is_another_s_is_told(working_api: Api) -> None:
    api = working_api
    org_id, payer = await an_organization(api.engine), await an_organization(api.engine)
    number, assistant = unique("number"), await an_assistant(api.engine, payer)
    new = {"phone_number_id": number, "assistant_id": assistant}
    path = f"/v1/organizations/{org_id}/assistants"
    (await api.operator.post(path, json=new)).raise_for_status()
    [line] = await lines(api, subject=number)
    assert await told(api.engine, f"registration/{line['position']}") == [
        "A number is answered by what is another organisation's"
    ]
