"""A day of the whole system, which passes in two minutes.

The clocks of PostgreSQL and Temporal cannot be set. So time passes by moving what has happened into
the past, here and at Vapi. Only how long work has been parked cannot be moved, for Temporal has it.
For that the watch looks at a time that is still to come (`look_ahead`).
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
from sqlalchemy import DateTime, update
from temporalio.client import ScheduleActionExecutionStartWorkflow, WorkflowHandle
from temporalio.testing import ActivityEnvironment

from activities.monitoring.watch import WatchActivities
from activities.parking.visibility import Visibility
from billing.platform_rules import PlatformRules
from devstack.demo.platform import Tenant
from devstack.load import fire
from devstack.providers.vapi.messages import call_object, iso, status_update
from processes.schedules import schedules
from store.schema import (
    alarms,
    alerts,
    audits,
    calls,
    calls_in_progress,
    reconciliation_findings,
    reconciliation_runs,
    webhook_events,
)
from tests.support import phone_calls, text_messages
from tests.support.phone_calls import Listed
from tests.support.stand_ins import SlackStandIn
from tests.support.text_messages import Text
from tests.support.world import CONNECTIONS, PATIENCE_SECONDS, WAITING, World, until
from workflows.deliver_alerts import DeliverAlerts
from workflows.shared import alert_requests
from workflows.shared.options import BILLING_QUEUE
from workflows.watch_billing import Watch, WatchBilling

DAY = timedelta(days=1)
ONE_ROUND = Watch(rounds=1, every=timedelta(seconds=1))
UNDELIVERED = "SELECT count(*) FROM alerts WHERE delivered_at IS NULL"
CREDITS = "SELECT count(*) FROM ledger_entries WHERE kind = 'topup'"
CHARGED_TEXTS = "SELECT count(*) FROM messages WHERE state = 'charged'"
FAULTS = 'BillingState="parked" AND ParkReason="fault" AND ExecutionStatus="Running"'
# The tables with times that the watch, `/health` or the reconciliation read.
_PAST = (
    alarms, alerts, audits, calls, calls_in_progress, reconciliation_findings,
    reconciliation_runs, webhook_events,
)  # fmt: skip
_REAL_TIME = re.compile(r"(since \d\d:\d\d:\d\d UTC|after \d+ min \d+ s)$")

# When (on the day's clock), how bad, and what.
Alerted = tuple[str, str, str]


@dataclass(frozen=True)
class Call:
    """A call that has ended at Vapi."""

    call_id: str
    assistant_id: str
    began: datetime
    ended: datetime

    def earlier(self, how_long: timedelta) -> "Call":
        return replace(self, began=self.began - how_long, ended=self.ended - how_long)

    def shown(self) -> Listed:
        """Return it as Vapi shows it."""
        return call_object(
            self.call_id,
            self.assistant_id,
            created_at=self.began,
            started_at=self.began,
            ended_at=self.ended,
        )

    def as_new(self) -> dict[str, str]:
        """Return it as the stand-in takes it."""
        return {
            "id": self.call_id,
            "assistantId": self.assistant_id,
            "startedAt": iso(self.began),
            "endedAt": iso(self.ended),
        }


@dataclass
class Day:
    """What has happened since three in the morning, and the alerts that people got.

    `tenants` have all the money that they need; `poor` has none.
    """

    world: World
    slack: SlackStandIn
    tenants: Sequence[Tenant]
    poor: Tenant
    senders: Mapping[str, Tenant]
    clock: timedelta = timedelta(hours=3)
    calls: list[Call] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    payments: dict[str, int] = field(default_factory=dict)
    alerted: list[Alerted] = field(default_factory=list)

    # ---- time

    async def becomes(self, when: str) -> None:
        """Let time pass until the day's clock shows `when`, after the inbox is empty."""
        await until("unhandled events", 0, lambda: self.world.scalar(WAITING))
        hours, minutes = when.split(":")
        wanted = timedelta(hours=int(hours), minutes=int(minutes))
        passed = (wanted - self.clock) % DAY
        self.clock = wanted
        self.calls = [call.earlier(passed) for call in self.calls]
        async with self.world.engine.begin() as connection:
            for table in _PAST:
                moments = [one for one in table.c if isinstance(one.type, DateTime)]
                moved = {one.name: one - passed for one in moments}
                await connection.execute(update(table).values(moved))
        await self._tell_vapi()

    async def _tell_vapi(self) -> None:
        """Give Vapi's stand-in all calls so far, at their moved times."""
        url = f"{self.world.stack.vapi_url}/_control/calls"
        async with httpx.AsyncClient(trust_env=False, timeout=60) as vapi:
            (await vapi.delete(url)).raise_for_status()
            known = [call.as_new() for call in self.calls]
            (await vapi.post(url, json=known)).raise_for_status()

    # ---- what people do

    def end_calls(self, count: int, tenant: Tenant | None = None, seconds: int = 60) -> list[Call]:
        """Let calls end at Vapi, without a report."""
        ended = now() - timedelta(minutes=1)
        owners = [tenant] if tenant else list(self.tenants)
        new = [
            Call(
                call_id=f"day-{uuid4()}",
                assistant_id=owners[number % len(owners)].assistant_id,
                began=ended - timedelta(seconds=seconds),
                ended=ended,
            )
            for number in range(count)
        ]
        self.calls += new
        return new

    async def calls_are_reported(
        self, count: int, tenant: Tenant | None = None, seconds: int = 60
    ) -> None:
        """Let calls end, and Vapi report them."""
        new = self.end_calls(count, tenant, seconds)
        await phone_calls.report(self.world, [call.shown() for call in new])

    async def only_their_end_is_sent(self, new: Sequence[Call]) -> None:
        """Let Vapi send a status-update that calls have ended, and never report them."""
        said = self.world.webhooks(status_update(call.shown(), "ended", now()) for call in new)
        await self.sends(self.world.webhook_url, said)

    async def tops_up(self, tenant: Tenant, amount_minor: int) -> None:
        self.payments[await self.world.customer.tops_up(tenant, amount_minor)] = amount_minor

    async def is_credited(self) -> None:
        """Wait until all that was paid so far is credited."""
        await until("credits", len(self.payments), lambda: self.world.scalar(CREDITS))

    async def texts_are_sent(self, count: int) -> None:
        """Let Twilio deliver messages, and send the callbacks."""
        sent = await text_messages.send(self.world, self.senders, count)
        await text_messages.happen(self.world, [text.shown(text.end) for text in sent])
        url = text_messages.callback_url(self.world)
        await self.sends(url, text_messages.callbacks(self.world, sent, ["end"]))
        self.texts += sent
        await until("texts", len(self.texts), lambda: self.world.scalar(CHARGED_TEXTS))

    async def all_goes_on(self) -> None:
        """Let an hour's work happen at once: 24 calls, a top-up and two messages."""
        payer = self.tenants[len(self.payments) % len(self.tenants)]
        await asyncio.gather(
            self.calls_are_reported(24), self.tops_up(payer, 2500), self.texts_are_sent(2)
        )
        await self.is_credited()

    async def sends(self, url: str, requests: Sequence[bytes]) -> None:
        """Let a provider send webhooks, all of which must be answered by 200."""
        shots = await fire(url, requests, connections=CONNECTIONS, give_up_seconds=PATIENCE_SECONDS)
        assert {shot.status for shot in shots} == {httpx.codes.OK}

    async def reprocess_faults(self, note: str) -> None:
        """Reprocess everything that is parked by a fault, as an operator, and wait for the end."""
        decided = {"verdict": "reprocess", "reason": "fault", "note": note, "per_second": 100}
        (await self.world.http.post("/v1/bulk-decisions", json=decided)).raise_for_status()
        await self.until_faults(0)

    async def until_faults(self, count: int) -> None:
        await until("parked as fault", count, lambda: self.world.count(FAULTS))

    # ---- the watch, and its alerts

    async def begin_round(self) -> WorkflowHandle[WatchBilling, int]:
        """Start one round of the watch, by its own workflow."""
        return await self.world.temporal.start_workflow(
            WatchBilling.run, ONE_ROUND, id=f"watch-billing/{uuid4()}", task_queue=BILLING_QUEUE
        )

    async def round(self) -> None:
        await (await self.begin_round()).result()
        await self.note_alerts()

    async def look_ahead(self, later: timedelta) -> None:
        """Make the round of a later time, as if nothing happened until then.

        The activity is the worker's, on its database and its Temporal. Alerts go the usual way.
        """
        visibility = Visibility(self.world.temporal)
        watch = WatchActivities(self.world.engine, visibility, PlatformRules())
        await ActivityEnvironment().run(watch.look, now() + later)
        await self.world.temporal.start_workflow(
            DeliverAlerts.run,
            0,
            **alert_requests.start_options(),
            start_signal="again",
            start_signal_args=["somebody has looked"],
        )
        await self.note_alerts(self.clock + later)

    async def note_alerts(self, when: timedelta | None = None) -> None:
        """Wait until all alerts are delivered, and note the new ones."""
        await until("alerts that wait", 0, lambda: self.world.scalar(UNDELIVERED))
        await self.note_what_slack_has(when)

    async def note_what_slack_has(self, when: timedelta | None = None) -> None:
        minutes = int((self.clock if when is None else when).total_seconds()) // 60
        for message in (await self.slack.messages())[len(self.alerted) :]:
            level, _, title = message["text"].partition(": ")
            at = f"{minutes // 60:02}:{minutes % 60:02}"
            self.alerted.append((at, level.lower(), self.comparable(title)))

    def comparable(self, title: str) -> str:
        """Return a title without what differs in each run: ids and real times."""
        for tenant in (*self.tenants, self.poor):
            title = title.replace(tenant.org_id, tenant.name)
        return _REAL_TIME.sub("…", title)


