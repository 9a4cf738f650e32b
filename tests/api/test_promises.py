"""The OpenAPI document: whatever is sent, by whatever key, is answered as it promises.

Small here; `make fuzz` sends 20,000 cases, other ones each time.
"""

import asyncio
import random
import re
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis

from devstack.stack import Stack
from settings import WorkerSettings
from store.organizations import api_keys
from tests.conftest import NewDatabase
from tests.support.adjustments import BIG, post, wanted
from tests.support.answers import accepted, problem
from tests.support.api_server import LIMITS, Api, serving
from tests.support.factories import an_organization, unique
from tests.support.fuzzing import (
    LEFT_OUT,
    MORE_THAN_A_SCHEMA,
    PHASES,
    WITHIN_ANOTHER_PATH,
    Caller,
    Size,
    fuzz,
    is_plainly_written,
)
from tests.support.money_of_all_kinds import all_kinds
from tests.support.reconciliation_runs import a_finding, a_run, record
from tests.support.signed_webhooks import call_id_of, report
from tests.support.stand_ins import StripeStandIn
from tests.support.systems import a_system
from wiring import Clients

Document = dict[str, Any]
# As programs write integers, and people do not.
WRITTEN = ("1_0", "+1", "1.0", " 1", "1e0", "\u0661")
SEED = random.randrange(2**32)
FULL = {
    name: Size(cases, PHASES, examples=25, scenarios=100, seed=SEED)
    for name, cases in {"operator": 8_000, "tenant": 6_000, "stranger": 6_000}.items()
}
# The same each time, for a test that fails by chance is not believed.
SMALL = {
    "operator": Size(1, ("fuzzing", "stateful"), examples=1, scenarios=2, seed=1),
    **dict.fromkeys(
        ("tenant", "stranger"),
        Size(1, ("fuzzing",), 1, scenarios=1, seed=1, mode="positive", paths=r"\{"),
    ),
}


@dataclass(frozen=True)
class Fuzzed:
    """A system with something in it, and the ids of that by the names of the document."""

    api: Api
    ids: Mapping[str, Sequence[str]]

    async def caller(self, name: str) -> Caller:
        """Make a key: an operator's, one of the organisation of all ids, or of another."""
        owner = {"operator": None, "tenant": self.ids["org_id"][0]}
        org_id = owner[name] if name in owner else await an_organization(self.api.engine)
        async with self.api.engine.begin() as connection:
            _, secret = await api_keys.issue(connection, name, org_id)
        return Caller(name, secret, self.ids)


@pytest.fixture(scope="module")
async def fuzzed(
    stack: Stack,
    settings: WorkerSettings,
    migrated_database: NewDatabase,
    stripe: StripeStandIn,
    clients: Clients,
) -> AsyncIterator[Fuzzed]:
    """A system of its own, for what is sent decides about all parked work, all prices and keys."""
    engine = await migrated_database()
    names = (await all_kinds(engine, stripe, clients.stripe)).names
    org_id = names["org_id"]
    run = await record(engine, a_run(org_id=org_id), None, a_finding(org_id, 5))
    quiet = settings.model_copy(update={"slack_webhook_url": None})
    async with a_system(quiet, stack.postgres.service_url(str(engine.url.database))) as api:
        nobodys = report(unique("assistant"))
        accepted(await api.send(nobodys))
        pending = (await post(api.operator, org_id, wanted(amount_minor=BIG))).json()
        yield Fuzzed(
            api,
            {
                "org_id": [org_id],
                "call_id": [names["call"], names["corrected"], call_id_of(nobodys)],
                "sid": [names["sent"], names["lost_message"]],
                "adjustment_id": [names["given"], names["rejected"], pending["adjustment_id"]],
                "entry": [f"call:{names['call']}", f"payment:{names['won']}:credit"],
                "run_id": [run.run_id],
                "workflow_id": [f"call/{call_id_of(nobodys)}"],
            },
        )
    await engine.dispose()


