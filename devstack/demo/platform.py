"""The voice-AI platform of the demo, which uses callwallet's API with the operator's key."""

import asyncio
from dataclasses import dataclass, field
from typing import TypeVar

import httpx
from pydantic import TypeAdapter

from api.http.pages import Page
from billing.calls.call_record import CallRecord
from billing.ledger.entry import Entry
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.reconciliation.reconciliation import Report, Run
from devstack.demo.check import POLL_SECONDS

Item = TypeVar("Item")
_LARGEST_PAGE = 200


@dataclass(frozen=True)
class Tenant:
    """An organisation of this run.

    `due` are the entries that its ledger should come to have: in minor units, oldest first, a
    charge below zero.
    """

    org_id: str
    name: str
    currency: Currency
    assistant_id: str
    due: list[int] = field(default_factory=list)

    def money(self, amount_minor: int) -> Money:
        """Return an amount in the wallet's currency."""
        return Money(amount_minor, self.currency)

    @property
    def due_balance(self) -> Money:
        """The balance that the wallet should come to have."""
        return self.money(sum(self.due))


@dataclass(frozen=True)
class Platform:
    """The platform's requests. `http` has the API's address and the operator's key."""

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

    async def reconciled(self, tenant: Tenant) -> Report:
        """Reconcile an organisation's calls with Vapi; return the report when it is done."""
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
        """Read all pages of a list that is newest first; return it oldest first."""
        found: list[Item] = []
        query: dict[str, str | int] = {"limit": _LARGEST_PAGE}
        while True:
            answer = (await self.http.get(path, params=query)).raise_for_status()
            page = model.model_validate_json(answer.content)
            found += page.items
            if page.next_cursor is None:
                return found[::-1]
            query["cursor"] = page.next_cursor
