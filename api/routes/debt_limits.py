"""How far below zero a wallet may go; a raise by much is what two operators ask for."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from api import idempotency
from api.dependencies import Id, KeyFirst, Operator, Temporal, Transaction
from api.http.problems import documented
from api.routes.organizations import DebtLimitMinor
from api.services import Services
from billing.alerts.admin_log import debt_limit_raised, debt_limit_waits
from billing.debt_limits import DebtLimitRequest, LimitRuling, request_in
from billing.ledger.wallet import Wallet
from processes import alerts, collections
from store import debt_limits
from store.alerts import changes
from store.ledger import wallets

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations/{org_id}/debt-limit",
    tags=["organizations"],
    responses=documented(401, 403, 404, 422, 503),
)


class DebtLimit(BaseModel):
    """How far below zero a wallet may go."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"debt_limit_minor": 1000}]}
    )

    debt_limit_minor: DebtLimitMinor


@router.put(
    "",
    response_model=Wallet,
    responses={
        202: {"model": DebtLimitRequest, "description": "It waits for a second operator"},
        **documented(400),
    },
)
async def set_debt_limit(  # noqa: PLR0917  (what FastAPI gives, each by its name)
    org_id: Id,
    limit: DebtLimit,
    key: Operator,
    transaction: Transaction,
    temporal: Temporal,
    request: Request,
) -> Response:
    """Set the debt limit. Calls that waited and now fit are charged, oldest first.

    What one person raises in a day, over all organisations, is bounded. Above that the answer is
    202, and the limit is raised when another operator asks for the same within a week.
    """
    most_minor = Services.of(request).rules.debt_limit_approval_minor
    ruled = await debt_limits.rule(transaction, org_id, limit.debt_limit_minor, key, most_minor)
    if not ruled.is_allowed:
        waits = await _ask(transaction, ruled)
        await alerts.deliver(temporal, "a debt limit waits for a second operator")
        return idempotency.as_response(202, waits)
    wallet = await wallets.set_debt_limit(transaction, org_id, limit.debt_limit_minor)
    await changes.record(transaction, ruled.change, debt_limit_raised if ruled.took_two else None)
    await transaction.commit()
    if ruled.took_two:
        await alerts.deliver(temporal, "a debt limit was raised by two")
    await collections.collect_waiting(temporal, org_id, "the debt limit was changed")
    return idempotency.as_response(200, wallet)


async def _ask(transaction: Transaction, ruled: LimitRuling) -> DebtLimitRequest:
    """Keep the request, unless this person has asked for the same before."""
    if ruled.waits is not None:
        return ruled.waits
    written = await changes.record(transaction, ruled.change, debt_limit_waits)
    if written is None:
        raise ValueError("a request that is new stands nowhere")
    await transaction.commit()
    return request_in(written)