@pytest.mark.always
@pytest.mark.parametrize("name", FULL)
async def test_whatever_is_sent_is_answered_as_promised(
    fuzzed: Fuzzed, name: str, story_is_full: bool, request: pytest.FixtureRequest
) -> None:
    size = FULL[name] if story_is_full else SMALL[name]
    caller = await fuzzed.caller(name)
    capture: Any = request.config.pluginmanager.get_plugin("capturemanager")

    def say(text: str) -> None:
        if story_is_full:
            with capture.global_and_fixture_disabled():
                sys.stderr.write(f"{text}\n")

    told = await asyncio.to_thread(fuzz, fuzzed.api.url, caller, size, say)
    assert not told.broken, f"with the seed {size.seed}: {told}"
    document = await document_of(fuzzed.api)
    assert told.operations() == {
        f"{method} {path}"
        for method, path, _ in operations(document)
        if re.search(size.paths, path)
    }
    owned = {one for one in told.let_in() if any(f"{{{id_}}}" in one for id_ in fuzzed.ids)}
    assert bool(owned) is (name != "stranger"), owned


async def test_an_integer_with_a_point_fits_its_schema_and_is_refused(api: Api) -> None:
    """So a walk that sends one is refused, and no promise is broken."""
    body = {"org_id": unique("org"), "name": "Acme", "currency": "gbp", "debt_limit_minor": 80.0}
    answer = await api.operator.post("/v1/organizations", json=body)
    assert places(answer) == ["body.debt_limit_minor"]
    assert not is_plainly_written(body)
    assert not is_plainly_written({"lines": [{"minor": 80.0}]})
    assert is_plainly_written({**body, "debt_limit_minor": 80, "rate": [0.5]})


async def test_what_is_not_held_to_a_promise_is_there(api: Api) -> None:
    named = {f"{method} {path}" for method, path, _ in operations(await document_of(api))}
    assert named >= {*MORE_THAN_A_SCHEMA, *WITHIN_ANOTHER_PATH}
    assert set(schemathesis.checks.CHECKS.get_all_names()) >= LEFT_OUT.keys()


