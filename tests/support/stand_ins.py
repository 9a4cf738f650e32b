"""Make things happen at the providers' stand-ins: payments, calls, messages and faults."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx

from billing.calls.call import EndedCall
from devstack.stack import Stack


@dataclass(frozen=True)
class StripeStandIn:
    http: httpx.AsyncClient

    async def payment(
        self,
        org_id: str | None,
        paid_minor: int,
        currency: str = "gbp",
        card: str = "pm_card_visa",
        capture: str = "automatic_async",
        **metadata: str,
    ) -> str:
        """Pay by card, off session; return the payment's id."""
        written = {"type": "wallet_topup", "amount_minor": str(paid_minor), **metadata}
        if org_id is not None:
            written["org_id"] = org_id
        form = {
            "amount": str(paid_minor),
            "currency": currency,
            "payment_method": card,
            "capture_method": capture,
            "confirm": "true",
            **{f"metadata[{name}]": value for name, value in written.items() if value},
        }
        answer = await self.http.post("/v1/payment_intents", data=form)
        return _paid(answer)

    async def checkout(self, reference: str, paid_minor: int, **metadata: str) -> str:
        """Pay a new checkout session; return the payment's id."""
        form = {
            "mode": "payment",
            "success_url": "https://platform.example/paid",
            "client_reference_id": reference,
            "line_items[0][quantity]": "1",
            "line_items[0][price_data][currency]": "gbp",
            "line_items[0][price_data][unit_amount]": str(paid_minor),
            "line_items[0][price_data][product_data][name]": "Top-up",
            **{f"payment_intent_data[metadata][{name}]": value for name, value in metadata.items()},
        }
        session = (await self.http.post("/v1/checkout/sessions", data=form)).raise_for_status()
        path = f"/_control/checkout/sessions/{session.json()['id']}/complete"
        completed = (await self.http.post(path, json={})).raise_for_status()
        return str(completed.json()["payment_intent"])

    async def pay(self, session_id: str, method: str = "pm_card_visa") -> str:
        """Complete an open session; return the payment's id."""
        path = f"/_control/checkout/sessions/{session_id}/complete"
        paid = await self.http.post(path, json={"payment_method": method})
        return str(paid.raise_for_status().json()["payment_intent"])

    async def clear(self, session_id: str, *, succeed: bool) -> None:
        """Let the bank pay the debit of a completed session, or return it."""
        await self._control(f"checkout/sessions/{session_id}/clear", {"succeed": succeed})

    async def expire(self, session_id: str) -> None:
        """Expire a session before its time."""
        path = f"/v1/checkout/sessions/{session_id}/expire"
        (await self.http.post(path)).raise_for_status()

    async def sessions(self, org_id: str) -> list[dict[str, Any]]:
        """List an organisation's sessions, newest first."""
        listed = await self._all("/v1/checkout/sessions")
        return [one for one in listed if one["client_reference_id"] == org_id]

    async def customers(self, org_id: str) -> list[str]:
        """List the customers whose metadata name an organisation."""
        listed = await self._all("/v1/customers")
        return [one["id"] for one in listed if one["metadata"].get("org_id") == org_id]

    async def posts_misbehave(self, path: str, **fault: Any) -> None:
        """Make POSTs fail, once unless `fault` says otherwise."""
        await _misbehave(self.http, path, {"method": "POST", **fault})

    async def behave(self) -> None:
        """Remove all faults."""
        (await self.http.delete("/_control/faults")).raise_for_status()

    async def authenticate(self, payment_id: str) -> None:
        """Let the customer authenticate a payment at the bank."""
        path = f"/_control/payment_intents/{payment_id}/authenticate"
        (await self.http.post(path, json={})).raise_for_status()

    async def confirm(self, payment_id: str, card: str = "pm_card_visa") -> None:
        """Try to pay a payment again."""
        path = f"/v1/payment_intents/{payment_id}/confirm"
        await self.http.post(path, data={"payment_method": card})

    async def capture(self, payment_id: str, captured_minor: int) -> None:
        """Capture this much of what the card has authorized."""
        path = f"/v1/payment_intents/{payment_id}/capture"
        asked = {"amount_to_capture": str(captured_minor)}
        (await self.http.post(path, data=asked)).raise_for_status()

    async def edit(self, payment_id: str, customer: str | None = None, **metadata: str) -> None:
        """Edit a payment in the dashboard; an empty value removes a key of its metadata."""
        edited = {"metadata": metadata} | ({"customer": customer} if customer else {})
        await self._control(f"payment_intents/{payment_id}", edited)

    async def customer(self) -> str:
        """Make a customer who says nothing; answers with the id."""
        made = (await self.http.post("/v1/customers")).raise_for_status()
        return str(made.json()["id"])

    async def refund(self, payment_id: str, **how: Any) -> str:
        """Refund as in the dashboard; return the refund's id."""
        return await self._control(f"payment_intents/{payment_id}/refunds", how)

    async def refund_becomes(self, refund_id: str, status: str) -> None:
        """Let a refund succeed, fail or be canceled."""
        await self._control(f"refunds/{refund_id}", {"status": status})

    async def dispute(self, payment_id: str, **how: Any) -> str:
        """Let the payer's bank dispute a payment; return the dispute's id."""
        return await self._control(f"payment_intents/{payment_id}/disputes", how)

    async def dispute_becomes(self, dispute_id: str, status: str, **how: Any) -> None:
        """Give a dispute its next status."""
        await self._control(f"disputes/{dispute_id}", {"status": status, **how})

    async def make_event(self) -> str:
        """Make an event that concerns no test; return its id."""
        (await self.http.post("/v1/customers")).raise_for_status()
        newest = (await self.http.get("/v1/events", params={"limit": 1})).raise_for_status()
        return str(newest.json()["data"][0]["id"])

    async def events_after(self, event_id: str) -> list[dict[str, Any]]:
        """List all events that are newer than this one, oldest first."""
        newer: list[dict[str, Any]] = []
        while True:
            asked = {"limit": 100, "ending_before": newer[-1]["id"] if newer else event_id}
            page = (await self.http.get("/v1/events", params=asked)).raise_for_status().json()
            newer += reversed(page["data"])
            if not page["has_more"]:
                return newer

    async def misbehave(self, payment_id: str, **fault: Any) -> None:
        """Make reads of this payment fail."""
        await _misbehave(self.http, f"/v1/payment_intents/{payment_id}", fault)

    async def _all(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            answer = await self.http.get(path, params={"limit": 100, **after})
            page = answer.raise_for_status().json()
            found += page["data"]
            if not page["has_more"]:
                return found

    async def _control(self, path: str, body: dict[str, Any]) -> str:
        answer = (await self.http.post(f"/_control/{path}", json=body)).raise_for_status()
        return str(answer.json()["id"])


@dataclass(frozen=True)
class VapiStandIn:
    http: httpx.AsyncClient

    async def knows(self, call: EndedCall, status: str = "ended") -> None:
        """Make Vapi's API show a call."""
        told = {
            "id": call.call_id,
            "assistantId": call.assistant_id,
            "phoneNumberId": call.phone_number_id,
            "squadId": call.squad_id,
            "workflowId": call.workflow_id,
            "status": status,
            "startedAt": call.started_at and call.started_at.isoformat(),
            "endedAt": call.ended_at and call.ended_at.isoformat(),
        }
        known = {name: value for name, value in told.items() if value is not None}
        (await self.http.post("/_control/calls", json=known)).raise_for_status()

    async def lists(
        self,
        *calls: EndedCall,
        created_at: datetime | None = None,
        ended_reason: str | None = None,
    ) -> None:
        """Make Vapi's list show ended calls, created when they started, or all at `created_at`."""
        told = [
            {
                "id": call.call_id,
                "assistantId": call.assistant_id,
                "phoneNumberId": call.phone_number_id,
                "createdAt": _iso(created_at or call.started_at),
                "startedAt": _iso(call.started_at),
                "endedAt": _iso(call.ended_at),
                "endedReason": ended_reason,
            }
            for call in calls
        ]
        known = [{name: value for name, value in one.items() if value} for one in told]
        (await self.http.post("/_control/calls", json=known)).raise_for_status()

    async def shows(self, **call: Any) -> None:
        """Make Vapi's API show a call, in Vapi's names."""
        (await self.http.post("/_control/calls", json=call)).raise_for_status()

    async def misbehave(self, call_id: str, **fault: Any) -> None:
        """Make reads of this call fail."""
        await _misbehave(self.http, f"/call/{call_id}", fault)

    async def list_misbehaves(self, **fault: Any) -> None:
        """Make reads of the list fail."""
        await _misbehave(self.http, "/call", fault)

    async def second_list(self, created_at: datetime) -> dict[str, Any]:
        """Read the first page of the calls that were created at an instant, oldest first."""
        after = created_at + timedelta(milliseconds=1)
        asked = {"createdAtGe": _iso(created_at), "createdAtLt": _iso(after), "sortOrder": "ASC"}
        answer = await self.http.get("/v2/call", params=asked)
        listed: dict[str, Any] = answer.raise_for_status().json()
        return listed

    async def delete(self, call_id: str) -> None:
        """Delete the record of a call."""
        (await self.http.delete(f"/call/{call_id}")).raise_for_status()

    async def second_list_misbehaves(self, **fault: Any) -> None:
        """Make reads of the list with pages fail."""
        await _misbehave(self.http, "/v2/call", fault)

    async def pages_misbehave(self, **how: bool) -> None:
        """Make the pages of the second list repeat themselves."""
        (await self.http.post("/_control/paging", json=how)).raise_for_status()

    async def behave(self) -> None:
        """Let nothing fail any more, and answer what is held."""
        (await self.http.delete("/_control/faults")).raise_for_status()
        await self.pages_misbehave()


@dataclass(frozen=True)
class SlackStandIn:
    http: httpx.AsyncClient

    async def messages(self, about: str = "") -> list[dict[str, Any]]:
        """List the messages that contain this text anywhere, oldest first."""
        kept = (await self.http.get("/_control/messages")).raise_for_status().json()["messages"]
        return [one for one in kept if about in json.dumps(one, ensure_ascii=False)]

    async def misbehave(self, **fault: Any) -> None:
        """Make posts to webhooks fail, once unless `fault` says otherwise."""
        await _misbehave(self.http, "/services/*", {"method": "POST", **fault})

    async def behave(self) -> None:
        """Remove all faults."""
        (await self.http.delete("/_control/faults")).raise_for_status()


@dataclass(frozen=True)
class TwilioStandIn:
    http: httpx.AsyncClient

    async def sends(self, sender: str | None, segments: int = 1, **how: Any) -> str:
        """Let a number send a message, which is queued at Twilio; return its id."""
        return (await self.send_many(1, sender, segments, **how))[0]

    async def send_many(
        self, count: int, sender: str | None, segments: int = 1, **how: Any
    ) -> list[str]:
        new = {"from": sender, "segments": segments, **how}
        made = await self.http.post("/_control/messages", json=[new] * count)
        sids: list[str] = made.raise_for_status().json()["sids"]
        return sids

    async def becomes(self, sid: str, status: str, **how: Any) -> None:
        """Give a message a status."""
        asked = {"status": status, **how}
        path = f"/_control/messages/{sid}/status"
        (await self.http.post(path, json=asked)).raise_for_status()

    async def misbehave(self, sid: str, **fault: Any) -> None:
        """Make reads of this message fail."""
        await _misbehave(self.http, f"*/Messages/{sid}.json", fault)


@asynccontextmanager
async def open_twilio(stack: Stack) -> AsyncIterator[TwilioStandIn]:
    async with httpx.AsyncClient(base_url=stack.twilio_url, trust_env=False) as twilio:
        yield TwilioStandIn(twilio)


@asynccontextmanager
async def open_slack(stack: Stack) -> AsyncIterator[SlackStandIn]:
    async with httpx.AsyncClient(base_url=stack.slack_url, trust_env=False) as slack:
        yield SlackStandIn(slack)


@asynccontextmanager
async def open_stand_ins(stack: Stack) -> AsyncIterator[tuple[StripeStandIn, VapiStandIn]]:
    stripes, vapis = (
        {"Authorization": f"Bearer {stack.settings()[name]}"}
        for name in ("STRIPE_API_KEY", "VAPI_API_KEY")
    )
    async with (
        httpx.AsyncClient(base_url=stack.stripe_url, headers=stripes, trust_env=False) as stripe,
        httpx.AsyncClient(base_url=stack.vapi_url, headers=vapis, trust_env=False) as vapi,
    ):
        yield StripeStandIn(stripe), VapiStandIn(vapi)


def _paid(answer: httpx.Response) -> str:
    """Return the payment's id, also from the 402 of a declined card."""
    body = answer.json()
    return str(body["id"] if answer.is_success else body["error"]["payment_intent"]["id"])


def _iso(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


async def _misbehave(http: httpx.AsyncClient, path: str, fault: dict[str, Any]) -> None:
    wanted = {"method": "GET", "path": path, **fault}
    (await http.post("/_control/faults", json=wanted)).raise_for_status()
