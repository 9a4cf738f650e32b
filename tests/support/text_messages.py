"""Send messages at Twilio, with callbacks about them: out of order, twice, and some never."""

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx

from devstack.demo.platform import Tenant
from devstack.load import post_request
from devstack.providers.twilio import messages as twilio_messages
from devstack.providers.twilio.messages import ACCOUNT_SID
from tests.support.world import World

CENTS_A_SEGMENT, NUMBER = 6, "+447700900123"
# How twenty messages end.
ENDS = ("delivered",) * 14 + ("undelivered",) * 3 + ("failed",) * 3


@dataclass(frozen=True)
class Text:
    """A message of a tenant, and how it ends."""

    sid: str
    tenant: Tenant
    sender: str
    segments: int
    end: str

    @property
    def pence(self) -> int:
        """What it costs, rounded up once; nothing if it is not delivered."""
        return -(-self.segments * CENTS_A_SEGMENT * 79 // 100) if self.end == "delivered" else 0

    def shown(self, status: str) -> dict[str, object]:
        """Return the message as the stand-in takes it."""
        return {
            "sid": self.sid,
            "from": self.sender,
            "to": NUMBER,
            "segments": self.segments,
            "status": status,
        }


async def send(world: World, senders: Mapping[str, Tenant], count: int) -> list[Text]:
    """Let Twilio send messages, from each number in turn; return them."""
    dice, numbers = random.Random(count), list(senders)
    texts = [
        Text(
            sid=f"SM{uuid.uuid4().hex}",
            tenant=senders[numbers[turn % len(numbers)]],
            sender=numbers[turn % len(numbers)],
            segments=dice.randint(1, 4),
            end=ENDS[turn % len(ENDS)],
        )
        for turn in range(count)
    ]
    await happen(world, [text.shown("sent") for text in texts])
    return texts


async def happen(world: World, messages: Sequence[Mapping[str, object]]) -> None:
    """Put messages into Twilio's stand-in, without callbacks."""
    async with httpx.AsyncClient(base_url=world.stack.twilio_url, trust_env=False) as twilio:
        (await twilio.post("/_control/messages", json=messages, timeout=60)).raise_for_status()


def callbacks(world: World, texts: Sequence[Text], statuses: Sequence[str]) -> list[bytes]:
    """Prepare callbacks in random order: each status of each message, a tenth twice, a tenth never.

    The first status is always sent once, or callwallet would not know of the message. `end` stands
    for how it ends.
    """
    dice = random.Random(len(texts))
    wanted = [
        (text, text.end if status == "end" else status)
        for text in texts
        for status in statuses
        for _ in range(1 if status == statuses[0] else dice.choice((0, *(1,) * 8, 2)))
    ]
    dice.shuffle(wanted)
    return [_request(world, text, status) for text, status in wanted]


def callback_url(world: World) -> str:
    return f"{world.stack.settings()['PUBLIC_BASE_URL']}/webhooks/twilio/sms-status"


def _request(world: World, text: Text, status: str) -> bytes:
    message = twilio_messages.message_object(
        text.sid,
        ACCOUNT_SID,
        to=NUMBER,
        created_at=datetime(2026, 11, 2, tzinfo=UTC),
        from_=text.sender,
        status=status,
    )
    parameters, url = twilio_messages.status_callback(message), callback_url(world)
    token = world.stack.settings()["TWILIO_AUTH_TOKENS"].partition(":")[2]
    headers = twilio_messages.signed_headers(url, parameters, token)
    return post_request(url, headers, twilio_messages.body_of(parameters))
