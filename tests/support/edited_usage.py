"""Calls and messages whose assistants, numbers and senders move, and what a test remembers of them.

The memory is plain Python: who had what when, so whose each call and message is, and what it comes
to by what was heard of it.
"""

import random
import uuid
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from sqlalchemy import TextClause, text
from temporalio.client import Client

from billing.calls.call import EndedCall
from billing.organizations import SENDERS, AgentKind
from tests.support.api_server import Api
from tests.support.eventually import eventually
from tests.support.factories import ended_call, now, unique
from tests.support.inbox_events import drain, report_of
from tests.support.messages import a_message, report_statuses
from tests.support.parked_workflows import start_bill
from tests.support.stand_ins import TwilioStandIn, VapiStandIn

LENGTHS = (20, 60, 240)
# When what is registered now began, and when the last registration ended.
_SINCE = text("SELECT since FROM registrations WHERE agent_id = :about AND until = 'infinity'")
_UNTIL = text("SELECT max(until) FROM registrations WHERE agent_id = :about")
_SENT_AT = text("SELECT sent_at FROM messages WHERE sid = :about")


def some_agents() -> dict[str, AgentKind]:
    """Return new names: two assistants, a number to call, two senders and a Messaging Service."""
    numbers = [f"+1{uuid.uuid4().int % 10**10:010}" for _ in range(2)]
    return {
        **{unique("assistant"): AgentKind.ASSISTANT for _ in range(2)},
        unique("number"): AgentKind.PHONE_NUMBER,
        **dict.fromkeys(numbers, AgentKind.SMS_NUMBER),
        f"MG{uuid.uuid4().hex}": AgentKind.MESSAGING_SERVICE,
    }


