"""The phone numbers and Messaging Services at Twilio that send for an organisation."""

import re
from typing import Annotated, Self

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.dependencies import OPERATES, Id, KeyFirst, Limit, Member, Temporal, Transaction
from api.http.pages import Page, page
from api.http.problems import documented
from billing.organizations import SENDERS, Agent, AgentKind, sender_id
from processes import collections
from store.organizations import agents, organizations

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations/{org_id}/senders",
    tags=["senders"],
    responses=documented(401, 403, 404, 422, 503),
)

_NUMBER = r"\+[1-9][0-9]{6,14}|[0-9]{3,8}"
# Source: "AlphaSender" of Twilio's Messaging API (v1). It cannot be numbers only.
_ALPHANUMERIC = r"[A-Za-z0-9 +_&-]{1,11}"
# A channel's address: `whatsapp:+447700900123`, `rcs:acme_agent`.
_OF_CHANNEL = r"[a-z][a-z0-9]{1,19}:[A-Za-z0-9+][A-Za-z0-9+_.@-]{0,99}"
# Other ids have no spaces.
_ID = r"^[\x20-\x7e]{1,200}$"
_SenderId = Annotated[str, Path(alias="sender_id", pattern=_ID)]
_After = Annotated[
    str | None, Query(alias="cursor", pattern=_ID, description="The last page's next_cursor")
]


class NewSender(BaseModel):
    """What sends: a number, as Twilio writes it in `From`, *or* a Messaging Service.

    A number sends over any channel, unless its address there is another organisation's
    (`whatsapp:+447700900123`): that goes before the number alone. With `account_sid` it is a sender
    of that account only: of two accounts of Twilio's, each may have an alphanumeric sender of the
    same name.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"phone_number": "+15017122661"},
                {
                    "phone_number": "Acme Bank",
                    "account_sid": "AC0123456789abcdef0123456789abcdef",
                },
                {"phone_number": "whatsapp:+15017122661"},
                {"phone_number": "rcs:acme_agent"},
                {"messaging_service_sid": "MG0123456789abcdef0123456789abcdef"},
            ]
        },
    )

    phone_number: (
        Annotated[
            str,
            Field(
                pattern=f"^({_NUMBER}|{_ALPHANUMERIC}|{_OF_CHANNEL})$",
                description="In E.164, a short code, an alphanumeric sender, or an address of a"
                " channel's",
            ),
        ]
        | None
    ) = None
    account_sid: Annotated[str, Field(pattern=r"^AC[0-9a-f]{32}$")] | None = None
    messaging_service_sid: Annotated[str, Field(pattern=r"^MG[0-9a-f]{32}$")] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.phone_number is None) == (self.messaging_service_sid is None):
            raise ValueError("give either phone_number or messaging_service_sid")
        if self.account_sid is not None and self.phone_number is None:
            raise ValueError("account_sid goes with phone_number: a Messaging Service has one")
        return self

    @model_validator(mode="after")
    def _is_a_number_or_has_a_letter(self) -> Self:
        number = self.phone_number or ""
        if number and not re.fullmatch(_NUMBER, number) and not re.search("[A-Za-z]", number):
            raise ValueError("an alphanumeric sender has a letter")
        return self

    @property
    def agent(self) -> tuple[str, AgentKind]:
        """What is registered."""
        if self.phone_number is None:
            return self.messaging_service_sid or "", AgentKind.MESSAGING_SERVICE
        return sender_id(self.phone_number, self.account_sid), AgentKind.SMS_NUMBER


@router.post("", status_code=201, dependencies=[Depends(OPERATES)], responses=documented(400, 409))
async def register(
    org_id: Id, new: NewSender, transaction: Transaction, temporal: Temporal
) -> Agent:
    """Register a sender. Messages that waited for it are charged, oldest first.

    The same again gives what exists; one that belongs to another organisation: 409.
    """
    await organizations.read(transaction, org_id)
    agent_id, kind = new.agent
    agent = await agents.register(transaction, agent_id, kind, org_id)
    await transaction.commit()
    # The reason goes to Temporal, which holds no personal data: so it does not name the number.
    await collections.collect_waiting(temporal, org_id, "a sender was registered")
    return agent


@router.get("")
async def list_all(
    org_id: Member, transaction: Transaction, cursor: _After = None, limit: Limit = 50
) -> Page[Agent]:
    """List an organisation's numbers and Messaging Services."""
    await organizations.read(transaction, org_id)
    found = await agents.page(transaction, org_id, cursor, limit + 1, SENDERS)
    return page(found, limit, lambda agent: agent.agent_id)


@router.delete("/{sender_id}", status_code=204, dependencies=[Depends(OPERATES)])
async def remove(org_id: Id, agent_id: _SenderId, transaction: Transaction) -> Response:
    """Remove a sender. Messages that were sent before stay this organisation's to pay."""
    await agents.remove(transaction, agent_id, org_id, SENDERS)
    return Response(status_code=204)
