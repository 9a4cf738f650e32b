"""Walk down Vapi's list of calls, and compare each page with the ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from http import HTTPStatus
from typing import Any

import httpx
import orjson
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from temporalio import activity

from activities.reconciliation import Comparing
from activities.retry_after import retry_after
from billing.call import EndedCall
from billing.comparison import compare_call
from billing.errors import ListingStuck
from billing.reconciliation import GRACE, Finding, FindingOutcome, Progress, Run, Step
from billing.vapi import call_from_api
from store import agents, findings, known, reconciliations, tariffs, wallets

# Each call comes with its transcript, easily 50 kB: so many at once are quick enough, and leave the
# worker's memory alone. Only where they are all of one instant as many are asked for as Vapi gives.
PAGE = 250
LARGEST_PAGE = 1000

JsonObject = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Compared:
    """What came of a page: what was found, and how many calls were checked of whom on which day."""

    found: Sequence[Finding]
    checked: Counter[tuple[str | None, date]]


class VapiReconciliation:
    """Vapi's list on one side, the ledger on the other."""

    def __init__(self, engine: AsyncEngine, http: httpx.AsyncClient) -> None:
        self._engine = engine
        self._http = http

    @activity.defn
    async def compare_calls(self, at: Comparing) -> Progress:
        """Compare the next page, record what it shows, and say where the one after it begins.

        Refuses with ListingStuck; everything else is a fault. The same page again changes nothing.
        """
        limit, listed = PAGE, await self._list(at, PAGE)
        if _is_stuck(listed, PAGE):
            activity.heartbeat()
            limit, listed = LARGEST_PAGE, await self._list(at, LARGEST_PAGE)
        activity.heartbeat()
        progress = _next(at.progress, listed, limit)
        ended = [call_from_api(call) for call in listed if _is_due(call, at)]
        async with self._engine.begin() as connection:
            compared = await _compare(connection, at.run, ended)
            reached = datetime.fromisoformat(listed[-1]["createdAt"]) if listed else None
            if await reconciliations.turn_page(
                connection, at.run.run_id, progress.pages, reached, compared.checked
            ):
                await findings.add(connection, at.run.run_id, compared.found)
        return progress

    async def _list(self, at: Comparing, limit: int) -> list[JsonObject]:
        """Read the calls that were created at `below` or earlier, newest first (`GET /call`).

        Vapi has no cursor, no page and no order to choose: docs.vapi.ai/api-reference/calls/list.
        """
        window = at.run.window
        query = {
            "limit": str(limit),
            "createdAtGe": window.since.isoformat(),
            "createdAtLe": at.progress.below or window.until.isoformat(),
        }
        answer = await self._http.get("/call", params=query)
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise retry_after(answer.headers, "Vapi answered 429 Too Many Requests")
        answer.raise_for_status()
        listed: list[JsonObject] = orjson.loads(answer.content)
        return listed


def _is_stuck(listed: Sequence[JsonObject], limit: int) -> bool:
    """Say whether a full page is of one instant: the next one would be the same."""
    return len(listed) == limit and listed[0]["createdAt"] == listed[-1]["createdAt"]


def _next(progress: Progress, listed: Sequence[JsonObject], limit: int) -> Progress:
    """Say where the next page begins: at the last call's instant, for others may share it."""
    pages = progress.pages + 1
    if len(listed) < limit:
        return replace(progress, pages=pages, step=Step.RECOVERING, below=None, seen=())
    last = listed[-1]["createdAt"]
    if _is_stuck(listed, limit):
        raise ListingStuck(
            f"Vapi lists {len(listed)} calls created at {last}, and no way past them"
        )
    seen = tuple(call["id"] for call in listed if call["createdAt"] == last)
    return replace(progress, pages=pages, below=last, seen=seen)


def _is_due(call: JsonObject, at: Comparing) -> bool:
    """Say whether a call is to be compared: it has ended, not just now, and was not seen yet."""
    if call.get("status") != "ended" or call["id"] in at.progress.seen:
        return False
    ended_at = call_from_api(call).ended_at
    return ended_at is not None and ended_at <= at.run.started_at - GRACE


async def _compare(connection: AsyncConnection, run: Run, ended: Sequence[EndedCall]) -> _Compared:
    """Compare calls with what is known of them, in a few reads however many they are."""
    known_calls = await known.of_calls(connection, ended)
    owners = await agents.owners(connection, ended) | {
        call_id: one.booked.org_id for call_id, one in known_calls.items() if one.booked
    }
    of_wallets = await wallets.of(connection, set(owners.values()))
    rates = await tariffs.for_organizations(connection, set(owners.values()))
    checked: Counter[tuple[str | None, date]] = Counter()
    found = []
    for call in ended:
        org_id = owners.get(call.call_id)
        if run.org_id not in (None, org_id) or call.ended_at is None:
            continue
        checked[org_id, call.ended_at.date()] += 1
        wallet = of_wallets.get(org_id or "")
        finding = compare_call(call, known_calls[call.call_id], wallet, rates)
        if finding is not None:
            found.append(
                replace(finding, outcome=FindingOutcome.REPORTED) if run.dry_run else finding
            )
    return _Compared(found, checked)
