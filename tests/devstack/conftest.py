"""The stand-ins in a process of their own, and Stripe's real SDK."""

from collections.abc import AsyncIterator

import pytest
import stripe

from tests.support.stand_in_process import Receiver, StandIns, receiving, running, stripe_client


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIns]:
    state = tmp_path_factory.mktemp("stripe") / "state.db"
    async with running(state) as stand_ins:
        yield stand_ins


@pytest.fixture
async def stand_ins(world: StandIns) -> AsyncIterator[StandIns]:
    yield world
    await world.reset()


@pytest.fixture
async def sdk(stand_ins: StandIns) -> AsyncIterator[stripe.StripeClient]:
    async with stripe_client(stand_ins.urls["stripe"]) as client:
        yield client


@pytest.fixture
async def receiver(stand_ins: StandIns) -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        policy = {"url": receiver.url, "first_retry_seconds": 0.05}
        await stand_ins.control("stripe", "deliveries", policy)
        yield receiver
