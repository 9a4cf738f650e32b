"""The participants of the demo: the platform, its tenants, a customer, providers, an operator."""

import secrets
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
from temporalio.client import Client

from billing.ledger.money import Currency
from devstack.demo.customer import Customer
from devstack.demo.platform import Platform, Tenant
from devstack.demo.temporal import Operator
from devstack.demo.traffic import Vapi
from devstack.programs import NAMESPACE
from devstack.stack import Stack
from workflows.shared.data_converter import DATA_CONVERTER

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class World:
    """One run of the demo.

    `payments` are the ids of what was paid. `exhibits` are the pages worth looking at, by name.
    """

    platform: Platform
    customer: Customer
    vapi: Vapi
    twilio: httpx.AsyncClient
    operator: Operator
    acme: Tenant
    globex: Tenant
    hooli: Tenant
    initech: Tenant
    payments: list[str] = field(default_factory=list)
    exhibits: dict[str, str] = field(default_factory=dict)

    @property
    def tenants(self) -> tuple[Tenant, ...]:
        """All organisations that have a wallet."""
        return (self.acme, self.globex, self.hooli, self.initech)

    async def tops_up(self, tenant: Tenant, amount_minor: int) -> str:
        """Make a customer pay, and expect the credit; return the payment's id."""
        payment_id = await self.customer.tops_up(tenant, amount_minor)
        tenant.due.append(amount_minor)
        self.payments.append(payment_id)
        return payment_id


@asynccontextmanager
async def open_world(stack: Stack) -> AsyncIterator[World]:
    """Create organisations that no other run has, so that the demo can be run again."""
    settings, run = stack.settings(), secrets.token_hex(3)
    client = await Client.connect(
        stack.temporal.address, namespace=NAMESPACE, data_converter=DATA_CONVERTER
    )
    async with (
        _http(stack.api_url, stack.operator_key) as api,
        _http(stack.api_url) as public,
        _http(stack.stripe_url, settings["STRIPE_API_KEY"]) as stripe,
        _http(stack.vapi_url) as vapi,
        _http(stack.twilio_url) as twilio,
    ):
        world = World(
            Platform(api),
            Customer(stripe),
            Vapi(public, settings["VAPI_WEBHOOK_SECRET"], vapi),
            twilio,
            Operator(client, stack.temporal.ui_url),
            acme=_tenant("Acme", Currency.GBP, run),
            globex=_tenant("Globex", Currency.USD, run),
            hooli=_tenant("Hooli", Currency.GBP, run),
            initech=_tenant("Initech", Currency.GBP, run),
        )
        for tenant in world.tenants:
            await world.platform.create(tenant)
        yield world


def _http(url: str, key: str = "") -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(
        base_url=url, headers=headers, trust_env=False, timeout=_TIMEOUT_SECONDS
    )


def _tenant(name: str, currency: Currency, run: str) -> Tenant:
    org_id = f"{name.lower()}-{run}"
    return Tenant(org_id, name, currency, assistant_id=str(uuid.uuid4()))
