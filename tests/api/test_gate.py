"""The gate: what Vapi is told when a call wants to start, and what whoever starts calls is told."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio.client import Client

from api import gate
from devstack.stack import Stack
from store.calls import gate as store
from store.database import engine as store_engine
from store.organizations import api_keys
from store.schema import calls_in_progress
from tests.support.answers import eventually, expect_refusal, parked, problem, settled
from tests.support.api_server import RULES, Api, serving
from tests.support.assistant_requests import a_number, admission, answered, ask, assistant_request
from tests.support.factories import an_organization, balance_of, credit, ended_call, unique
from tests.support.migrations import set_up
from tests.support.signed_webhooks import (
    NOBODYS,
    VAPI_SECRETS,
    call_id_of,
    message,
    report,
    with_bearer,
    with_header,
    with_hmac,
)
from tests.support.stand_ins import VapiStandIn
from tests.support.vapi_types import differences

NOT_IN_SERVICE = {"error": "Sorry, this number is not in service. Goodbye."}
NOT_NOW = {
    "error": "Sorry, this number cannot take calls at the moment. Please try again later. Goodbye."
}


async def allowance(api: Api, org_id: str) -> dict[str, Any]:
    answer = await api.operator.get(f"/v1/organizations/{org_id}/allowance")
    said: dict[str, Any] = answer.raise_for_status().json()
    return said


async def gate_counts(api: Api) -> Mapping[str, float]:
    """How many calls asked, by the answer."""
    shown = (await api.operator.get("/metrics")).raise_for_status().text
    return {
        sample.labels["answer"]: sample.value
        for family in text_string_to_metric_families(shown)
        for sample in family.samples
        if sample.name == "callwallet_gate_total"
    }


async def counts_up(api: Api, answer: str, before: Mapping[str, float]) -> None:
    assert await gate_counts(api) == {**before, answer: before.get(answer, 0) + 1}


async def test_a_call_is_let_in_for_as_long_as_the_wallet_can_pay(api: Api) -> None:
    org_id = await an_organization(api.engine, 79, debt_limit_minor=0)
    number, assistant = await a_number(api, org_id)
    counted = await gate_counts(api)
    assert await ask(api, number) == admission(assistant, 85)
    await counts_up(api, "accepted", counted)


@pytest.mark.parametrize(("kind", "seconds"), [("squad", 85), ("workflow", None)])
async def test_a_number_is_answered_by_its_squad_or_workflow(
    api: Api, kind: str, seconds: int | None
) -> None:
    """Vapi takes no cap of a workflow, which has one of its own."""
    number, answers = await a_number(
        api, await an_organization(api.engine, 79, debt_limit_minor=0), kind
    )
    call_id = unique("call")
    said = await ask(api, number, call_id)
    assert said == answered(kind, answers, seconds)
    assert differences("ServerMessageResponseAssistantRequest", said) == []
    await eventually(lambda: is_noted(api, call_id, (None, number, seconds)))


async def is_noted(api: Api, call_id: str, noted: tuple[str | None, str, int | None]) -> bool:
    kept = calls_in_progress.c
    query = select(kept.assistant_id, kept.phone_number_id, kept.cap_seconds)
    async with api.engine.connect() as connection:
        row = (await connection.execute(query.where(kept.call_id == call_id))).one_or_none()
    return row is not None and tuple(row) == noted


async def test_what_the_gate_answers_has_the_type_that_vapi_publishes(api: Api) -> None:
    number, _ = await a_number(api, await an_organization(api.engine, 79, debt_limit_minor=0))
    for asked in (number, "nobody's"):
        assert differences("ServerMessageResponseAssistantRequest", await ask(api, asked)) == []


async def test_no_call_is_longer_than_the_platform_allows(api: Api) -> None:
    number, assistant = await a_number(api, await an_organization(api.engine, 100_000))
    assert await ask(api, number) == admission(assistant, 600)


async def test_the_debt_that_is_left_counts_towards_the_start_balance(api: Api) -> None:
    enough = await an_organization(api.engine, 9, debt_limit_minor=70)
    too_little = await an_organization(api.engine, 8, debt_limit_minor=70)
    number, assistant = await a_number(api, enough)
    assert await ask(api, number) == admission(assistant, 85)
    number, _ = await a_number(api, too_little)
    counted = await gate_counts(api)
    assert await ask(api, number) == NOT_NOW
    await counts_up(api, "balance_too_low", counted)


@pytest.mark.parametrize("number", [None, "", 7, "nobody's"])
async def test_a_number_of_nobodys_is_not_in_service(api: Api, number: Any) -> None:
    counted = await gate_counts(api)
    assert await ask(api, number) == NOT_IN_SERVICE
    await counts_up(api, "unknown_number", counted)


async def test_a_number_that_no_assistant_answers_is_not_in_service(api: Api) -> None:
    org_id, number = await an_organization(api.engine, 1000), unique("number")
    path = f"/v1/organizations/{org_id}/assistants"
    await api.operator.post(path, json={"phone_number_id": number})
    counted = await gate_counts(api)
    assert await ask(api, number) == NOT_IN_SERVICE
    await counts_up(api, "no_assistant", counted)


async def test_the_number_may_stand_beside_the_call(api: Api) -> None:
    number, assistant = await a_number(api, await an_organization(api.engine, 1000))
    body = message("assistant-request", unique("call"), phoneNumber={"id": number})
    assert (await api.send(with_bearer(body))).json() == admission(assistant, 600)


async def test_it_takes_the_same_credentials_as_any_message(api: Api) -> None:
    number, assistant = await a_number(api, await an_organization(api.engine, 1000))
    body = assistant_request(number)
    for webhook in (
        with_bearer(body),
        with_header(with_bearer(body), VAPI_SECRETS[0]),
        with_hmac(body),
    ):
        assert (await api.send(webhook)).json() == admission(assistant, 600)
    forged = with_hmac(assistant_request(number), secret=NOBODYS)
    await expect_refusal(api, forged, 401, "unauthorized")


async def test_the_request_is_recorded_behind_the_answer(api: Api) -> None:
    number, _ = await a_number(api, await an_organization(api.engine, 1000))
    call_id = unique("call")
    await ask(api, number, call_id)
    await eventually(lambda: is_recorded(api, call_id))


async def test_a_frozen_organization_starts_no_call_until_it_is_thawed(api: Api) -> None:
    org_id = await an_organization(api.engine, 100_000)
    number, assistant = await a_number(api, org_id)
    path = f"/v1/organizations/{org_id}/frozen"
    frozen = await api.operator.put(path, json={"reason": "Chargebacks, ticket 4711"})
    assert (frozen.status_code, frozen.json()["reason"]) == (200, "Chargebacks, ticket 4711")
    assert frozen.json()["frozen_by"]
    counted = await gate_counts(api)
    assert await ask(api, number) == NOT_NOW
    await counts_up(api, "frozen", counted)
    said = await allowance(api, org_id)
    assert (said["allowed"], said["reason"]) == (False, "frozen")
    assert said["frozen_reason"] == "Chargebacks, ticket 4711"
    assert (await api.operator.delete(path)).status_code == 204
    assert await ask(api, number) == admission(assistant, 600)
    problem(await api.operator.delete(path), 404, "not_found")


async def test_only_operators_freeze_and_only_what_exists(api: Api) -> None:
    org_id = await an_organization(api.engine)
    tenant = await api.tenant(org_id)
    new = {"reason": "spite"}
    path = f"/v1/organizations/{org_id}/frozen"
    problem(await tenant.put(path, json=new), 403, "forbidden")
    problem(await tenant.delete(path), 403, "forbidden")
    for wrong in ({}, {"reason": ""}, {"reason": "\0"}, {"reason": "x" * 501}):
        problem(await api.operator.put(path, json=wrong), 422, "invalid")
    absent = f"/v1/organizations/{unique('org')}/frozen"
    problem(await api.operator.put(absent, json=new), 404, "not_found")


async def test_the_allowance_says_what_the_gate_says_and_by_which_figures(api: Api) -> None:
    org_id = await an_organization(api.engine, 9, debt_limit_minor=70)
    assert await allowance(api, org_id) == {
        "org_id": org_id,
        "allowed": True,
        "spendable": {"amount_minor": 79, "currency": "gbp"},
        "start_balance": {"amount_minor": 79, "currency": "gbp"},
        "reason": None,
        "frozen_reason": None,
        "max_duration_seconds": 85,
    }


async def test_an_organization_reads_its_own_allowance_and_no_other(api: Api) -> None:
    org_id, other = await an_organization(api.engine), await an_organization(api.engine)
    tenant = await api.tenant(org_id)
    own = await tenant.get(f"/v1/organizations/{org_id}/allowance")
    assert own.json()["allowed"] is True
    problem(await tenant.get(f"/v1/organizations/{other}/allowance"), 403, "forbidden")
    absent = await api.operator.get(f"/v1/organizations/{unique('org')}/allowance")
    problem(absent, 404, "not_found")


async def test_the_platform_decides_the_start_balance_and_the_longest_call(
    engine: AsyncEngine, worker: Client
) -> None:
    rules = replace(RULES, start_balance_minor=1000, longest_call_seconds=1200)
    async with serving(engine, worker, rules=rules) as api:
        poor = await an_organization(engine, 999, debt_limit_minor=0)
        rich = await an_organization(engine, 100_000)
        assert (await allowance(api, poor))["reason"] == "balance_too_low"
        assert (await allowance(api, rich))["max_duration_seconds"] == 1200


async def test_a_wallet_at_its_limit_gets_no_further_call_until_money_arrives(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 100)
    number, assistant = await a_number(api, org_id)
    assert await ask(api, number) == admission(assistant, 600)
    webhook = report(assistant, 600)
    await api.send(webhook)
    await settled(api, call_id_of(webhook))
    assert (await allowance(api, org_id))["spendable"]["amount_minor"] == 47
    assert await ask(api, number) == NOT_NOW
    await credit(api.engine, org_id, 2500)
    assert await ask(api, number) == admission(assistant, 600)


async def test_a_charge_that_waits_for_money_lets_no_call_in_until_it_is_paid(
    working_api: Api,
) -> None:
    """What is left would do for a short call: it is owed already."""
    api = working_api
    org_id = await an_organization(api.engine, 40)
    number, assistant = await a_number(api, org_id)
    webhook = report(assistant, 600)
    await api.send(webhook)
    await parked(api, call_id_of(webhook), "debt_limit")
    counted = await gate_counts(api)
    assert await ask(api, number) == NOT_NOW
    await counts_up(api, "charges_waiting", counted)
    limit = {"debt_limit_minor": 10_000}
    await api.operator.put(f"/v1/organizations/{org_id}/debt-limit", json=limit)
    await settled(api, call_id_of(webhook))
    assert await ask(api, number) == admission(assistant, 600)


async def test_a_call_that_lasts_longer_than_it_was_let_in_for_is_not_charged_by_itself(
    working_api: Api, vapi: VapiStandIn
) -> None:
    """And the gate stays open: nothing is owed before a person has looked."""
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    number, assistant = await a_number(api, org_id)
    call = ended_call(assistant, 661)
    assert await ask(api, number, call.call_id) == admission(assistant, 600)
    await eventually(lambda: is_recorded(api, call.call_id))
    await vapi.knows(call)
    await api.send(report(assistant, 661, call_id=call.call_id))
    await parked(api, call.call_id, "unknown_duration")
    assert await balance_of(api.engine, org_id) == 1000
    assert await ask(api, number) == admission(assistant, 600)


async def is_recorded(api: Api, call_id: str) -> bool:
    """Whether the request is in the inbox, as a message that moves no money."""
    query = text("SELECT type, status FROM webhook_events WHERE subject = :subject")
    async with api.engine.connect() as connection:
        rows = (await connection.execute(query, {"subject": call_id})).all()
    return [tuple(row) for row in rows] == [("assistant-request", "ignored")]


# ---- without the database


@pytest.fixture(scope="module")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A PostgreSQL of its own, which hangs or stops when a test says so."""
    async with Stack(tmp_path_factory.mktemp("gate"), parts=("postgres",)) as stack:
        yield stack


