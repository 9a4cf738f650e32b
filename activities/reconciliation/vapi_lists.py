"""Walk down Vapi's list of calls, a page at a time.

It has no pages of its own: where more calls are of one instant than it gives at once, there is no
way past them. Vapi's second list has, and is read for that instant alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

import httpx
import orjson
from temporalio import activity

from activities.reconciliation.runs import Comparing
from activities.temporal.isolation import Alone, Apart, each_apart
from activities.temporal.retry_after import require_success
from billing.calls.call import EndedCall
from billing.calls.vapi import call_from_api, has_ended, text_of
from billing.errors import ListingStuck
from billing.reconciliation.reconciliation import GRACE, Progress, RunStep

# Each call comes with its transcript, easily 50 kB. So many at a time are quick enough, and do not
# fill the worker's memory. If all of a page are of one instant, it is read again as large as Vapi
# gives.
PAGE = 250
LARGEST_PAGE = 1000
# If that is not enough, they are read page by page from Vapi's second list: so many of them, and so
# often, for those that are added, deleted, or put elsewhere meanwhile shift the pages.
MOST_OF_ONE_INSTANT = 10_000
WALKS = 3

# Stands before the place of a run among the calls that were created before its window. A worker of
# the version before hands it on as it is.
EARLIER = "earlier:"

JsonObject = Mapping[str, Any]


class _Listed:
    """What was read of the lists for a page: the calls that are due, and what is unreadable."""

    def __init__(self) -> None:
        self._due: dict[str, EndedCall] = {}
        self._failed: dict[str, Alone[Any]] = {}

    @property
    def due(self) -> list[EndedCall]:
        """The calls that are to be compared, each once."""
        return list(self._due.values())

    @property
    def failed(self) -> list[Alone[Any]]:
        """What cannot be read, each once."""
        return list(self._failed.values())

    def add(self, page: Apart[Any, JsonObject], at: Comparing, instant: str | None = None) -> None:
        """Add a page, or what is of an `instant`, if only that was asked for. Each is kept once."""
        self._due |= {
            call["id"]: call_from_api(call)
            for call in page.done
            if _is_due(call, at) and (instant is None or _is_of(call, instant))
        }
        self._failed |= {id_in(one.one) or repr(one.one): one for one in page.failed}


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page of calls to be compared, what of it cannot be read, and where the next one begins.

    `reached` is when the last call of the page was created.
    """

    due: Sequence[EndedCall]
    failed: Sequence[Alone[Any]]
    progress: Progress
    reached: datetime | None


