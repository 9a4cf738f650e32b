"""Events of other accounts and of the other mode: answered, counted, told, and not acted on."""

import pytest

from store.alerts import alerts
from tests.support.answers import accepted
from tests.support.api_server import Api, serving
from tests.support.eventually import eventually
from tests.support.signed_webhooks import Webhook, stripe_event


async def told(api: Api, mode: str) -> list[str]:
    async with api.engine.connect() as connection:
        stored = await alerts.page(connection, None, 100)
    title = f"Stripe sends events of {mode} mode"
    return [one.alert.title for one in stored if one.alert.title.startswith(title)]


async def counted(api: Api, outcome: str) -> float:
    return (await api.counted()).get(("stripe", outcome), 0.0)


async def is_ignored(api: Api, event: Webhook) -> bool:
    """Whether it is answered as ignored, and kept as that, about no payment."""
    answer = accepted(await api.send(event))
    row = await api.event(event.key)
    ignored = answer == "ignored"
    assert (row.status == "ignored", row.subject == "") == (ignored, ignored)
    return ignored


async def test_an_event_of_a_connected_account_is_ignored_and_counted(api: Api) -> None:
    before = await counted(api, "other_account")
    assert await is_ignored(api, stripe_event(account="acct_connected"))
    assert not await is_ignored(api, stripe_event(account=None))
    assert await counted(api, "other_account") == before + 1


@pytest.mark.parametrize("is_live", [True, False])
async def test_an_event_of_the_other_mode_is_ignored_counted_and_told_once(
    api: Api, *, is_live: bool
) -> None:
    async with serving(api.engine, api.temporal, stripe_livemode=is_live) as ours:
        other = "test" if is_live else "live"
        assert not await is_ignored(ours, stripe_event(livemode=is_live))
        assert not await is_ignored(ours, stripe_event())
        assert await told(ours, other) == []
        for _ in range(3):
            assert await is_ignored(ours, stripe_event(livemode=not is_live))
        assert await counted(ours, "other_mode") == 3
        assert len(await eventually(lambda: told(ours, other))) == 1


async def test_an_event_that_was_of_the_other_mode_counts_once_the_key_is_right(api: Api) -> None:
    """Stripe sends it again, by itself or when somebody asks for it."""
    event = stripe_event(livemode=True)
    async with serving(api.engine, api.temporal, stripe_livemode=False) as wrong:
        assert await is_ignored(wrong, event)
    async with serving(api.engine, api.temporal, stripe_livemode=True) as right:
        assert accepted(await right.send(event)) == "accepted"
        assert (await right.event(event.key)).status == "waiting"
        assert accepted(await right.send(event)) == "duplicate"


@pytest.mark.parametrize("is_live", [True, False])
async def test_an_api_that_is_not_told_the_mode_believes_every_event(
    api: Api, *, is_live: bool
) -> None:
    assert not await is_ignored(api, stripe_event(livemode=is_live))