@pytest.fixture
async def own_engine(postgres: Stack) -> AsyncIterator[AsyncEngine]:
    engine = store_engine.connect(postgres.postgres.url(), application_name="gate")
    await set_up(engine)
    yield engine
    await engine.dispose()


@asynccontextmanager
async def hanging(engine: AsyncEngine) -> AsyncIterator[None]:
    """Stop all who serve this database; they take no answer back, and none is refused."""
    query = text("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    async with engine.connect() as connection:
        pids = [pid for (pid,) in await connection.execute(query)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("fails_open", [True, False], ids=["open", "closed"])
async def test_a_database_that_hangs_is_not_waited_for_and_the_setting_decides(
    own_engine: AsyncEngine, temporal: Client, fails_open: bool
) -> None:
    rules = replace(RULES, gate_fails_open=fails_open)
    async with serving(own_engine, temporal, rules=rules) as api:
        number, assistant = await a_number(api, await an_organization(own_engine, 1000))
        assert await ask(api, number) == admission(assistant, 600)
        async with hanging(own_engine), asyncio.timeout(3 * gate.ANSWER_WITHIN_SECONDS):
            said = await ask(api, number)
        assert said == (admission(assistant, 600) if fails_open else NOT_NOW)
        answer = "failed_open" if fails_open else "failed_closed"
        assert await gate_counts(api) == {"accepted": 1, answer: 1}


async def test_without_the_database_only_who_was_let_in_last_time_is_let_in(
    postgres: Stack, own_engine: AsyncEngine, temporal: Client
) -> None:
    async with serving(own_engine, temporal) as api:
        rich = await an_organization(own_engine, 1000)
        number, assistant = await a_number(api, rich)
        without_money, _ = await a_number(
            api, await an_organization(own_engine, debt_limit_minor=0)
        )
        never_seen, _ = await a_number(api, rich)
        asked_before = [await ask(api, one) for one in (number, without_money)]
        assert asked_before == [admission(assistant, 600), NOT_NOW]
        await postgres.postgres.stop()
        answers = [await ask(api, one) for one in (number, without_money, never_seen)]
        await postgres.postgres.start()
        assert answers == [admission(assistant, 600), NOT_NOW, NOT_NOW]
        assert await gate_counts(api) == {
            "accepted": 1, "balance_too_low": 1, "failed_open": 1, "failed_closed": 2,
        }  # fmt: skip
        await eventually(lambda: is_let_in(api, never_seen))


async def test_an_organization_that_was_frozen_since_is_not_let_in_without_the_database(
    postgres: Stack, own_engine: AsyncEngine, temporal: Client
) -> None:
    async with serving(own_engine, temporal) as api:
        org_id = await an_organization(own_engine, 1000)
        number, assistant = await a_number(api, org_id)
        assert await ask(api, number) == admission(assistant, 600)
        path = f"/v1/organizations/{org_id}/frozen"
        await api.operator.put(path, json={"reason": "fraud"})
        assert await ask(api, number) == NOT_NOW
        await postgres.postgres.stop()
        assert await ask(api, number) == NOT_NOW
        await postgres.postgres.start()


async def is_let_in(api: Api, number: str) -> bool:
    return "assistantId" in await ask(api, number)


async def frozen_by_another_process(engine: AsyncEngine, org_id: str) -> None:
    async with engine.begin() as connection:
        key, _ = await api_keys.issue(connection, "Ann's", None)
        await store.freeze(connection, org_id, "fraud", key.key_id)


async def test_a_loop_that_is_late_is_no_database_that_is_away(
    own_engine: AsyncEngine, temporal: Client
) -> None:
    """Somebody's work holds the loop at each turn, longer in all than an answer may take."""
    async with serving(own_engine, temporal) as api:
        org_id = await an_organization(own_engine, 1000)
        number, assistant = await a_number(api, org_id)
        assert await ask(api, number) == admission(assistant, 600)
        await frozen_by_another_process(own_engine, org_id)
        with late_loop(turns=6, seconds=0.4):
            assert await ask(api, number) == NOT_NOW
        assert await gate_counts(api) == {"accepted": 1, "frozen": 1}


@contextmanager
def late_loop(turns: int, seconds: float) -> Iterator[None]:
    """Hold each of the next turns of the loop, right after the gate has begun to read."""
    read = store.standing_of_number
    loop = asyncio.get_running_loop()

    def hold(left: int) -> None:
        time.sleep(seconds)
        if left:
            loop.call_soon(hold, left - 1)

    async def held(*arguments: Any) -> Any:
        loop.call_soon(hold, turns - 1)
        for _ in range(turns - 2):
            await asyncio.sleep(0)
        return await read(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "standing_of_number", held)
        yield


async def test_a_freeze_by_another_process_is_heard_of_in_time(
    postgres: Stack,
    own_engine: AsyncEngine,
    temporal: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 2 * gate.HEAR_OF_FREEZES_SECONDS < 5
    monkeypatch.setattr(gate, "HEAR_OF_FREEZES_SECONDS", 0.05)
    async with serving(own_engine, temporal) as api:
        org_id = await an_organization(own_engine, 1000)
        number, assistant = await a_number(api, org_id)
        assert await ask(api, number) == admission(assistant, 600)
        await frozen_by_another_process(own_engine, org_id)

        async def is_refused_without_the_database() -> bool:
            await postgres.postgres.stop()
            said = await ask(api, number)
            await postgres.postgres.start()
            return said == NOT_NOW

        await eventually(is_refused_without_the_database)
