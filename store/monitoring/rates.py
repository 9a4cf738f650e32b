"""Success rates: calls and webhooks of the last while, counted by what became of them."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import literal_column, text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.inbox.webhook_event import END_OF_CALL, call_event_key
from billing.monitoring import GRACE, Rate, Rates
from billing.organizations import ANSWERERS, NAMES_OF_CALLS
from store.organizations.registrations import owner_at

_NOTHING = Rate(0, 0)
_REPORT = {"report": END_OF_CALL, "ending": call_event_key("", END_OF_CALL)}


async def rates(connection: AsyncConnection, now: datetime, window: timedelta) -> Rates:
    """Return the rates of the last `window`, of all organisations and of what is nobody's yet."""
    given = _given(now, window)
    ended = (await connection.execute(_ENDED, given | _REPORT)).all()
    return Rates(
        delivery=_sum(_delivery(row) for row in ended),
        processing=_processing((await connection.execute(_RECEIVED, given)).one()),
        billing=_sum(_billing(row) for row in ended),
        unowned=sum(_waiting(_billing(row)) for row in ended if row.org_id is None),
    )


async def rates_of_all(
    connection: AsyncConnection, now: datetime, window: timedelta
) -> tuple[Rates, dict[str, Rates]]:
    """Return the rates of the last `window` of all together, and of each organisation by its id.

    An organisation is there if it had a call or a webhook. What is nobody's counts only in the
    first: payments, and calls of assistants that nobody registered.
    """
    by_owner = await _by_owner(connection, now, window)
    together = Rates(
        delivery=_sum(one.delivery for one in by_owner.values()),
        processing=_sum(one.processing for one in by_owner.values()),
        billing=_sum(one.billing for one in by_owner.values()),
        unowned=_waiting(by_owner[None].billing) if None in by_owner else 0,
    )
    return together, {owner: one for owner, one in by_owner.items() if owner is not None}


async def _by_owner(
    connection: AsyncConnection, now: datetime, window: timedelta
) -> dict[str | None, Rates]:
    given = _given(now, window)
    ended = {row.org_id: row for row in await connection.execute(_ENDED, given | _REPORT)}
    received = {row.org_id: row for row in await connection.execute(_RECEIVED_BY_OWNER, given)}
    return {
        owner: Rates(
            delivery=_delivery(ended[owner]) if owner in ended else _NOTHING,
            processing=_processing(received[owner]) if owner in received else _NOTHING,
            billing=_billing(ended[owner]) if owner in ended else _NOTHING,
        )
        for owner in ended.keys() | received.keys()
    }


def _given(now: datetime, window: timedelta) -> dict[str, Any]:
    return {"since": now - window, "until": now - GRACE}


def _delivery(row: Any) -> Rate:
    return Rate(row.delivered, row.ended)


def _processing(row: Any) -> Rate:
    return Rate(row.handled, row.received)


def _billing(row: Any) -> Rate:
    return Rate(row.settled, row.payable)


def _waiting(billing: Rate) -> int:
    """Return how many are not settled; what never connected is, though it is nobody's."""
    return billing.total - billing.good


def _sum(found: Iterable[Rate]) -> Rate:
    counted = [(rate.good, rate.total) for rate in found]
    return Rate(sum(good for good, _ in counted), sum(total for _, total in counted))


# The owner of a call that only a webhook has told of, found as `store.calls.owners` finds it.
_OWNER = owner_at(
    literal_column("CAST(coalesce(facts ->> 'started_at', facts ->> 'ended_at') AS timestamptz)"),
    NAMES_OF_CALLS,
    literal_column("subject"),
    *(literal_column(f"(facts ->> '{kind}_id')") for kind in ANSWERERS),
).compile(compile_kwargs={"literal_binds": True})

# Calls that ended: those in `calls`, and those whose reports still wait in the inbox. A call whose
# facts Vapi was asked for counts as delivered only if a report came as well. Any other call does
# without a look into the inbox: a report that Temporal took while PostgreSQL was away is not there.
# LIMIT keeps the planner from looking for the report of every call.
_ENDED = text(f"""
    WITH ended AS (
        SELECT org_id, state, call_id,
               coalesce(facts ->> 'provider_ended' = 'true', false) AS was_asked_for
        FROM calls WHERE ended_at >= :since AND ended_at < :until
        UNION ALL
        SELECT {_OWNER}, 'waiting', subject, false
        FROM webhook_events
        WHERE status = 'waiting' AND source = 'vapi' AND type = :report
          AND CAST(facts ->> 'ended_at' AS timestamptz) >= :since
          AND CAST(facts ->> 'ended_at' AS timestamptz) < :until
          AND NOT EXISTS (SELECT FROM calls WHERE call_id = subject)
    )
    SELECT org_id,
           count(*) AS ended,
           count(*) FILTER (WHERE NOT was_asked_for OR reported) AS delivered,
           count(*) FILTER (WHERE state NOT IN ('debt_limit', 'discarded')) AS payable,
           count(*) FILTER (WHERE state = 'settled') AS settled
    FROM ended LEFT JOIN LATERAL (
        SELECT true AS reported FROM webhook_events
        WHERE was_asked_for AND source = 'vapi' AND key = call_id || CAST(:ending AS text)
        LIMIT 1
    ) AS report ON true
    GROUP BY org_id
""")  # noqa: S608

_COUNTED = "count(*) AS received, count(*) FILTER (WHERE events.status = 'handled') AS handled"
_OF_LATE = "status <> 'ignored' AND received_at >= :since AND received_at < :until"

_RECEIVED = text(f"SELECT {_COUNTED} FROM webhook_events AS events WHERE {_OF_LATE}")  # noqa: S608

# The owner is that of the call or message, or that of the assistant or number of a call which
# nobody has looked at yet.
_RECEIVED_BY_OWNER = text(f"""
    SELECT coalesce(calls.org_id, messages.org_id, by_agent) AS org_id, {_COUNTED}
    FROM (
        SELECT source, subject, status,
               CASE WHEN status = 'waiting' AND source = 'vapi' THEN {_OWNER} END AS by_agent
        FROM webhook_events WHERE {_OF_LATE}
    ) AS events
    LEFT JOIN calls ON source = 'vapi' AND call_id = subject
    LEFT JOIN messages ON source = 'twilio' AND sid = subject
    GROUP BY 1
""")  # noqa: S608
