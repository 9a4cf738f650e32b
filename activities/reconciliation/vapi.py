"""Compare Vapi's list of calls with the ledger, page by page."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import httpx
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.reconciliation.isolation import add_findings
from activities.reconciliation.runs import Comparing
from activities.reconciliation.vapi_lists import VapiLists, id_in
from activities.temporal.isolation import Alone, apart
from billing.alerts.calls import correction_impossible
from billing.calls.call import EndedCall
from billing.reconciliation.call_comparison import compare_call
from billing.reconciliation.reconciliation import Finding, FindingOutcome, Progress, Run
from billing.reconciliation.uncompared import uncompared, unnamed
from store.alerts import alerts
from store.calls import free_call_rules, owners
from store.ledger import wallets
from store.reconciliation import ledger_side, runs
from store.tariffs import call_tariffs


@dataclass(frozen=True, slots=True)
class _Compared:
    """What came of a page: what was found, and how many calls were checked, by owner and day."""

    found: Sequence[Finding]
    checked: Counter[tuple[str | None, date]]


class VapiReconciliation:
    """The activity that compares Vapi's list of calls with the ledger."""

    def __init__(self, engine: AsyncEngine, http: httpx.AsyncClient) -> None:
        self._engine = engine
        self._lists = VapiLists(http)

    @activity.defn
    async def compare_calls(self, at: Comparing) -> Progress:
        """Compare the next page, record what it shows, and return where the one after it begins.

        Raise ListingStuck. Everything else is a fault. The same page again changes nothing.
        """
        page = await self._lists.next_page(at)
        async with self._engine.begin() as connection:
            compared = await _compare_apart(connection, at.run, page.due)
            if await runs.turn_page(
                connection, at.run.run_id, page.progress.pages, page.reached, compared.checked
            ):
                unread = [
                    _unread(at.run, f"page {page.progress.pages}, no. {number}", one)
                    for number, one in enumerate(page.failed, start=1)
                ]
                await add_findings(connection, at.run, [*compared.found, *unread])
                await _tell(connection, at.run, compared.found)
        return page.progress


def _unread(run: Run, place: str, failed: Alone[Any]) -> Finding:
    """Return the finding of what cannot be read: the call's own process asks Vapi for it."""
    named = id_in(failed.one)
    if named is None:
        return unnamed(run, place, failed.problem)
    return uncompared(run, named, failed.problem)


async def _tell(connection: AsyncConnection, run: Run, found: Sequence[Finding]) -> None:
    """Tell people of charges that Vapi contradicts by what cannot be: they are left as they are."""
    for one in found:
        if one.outcome is FindingOutcome.REPORTED and not run.dry_run:
            alert = correction_impossible(one.subject, one.org_id, one.detail, run.started_at)
            await alerts.tell(connection, alert)


async def _compare_apart(
    connection: AsyncConnection, run: Run, listed: Sequence[EndedCall]
) -> _Compared:
    """Compare calls; one that cannot be compared is left to its own process, and stops no other."""

    async def compare_part(part: Sequence[EndedCall]) -> Sequence[_Compared]:
        async with connection.begin_nested():
            return [await _compare(connection, run, part)]

    compared = await apart(listed, compare_part, lambda call: f"call {call.call_id}")
    found = [finding for one in compared.done for finding in one.found]
    found += [uncompared(run, one.one.call_id, one.problem) for one in compared.failed]
    return _Compared(found, sum((one.checked for one in compared.done), Counter()))


async def _compare(connection: AsyncConnection, run: Run, listed: Sequence[EndedCall]) -> _Compared:
    """Compare calls with what is known of them. However many they are, it takes a few reads."""
    known_calls = await ledger_side.of_calls(connection, listed)
    ended = [known_calls[call.call_id].with_listed(call) for call in listed]
    found_owners = await owners.of_calls(connection, ended) | {
        call_id: one.booked.org_id for call_id, one in known_calls.items() if one.booked
    }
    of_wallets = await wallets.of(connection, set(found_owners.values()))
    rates = await call_tariffs.for_organizations(connection, set(found_owners.values()))
    rules = await free_call_rules.read(connection)
    checked: Counter[tuple[str | None, date]] = Counter()
    found = []
    for call in ended:
        org_id = found_owners.get(call.call_id)
        if run.org_id not in (None, org_id) or call.ended_at is None:
            continue
        checked[org_id, call.ended_at.date()] += 1
        wallet = of_wallets.get(org_id or "")
        known = known_calls[call.call_id]
        finding = compare_call(call, known, wallet, rates, run.started_at, rules=rules)
        if finding is not None:
            found.append(
                replace(finding, outcome=FindingOutcome.REPORTED) if run.dry_run else finding
            )
    return _Compared(found, checked)
