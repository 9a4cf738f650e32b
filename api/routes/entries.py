"""The entries of the ledger, and the explanation of each."""

from dataclasses import replace
from urllib.parse import quote

from fastapi import APIRouter, Request

from api.dependencies import Id, KeyFirst, Limit, Member, Reader, Transaction
from api.http.pages import Page, Position, page
from api.http.problems import documented
from api.services import Services
from billing.errors import NotFound
from billing.explanations import Explanation
from billing.ledger.entry import Entry
from store import explanations
from store.ledger import ledger
from store.organizations import organizations

router = APIRouter(
    route_class=KeyFirst, tags=["entries"], responses=documented(401, 403, 404, 422, 503)
)


@router.get("/v1/organizations/{org_id}/entries")
async def list_all(
    org_id: Member,
    key: Reader,
    transaction: Transaction,
    cursor: Position = None,
    limit: Limit = 50,
) -> Page[Entry]:
    """List the entries of a wallet, newest first."""
    await organizations.read(transaction, org_id)
    found = await ledger.page(transaction, org_id, cursor, limit + 1)
    if not key.is_operators:
        found = [entry.for_organization() for entry in found]
    return page(found, limit, lambda entry: entry.entry_id)


@router.get("/v1/entries/{entry}")
async def explain(
    entry: Id, key: Reader, transaction: Transaction, request: Request
) -> Explanation:
    """Explain an entry, by its key or its number: what for, what was heard of it, by which tariff.

    One of another organisation is as unknown as one that never was. Only operators are shown the
    way to its workflow, what Vapi charges for a call, which operator has done what, and what people
    have changed before it.
    """
    found = await explanations.explain(transaction, entry)
    if key.is_operators:
        return _with_link(found, Services.of(request).workflows_url)
    if key.org_id != found.entry.org_id:
        raise NotFound(f"the ledger has no entry {entry}")
    return found.for_organization()


def _with_link(found: Explanation, workflows_url: str | None) -> Explanation:
    if workflows_url is None or found.subject is None:
        return found
    page_of_it = quote(found.subject.workflow_id, safe="")
    return replace(found, workflow_url=f"{workflows_url}/{page_of_it}")
