"""The outbox of alerts: told once a key, once a crossing, and in order, whoever raises them."""

from dataclasses import replace
from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from billing.alerts.alert import Alert, AlertLevel
from store.alerts import alerts
from store.alerts.alerts import Undelivered
from tests.support.crowd import crowd
from tests.support.factories import an_alert, unique


async def tell(engine: AsyncEngine, *told: Alert) -> list[bool]:
    async with engine.begin() as connection:
        return [await alerts.tell(connection, alert) for alert in told]


async def cross(
    engine: AsyncEngine, alarm: str, raised: bool, alert: Alert | None = None, depth: int = 1
) -> bool:
    async with engine.begin() as connection:
        return await alerts.cross(
            connection, alarm, raised=raised, alert=alert or an_alert(), depth=depth
        )


async def pending(engine: AsyncEngine, limit: int = 100) -> list[Alert]:
    async with engine.connect() as connection:
        return await alerts.pending(connection, limit)


async def test_an_alert_is_stored_whole(engine_apart: AsyncEngine) -> None:
    alert = Alert(
        key="reliability/2026-11-02",
        level=AlertLevel.HIGH,
        title="Reliability fell to 94.99 %",
        text="5 of 100 calls were missing.",
        org_id="of nobody that is known",
        facts=(("seen", "100"), ("missing", "5"), ("seen", "twice is fine")),
        workflow_id="reconcile/2026-11-02",
        view='BillingState="parked"',
    )
    assert await tell(engine_apart, alert) == [True]
    assert await pending(engine_apart) == [alert]


async def test_an_alert_is_told_once_for_its_key_even_after_it_was_delivered(
    engine_apart: AsyncEngine,
) -> None:
    alert = an_alert()
    assert await tell(engine_apart, alert, replace(alert, title="again")) == [True, False]
    async with engine_apart.begin() as connection:
        await alerts.delivered(connection, alert.key)
    assert await tell(engine_apart, alert) == [False]
    assert await pending(engine_apart) == []


async def test_an_alert_is_not_there_without_the_transaction_that_raised_it(
    engine_apart: AsyncEngine,
) -> None:
    async with engine_apart.connect() as connection:
        assert await alerts.cross(connection, "reliability", raised=True, alert=an_alert())
        await connection.rollback()
    assert await pending(engine_apart) == []
    assert await cross(engine_apart, "reliability", raised=True)


async def test_alerts_wait_in_the_order_in_which_they_were_raised(
    engine_apart: AsyncEngine,
) -> None:
    told = [an_alert() for _ in range(5)]
    await tell(engine_apart, *told)
    assert await pending(engine_apart) == told
    assert await pending(engine_apart, 2) == told[:2]


async def test_an_alarm_tells_of_each_crossing_and_of_nothing_between(engine: AsyncEngine) -> None:
    alarm = unique("alarm")
    readings = [False, True, True, False, False, True]
    stored = [await cross(engine, alarm, raised) for raised in readings]
    assert stored == [False, True, False, True, False, True]


async def test_an_alarm_that_gets_deeper_is_told_again_and_one_that_gets_better_is_not(
    engine: AsyncEngine,
) -> None:
    alarm = unique("alarm")
    readings = [1, 1, 3, 2, 3, 1, 0, 0, 2, 1, 0]
    stored = [await cross(engine, alarm, bool(depth), depth=depth) for depth in readings]
    assert stored == [bool(told) for told in (1, 0, 1, 0, 0, 0, 1, 0, 1, 0, 1)]


async def test_alarms_that_are_raised_are_read_by_their_kinds(engine_apart: AsyncEngine) -> None:
    async with engine_apart.begin() as connection:
        await alerts.set_depths(connection, {"inbox": 1, "parked:fault": 2, "parked-money:gbp": 1})
        await alerts.set_depths(connection, {"inbox": 0, "never": 0})
        assert await alerts.raised(connection, ["inbox", "parked"]) == {"parked:fault"}


