"""API and worker behind a PgBouncer in transaction mode, whose sessions are nobody's for long."""

from sqlalchemy.ext.asyncio import AsyncEngine

from settings import WorkerSettings
from store.database import session
from store.database.session import Pooler
from tests.support import main_story
from tests.support.pgbouncer import PgBouncer
from tests.support.stand_ins import StripeStandIn
from tests.support.systems import a_system


async def test_the_main_story_is_as_without_one_and_the_books_agree(
    pooler: PgBouncer, engine_apart: AsyncEngine, settings: WorkerSettings, stripe: StripeStandIn
) -> None:
    async with engine_apart.begin() as connection:
        await session.put_on_role(connection)
    async with a_system(settings, pooler.url_of(engine_apart), Pooler.TRANSACTION) as api:
        await main_story.is_passed(api, stripe)
        ready = await api.anonymous.get("/health/ready")
        assert (ready.status_code, ready.json()["problems"]) == (200, [])
