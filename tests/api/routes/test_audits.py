"""Audits, as an operator reads them."""

from datetime import UTC, datetime

from billing.ledger.audit import Audit, Check, Flaw
from store.ledger import audit
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import an_organization


async def test_the_newest_audit_comes_first_with_what_it_found(api: Api) -> None:
    flaw = Flaw(Check.CHAIN, "call:abc", "the balance after it is 1, and should be 2", "acme")
    async with api.engine.begin() as connection:
        for found in ((), (flaw,)):
            began = datetime(2026, 11, 2, 3, 40, tzinfo=UTC)
            await audit.record(connection, Audit(began, wallets=3, entries=9, flaws=found))
    first = (await api.operator.get("/v1/audits", params={"limit": 1})).json()
    [newest] = first["items"]
    assert (newest["wallets"], newest["entries"]) == (3, 9)
    assert newest["flaws"] == [
        {"check": "chain", "subject": "call:abc", "detail": flaw.detail, "org_id": "acme"}
    ]
    second = await api.operator.get("/v1/audits", params={"cursor": first["next_cursor"]})
    assert second.json()["items"][0]["flaws"] == []


async def test_an_organisation_reads_no_audits(api: Api) -> None:
    tenant = await api.tenant(await an_organization(api.engine))
    problem(await tenant.get("/v1/audits"), 403, "forbidden")