async def test_since_when_an_alarm_is_raised_does_not_change_when_it_gets_deeper(
    engine_apart: AsyncEngine,
) -> None:
    async def since() -> object:
        async with engine_apart.connect() as connection:
            return (await connection.execute(text("SELECT since FROM alarms"))).scalar_one()

    await cross(engine_apart, "alarm", raised=True)
    first = await since()
    await cross(engine_apart, "alarm", raised=True, depth=2)
    assert await since() == first
    await cross(engine_apart, "alarm", raised=False)
    await cross(engine_apart, "alarm", raised=True)
    assert await since() != first


async def test_fifty_who_see_the_same_crossing_at_once_store_one_alert(
    engine: AsyncEngine,
) -> None:
    alarm = unique("alarm")
    for raised in (True, False):
        seen = [cross(engine, alarm, raised) for _ in range(50)]
        assert sorted(await crowd(seen)) == [False] * 49 + [True]


async def test_alarms_are_apart_from_each_other(engine: AsyncEngine) -> None:
    one, other = unique("alarm"), unique("alarm")
    assert await cross(engine, one, raised=True)
    assert not await cross(engine, other, raised=False)
    assert await cross(engine, other, raised=True)


async def test_a_crossing_under_a_key_that_was_told_changes_the_alarm_and_tells_nothing(
    engine: AsyncEngine,
) -> None:
    alarm, alert = unique("alarm"), an_alert()
    assert await cross(engine, alarm, raised=True, alert=alert)
    assert await cross(engine, alarm, raised=False)
    assert not await cross(engine, alarm, raised=True, alert=alert)
    assert await cross(engine, alarm, raised=False)


async def test_what_is_delivered_or_given_up_waits_no_more(engine_apart: AsyncEngine) -> None:
    told = [an_alert() for _ in range(3)]
    await tell(engine_apart, *told)
    async with engine_apart.begin() as connection:
        waiting = await alerts.undelivered(connection)
        await alerts.delivered(connection, told[0].key)
        await alerts.undeliverable(connection, told[1].key, "Slack answered 404: no_service")
    assert waiting.count == 3
    assert waiting.oldest_seconds > 0
    async with engine_apart.connect() as connection:
        assert (await alerts.undelivered(connection)).count == 1
    assert await pending(engine_apart) == [told[2]]


async def test_what_was_given_up_is_counted_for_a_while_unless_it_is_told_after_all(
    engine_apart: AsyncEngine,
) -> None:
    told = [an_alert() for _ in range(3)]
    await tell(engine_apart, *told)
    async with engine_apart.begin() as connection:
        for one in told[:2]:
            await alerts.undeliverable(connection, one.key, "Slack answered 404: no_service")
        await alerts.delivered(connection, told[2].key, "no Slack is configured")
    async with engine_apart.begin() as connection:
        assert await alerts.given_up(connection, timedelta(hours=1)) == 2
        await alerts.delivered(connection, told[0].key)
        assert await alerts.given_up(connection, timedelta(hours=1)) == 1
        await connection.execute(text("UPDATE alerts SET given_up_at = now() - interval '2 h'"))
        assert await alerts.given_up(connection, timedelta(hours=1)) == 0


async def test_with_nothing_waiting_the_oldest_has_waited_no_time(
    engine_apart: AsyncEngine,
) -> None:
    async with engine_apart.connect() as connection:
        assert await alerts.undelivered(connection) == Undelivered(0, 0.0)


async def test_alerts_are_listed_newest_first_with_what_became_of_them(
    engine_apart: AsyncEngine,
) -> None:
    told = [an_alert() for _ in range(3)]
    await tell(engine_apart, *told)
    async with engine_apart.begin() as connection:
        await alerts.delivered(connection, told[0].key)
        await alerts.undeliverable(connection, told[1].key, "why")
        first = await alerts.page(connection, None, 2)
        rest = await alerts.page(connection, first[-1].position, 2)
    listed = [*first, *rest]
    assert [one.alert for one in listed] == told[::-1]
    assert [one.problem for one in listed] == [None, "why", None]
    assert [one.delivered_at is None for one in listed] == [True, True, False]
