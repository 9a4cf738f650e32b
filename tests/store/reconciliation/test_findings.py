"""What runs found: each subject once, handed over in order, and looked at until it is judged."""

from dataclasses import replace
from decimal import Decimal

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.ledger.entry import call_key
from billing.ledger.money import Currency, Money
from billing.reconciliation.reconciliation import (
    Finding,
    FindingKind,
    FindingOutcome,
    Run,
    RunStatus,
)
from store.calls import calls
from store.ledger import ledger
from store.reconciliation import findings
from tests.support.factories import (
    NOON,
    an_assistant,
    an_organization,
    as_api,
    credit,
    credit_of,
    ended_call,
    register,
    unique,
)
from tests.support.reconciliation_runs import a_finding, a_run, record


async def under_way(engine: AsyncEngine, *found: Finding) -> Run:
    return await record(engine, a_run(), {}, *found, status=RunStatus.RUNNING)


async def page(
    engine: AsyncEngine, run: Run, after: int | None = None, limit: int = 100
) -> list[Finding]:
    async with engine.connect() as connection:
        return await findings.page(connection, run.run_id, after, limit)


async def hand_on(engine: AsyncEngine, run: Run, limit: int = 100) -> list[str]:
    async with engine.begin() as connection:
        chosen = await findings.open_ones(connection, run.run_id, limit)
        return [one.subject for one in await findings.hand_on(connection, run.run_id, chosen)]


async def review(engine: AsyncEngine, run: Run, *subjects: str, last: bool = False) -> int:
    async with engine.begin() as connection:
        return await findings.review(connection, run.run_id, subjects, last=last)


async def outcomes(engine: AsyncEngine, run: Run) -> dict[str, FindingOutcome]:
    return {one.subject: one.outcome for one in await page(engine, run)}


def missing_call(assistant_id: str | None = None, seconds: float = 60) -> Finding:
    call = as_api(ended_call(assistant_id, seconds))
    due = (call_key(call.call_id),)
    return Finding(call.call_id, FindingKind.MISSING, NOON, due=due, call=call)


async def charge(engine: AsyncEngine, *found: Finding) -> None:
    async with engine.begin() as connection:
        await calls.charge(connection, [one.call for one in found if one.call is not None])


async def test_a_finding_comes_back_as_it_was_found(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)
    facts = as_api(ended_call("assistant", 61.5, reported_seconds=Decimal("61.5")))
    found = replace(
        a_finding(org_id, -7, kind=FindingKind.DRIFTED, subject=facts.call_id),
        due=("call:1", "call:1:correction:1"),
        detail="61 s were billed, Vapi says 61.5 s",
        call=facts,
    )
    [kept] = await page(engine, await under_way(engine, found))
    assert kept == replace(found, position=kept.position)


async def test_a_subject_is_found_once_a_run(engine: AsyncEngine) -> None:
    found = a_finding(None, 5)
    run = await under_way(engine, found)
    async with engine.begin() as connection:
        await findings.add(connection, run.run_id, [replace(found, detail="again"), a_finding()])
    first, _ = await page(engine, run)
    assert (first.subject, first.detail) == (found.subject, "")
    assert len(await page(engine, await under_way(engine, found))) == 1


async def test_findings_are_listed_in_the_order_in_which_they_were_found_in_pages(
    engine: AsyncEngine,
) -> None:
    found = [a_finding() for _ in range(5)]
    run = await under_way(engine, *found)
    seen: list[Finding] = []
    while more := await page(engine, run, seen[-1].position if seen else None, limit=2):
        seen += more
    assert [one.subject for one in seen] == [one.subject for one in found]


async def test_only_what_is_open_is_handed_over(engine: AsyncEngine) -> None:
    opened = [a_finding() for _ in range(3)]
    done = [
        replace(a_finding(), outcome=outcome)
        for outcome in FindingOutcome
        if outcome is not FindingOutcome.OPEN
    ]
    run = await under_way(engine, *done, *opened)
    assert await hand_on(engine, run) == [one.subject for one in opened]
    assert await hand_on(engine, run, limit=2) == [one.subject for one in opened[:2]]


