"""Which Vapi assistants and phone numbers belong to an organisation: its calls are theirs."""

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api import processes
from api.dependencies import Id, Limit, Member, Temporal, Transaction, operator
from api.pages import NAME, After, Page, page
from api.problems import documented
from billing.organization import Agent, AgentKind
from store import agents, wallets

router = APIRouter(
    prefix="/v1/organizations/{org_id}/assistants",
    tags=["assistants"],
    responses=documented(401, 403, 404, 422, 503),
)

_AgentId = Annotated[str, Field(pattern=NAME)]


class NewAgent(BaseModel):
    """A Vapi assistant or phone number, by its id at Vapi.

    With both, the number is registered, and the assistant answers it when Vapi asks who does.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"assistant_id": "7e9f0a52-6c1d-4b0e-9d37-2f60a1c7f0b4"},
                {"phone_number_id": "b1f7a0c3-51f6-4f52-8f0e-6a51c5f3f7d9"},
                {
                    "phone_number_id": "b1f7a0c3-51f6-4f52-8f0e-6a51c5f3f7d9",
                    "assistant_id": "7e9f0a52-6c1d-4b0e-9d37-2f60a1c7f0b4",
                },
            ]
        },
    )

    assistant_id: _AgentId | None = None
    phone_number_id: _AgentId | None = None

    @model_validator(mode="after")
    def _at_least_one(self) -> Self:
        if self.assistant_id is None and self.phone_number_id is None:
            raise ValueError("give assistant_id, phone_number_id or both")
        return self


@router.post("", status_code=201, dependencies=[Depends(operator)], responses=documented(400, 409))
async def register(
    org_id: Id, new: NewAgent, transaction: Transaction, temporal: Temporal
) -> Agent:
    """Register an assistant or number. Calls that waited for it are charged, oldest first.

    The same again gives what exists, or gives a number another assistant; one that belongs to
    another organisation: 409.
    """
    await wallets.read(transaction, org_id)
    number, assistant = new.phone_number_id, new.assistant_id
    if number is not None:
        kind = AgentKind.PHONE_NUMBER
        agent = await agents.register(transaction, number, kind, org_id, assistant)
    else:
        kind = AgentKind.ASSISTANT
        agent = await agents.register(transaction, assistant or "", kind, org_id)
    await transaction.commit()
    await processes.collect_waiting(temporal, org_id, f"{agent.agent_id} was registered")
    return agent


@router.get("")
async def list_all(
    org_id: Member, transaction: Transaction, cursor: After = None, limit: Limit = 50
) -> Page[Agent]:
    """List an organisation's assistants and numbers by id."""
    await wallets.read(transaction, org_id)
    found = await agents.page(transaction, org_id, cursor, limit + 1)
    return page(found, limit, lambda agent: agent.agent_id)


@router.delete("/{agent_id}", status_code=204, dependencies=[Depends(operator)])
async def remove(org_id: Id, agent_id: Id, transaction: Transaction) -> Response:
    """Remove an assistant or number; what was charged stays charged."""
    await agents.remove(transaction, agent_id, org_id)
    return Response(status_code=204)
