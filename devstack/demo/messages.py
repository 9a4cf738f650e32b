"""The demo's messages: what Twilio sends for a tenant, and what it costs."""

import secrets
from dataclasses import dataclass

import httpx

from devstack.demo.check import exactly
from devstack.demo.figures import Figures, balance
from devstack.demo.platform import Tenant
from devstack.demo.world import World
from devstack.providers.twilio.messages import ACCOUNT_SID, FORM

# What two segments and one segment to the United Kingdom cost in pence: 6 US cents each, at 0.79
# pounds to the dollar, rounded up.
TWO_SEGMENTS, ONE_SEGMENT = 10, 5
# An MMS costs what an SMS does, and WhatsApp 4 US cents to anywhere.
MMS, WHATSAPP = 5, 4


@dataclass(frozen=True)
class Texting:
    """A number at Twilio's stand-in, which reports to callwallet what becomes of its messages."""

    twilio: httpx.AsyncClient
    number: str

    async def sends(self, segments: int, media: int = 0, channel: str = "") -> str:
        """Send a message, with media files and over a channel (`whatsapp:`); return its id."""
        message = {
            "from": f"{channel}{self.number}",
            "to": f"{channel}+447700900123",
            "segments": segments,
            "media": media,
        }
        made = await self.twilio.post("/_control/messages", json=message)
        return str(made.raise_for_status().json()["sids"][0])

    async def becomes(self, sid: str, status: str, copies: int = 1) -> None:
        """Give a message a status, and send the callback."""
        told = {"status": status, "copies": copies}
        moved = await self.twilio.post(f"/_control/messages/{sid}/status", json=told)
        moved.raise_for_status()


async def messages(world: World) -> Figures:
    """Show that a message is charged when Twilio has taken it, and given back when it fails."""
    tenant, forged = world.acme, {"MessageSid": "SM", "AccountSid": ACCOUNT_SID}
    headers = {"content-type": FORM, "x-twilio-signature": "bm90IGEgc2lnbmF0dXJl"}
    path = "/webhooks/twilio/sms-status"
    answer = await world.platform.http.post(path, data=forged, headers=headers)
    yield exactly("a callback with a wrong signature", 401, answer.status_code)

    texting = Texting(world.twilio, await _number(world, tenant))
    delivered = await texting.sends(segments=2)
    await texting.becomes(delivered, "delivered", copies=2)
    await texting.becomes(delivered, "sent")
    tenant.due.append(-TWO_SEGMENTS)
    yield await balance(world, tenant, "a message, delivered before it was sent")

    lost = await texting.sends(segments=1)
    await texting.becomes(lost, "sent")
    tenant.due.append(-ONE_SEGMENT)
    yield await balance(world, tenant, "a message, sent")
    await texting.becomes(lost, "failed")
    tenant.due.append(ONE_SEGMENT)
    yield await balance(world, tenant, "which failed, and is given back")

    await texting.becomes(await texting.sends(segments=1, media=1), "delivered")
    tenant.due.append(-MMS)
    yield await balance(world, tenant, "an MMS")
    await texting.becomes(await texting.sends(segments=1, channel="whatsapp:"), "read")
    tenant.due.append(-WHATSAPP)
    yield await balance(world, tenant, "a message over WhatsApp, by its own price")


async def _number(world: World, tenant: Tenant) -> str:
    """Register a new number as the tenant's; return it."""
    number = f"+1555{secrets.randbelow(10**7):07}"
    path = f"/v1/organizations/{tenant.org_id}/senders"
    made = await world.platform.http.post(path, json={"phone_number": number})
    made.raise_for_status()
    return number