def pence_of_call(call: EndedCall) -> int:
    """Return what a call costs: 70 US cents a minute, by the second, at 0.79."""
    assert call.started_at is not None
    assert call.ended_at is not None
    seconds = int((call.ended_at - call.started_at).total_seconds())
    cents = -(-seconds * 70 // 60)
    return -(-cents * 79 // 100)


def pence_of_message(segments: int) -> int:
    """Return what a message costs: 6 US cents a segment, at 0.79."""
    return -(-segments * 6 * 79 // 100)


@dataclass
class Used:
    """A call or message: what names its owner, in order, when it took place, and whose it is.

    `pence` is what it comes to by what was heard of it; None while nothing was.
    """

    key: str
    names: tuple[str | None, ...]
    at: datetime
    owner: str | None = None
    pence: int | None = None


@dataclass
class EditedUsage:
    """The calls and messages of some organisations; `at_vapi` is what Vapi's API says of a call."""

    api: Api
    worker: Client
    vapi: VapiStandIn
    twilio: TwilioStandIn
    chance: random.Random
    orgs: list[str]
    agents: dict[str, AgentKind] = field(default_factory=some_agents)
    had: dict[str, list[tuple[datetime, str | None]]] = field(default_factory=dict)
    calls: dict[str, Used] = field(default_factory=dict)
    messages: dict[str, Used] = field(default_factory=dict)
    at_vapi: dict[str, EndedCall] = field(default_factory=dict)

    def owed(self) -> dict[str, tuple[str, int]]:
        """Return what is to be paid and by whom, by the key of its first entry."""
        return {
            one.key: (one.owner, one.pence)
            for one in self._all()
            if one.owner is not None and one.pence is not None
        }

    def _all(self) -> list[Used]:
        return [*self.calls.values(), *self.messages.values()]

    def _owner_of(self, one: Used) -> str | None:
        """Return who had the first of its names at that time, or else is the first who had one."""
        held = [self.had.get(name or "", []) for name in one.names]
        then = [[owner for since, owner in had if since <= one.at][-1:] for had in held]
        if found := [owner for [owner] in filter(None, then) if owner is not None]:
            return found[0]
        later = [(since, owner) for had in held for since, owner in had if owner and since > one.at]
        return min(later)[1] if later else None

    def _known(self, one: Used) -> Used:
        one.owner = self._owner_of(one)
        return one

    def _any_of(self, *kinds: AgentKind) -> str | None:
        fitting = [agent for agent, kind in self.agents.items() if kind in kinds]
        return self.chance.choice([*fitting, None])

    async def a_registration_changes(self) -> None:
        agent = self.chance.choice(list(self.agents))
        await self.give(agent, self.chance.choice([*self.orgs, None, None]))

    async def give(self, agent: str, heir: str | None) -> None:
        """Delete what is registered, and register it to another, over HTTP."""
        owner, kind = self.had[agent][-1][1] if self.had.get(agent) else None, self.agents[agent]
        if owner == heir:
            return
        room = "senders" if kind in SENDERS else "assistants"
        if owner is not None:
            path = f"/v1/organizations/{owner}/{room}/{agent}"
            (await self.api.operator.delete(path)).raise_for_status()
            await self._has(agent, None, _UNTIL)
        if heir is not None:
            names = {
                AgentKind.SMS_NUMBER: "phone_number",
                AgentKind.MESSAGING_SERVICE: "messaging_service_sid",
            }
            body = {names.get(kind, f"{kind}_id"): agent}
            path = f"/v1/organizations/{heir}/{room}"
            (await self.api.operator.post(path, json=body)).raise_for_status()
            await self._has(agent, heir, _SINCE)

    async def _has(self, agent: str, owner: str | None, when: TextClause) -> None:
        self.had.setdefault(agent, []).append((await self._moment(when, agent), owner))
        for one in self._all():
            one.owner = one.owner or self._owner_of(one)

    async def a_call_ends(self) -> None:
        names = self._any_of(AgentKind.ASSISTANT), self._any_of(AgentKind.PHONE_NUMBER)
        # Vapi's times have milliseconds. The next one is not before what was just registered.
        at = await now(self.api.engine) + timedelta(milliseconds=1)
        at = at.replace(microsecond=at.microsecond // 1000 * 1000)
        seconds = self.chance.choice(LENGTHS)
        ended_at = at + timedelta(seconds=seconds)
        call = ended_call(names[0], seconds, ended_at=ended_at, phone_number_id=names[1])
        self.calls[call.call_id] = one = self._known(Used(f"call:{call.call_id}", names, at))
        self.at_vapi[call.call_id] = call
        await self.vapi.knows(call)
        way = self.chance.choice(["its own process", "the drain", "lost"])
        if way != "lost":
            one.pence = pence_of_call(call)
        if way == "its own process":
            await start_bill(self.worker, call)
        if way == "the drain":
            await drain(self.worker, self.api.engine, report_of(call))

    async def vapi_says_otherwise(self) -> None:
        """Edit a call's length, and of one that was found to be somebody's its assistant too."""
        if not self.at_vapi:
            return
        call = self.at_vapi[self.chance.choice(list(self.at_vapi))]
        assert call.started_at is not None
        seconds, one = self.chance.choice(LENGTHS), self.calls[call.call_id]
        call = replace(call, ended_at=call.started_at + timedelta(seconds=seconds))
        if one.owner is not None and one.pence is not None:
            call = replace(call, assistant_id=self._any_of(AgentKind.ASSISTANT))
        self.at_vapi[call.call_id] = call
        await self.vapi.knows(call)

    def calls_are_reconciled(self, org_id: str | None) -> None:
        """Remember that a run has looked: for one organisation at what is recorded as its own."""
        for call_id, one in self.calls.items():
            if org_id in (None, one.owner):
                one.pence = pence_of_call(self.at_vapi[call_id])

    async def a_message_is_sent(self) -> None:
        sender, service = (self._any_of(kind) for kind in SENDERS)
        if sender is None:
            return
        segments = self.chance.randint(1, 3)
        how = {"segments": segments, "messaging_service_sid": service}
        sid = await a_message(self.twilio, sender, "sent", **how)
        await report_statuses(self.worker, sid, "sent")
        at = await eventually(lambda: self._moment(_SENT_AT, sid))
        self.messages[sid] = self._known(Used(f"sms:{sid}", (sender, service), at))
        self.messages[sid].pence = pence_of_message(segments)

    async def a_message_is_given_back_or_heard_of_again(self) -> None:
        if self.messages:
            sid = self.chance.choice(list(self.messages))
            status = self.chance.choice(["sent", "undelivered"])
            if status == "undelivered":
                self.messages[sid].pence = 0
            await report_statuses(self.worker, sid, status)

    async def _moment(self, query: TextClause, about: str) -> datetime:
        async with self.api.engine.connect() as connection:
            found: datetime = await connection.scalar(query, {"about": about})
        return found
