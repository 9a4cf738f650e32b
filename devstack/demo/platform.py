"""The voice-AI platform: callwallet's API, used with the operator's key."""

import asyncio
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from pydantic import TypeAdapter

from api.pages import Page
from billing.call import CallRecord
from billing.ledger import Entry
from billing.money import Currency, Money
from billing.reconciliation import Report, Run
from billing.wallet import Wallet
from devstack.demo.check import POLL_SECONDS

Item = TypeVar("Item")
_LARGEST_PAGE = 200
_NOT_FOUND = 404


@dataclass(frozen=True)
class Tenant:
    """An organisation of this run. `due` are the entries that its ledger should come to hold:
    minor units, oldest first, a charge below zero.
    """

    org_id: str
    name: str
    currency: Currency
    assistant_id: str
    due: list[int] = field(default_factory=list)

    def money(self, amount_minor: int) -> Money:
        """An amount in the wallet's currency."""
        return Money(amount_minor, self.currency)

    @property
    def due_balance(self) -> Money:
        """What the balance should come to."""
        return self.money(sum(self.due))


@dataclass(frozen=True)
class Platform:
    """What the platform does and asks; `http` knows the API's address and the operator's key."""

    http: httpx.AsyncClient

    async def create(self, tenant: Tenant) -> None:
        """Create the organisation and register its assistant."""
        new = {"org_id": tenant.org_id, "name": tenant.name, "currency": tenant.currency}
        (await self.http.post("/v1/organizations", json=new)).raise_for_status()
        path = f"/v1/organizations/{tenant.org_id}/assistants"
        agent = {"assistant_id": tenant.assistant_id}
        (await self.http.post(path, json=agent)).raise_for_status()

    async def balance(self, tenant: Tenant) -> Money:
        """Read the wallet's balance."""
        answer = await self.http.get(f"/v1/organizations/{tenant.org_id}/wallet")
        return TypeAdapter(Wallet).validate_json(answer.raise_for_status().content).balance

    async def entries(self, tenant: Tenant) -> list[Entry]:
        """Read the wallet's whole ledger, oldest first."""
        return await self._all(f"/v1/organizations/{tenant.org_id}/entries", Page[Entry])

    async def calls(self, tenant: Tenant) -> list[CallRecord]:
        """Read all calls of an organisation, the first seen first."""
        return await self._all(f"/v1/organizations/{tenant.org_id}/calls", Page[CallRecord])

    async def call_state(self, call_id: str) -> str:
        """Where a call stands; `unheard of` while it has not been looked at."""
        answer = await self.http.get(f"/v1/calls/{call_id}")
        if answer.status_code == _NOT_FOUND:
            return "unheard of"
        record = TypeAdapter(CallRecord).validate_json(answer.raise_for_status().content)
        return record.state.value

    async def reconciled(self, tenant: Tenant) -> Report:
        """Reconcile an organisation's calls with Vapi, and read the report when it is done."""
        wanted = {"source": "vapi", "org_id": tenant.org_id}
        started = await self.http.post("/v1/reconciliations", json=wanted)
        run = TypeAdapter(Run).validate_json(started.raise_for_status().content)
        while run.finished_at is None:
            answer = await self.http.get(f"/v1/reconciliations/{run.run_id}")
            report = TypeAdapter(Report).validate_json(answer.raise_for_status().content)
            run = report.run
            await asyncio.sleep(POLL_SECONDS)
        return report

    async def _all(self, path: str, model: type[Page[Item]]) -> list[Item]:
        """Walk the pages of a list that is newest first."""
        found: list[Item] = []
        query: dict[str, str | int] = {"limit": _LARGEST_PAGE}
        while True:
            answer = (await self.http.get(path, params=query)).raise_for_status()
            page = model.model_validate_json(answer.content)
            found += page.items
            if page.next_cursor is None:
                return found[::-1]
            query["cursor"] = page.next_cursor
