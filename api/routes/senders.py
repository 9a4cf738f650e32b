"""The phone numbers and Messaging Services at Twilio that send for an organisation."""

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.dependencies import Id, KeyFirst, Limit, Member, Temporal, Transaction, operator
from api.http.pages import After, Page, page
from api.http.problems import documented
from billing.organizations import SENDERS, Agent, AgentKind
from processes import collections
from store.organizations import agents, organizations

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations/{org_id}/senders",
    tags=["senders"],
    responses=documented(401, 403, 404, 422, 503),
)


class NewSender(BaseModel):
    """What sends: a number, as Twilio writes it in `From`, *or* a Messaging Service."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"phone_number": "+15017122661"},
                {"messaging_service_sid": "MG0123456789abcdef0123456789abcdef"},
            ]
        },
    )

    phone_number: (
        Annotated[
            str,
            Field(
                pattern=r"^(\+[1-9][0-9]{6,14}|[0-9]{3,8}|[A-Za-z0-9_-]{2,11})$",
                description="In E.164, a short code, or an alphanumeric sender without spaces",
            ),
        ]
        | None
    ) = None
    messaging_service_sid: Annotated[str, Field(pattern=r"^MG[0-9a-f]{32}$")] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.phone_number is None) == (self.messaging_service_sid is None):
            raise ValueError("give either phone_number or messaging_service_sid")
        return self


@router.post("", status_code=201, dependencies=[Depends(operator)], responses=documented(400, 409))
async def register(
    org_id: Id, new: NewSender, transaction: Transaction, temporal: Temporal
) -> Agent:
    """Register a sender. Messages that waited for it are charged, oldest first.

    The same again gives what exists; one that belongs to another organisation: 409.
    """
    await organizations.read(transaction, org_id)
    if new.phone_number is not None:
        number = new.phone_number
        agent = await agents.register(transaction, number, AgentKind.SMS_NUMBER, org_id)
    else:
        service = new.messaging_service_sid or ""
        agent = await agents.register(transaction, service, AgentKind.MESSAGING_SERVICE, org_id)
    await transaction.commit()
    # The reason goes to Temporal, which holds no personal data: so it does not name the number.
    await collections.collect_waiting(temporal, org_id, "a sender was registered")
    return agent


@router.get("")
async def list_all(
    org_id: Member, transaction: Transaction, cursor: After = None, limit: Limit = 50
) -> Page[Agent]:
    """List an organisation's numbers and Messaging Services."""
    await organizations.read(transaction, org_id)
    found = await agents.page(transaction, org_id, cursor, limit + 1, SENDERS)
    return page(found, limit, lambda agent: agent.agent_id)


@router.delete("/{sender_id}", status_code=204, dependencies=[Depends(operator)])
async def remove(org_id: Id, sender_id: Id, transaction: Transaction) -> Response:
    """Remove a sender. Messages that were sent before stay this organisation's to pay."""
    await agents.remove(transaction, sender_id, org_id, SENDERS)
    return Response(status_code=204)