@asynccontextmanager
async def beginning(world: World) -> AsyncIterator[Day]:
    """Begin a day on which all schedules are paused: only the story makes rounds."""
    for schedule_id in schedules():
        await _pause(world, schedule_id)
    tenants = [await world.creates(name, 500) for name in ("acme", "globex")]
    poor = await world.creates("initech", 500)
    senders = {f"+1501712266{number}": tenant for number, tenant in enumerate(tenants)}
    for number, tenant in senders.items():
        path = f"/v1/organizations/{tenant.org_id}/senders"
        (await world.http.post(path, json={"phone_number": number})).raise_for_status()
    async with httpx.AsyncClient(base_url=world.stack.slack_url, trust_env=False) as slack:
        yield Day(world, SlackStandIn(slack), tenants, poor, senders)


async def _pause(world: World, schedule_id: str) -> None:
    schedule = world.temporal.get_schedule_handle(schedule_id)
    await schedule.pause(note="a story")
    for action in (await schedule.describe()).info.running_actions:
        assert isinstance(action, ScheduleActionExecutionStartWorkflow)
        await world.temporal.get_workflow_handle(action.workflow_id).terminate("a story")


@asynccontextmanager
async def away(url: str, method: str = "*") -> AsyncIterator[None]:
    """Let a provider answer every request, or every request of a method, by 503 until the end."""
    fault = {"kind": "status", "status": 503, "method": method, "times": None}
    async with httpx.AsyncClient(base_url=url, trust_env=False) as control:
        (await control.post("/_control/faults", json=fault)).raise_for_status()
        yield
        (await control.delete("/_control/faults")).raise_for_status()


def now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)
