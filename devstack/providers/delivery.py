"""Send webhooks as providers do: signed, with or without retries, and late, twice or never.

Every delivery is stored in the transaction of the change that caused it, and sent afterwards. So a
stand-in that is killed between the two sends it after its next start.
"""

import asyncio
import secrets
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace

import httpx
import orjson
from pydantic import BaseModel, ConfigDict, Field

from devstack.providers.storage import Filter, JsonObject, Row, Storage
from devstack.providers.vapi.messages import AuthMode

_TIMEOUT_SECONDS = 20.0
_LONGEST_RETRY_SECONDS = 60.0
_GIVE_UP_SECONDS = 3 * 24 * 3600
_LONGEST_ANSWER = 500


class Policy(BaseModel):
    """How webhooks are delivered. `POST /_control/deliveries` changes the fields that it names."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = None
    copies: int = Field(default=1, ge=1, le=100)
    reverse: bool = False
    drop_fraction: float = Field(default=0.0, ge=0, le=1)
    seed: int = 0
    paused: bool = False
    first_retry_seconds: float = Field(default=0.5, gt=0)


@dataclass(frozen=True)
class Delivery:
    """One copy of one message; `next_attempt` and `since` are real seconds since 1970.

    `state` is waiting, sending, delivered, failed, dropped or lost. `auth` is Vapi's mode.
    """

    id: str
    event: str
    type: str
    body: str
    since: float
    auth: AuthMode | None = None
    state: str = "waiting"
    attempts: int = 0
    next_attempt: float = 0.0
    last_status: int | None = None
    last_answer: str | None = None
    last_error: str | None = None


Sign = Callable[[bytes, Delivery], dict[str, str]]


class Courier:
    """Delivers one provider's webhooks to one URL."""

    def __init__(
        self, storage: Storage, name: str, *, url: str | None, sign: Sign, retries: bool
    ) -> None:
        self._storage = storage
        self._kind = f"{name}.delivery"
        self._policy_id = f"{name}.deliveries"
        self._configured_url = url
        self._sign = sign
        self._retries = retries
        stored = storage.get("policy", self._policy_id) or {}
        self.policy = Policy.model_validate(stored | ({"url": url} if url else {}))
        self._fresh: list[Delivery] = []
        self._active: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, trust_env=False)

    def post(
        self,
        event: str,
        message_type: str,
        body: JsonObject | str,
        *,
        auth: AuthMode | None = None,
        copies: int | None = None,
        drop: bool = False,
    ) -> None:
        """Store the copies of a message. Call it in the transaction of the change that it reports.

        A text is sent as it is, any other body as JSON.
        """
        if self.policy.url is None:
            return
        dropped = drop or self._unlucky(event)
        for _ in range(copies or self.policy.copies):
            delivery = Delivery(
                id=f"wh_{secrets.token_hex(12)}",
                event=event,
                type=message_type,
                body=body if isinstance(body, str) else orjson.dumps(body).decode(),
                since=time.time(),
                auth=auth,
                state="dropped" if dropped else "waiting",
            )
            self._save(delivery)
            if not dropped:
                self._fresh.append(delivery)

    def release(self) -> None:
        """Send what the transactions so far have posted. Call it after they are committed."""
        fresh, self._fresh = self._fresh, []
        self._launch(fresh)

    def forget(self) -> None:
        """Drop what a transaction posted. Call it after it is rolled back."""
        self._fresh = []

    def resume(self) -> None:
        """Send everything that waits, after a start or when a pause ends.

        What a killed process was sending is sent again if the provider retries, and lost if not.
        """
        interrupted = self._stored("sending")
        for delivery in interrupted:
            if delivery.id not in self._active:
                self._save(replace(delivery, state="waiting" if self._retries else "lost"))
        waiting = self._stored("waiting")
        self._launch([delivery for delivery in waiting if delivery.id not in self._active])

    def change(self, policy: Policy) -> None:
        """Use another policy, and store it."""
        self.policy = policy
        data = policy.model_dump()
        self._storage.save(Row(kind="policy", id=self._policy_id, created=0, updated=0, data=data))
        self.resume()

    def reset(self) -> None:
        """Go back to the configured policy, and drop what waits or is being sent."""
        for task in self._tasks:
            task.cancel()
        self._active.clear()
        for delivery in self._stored("waiting") + self._stored("sending"):
            self._save(replace(delivery, state="dropped"))
        self.change(Policy(url=self._configured_url))

    def deliveries(self) -> list[JsonObject]:
        """List every delivery, oldest first."""
        return self._storage.select(Filter(self._kind))[::-1]

    async def close(self) -> None:
        """Stop sending. What is not sent stays stored."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()

    def _stored(self, state: str) -> list[Delivery]:
        rows = self._storage.select(Filter(self._kind, owner=state))
        return [Delivery(**row) for row in reversed(rows)]

    def _launch(self, deliveries: Sequence[Delivery]) -> None:
        if deliveries and not self.policy.paused:
            ordered = deliveries[::-1] if self.policy.reverse else deliveries
            self._active.update(delivery.id for delivery in deliveries)
            self._spawn(ordered)

    def _spawn(self, deliveries: Sequence[Delivery]) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(deliveries))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Send in order. One that fails is retried apart, so that the others do not wait for it."""
        for delivery in deliveries:
            if self.policy.paused:
                self._active.discard(delivery.id)
                continue
            await asyncio.sleep(max(0.0, delivery.next_attempt - time.time()))
            after = await self._attempt(delivery)
            self._save(after)
            if after.state == "waiting":
                self._spawn([after])
            else:
                self._active.discard(after.id)

    async def _attempt(self, delivery: Delivery) -> Delivery:
        sending = replace(delivery, state="sending", attempts=delivery.attempts + 1)
        self._save(sending)
        body = delivery.body.encode()
        headers = self._sign(body, delivery)
        try:
            response = await self._client.post(str(self.policy.url), content=body, headers=headers)
        except httpx.HTTPError as error:
            return self._failed(replace(sending, last_error=repr(error)))
        answered = replace(
            sending,
            last_status=response.status_code,
            last_answer=response.text[:_LONGEST_ANSWER],
            last_error=None,
        )
        return (
            replace(answered, state="delivered") if response.is_success else self._failed(answered)
        )

    def _failed(self, delivery: Delivery) -> Delivery:
        now = time.time()
        if not self._retries or now - delivery.since > _GIVE_UP_SECONDS:
            return replace(delivery, state="failed")
        pause = self.policy.first_retry_seconds * 2 ** min(delivery.attempts - 1, 16)
        pause = min(pause, _LONGEST_RETRY_SECONDS)
        return replace(delivery, state="waiting", next_attempt=now + pause)

    def _save(self, delivery: Delivery) -> None:
        created = int(delivery.since * 1000)
        row = Row(
            kind=self._kind,
            id=delivery.id,
            owner=delivery.state,
            created=created,
            updated=created,
            data=asdict(delivery),
        )
        self._storage.save(row)

    def _unlucky(self, event: str) -> bool:
        """Return whether to drop an event. Its id decides, so a seed always drops the same."""
        share = zlib.crc32(f"{self.policy.seed}:{event}".encode()) / 2**32
        return share < self.policy.drop_fraction
