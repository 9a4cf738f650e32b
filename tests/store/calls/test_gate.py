"""What the gate reads: one statement, whoever asks, and as it is at that moment."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.calls.call import EndedCall
from billing.calls.gate import Freeze, GateStanding
from billing.errors import Conflict, NotFound
from billing.ledger.money import Currency, Money
from billing.organizations import AgentKind, Answerer
from store.calls import calls, gate
from store.calls.gate import Number
from store.organizations import agents, api_keys
from tests.support.factories import (
    an_assistant,
    an_organization,
    credit,
    ended_call,
    move,
    register,
    unique,
    unregister,
)

NUMBER = AgentKind.PHONE_NUMBER


async def a_key(engine: AsyncEngine) -> str:
    async with engine.begin() as connection:
        key, _ = await api_keys.issue(connection, "an operator's", None)
        return key.key_id


def an_answerer(agent_id: str | None, kind: AgentKind = AgentKind.ASSISTANT) -> Answerer | None:
    return Answerer(agent_id, kind) if agent_id else None


async def a_number(
    engine: AsyncEngine,
    org_id: str,
    answered_by: str | None,
    kind: AgentKind = AgentKind.ASSISTANT,
) -> str:
    number = unique("number")
    async with engine.begin() as connection:
        answerer = an_answerer(answered_by, kind)
        await agents.register(connection, number, NUMBER, org_id, answerer)
    return number


async def number_of(engine: AsyncEngine, phone_number_id: str) -> Number | None:
    async with engine.connect() as connection:
        return await gate.standing_of_number(connection, phone_number_id)


async def standing_of(engine: AsyncEngine, org_id: str) -> GateStanding:
    async with engine.connect() as connection:
        return await gate.standing_of(connection, org_id)


async def charge(engine: AsyncEngine, call: EndedCall) -> None:
    async with engine.begin() as connection:
        await calls.charge(connection, [call])


async def test_a_number_leads_to_its_assistant_and_its_organizations_wallet(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, 1234, debt_limit_minor=99)
    number = await number_of(engine, await a_number(engine, org_id, "an assistant"))
    assert number is not None
    standing = number.standing
    assert (number.answerer, standing.org_id) == (an_answerer("an assistant"), org_id)
    assert (standing.balance, standing.debt_limit_minor) == (Money(1234, Currency.GBP), 99)
    assert (standing.charges_waiting, standing.frozen_reason) == (False, None)
    assert {tariff.wallet_currency for tariff in standing.tariffs} == {Currency.GBP}
    assert abs(standing.at - datetime.now(UTC)) < timedelta(minutes=1)  # noqa: TID251
    asked_by_organization = await standing_of(engine, org_id)
    assert replace(asked_by_organization, at=standing.at) == standing


@pytest.mark.parametrize("kind", [AgentKind.SQUAD, AgentKind.WORKFLOW])
async def test_a_squad_or_a_workflow_may_answer_a_number_and_whoever_has_it_pays(
    engine: AsyncEngine, kind: AgentKind
) -> None:
    payer, other = await an_organization(engine, 5), await an_organization(engine)
    answers = await register(engine, unique(kind), payer, kind)
    number = await number_of(engine, await a_number(engine, other, answers, kind))
    assert number is not None
    assert (number.answerer, number.standing.org_id) == (Answerer(answers, kind), payer)


async def test_a_number_that_version_0_1_registered_is_answered_by_an_assistant(
    engine: AsyncEngine,
) -> None:
    number_id = await a_number(engine, await an_organization(engine), "its own", AgentKind.SQUAD)
    async with engine.begin() as connection:
        forget = "UPDATE agents SET answered_by_kind = NULL WHERE agent_id = :number"
        await connection.execute(text(forget), {"number": number_id})
    number = await number_of(engine, number_id)
    assert number is not None
    assert number.answerer == an_answerer("its own")


async def test_a_number_of_nobodys_leads_nowhere(engine: AsyncEngine) -> None:
    assert await number_of(engine, unique("number")) is None
    with pytest.raises(NotFound):
        await standing_of(engine, unique("org"))


async def test_whoever_has_the_assistant_pays_for_the_call_and_is_asked(
    engine: AsyncEngine,
) -> None:
    """As when the call is charged: the assistant goes before the number."""
    payer, other = await an_organization(engine, 5), await an_organization(engine)
    number_id = await a_number(engine, other, await an_assistant(engine, payer))
    number = await number_of(engine, number_id)
    assert number is not None
    assert (number.standing.org_id, number.standing.balance.amount_minor) == (payer, 5)


async def test_a_charge_that_waits_for_money_is_seen_until_it_is_paid(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    call = ended_call(await an_assistant(engine, org_id), 600)
    await charge(engine, call)
    assert (await standing_of(engine, org_id)).charges_waiting
    await credit(engine, org_id, 1000)
    await charge(engine, call)
    assert not (await standing_of(engine, org_id)).charges_waiting


async def test_a_freeze_is_seen_until_it_is_lifted_and_stays_on_record(
    engine: AsyncEngine,
) -> None:
    org_id, ann, ben = await an_organization(engine), await a_key(engine), await a_key(engine)
    async with engine.begin() as connection:
        await gate.freeze(connection, org_id, "fraud?", ann)
        made = await gate.freeze(connection, org_id, "fraud!", ben)
    assert made == Freeze(org_id, "fraud!", ben, made.frozen_at)
    assert (await standing_of(engine, org_id)).frozen_reason == "fraud!"
    async with engine.begin() as connection:
        await gate.thaw(connection, org_id, ann)
        with pytest.raises(NotFound):
            await gate.thaw(connection, org_id, ann)
    assert (await standing_of(engine, org_id)).frozen_reason is None
    kept = text("SELECT reason, frozen_by, thawed_by FROM freezes WHERE org_id = :org_id")
    async with engine.connect() as connection:
        rows = (await connection.execute(kept, {"org_id": org_id})).all()
    assert [tuple(row) for row in rows] == [("fraud!", ben, ann)]


async def test_only_what_exists_can_be_frozen(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        with pytest.raises(NotFound):
            await gate.freeze(connection, unique("org"), "fraud", "nobody")


async def test_an_organizations_own_tariff_is_read_and_one_to_come_or_of_others_is_not(
    engine: AsyncEngine,
) -> None:
    org_id, other = await an_organization(engine), await an_organization(engine)
    add = text(
        "INSERT INTO tariffs VALUES"
        " (:id, :org_id, 'usd', 65, 1, 0, 0.79, 'gbp', now() + make_interval(days => :days))"
    )
    own, to_come, others = unique("own"), unique("to_come"), unique("others")
    async with engine.begin() as connection:
        for tariff_id, owner, days in ((own, org_id, -1), (to_come, org_id, 1), (others, other, 0)):
            await connection.execute(add, {"id": tariff_id, "org_id": owner, "days": days})
    read = {tariff.tariff_id for tariff in (await standing_of(engine, org_id)).tariffs}
    assert own in read
    assert not {to_come, others} & read


async def test_all_of_it_is_one_statement(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    number = await a_number(engine, org_id, await an_assistant(engine, org_id))
    said: list[str] = []

    def hear(*args: Any) -> None:
        said.append(args[2])

    event.listen(engine.sync_engine, "before_cursor_execute", hear)
    await number_of(engine, number)
    await standing_of(engine, org_id)
    event.remove(engine.sync_engine, "before_cursor_execute", hear)
    assert [statement.split()[0] for statement in said] == ["SELECT", "SELECT"]


async def test_another_assistant_answers_a_number_once_it_is_given(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    number = await a_number(engine, org_id, None)
    for given, expected in ((None, None), ("one", "one"), (None, "one"), ("other", "other")):
        async with engine.begin() as connection:
            answerer = an_answerer(given)
            agent = await agents.register(connection, number, NUMBER, org_id, answerer)
        assert agent.answered_by == expected


async def test_a_number_of_anothers_is_not_given_another_assistant(engine: AsyncEngine) -> None:
    owner = await an_organization(engine)
    number = await a_number(engine, owner, "one")
    with pytest.raises(Conflict):
        await register(engine, number, await an_organization(engine), NUMBER)
    async with engine.connect() as connection:
        [agent] = await agents.page(connection, owner, None, 10)
    assert agent.answered_by == "one"


async def test_the_gate_asks_whoever_has_the_assistant_and_the_number_now(
    engine: AsyncEngine,
) -> None:
    one, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, one)
    number_id = await a_number(engine, one, assistant)
    await move(engine, assistant, one, other)
    number = await number_of(engine, number_id)
    assert number is not None
    assert number.standing.org_id == other
    await unregister(engine, assistant, other)
    number = await number_of(engine, number_id)
    assert number is not None
    assert number.standing.org_id == one
