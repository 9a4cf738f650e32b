"""What answers calls at Vapi for an organisation, which pays for them."""

from typing import Annotated, Self

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.dependencies import OPERATES, Id, KeyFirst, Limit, Member, Temporal, Transaction
from api.http.fields import NAME
from api.http.pages import After, Page, page
from api.http.problems import documented
from billing.organizations import ANSWERERS, Agent, Answerer
from processes import collections
from store.organizations import agents, organizations

router = APIRouter(
    route_class=KeyFirst,
    prefix="/v1/organizations/{org_id}/assistants",
    tags=["assistants"],
    responses=documented(401, 403, 404, 422, 503),
)

_AgentId = Annotated[str, Field(pattern=NAME)]


class NewAgent(BaseModel):
    """A Vapi assistant, squad, workflow or phone number, by its id at Vapi.

    With a number and one of the others, the number is registered, and the other answers it when
    Vapi asks who does.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"assistant_id": "7e9f0a52-6c1d-4b0e-9d37-2f60a1c7f0b4"},
                {"squad_id": "c2f0a9b4-8d1e-4c55-a7f3-90b1d2e3f4a5"},
                {"workflow_id": "d3a1b2c4-6e5f-4a77-b8c9-01e2f3a4b5c6"},
                {"phone_number_id": "b1f7a0c3-51f6-4f52-8f0e-6a51c5f3f7d9"},
                {
                    "phone_number_id": "b1f7a0c3-51f6-4f52-8f0e-6a51c5f3f7d9",
                    "assistant_id": "7e9f0a52-6c1d-4b0e-9d37-2f60a1c7f0b4",
                },
                {
                    "phone_number_id": "b1f7a0c3-51f6-4f52-8f0e-6a51c5f3f7d9",
                    "squad_id": "c2f0a9b4-8d1e-4c55-a7f3-90b1d2e3f4a5",
                },
            ]
        },
    )

    assistant_id: _AgentId | None = None
    phone_number_id: _AgentId | None = None
    squad_id: _AgentId | None = None
    workflow_id: _AgentId | None = None

    @model_validator(mode="after")
    def _one_or_a_number_and_who_answers_it(self) -> Self:
        given = len(self._given)
        if given != 1 and not (given == 2 and self.phone_number_id is not None):  # noqa: PLR2004
            raise ValueError("give one id, or phone_number_id and the id of what answers it")
        return self

    @property
    def agents(self) -> tuple[Answerer, Answerer | None]:
        """What is registered, the number if there is one; and what answers it, if that is given."""
        first, *others = self._given
        return first, next(iter(others), None)

    @property
    def _given(self) -> list[Answerer]:
        ids = {kind: getattr(self, f"{kind}_id") for kind in reversed(ANSWERERS)}
        return [Answerer(one, kind) for kind, one in ids.items() if one is not None]


@router.post("", status_code=201, dependencies=[Depends(OPERATES)], responses=documented(400, 409))
async def register(
    org_id: Id, new: NewAgent, transaction: Transaction, temporal: Temporal
) -> Agent:
    """Register what answers calls. Calls that waited for it are charged, oldest first.

    The same again gives what exists, or lets something else answer a number; one that belongs to
    another organisation: 409.
    """
    await organizations.read(transaction, org_id)
    registered, answerer = new.agents
    agent = await agents.register(
        transaction, registered.agent_id, registered.kind, org_id, answerer
    )
    await transaction.commit()
    await collections.collect_waiting(temporal, org_id, f"{agent.agent_id} was registered")
    return agent


@router.get("")
async def list_all(
    org_id: Member, transaction: Transaction, cursor: After = None, limit: Limit = 50
) -> Page[Agent]:
    """List what answers calls for an organisation, by id."""
    await organizations.read(transaction, org_id)
    found = await agents.page(transaction, org_id, cursor, limit + 1)
    return page(found, limit, lambda agent: agent.agent_id)


@router.delete("/{agent_id}", status_code=204, dependencies=[Depends(OPERATES)])
async def remove(org_id: Id, agent_id: Id, transaction: Transaction) -> Response:
    """Remove what answers calls. Calls that began before stay this organisation's to pay."""
    await agents.remove(transaction, agent_id, org_id)
    return Response(status_code=204)
