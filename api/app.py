"""Make the HTTP application from its connections."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp
from temporalio.client import Client

from api.dependencies import BEARER, guards
from api.gate import Gate
from api.http import problems
from api.http.links import add_links
from api.http.problem_headers import add_headers
from api.http.problems import Problem
from api.http.rate_limits import RateLimit
from api.http.security_headers import SecurityHeaders
from api.intake.intake import Intake
from api.key_uses import KeyUses
from api.keys import Keys
from api.monitoring.health import Observer
from api.monitoring.metrics import Metrics
from api.monitoring.monitor import Monitor
from api.routes import (
    adjustments,
    admin_log,
    allowance,
    api_keys,
    assistants,
    audits,
    auto_recharge,
    bulk_decisions,
    calls,
    checkout_sessions,
    debt_limits,
    decisions,
    entries,
    health,
    messages,
    monitoring,
    organizations,
    parked,
    quotes,
    reconciliations,
    senders,
    sms_tariffs,
    tariffs,
    webhook_events,
)
from api.services import Limits, Services, TwilioAccounts
from api.webhooks import stripe, vapi
from api.webhooks import twilio as twilio_webhook
from api.webhooks.exchange import FastLane
from billing.platform_rules import PlatformRules

_DESCRIPTION = """Prepaid wallets for voice-AI platforms.

Money is an integer count of minor units with a currency. Errors are RFC 9457 problem documents with
a stable `code`. Lists come in pages: hand `next_cursor` back as `cursor`.

Any request may be answered 408 (it took too long to come), 413 or 431 (it is too large), or 503
(too much is going on); of 429 and 503, `Retry-After` says when to try again."""

_PROBLEM = "Problem"
_WEBHOOKS = {
    "/webhooks/stripe": stripe.receive,
    "/webhooks/vapi": vapi.receive,
    twilio_webhook.PATH: twilio_webhook.receive,
}
_ROUTERS = (
    stripe.router,
    vapi.router,
    twilio_webhook.router,
    organizations.router,
    debt_limits.router,
    allowance.router,
    entries.router,
    calls.router,
    messages.router,
    checkout_sessions.router,
    auto_recharge.router,
    assistants.router,
    audits.router,
    senders.router,
    tariffs.router,
    sms_tariffs.router,
    quotes.router,
    adjustments.router,
    reconciliations.router,
    parked.router,
    bulk_decisions.router,
    decisions.router,
    admin_log.router,
    api_keys.router,
    webhook_events.router,
    monitoring.router,
    monitoring.metrics_router,
    health.router,
)


def _add_roles(document: dict[str, Any]) -> None:
    """Say of each operation which keys it lets in: one of the roles."""
    for route in (one for router in _ROUTERS for one in router.routes):
        if isinstance(route, APIRoute) and (let_in := list(guards(route.dependant))):
            roles = [one for one in let_in[0].roles if all(one in each.roles for each in let_in)]
            for method in route.methods or ():
                operation = document["paths"][route.path_format][method.lower()]
                operation["security"] = [{BEARER.scheme_name: [role]} for role in roles]


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Return the document, with what FastAPI does not find itself.

        That is problems, their headers, links, and which keys each operation lets in.
        """
        document = super().openapi()
        schemas = document["components"]["schemas"]
        if _PROBLEM not in schemas:
            schemas[_PROBLEM] = Problem.model_json_schema(
                ref_template=f"#/components/schemas/{_PROBLEM}/$defs/{{model}}"
            )
            _add_roles(document)
            add_headers(document)
            add_links(document)
        return document

    def build_middleware_stack(self) -> ASGIApp:
        """Return what answers. The framework's own answer to a defect is inside of it."""
        return SecurityHeaders(super().build_middleware_stack())


def create_app(
    engine: AsyncEngine,
    temporal: Client,
    *,
    rules: PlatformRules,
    stripe_secrets: tuple[bytes, ...],
    vapi_secrets: tuple[bytes, ...],
    twilio: TwilioAccounts,
    workflows_url: str | None = None,
    stripe_livemode: bool | None = None,
    limits: Limits = Limits(),  # noqa: B008  (it is frozen)
    warnings: Sequence[str] = (),
) -> FastAPI:
    """Return the application. It accepts webhooks from the start of its lifespan."""
    metrics = Metrics()
    missing = [
        f"no {name} webhook secret"
        for name, secrets in (("Stripe", stripe_secrets), ("Vapi", vapi_secrets))
        if not secrets
    ]

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with (
            Intake(engine, temporal, metrics, rules.own_workflow_rate) as intake,
            Gate(engine, intake, metrics, rules) as gate,
            Monitor(engine, temporal) as monitor,
            Observer(engine, temporal, limits.health_fresh_seconds, missing) as observer,
            KeyUses(engine) as uses,
        ):
            app.state.services = Services(
                engine=engine,
                temporal=temporal,
                rules=rules,
                intake=intake,
                gate=gate,
                metrics=metrics,
                monitor=monitor,
                stripe_secrets=stripe_secrets,
                vapi_secrets=vapi_secrets,
                twilio=twilio,
                keys=Keys(engine, uses, limits.wrong_keys_per_minute, limits.requests_per_second),
                starts=RateLimit(limits.starts_per_minute),
                vapi_message_seconds=limits.vapi_message_seconds,
                observer=observer,
                warnings=tuple(warnings),
                workflows_url=workflows_url,
                stripe_livemode=stripe_livemode,
            )
            yield

    app = _App(
        title="callwallet",
        version="0.1.0",
        description=_DESCRIPTION,
        lifespan=lifespan,
        # It would send callers to whatever `Host` they name.
        redirect_slashes=False,
    )
    problems.install(app)
    app.add_middleware(FastLane, endpoints=_WEBHOOKS)
    for router in _ROUTERS:
        app.include_router(router)
    return app
