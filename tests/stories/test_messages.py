"""A campaign by SMS: callbacks out of order, twice, lost; the worker killed: exact to a penny."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from devstack.load import fire
from tests.support.text_messages import Text, callback_url, callbacks, happen, send
from tests.support.world import PATIENCE_SECONDS, UNPROVEN, WAITING, World, kill_and_wait, until

CONNECTIONS = 16
NET = """
    SELECT split_part(key, ':', 2),
           sum(CASE WHEN kind = 'sms' THEN amount_minor ELSE -amount_minor END)
    FROM ledger_entries WHERE kind IN ('sms', 'sms_reversal') GROUP BY 1"""
OPEN = "SELECT count(*) FROM messages WHERE state NOT IN ('charged', 'reversed', 'not_charged')"


async def test_every_message_is_charged_once_or_given_back_whoever_is_killed(
    world: World, story_is_full: bool
) -> None:
    """The full story kills the worker twice: on the way to the charges, and to what goes back."""
    count = 2000 if story_is_full else 200
    tenants = [await world.creates(f"texter{n}", 10_000_000) for n in range(4)]
    senders = {f"+1501712266{n}": tenant for n, tenant in enumerate(tenants)}
    for number, tenant in senders.items():
        path = f"/v1/organizations/{tenant.org_id}/senders"
        made = await world.http.post(path, json={"phone_number": number})
        assert made.status_code == 201
    texts = await send(world, senders, count)

    await deliver(world, callbacks(world, texts, ["sent", "queued"]), kill=story_is_full)
    await happen(world, [text.shown(text.end) for text in texts])
    await deliver(world, callbacks(world, texts, ["end", "sent"]), kill=True)
    await until("messages whose charge is open", 0, lambda: world.scalar(OPEN))

    await exact(world, texts)


async def deliver(world: World, requests: Sequence[bytes], *, kill: bool) -> None:
    """Send callbacks, kill the worker when half of them are answered, and wait for calm."""
    half = asyncio.Event()
    left = len(requests) // 2

    def count(_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            half.set()

    async def in_the_middle() -> None:
        await half.wait()
        if kill:
            await kill_and_wait(world.stack, "worker")

    shots, _ = await asyncio.gather(
        fire(
            callback_url(world),
            requests,
            connections=CONNECTIONS,
            give_up_seconds=PATIENCE_SECONDS,
            answered=count,
        ),
        in_the_middle(),
    )
    assert {shot.status for shot in shots} == {200}
    await until("unhandled events", 0, lambda: world.scalar(WAITING))


async def exact(world: World, texts: Sequence[Text]) -> None:
    """Hold the ledger to what each message costs, and the delivery rates to how they ended."""
    net = {sid: int(pence) for sid, pence in await world.rows(NET)}
    assert {text.sid: net.get(text.sid, 0) for text in texts} == {
        text.sid: text.pence for text in texts
    }
    assert await world.scalar(UNPROVEN) == 0
    for tenant in {text.tenant.org_id: text.tenant for text in texts}.values():
        ends = Counter(text.end for text in texts if text.tenant is tenant)
        path = f"/v1/organizations/{tenant.org_id}/messages/summary"
        found = (await world.http.get(path)).json()["messages"]
        assert {end: found[end] for end in ends} == ends
        due = sum(text.pence for text in texts if text.tenant is tenant)
        wallet = (await world.http.get(f"/v1/organizations/{tenant.org_id}/wallet")).json()
        assert wallet["balance_minor"] == -due
