"""Any penny is explained: what it is for, what was heard of it, and how it was computed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from billing.ledger.entry import Entry
from store.calls import call_records, calls
from store.ledger import ledger
from tests.support.adjustments import adjusted
from tests.support.answers import accepted, problem, settled
from tests.support.api_server import Api
from tests.support.eventually import eventually
from tests.support.factories import an_assistant, an_organization, as_api, balance_of
from tests.support.signed_webhooks import call_id_of, report, stripe_event
from tests.support.stand_ins import StripeStandIn


async def explained(api: Api, name: str | int) -> dict[str, Any]:
    answer = await api.operator.get(f"/v1/entries/{name}")
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def the_entry_of(api: Api, org_id: str) -> Entry:
    """The credit that the organisation was made with."""
    async with api.engine.connect() as connection:
        [entry] = await ledger.page(connection, org_id, None, 10)
    return entry


async def test_a_call_is_explained_by_its_webhook_and_its_tariff(working_api: Api) -> None:
    org_id = await an_organization(working_api.engine, 1000)
    webhook = report(await an_assistant(working_api.engine, org_id), seconds=61)
    accepted(await working_api.send(webhook))
    call_id = call_id_of(webhook)
    await settled(working_api, call_id)

    found = await explained(working_api, f"call:{call_id}")
    assert found["entry"]["note"] == "61 s = 0.72 USD, charged as 0.57 GBP (default-gbp-2020)"
    assert found["tariff"]["rate_minor_per_minute"] == "70"
    assert found["tariff"]["fx_rate"] == "0.79"
    assert (found["call"]["state"], found["call"]["charge"]["billed_seconds"]) == ("settled", 61)
    assert [one["type"] for one in found["events"]] == ["end-of-call-report"]
    assert found["subject"] == {
        "kind": "call",
        "subject_id": call_id,
        "workflow_id": f"call/{call_id}",
    }
    by_number = await explained(working_api, found["entry"]["entry_id"])
    assert by_number == found


async def test_a_correction_and_what_it_corrects_name_each_other(working_api: Api) -> None:
    org_id = await an_organization(working_api.engine, 1000)
    webhook = report(await an_assistant(working_api.engine, org_id), seconds=60)
    accepted(await working_api.send(webhook))
    call_id = call_id_of(webhook)
    await settled(working_api, call_id)
    async with working_api.engine.begin() as connection:
        known = (await call_records.read(connection, call_id)).call
        assert known.ended_at is not None
        longer = as_api(replace(known, ended_at=known.ended_at + timedelta(seconds=30)))
        await calls.charge(connection, [longer])

    charge = await explained(working_api, f"call:{call_id}")
    [correction] = charge["related"]
    assert correction["key"] == f"call:{call_id}:correction:1"
    found = await explained(working_api, correction["key"])
    assert [one["key"] for one in found["related"]] == [f"call:{call_id}"]
    assert found["entry"]["note"].endswith("0.56 GBP had been charged")


async def test_a_refund_is_explained_by_its_payment_and_the_events_about_it(
    working_api: Api, stripe: StripeStandIn
) -> None:
    org_id = await an_organization(working_api.engine)
    payment_id = await stripe.payment(org_id, 2500)
    refund_id = await stripe.refund(payment_id, amount=500)
    inner = {"id": payment_id, "object": "payment_intent"}
    accepted(await working_api.send(stripe_event(inner=inner)))

    async def is_refunded() -> bool:
        return await balance_of(working_api.engine, org_id) == 2000

    await eventually(is_refunded)
    found = await explained(working_api, f"refund:{refund_id}")
    assert found["subject"]["workflow_id"] == f"payment/{payment_id}"
    assert found["entry"]["cause"] == f"stripe refund {refund_id} of payment {payment_id}"
    assert [one["type"] for one in found["events"]] == ["payment_intent.succeeded"]


async def test_an_adjustment_is_explained_by_who_asked_for_it_and_why(working_api: Api) -> None:
    org_id = await an_organization(working_api.engine)
    made = await adjusted(working_api.operator, org_id)
    found = await explained(working_api, f"adjustment:{made['adjustment_id']}")
    assert found["adjustment"]["reason"] == "An afternoon of dropped calls"
    assert found["subject"]["kind"] == "adjustment"


async def test_an_entry_that_nothing_explains_is_still_shown(api: Api) -> None:
    org_id = await an_organization(api.engine, 700)
    entry = await the_entry_of(api, org_id)
    found = await explained(api, entry.key)
    assert (found["subject"], found["events"]) == (None, [])
    assert found["entry"]["amount"]["amount_minor"] == 700


async def test_an_organisation_has_only_its_own_pennies_explained(api: Api) -> None:
    mine, theirs = [await an_organization(api.engine, 700) for _ in range(2)]
    tenant = await api.tenant(mine)
    own, other = [await the_entry_of(api, one) for one in (mine, theirs)]
    assert (await tenant.get(f"/v1/entries/{own.key}")).status_code == 200
    problem(await tenant.get(f"/v1/entries/{other.key}"), 404, "not_found")
    problem(await tenant.get("/v1/entries/call:never"), 404, "not_found")
    problem(await tenant.get("/v1/entries/99999999999999999999"), 404, "not_found")
