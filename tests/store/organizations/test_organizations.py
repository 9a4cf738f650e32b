"""Organisations, their wallets and their agents: made once, and never taken over."""

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.errors import Conflict, NotFound
from billing.ledger.money import Currency
from billing.organizations import AgentKind
from store.ledger import wallets
from store.organizations import agents
from tests.support.factories import an_assistant, an_organization, register, unique, wallet_of


async def test_a_new_wallet_is_empty_and_has_the_limits_of_the_house(engine: AsyncEngine) -> None:
    wallet = await wallet_of(engine, await an_organization(engine))
    assert (wallet.balance_minor, wallet.currency) == (0, Currency.GBP)
    assert (wallet.debt_limit_minor, wallet.low_balance_minor) == (500, 500)


async def test_creating_the_same_organisation_again_changes_nothing(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 100)
    before = await wallet_of(engine, org_id)
    await an_organization(engine, org_id=org_id)
    assert await wallet_of(engine, org_id) == before


async def test_an_id_is_not_taken_over_by_another_currency_or_limit(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    with pytest.raises(Conflict):
        await an_organization(engine, org_id=org_id, currency=Currency.USD)
    with pytest.raises(Conflict):
        await an_organization(engine, org_id=org_id, debt_limit_minor=501)
    assert (await wallet_of(engine, org_id)).currency is Currency.GBP


async def test_a_negative_debt_limit_is_refused(engine: AsyncEngine) -> None:
    with pytest.raises(IntegrityError, match="wallets_debt_limit_not_negative"):
        await an_organization(engine, debt_limit_minor=-1)


async def test_a_debt_limit_can_be_set_for_an_organisation_that_exists(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine)
    async with engine.begin() as connection:
        wallet = await wallets.set_debt_limit(connection, org_id, 2000)
    assert wallet.debt_limit_minor == 2000
    assert await wallet_of(engine, org_id) == wallet
    async with engine.begin() as connection:
        with pytest.raises(NotFound):
            await wallets.set_debt_limit(connection, unique("org"), 2000)


async def test_an_assistant_is_registered_once_and_not_taken_over(engine: AsyncEngine) -> None:
    org_id, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    assert await register(engine, assistant, org_id) == assistant
    with pytest.raises(Conflict):
        await register(engine, assistant, other)
    with pytest.raises(Conflict):
        await register(engine, assistant, org_id, AgentKind.PHONE_NUMBER)
    async with engine.connect() as connection:
        [agent] = await agents.page(connection, org_id, None, 10)
    assert (agent.agent_id, agent.org_id, agent.kind) == (assistant, org_id, AgentKind.ASSISTANT)


async def test_an_agent_is_removed_by_its_own_organisation_only(engine: AsyncEngine) -> None:
    org_id, other = await an_organization(engine), await an_organization(engine)
    assistant = await an_assistant(engine, org_id)
    async with engine.begin() as connection:
        with pytest.raises(NotFound):
            await agents.remove(connection, assistant, other)
        await agents.remove(connection, assistant, org_id)
    await register(engine, assistant, other)