async def document_of(api: Api) -> Document:
    found: Document = (await api.anonymous.get("/openapi.json")).json()
    return found


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def parameters(document: Document, kind: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the method and path of each operation with a parameter of a type or format; where."""
    for method, path, operation in operations(document):
        for one in operation.get("parameters", ()):
            if kind in kinds(one["schema"]):
                yield method, path, one["in"], one["name"]


def kinds(schema: Document) -> set[str]:
    """Return the types and formats that something may have."""
    either = [kinds(one) for one in schema.get("anyOf", ())]
    return {schema.get("type", ""), schema.get("format", "")}.union(*either)


class AnyIds(dict[str, str]):
    def __missing__(self, _: str) -> str:
        return "1"


async def ask(
    api: Api, method: str, path: str, query: Mapping[str, str], ids: Mapping[str, str], **more: Any
) -> httpx.Response:
    url = path.format_map(AnyIds(ids))
    return await api.operator.request(method, url, params=query, **more)


def places(answer: httpx.Response) -> list[str]:
    return [one["at"] for one in problem(answer, 422, "invalid")["errors"]]


async def test_an_integer_is_written_in_digits_wherever_there_is_one(api: Api) -> None:
    found = list(parameters(await document_of(api), "integer"))
    assert len(found) > 20
    run = await record(api.engine, a_run())
    for (method, path, where, name), written in zip(found, cycle(WRITTEN), strict=False):
        query = {name: written} if where == "query" else {}
        ids = {"run_id": run.run_id} | ({name: written} if where == "path" else {})
        assert f"{where}.{name}" in places(await ask(api, method, path, query, ids)), path


async def test_a_moment_is_no_number_wherever_there_is_one(api: Api) -> None:
    """Is it seconds, milliseconds, since when? All of these were taken for some moment."""
    document = await document_of(api)
    found = list(parameters(document, "date-time"))
    assert len(found) > 2
    for method, path, where, name in found:
        answer = await ask(api, method, path, {name: "1767225600"}, {})
        assert places(answer) == [f"{where}.{name}"]
    for method, path, name in moments_in_bodies(document):
        for written in (1767225600, 1767225600000.0, "1767225600"):
            headers = {"Idempotency-Key": unique("key")}
            answer = await ask(api, method, path, {}, {}, json={name: written}, headers=headers)
            assert f"body.{name}" in places(answer), (path, name)


def moments_in_bodies(document: Document) -> Iterator[tuple[str, str, str]]:
    for method, path, operation in operations(document):
        body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        name = body.get("schema", {}).get("$ref", "").rpartition("/")[2]
        properties = document["components"]["schemas"].get(name, {}).get("properties", {})
        for field, schema in properties.items():
            if "date-time" in kinds(schema):
                yield method, path, field


async def test_each_list_leads_to_its_next_page(api: Api) -> None:
    for method, path, operation in operations(await document_of(api)):
        if "cursor" in [one["name"] for one in operation.get("parameters", ())]:
            link = operation["responses"]["200"]["links"]["next_page"]
            assert link["operationId"] == operation["operationId"], (method, path)
            assert link["parameters"]["cursor"] == "$response.body#/next_cursor"


async def test_what_is_made_leads_to_all_that_has_its_id(api: Api) -> None:
    document = await document_of(api)
    names = {one["operationId"]: f"{m} {p}" for m, p, one in operations(document)}
    leads = {
        f"{method} {path}": {names[link["operationId"]] for link in response["links"].values()}
        for method, path, operation in operations(document)
        for status, response in operation["responses"].items()
        if status.startswith("20") and "links" in response
    }
    assert leads["POST /v1/organizations"] == {
        one for one in names.values() if "{org_id}" in one and one.count("{") == 1
    }
    assert leads["POST /v1/api-keys"] >= {"DELETE /v1/api-keys/{key_id}"}
    assert leads["POST /v1/organizations/{org_id}/assistants"] == {
        "DELETE /v1/organizations/{org_id}/assistants/{agent_id}"
    }
    assert leads["POST /v1/organizations/{org_id}/senders"] == {
        "DELETE /v1/organizations/{org_id}/senders/{sender_id}"
    }
    assert leads["POST /v1/organizations/{org_id}/adjustments"] >= {
        "GET /v1/adjustments/{adjustment_id}",
        "POST /v1/adjustments/{adjustment_id}/approve",
        "POST /v1/adjustments/{adjustment_id}/reject",
    }
    assert leads["POST /v1/reconciliations"] >= {
        "GET /v1/reconciliations/{run_id}",
        "GET /v1/reconciliations/{run_id}/findings",
    }
    assert leads["POST /v1/bulk-decisions"] >= {"GET /v1/bulk-decisions/{bulk_id}"}
    for noun, read in {
        "entries": "/v1/entries/{entry}",
        "calls": "/v1/calls/{call_id}",
        "messages": "/v1/messages/{sid}",
        "adjustments": "/v1/adjustments/{adjustment_id}",
    }.items():
        assert f"GET {read}" in leads[f"GET /v1/organizations/{{org_id}}/{noun}"]
    for noun, read in {
        "organizations": "{org_id}",
        "reconciliations": "{run_id}",
        "parked": "{workflow_id}",
        "webhook-events": "{event_id}",
    }.items():
        assert f"GET /v1/{noun}/{read}" in leads[f"GET /v1/{noun}"]


async def test_what_comes_with_a_problem_is_documented(api: Api) -> None:
    """How to authenticate, and when to try again."""
    wanted = {"401": "WWW-Authenticate", "429": "Retry-After", "503": "Retry-After"}
    for method, path, operation in operations(await document_of(api)):
        for status, response in operation["responses"].items():
            if status in wanted and "application/problem+json" in response["content"]:
                assert response["headers"][wanted[status]]["required"], (method, path, status)


async def test_too_many_wrong_keys_are_told_as_documented_wherever_a_key_is_needed(
    api: Api,
) -> None:
    """What the walks do not see: they may start as much as they like, so that nothing hides."""
    document = await document_of(api)
    validator = jsonschema_rs.validator_for(
        {"$ref": "#/components/schemas/Problem", "components": document["components"]}
    )
    few = replace(LIMITS, starts_per_minute=1, wrong_keys_per_minute=1)
    wrong = {"Authorization": "Bearer cw_nobody_wrong"}
    async with serving(api.engine, api.temporal, limits=few) as strict:
        for number, (method, path, operation) in enumerate(operations(document)):
            if not number % 10:  # each minute gives one back
                await strict.anonymous.get("/v1/organizations", headers=wrong)
            if operation.get("security"):
                answer = await strict.anonymous.request(
                    method, path.format_map(AnyIds()), headers=wrong
                )
                problem(answer, 429, "too_many_requests")
                validator.validate(answer.json())
                assert "Retry-After" in operation["responses"]["429"]["headers"]
                assert int(answer.headers["retry-after"]) >= 1
