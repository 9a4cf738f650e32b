"""How well it goes: calls and webhooks of the last while, counted by what became of them."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from billing.monitoring import GRACE, Rate, Rates
from billing.webhook import END_OF_CALL, call_event_key

_NOTHING = Rate(0, 0)
_REPORT = {"report": END_OF_CALL, "ending": call_event_key("", END_OF_CALL)}


async def rates(connection: AsyncConnection, now: datetime, window: timedelta) -> Rates:
    """Say how well the last `window` went, for all organisations and for what is nobody's yet."""
    given = _given(now, window)
    ended = (await connection.execute(_ENDED, given | _REPORT)).all()
    return Rates(
        delivery=_sum(_delivery(row) for row in ended),
        processing=_processing((await connection.execute(_RECEIVED, given)).one()),
        billing=_sum(_billing(row) for row in ended),
        unowned=sum(row.payable for row in ended if row.org_id is None),
    )


async def rates_by_organization(
    connection: AsyncConnection, now: datetime, window: timedelta
) -> dict[str, Rates]:
    """Say the same for each organisation that had a call or a webhook in the last `window`.

    What is nobody's is in none of them: payments, and calls of assistants that nobody registered.
    """
    return _of_organizations(await _by_owner(connection, now, window))


async def rates_of_all(
    connection: AsyncConnection, now: datetime, window: timedelta
) -> tuple[Rates, dict[str, Rates]]:
    """Say it for all together and for each organisation, from one look at all of it."""
    by_owner = await _by_owner(connection, now, window)
    together = Rates(
        delivery=_sum(one.delivery for one in by_owner.values()),
        processing=_sum(one.processing for one in by_owner.values()),
        billing=_sum(one.billing for one in by_owner.values()),
        unowned=by_owner[None].billing.total if None in by_owner else 0,
    )
    return together, _of_organizations(by_owner)


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


def _of_organizations(by_owner: Mapping[str | None, Rates]) -> dict[str, Rates]:
    return {owner: one for owner, one in by_owner.items() if owner is not None}


def _given(now: datetime, window: timedelta) -> dict[str, Any]:
    return {"since": now - window, "until": now - GRACE}


def _delivery(row: Any) -> Rate:
    return Rate(row.delivered, row.ended)


def _processing(row: Any) -> Rate:
    return Rate(row.handled, row.received)


def _billing(row: Any) -> Rate:
    return Rate(row.settled, row.payable)


def _sum(found: Iterable[Rate]) -> Rate:
    counted = [(rate.good, rate.total) for rate in found]
    return Rate(sum(good for good, _ in counted), sum(total for _, total in counted))


# Whose call a webhook tells of, before anybody has looked at it: as `agents.owners` finds it.
_BY_AGENT = """coalesce(
            (SELECT org_id FROM agents WHERE agent_id = facts ->> 'assistant_id'),
            (SELECT org_id FROM agents WHERE agent_id = facts ->> 'phone_number_id'))"""

# Calls as they stand, and those of which only the inbox knows. Facts that Vapi was asked for are
# nobody's report, unless one came as well; a report that Temporal took while PostgreSQL was away is
# in no inbox. LIMIT keeps the planner from looking for the report of every call.
_ENDED = text(f"""
    WITH ended AS (
        SELECT org_id, state, call_id,
               coalesce(facts ->> 'provider_ended' = 'true', false) AS was_asked_for
        FROM calls WHERE ended_at >= :since AND ended_at < :until
        UNION ALL
        SELECT {_BY_AGENT}, 'waiting', subject, false
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

# Whoever is known to have the call or message, or will have the call once it is looked at.
_RECEIVED_BY_OWNER = text(f"""
    SELECT coalesce(calls.org_id, messages.org_id, by_agent) AS org_id, {_COUNTED}
    FROM (
        SELECT source, subject, status,
               CASE WHEN status = 'waiting' AND source = 'vapi' THEN {_BY_AGENT} END AS by_agent
        FROM webhook_events WHERE {_OF_LATE}
    ) AS events
    LEFT JOIN calls ON source = 'vapi' AND call_id = subject
    LEFT JOIN messages ON source = 'twilio' AND sid = subject
    GROUP BY 1
""")  # noqa: S608