class VapiLists:
    """Vapi's two lists of calls."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def next_page(self, at: Comparing) -> ListedPage:
        """Read the next page. Raise ListingStuck; everything else is a fault."""
        limit, listed = PAGE, await self._list(at, PAGE)
        if _is_stuck(listed, PAGE):
            activity.heartbeat()
            limit, listed = LARGEST_PAGE, await self._list(at, LARGEST_PAGE)
        activity.heartbeat()
        page = await each_apart(listed, _read, _named)
        if len(listed) > 1 and not page.done:
            raise page.failed[0].failure
        found = _Listed()
        found.add(page, at)
        if len(listed) == limit and _is_of_one_instant(page.done):
            instant = page.done[0]["createdAt"]
            found = await self._read_instant(at, instant, len(listed))
            found.add(Apart((), page.failed), at)
            progress = _past(at.progress, instant)
        else:
            progress = _next(at.progress, page.done, is_full=len(listed) == limit)
        reached = datetime.fromisoformat(page.done[-1]["createdAt"]) if page.done else None
        return ListedPage(found.due, found.failed, progress, reached)

    async def _list(self, at: Comparing, limit: int) -> list[JsonObject]:
        """Read the calls that were created at `below` or earlier, newest first (`GET /call`).

        Vapi offers no cursor, no pages and no order: docs.vapi.ai/api-reference/calls/list.
        """
        query = {"limit": str(limit), **_bounds(at)}
        answer = await self._http.get("/call", params=query)
        require_success(answer, "Vapi")
        listed: list[JsonObject] = orjson.loads(answer.content)
        return listed

    async def _read_instant(self, at: Comparing, instant: str, least: int) -> _Listed:
        """Read all calls of an instant from Vapi's second list.

        They are all once as many different ones were seen as there are, and always were, and no
        fewer than the `least` that the first list has shown. Raise ListingStuck if there are too
        many, or if they do not become all.
        """
        seen, there = set[str](), _Listed()
        total = 0
        for _ in range(WALKS):
            number, more = 0, True
            while more:
                number += 1
                listed, counted = await self._page(instant, number)
                activity.heartbeat()
                if counted > MOST_OF_ONE_INSTANT:
                    raise ListingStuck(_no_way(instant, f"GET /v2/call has {counted} of them"))
                if counted != total:
                    seen, there, total = set(), _Listed(), counted
                there.add(await each_apart(listed, _read, _named), at, instant)
                seen |= {named for call in listed if (named := id_in(call)) is not None}
                more = bool(listed) and number * PAGE < counted
            if len(seen) >= max(total, least):
                return there
        said = f"GET /v2/call shows {len(seen)} of {max(total, least)}, however often"
        raise ListingStuck(_no_way(instant, said))

    async def _page(self, instant: str, page: int) -> tuple[list[JsonObject], int]:
        """Read a page of the calls of an instant, and how many there are (`GET /v2/call`).

        Source: vapi_server_sdk 3.0.0, `CallPaginatedResponse` and `PaginationMeta`. Where Vapi has
        no such list, or other names for its query, raise ListingStuck.
        """
        after = datetime.fromisoformat(instant) + timedelta(milliseconds=1)
        query = {
            "createdAtGe": instant,
            "createdAtLt": after.isoformat(),
            "sortOrder": "ASC",
            "limit": str(PAGE),
            "page": str(page),
        }
        answer = await self._http.get("/v2/call", params=query)
        if answer.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
            raise ListingStuck(_no_way(instant, f"GET /v2/call answers {answer.status_code}"))
        require_success(answer, "Vapi")
        listed: JsonObject = orjson.loads(answer.content)
        return listed["results"], int(listed["metadata"]["totalItems"])


def _no_way(instant: str, second: str) -> str:
    """Say that there is no way down, and why the second list is none either."""
    return f"Vapi lists {LARGEST_PAGE} calls created at {instant}, and no way past them: {second}"


def _bounds(at: Comparing) -> dict[str, str]:
    """Return which calls are listed: those created in the window, then those used in it.

    A call exists from when it is scheduled, which may be weeks before it takes place. So what was
    created before the window, and has changed since it began, is listed as well; it is of the
    window in which it ended.
    """
    since, below = at.run.window.since.isoformat(), at.progress.below
    if not _is_of_earlier(at.progress):
        return {"createdAtGe": since, "createdAtLe": below or at.run.window.until.isoformat()}
    last = (below or "").removeprefix(EARLIER)
    return {"updatedAtGe": since, **({"createdAtLe": last} if last else {"createdAtLt": since})}


def _is_of_earlier(progress: Progress) -> bool:
    """Return whether a run has come to the calls that were created before its window."""
    return bool(progress.below and progress.below.startswith(EARLIER))


def _is_stuck(listed: Sequence[JsonObject], limit: int) -> bool:
    """Return whether a full page is of one instant, so that the next page would be the same."""
    created = [one.get("createdAt") if isinstance(one, Mapping) else None for one in listed]
    return len(listed) == limit and all(one == created[0] for one in created)


async def _read(call: Any) -> JsonObject:
    """Return a call of the list; raise ValueError for what is none."""
    if id_in(call) is None:
        raise ValueError("no call, or one without an id")
    read: JsonObject = call
    datetime.fromisoformat(str(read.get("createdAt")))
    if has_ended(read):
        call_from_api(read)
    return read


def _named(call: object) -> str:
    return f"call {id_in(call)}"


def id_in(call: object) -> str | None:
    """Return the id of a call, if it is one, and has one by which a process can be named."""
    return text_of(call.get("id")) if isinstance(call, Mapping) else None


def _next(progress: Progress, listed: Sequence[JsonObject], *, is_full: bool) -> Progress:
    """Return where the next page begins: at the last call's instant, which others may share."""
    pages, before = progress.pages + 1, _before(progress)
    if not is_full and not before:
        return replace(progress, pages=pages, below=EARLIER, seen=())
    if not is_full:
        return replace(progress, pages=pages, step=RunStep.RECOVERING, below=None, seen=())
    last = listed[-1]["createdAt"]
    seen = tuple(call["id"] for call in listed if call["createdAt"] == last)
    return replace(progress, pages=pages, below=f"{before}{last}", seen=seen)


def _past(progress: Progress, instant: str) -> Progress:
    """Return where the next page begins when all calls of an instant have been seen."""
    below = (datetime.fromisoformat(instant) - timedelta(microseconds=1)).isoformat()
    pages, before = progress.pages + 1, _before(progress)
    return replace(progress, pages=pages, below=f"{before}{below}", seen=())


def _before(progress: Progress) -> str:
    """Return what stands before a place in the list that the run has come to."""
    return EARLIER if _is_of_earlier(progress) else ""


def _is_of(call: JsonObject, instant: str) -> bool:
    """Return whether a call was created at an instant."""
    return datetime.fromisoformat(call["createdAt"]) == datetime.fromisoformat(instant)


def _is_of_one_instant(listed: Sequence[JsonObject]) -> bool:
    return len({call["createdAt"] for call in listed}) == 1


def _is_due(call: JsonObject, at: Comparing) -> bool:
    """Return whether a call is to be compared: it ended some time ago, and was not compared yet."""
    if not has_ended(call) or call["id"] in at.progress.seen:
        return False
    ended_at = call_from_api(call).ended_at
    if ended_at is None or ended_at > at.run.started_at - GRACE:
        return False
    window = at.run.window
    return not _is_of_earlier(at.progress) or window.since <= ended_at < window.until