async def test_calls_are_judged_by_what_became_of_them(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 100)
    assistant = await an_assistant(engine, org_id)
    paid, free = missing_call(assistant, 60), missing_call(assistant, 0)
    too_dear, unknown = missing_call(assistant, 3600), missing_call(unique("assistant"))
    later = missing_call(assistant)
    everything = (paid, free, too_dear, unknown, later)
    run = await under_way(engine, *everything)
    await hand_on(engine, run)
    await charge(engine, paid, free, too_dear, unknown)
    assert await review(engine, run, *(one.subject for one in everything)) == 1
    assert await outcomes(engine, run) == {
        paid.subject: FindingOutcome.RECOVERED,
        free.subject: FindingOutcome.RECOVERED,
        too_dear.subject: FindingOutcome.WAITING,
        unknown.subject: FindingOutcome.QUARANTINED,
        later.subject: FindingOutcome.OPEN,
    }
    await charge(engine, later)
    assert await review(engine, run, *(one.subject for one in everything)) == 0
    assert (await outcomes(engine, run))[later.subject] is FindingOutcome.RECOVERED


async def test_a_quarantined_call_is_recovered_by_the_run_that_comes_after_its_mapping(
    engine: AsyncEngine,
) -> None:
    org_id, assistant = await an_organization(engine, 100), unique("assistant")
    found = missing_call(assistant)
    first, second = await under_way(engine, found), await under_way(engine, found)
    await hand_on(engine, first)
    await hand_on(engine, second)
    await charge(engine, found)
    await review(engine, first, found.subject)
    await register(engine, assistant, org_id)
    await charge(engine, found)
    await review(engine, first, found.subject)
    await review(engine, second, found.subject)
    assert await outcomes(engine, first) == {found.subject: FindingOutcome.QUARANTINED}
    assert await outcomes(engine, second) == {found.subject: FindingOutcome.RECOVERED}


async def test_what_a_call_came_to_before_it_was_handed_on_says_nothing(
    engine: AsyncEngine,
) -> None:
    org_id, assistant = await an_organization(engine, 100), unique("assistant")
    found = missing_call(assistant)
    await charge(engine, found)
    run = await under_way(engine, found)
    await hand_on(engine, run)
    assert await review(engine, run, found.subject) == 1
    await register(engine, assistant, org_id)
    await charge(engine, found)
    assert await review(engine, run, found.subject) == 0
    assert await outcomes(engine, run) == {found.subject: FindingOutcome.RECOVERED}


async def test_a_call_that_its_wallet_cannot_pay_as_before_waits(engine: AsyncEngine) -> None:
    """Its process looks once more. What is refused as before is not written down again."""
    org_id = await an_organization(engine, 100)
    found = missing_call(await an_assistant(engine, org_id), 3600)
    await charge(engine, found)
    run = await under_way(engine, found)
    await hand_on(engine, run)
    await charge(engine, found)
    assert await review(engine, run, found.subject) == 0
    assert await outcomes(engine, run) == {found.subject: FindingOutcome.WAITING}


@pytest.mark.parametrize("amount", [None, Money(1, Currency.GBP)])
async def test_a_call_that_its_wallet_can_pay_by_now_is_looked_at_until_it_has_paid(
    engine: AsyncEngine, amount: Money | None
) -> None:
    """It has more money, or Vapi says that the call cost less."""
    org_id = await an_organization(engine, 100)
    found = replace(missing_call(await an_assistant(engine, org_id), 3600), amount=amount)
    await charge(engine, found)
    if amount is None:
        await credit(engine, org_id, 10_000)
    run = await under_way(engine, found)
    await hand_on(engine, run)
    assert await review(engine, run, found.subject) == 1


async def test_what_is_open_at_the_last_look_waits(engine: AsyncEngine) -> None:
    found = missing_call()
    run = await under_way(engine, found)
    assert await review(engine, run, found.subject, last=False) == 1
    assert await review(engine, run, found.subject, last=True) == 0
    assert await outcomes(engine, run) == {found.subject: FindingOutcome.WAITING}
    assert await hand_on(engine, run) == []


async def test_a_payment_is_recovered_when_all_its_entries_are_there(engine: AsyncEngine) -> None:
    org_id, payment = await an_organization(engine), unique("pi")
    keys = (f"payment:{payment}:credit", f"payment:{payment}:refund:1")
    found = replace(a_finding(org_id, 2500, subject=payment), due=keys)
    run = await under_way(engine, found)
    for key, still_open in zip(keys, (1, 0), strict=True):
        async with engine.begin() as connection:
            await ledger.post(connection, [credit_of(org_id, 2500, key)])
        assert await review(engine, run, payment) == still_open
    assert await outcomes(engine, run) == {payment: FindingOutcome.RECOVERED}


async def test_what_was_not_handed_over_is_left_alone(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, 1000)
    assistant = await an_assistant(engine, org_id)
    handed, other = missing_call(assistant), missing_call(assistant)
    run = await under_way(engine, handed, other)
    await charge(engine, handed, other)
    assert await review(engine, run, handed.subject) == 0
    assert await hand_on(engine, run) == [other.subject]
