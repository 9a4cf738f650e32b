"""A report stops, from the socket to the entry, where the architecture page says."""

import inspect
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from billing.ledger.entry import Entry, call_key
from processes.namespace import prepare
from processes.schedules import schedules
from settings import Settings, platform_rules
from store.ledger import ledger
from tests.support.api_server import serving
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, credit, unique
from tests.support.repository import ROOT, read
from tests.support.signed_webhooks import report
from wiring import Clients, connect_temporal
from worker import build_workers

FLOORS = {"api", "processes", "workflows", "activities", "store", "billing"}
MOST_STOPS = 20
# What a report passes without anything being decided about it: values, and what is the same for all
# that callwallet does.
PASSED = {
    "activities/monitoring/metrics.py",
    "activities/temporal/refusal_interceptor.py",
    "api/http/connections.py",
    "api/http/security_headers.py",
    "api/services.py",
    "billing/inbox/webhook_event.py",
    "billing/ledger/entry.py",
    "billing/ledger/money.py",
    "billing/text.py",
    "store/database/connection.py",
    "store/database/engine.py",
    "store/database/migrate.py",
    "store/database/server.py",
    "store/ledger/journal.py",
    "workflows/shared/data_converter.py",
    "workflows/shared/visibility.py",
}
# The drains look by themselves, whether anything comes or not.
BESIDE = {
    "activities/inbox/batches.py",
    "activities/inbox/inbox.py",
    "activities/inbox/isolation.py",
    "activities/messages/message_batches.py",
    "activities/temporal/isolation.py",
    "processes/drains.py",
    "store/calls/calls_in_progress.py",
    "store/messages/messages.py",
    "workflows/drain_inbox.py",
    "workflows/drain_messages.py",
    "workflows/shared/drain.py",
}


def documented() -> list[str]:
    """Read the stops from the architecture page, in order."""
    [section] = re.findall(
        r"^## The way of a report\n(.*?)^## ",
        read("docs/architecture.md"),
        re.MULTILINE | re.DOTALL,
    )
    return re.findall(r"^\d+\. `([a-z_/]+\.py)`", section, re.MULTILINE)


@contextmanager
def functions_noted() -> Iterator[set[str]]:
    """Note the file of every function that is called in this thread, and in those that begin."""
    files = set[str]()

    def note(frame: FrameType, event: str, _: Any) -> None:
        # Only functions are compiled so, not the bodies of modules and classes.
        if event == "call" and frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            files.add(frame.f_code.co_filename)

    before = sys.getprofile()
    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield files
    finally:
        sys.setprofile(before)
        threading.setprofile(None)


def ours(files: set[str]) -> set[str]:
    inside = {Path(one).relative_to(ROOT) for one in files if one.startswith(f"{ROOT}/")}
    return {str(one) for one in inside if one.parts[0] in FLOORS}


async def test_a_report_stops_where_the_architecture_page_says_and_nowhere_else(
    settings: Settings, clients: Clients, engine_apart: AsyncEngine
) -> None:
    """The worker is of this test alone: only threads that begin while it looks are seen.

    What others have left in this process goes on beside it: of three reports the way is looked at.
    """
    engine, apart = engine_apart, settings.model_copy(update={"temporal_namespace": unique("way")})
    temporal = await connect_temporal(apart)
    await prepare(temporal)
    for schedule in schedules():
        await temporal.get_schedule_handle(schedule).pause(note="a report's way is looked at")
    called = []

    async def entries(call_id: str) -> tuple[Entry, ...]:
        async with engine.connect() as connection:
            return tuple(await ledger.family(connection, call_key(call_id)))

    with functions_noted() as files:
        async with AsyncExitStack() as running:
            for one in build_workers(
                temporal, replace(clients, engine=engine), platform_rules(settings)
            ):
                await running.enter_async_context(one)
            api = await running.enter_async_context(serving(engine, temporal))
            org_id = await an_organization(engine)
            assistant = await an_assistant(engine, org_id)
            await credit(engine, org_id, 10_000)
            for call_id in (unique("call"), unique("call"), unique("call")):
                files.clear()
                (await api.send(report(assistant, call_id=call_id))).raise_for_status()
                assert await eventually(partial(entries, call_id))
                called.append(ours(files))
    assert set.intersection(*called) - PASSED - BESIDE == set(documented())


def test_the_way_of_a_report_is_short() -> None:
    stops = documented()
    assert len(stops) == len(set(stops)) <= MOST_STOPS
