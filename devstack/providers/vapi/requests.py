"""What the stand-in for Vapi is asked to make happen (`/_control/…`), in Vapi's names."""

import random
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from devstack.providers.storage import JsonObject
from devstack.providers.vapi import messages
from devstack.providers.vapi.messages import AuthMode, iso


class _Wire(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Activation(_Wire):
    """An assistant that was active in a call; one that was made for the call has no id."""

    assistantName: str = "Front desk"  # noqa: N815 - Vapi's names
    assistantId: str | None = None  # noqa: N815


class Member(_Wire):
    """A member of a squad: an assistant by its id, or one that was made for it."""

    assistantId: str | None = None  # noqa: N815 - Vapi's name
    assistant: dict[str, Any] | None = None


class Squad(_Wire):
    """A squad that was made for one call."""

    members: list[Member]


class Given(_Wire):
    """What of a call stands in it as it is given: what it was started with, and what it has become.

    A call has an `updatedAt` of its own, or that of its last change.
    """

    squadId: str | None = None  # noqa: N815 - Vapi's names
    squad: Squad | None = None
    workflowId: str | None = None  # noqa: N815
    assistant: dict[str, Any] | None = None
    updatedAt: AwareDatetime | None = None  # noqa: N815
    cost: float | None = Field(default=None, ge=0)

    def fields(self) -> JsonObject:
        """Return what is given, as Vapi writes it."""
        given: JsonObject = self.model_dump(include=set(Given.model_fields), exclude_none=True)
        return given | ({"updatedAt": iso(self.updatedAt)} if self.updatedAt else {})


class NewCall(Given):
    """A call to register, in Vapi's names. `durationSeconds` is a short way to set `endedAt`.

    With an `endedAt` or a duration it has ended, and with `status` `ended` too, though nobody says
    when. Without a `startedAt` it has never connected.
    """

    id: str | None = None
    assistantId: str | None = None  # noqa: N815 - Vapi's names
    assistantActivations: list[Activation] = []  # noqa: N815
    phoneNumberId: str | None = None  # noqa: N815
    customerNumber: str = "+447700900123"  # noqa: N815
    type: Literal["inboundPhoneCall", "outboundPhoneCall", "webCall", "vapi.websocketCall"] = (
        "inboundPhoneCall"
    )
    status: messages.Status | None = None
    createdAt: AwareDatetime | None = None  # noqa: N815
    startedAt: AwareDatetime | None = None  # noqa: N815
    endedAt: AwareDatetime | None = None  # noqa: N815
    durationSeconds: float | None = Field(default=None, ge=0)  # noqa: N815
    endedReason: str = "customer-ended-call"  # noqa: N815

    def call(self, now: datetime) -> JsonObject:
        """Build the call object."""
        started, ended = self.startedAt, self.endedAt
        if self.durationSeconds is not None:
            lasted = timedelta(seconds=self.durationSeconds)
            started = started or (self.createdAt or now - lasted)
            ended = started + lasted
        running = "in-progress" if started else "queued"
        call = messages.call_object(
            self.id or str(uuid.uuid4()),
            self.assistantId,
            created_at=self.createdAt or started or ended or now,
            started_at=started,
            ended_at=ended,
            status=self.status or ("ended" if ended else running),
            ended_reason=self.endedReason,
            phone_number_id=self.phoneNumberId,
            customer_number=self.customerNumber,
            call_type=self.type,
        )
        if self.assistantActivations:
            active = [one.model_dump(exclude_none=True) for one in self.assistantActivations]
            call["artifact"] = call.get("artifact", {}) | {"assistantActivations": active}
        if self.status == "ended":
            call.setdefault("endedReason", self.endedReason)
        # One that is given holds, though the call has an end: so it is at Vapi at times.
        return call | self.fields() | ({"status": self.status} if self.status else {})


class Generated(_Wire):
    """Many ended calls, spread evenly up to `to` (by default now). A seed makes the same calls."""

    count: int = Field(ge=1, le=200_000)
    assistant_ids: list[str] = Field(min_length=1)
    seed: int = 0
    to: AwareDatetime | None = None
    spread_seconds: float = Field(default=86_400.0, gt=0)
    shortest_seconds: int = Field(default=1, ge=1)
    longest_seconds: int = Field(default=600, ge=1)
    never_connected: float = Field(default=0.0, ge=0, le=1)
    in_progress: float = Field(default=0.0, ge=0, le=1)

    def calls(self, now: datetime) -> Iterator[JsonObject]:
        """Build the calls, oldest first."""
        dice = random.Random(self.seed)  # noqa: S311 - repeatable test data
        last = self.to or now
        step = timedelta(seconds=self.spread_seconds / self.count)
        for number in range(self.count):
            yield self._call(dice, last - step * (self.count - number))

    def _call(self, dice: random.Random, created: datetime) -> JsonObject:
        share = dice.random()
        lasted = timedelta(seconds=dice.randint(self.shortest_seconds, self.longest_seconds))
        connected = share >= self.never_connected
        running = connected and share < self.never_connected + self.in_progress
        return messages.call_object(
            str(uuid.UUID(int=dice.getrandbits(128), version=4)),
            dice.choice(self.assistant_ids),
            created_at=created,
            started_at=created if connected else None,
            ended_at=None if running else created + lasted,
            status="in-progress" if running else "ended",
            ended_reason="customer-ended-call" if connected else "customer-did-not-answer",
        )


class Travel(_Wire):
    """How one message is sent. What is unset is as the delivery policy and `--vapi-auth` say.

    `omit` leaves top-level fields out of the message, as Vapi sometimes does.
    """

    copies: int | None = Field(default=None, ge=1)
    drop: bool = False
    auth: AuthMode | None = None
    omit: list[str] = []


class End(Travel):
    """How a call ends: at `endedAt`, or `durationSeconds` after its start, or by default now."""

    endedAt: AwareDatetime | None = None  # noqa: N815 - Vapi's names
    durationSeconds: float | None = Field(default=None, ge=0)  # noqa: N815
    endedReason: str = "customer-ended-call"  # noqa: N815


class Status(Travel):
    """A call's new status."""

    status: messages.Status


class Inbound(_Wire):
    """An inbound call to a number without a fixed assistant."""

    phoneNumberId: str  # noqa: N815 - Vapi's name
    id: str | None = None
    customerNumber: str = "+447700900123"  # noqa: N815
    auth: AuthMode | None = None
