"""Reconciliations over HTTP: read, page by page, by those who may, and drawn."""

from dataclasses import replace
from datetime import date, datetime
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import pytest
from sqlalchemy import func, select

from billing.inbox.webhook_event import Source
from billing.reconciliation.reconciliation import FindingOutcome, Run, RunStatus
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import NOON, an_organization, ended_call, unique
from tests.support.reconciliation_runs import DAY, Checked, a_finding, a_run, on, record

RUNS = "/v1/reconciliations"
SVG = "{http://www.w3.org/2000/svg}"


async def get(client: httpx.AsyncClient, path: str = "", **query: str) -> Any:
    answer = await client.get(f"{RUNS}{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def today(api: Api) -> datetime:
    async with api.engine.connect() as connection:
        found: date = (await connection.execute(select(func.current_date()))).scalar_one()
    return datetime.combine(found, NOON.timetz())


async def org_run(api: Api, org_id: str, **other: Any) -> Run:
    return await record(api.engine, a_run(org_id=org_id, **other), on(NOON, {org_id: 4}))


# ---- reading


async def test_a_report_says_what_was_found_of_whom_and_what_it_comes_to(api: Api) -> None:
    acme, bolt = await an_organization(api.engine), await an_organization(api.engine)
    recovered = replace(a_finding(acme, 56), outcome=FindingOutcome.RECOVERED)
    run = await record(api.engine, a_run(), on(NOON, {acme: 20, bolt: 80}), recovered)
    report = await get(api.operator, f"/{run.run_id}")
    assert report["run"]["status"] == "succeeded"
    assert report["run"]["window"] == {
        "since": "2026-11-02T00:00:00Z", "until": "2026-11-03T00:00:00Z",
    }  # fmt: skip
    assert (report["progress"], report["duration_seconds"]) == ("1", "60.000")
    total = report["total"]
    assert (total["checked"], total["missing"], total["recovered"]) == (100, 1, 1)
    assert total["reliability_percent"] == "99.00"
    assert total["recovered_amounts"] == [{"amount_minor": 56, "currency": "gbp"}]
    by_org = {one["org_id"]: one["reliability_percent"] for one in report["organizations"]}
    assert by_org == {acme: "95.00", bolt: "100.00"}
    assert report["impact"] == {
        "missed_a_month": 30,
        "money_a_month": [{"amount_minor": 1680, "currency": "gbp"}],
        "money_a_year": [{"amount_minor": 20440, "currency": "gbp"}],
    }


@pytest.mark.parametrize("status", [RunStatus.RUNNING, RunStatus.PARKED])
async def test_a_run_under_way_is_reported_as_it_stands(api: Api, status: RunStatus) -> None:
    org_id = await an_organization(api.engine)
    run = await record(api.engine, a_run(), on(NOON, {org_id: 3}), status=status)
    report = await get(api.operator, f"/{run.run_id}")
    assert (report["run"]["status"], report["run"]["finished_at"]) == (status, None)
    assert report["progress"] == "1.000"
    assert float(report["duration_seconds"]) > 0
    assert report["total"]["checked"] == 3


async def test_findings_come_in_pages_in_the_order_in_which_they_were_found(api: Api) -> None:
    org_id = await an_organization(api.engine)
    call = ended_call("assistant", 61)
    found = [replace(a_finding(org_id, 57, subject=call.call_id), call=call, due=("call:x",))]
    found += [a_finding(org_id) for _ in range(4)]
    run = await record(api.engine, a_run(), {}, *found)
    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = await get(api.operator, f"/{run.run_id}/findings", limit="2", **cursor)
        seen += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert [one["subject"] for one in seen] == [one.subject for one in found]
    first = seen[0]
    assert (first["kind"], first["outcome"], first["due"]) == ("missing", "open", ["call:x"])
    assert first["amount"] == {"amount_minor": 57, "currency": "gbp"}
    assert first["call"]["started_at"] == "2026-11-02T11:58:59Z"


async def test_runs_are_listed_newest_first_in_pages_and_narrowed(api: Api) -> None:
    org_id = await an_organization(api.engine)
    mine = [await org_run(api, org_id) for _ in range(3)]
    payments = await org_run(api, org_id, source=Source.STRIPE)
    of_all = await record(api.engine, a_run())
    newest = await get(api.operator, limit="1")
    assert [one["run_id"] for one in newest["items"]] == [of_all.run_id]
    page = await get(api.operator, org_id=org_id, limit="2")
    rest = await get(api.operator, org_id=org_id, limit="2", cursor=page["next_cursor"])
    ids = [one["run_id"] for one in page["items"] + rest["items"]]
    assert ids == [payments.run_id, *(one.run_id for one in reversed(mine))]
    assert rest["next_cursor"] is None
    only = await get(api.operator, org_id=org_id, source="stripe")
    assert [one["run_id"] for one in only["items"]] == [payments.run_id]


@pytest.mark.parametrize("noun", ["", "/findings"])
async def test_a_run_that_never_was_is_not_found(api: Api, noun: str) -> None:
    answer = await api.operator.get(f"{RUNS}/{unique('run')}{noun}")
    problem(answer, 404, "not_found")


# ---- by whom


async def test_an_organisations_key_reads_runs_over_itself(api: Api) -> None:
    org_id = await an_organization(api.engine)
    run = await org_run(api, org_id)
    tenant = await api.tenant(org_id)
    assert [one["run_id"] for one in (await get(tenant))["items"]] == [run.run_id]
    assert await get(tenant) == await get(tenant, org_id=org_id)
    assert (await get(tenant, f"/{run.run_id}"))["total"]["checked"] == 4
    assert (await get(tenant, f"/{run.run_id}/findings"))["items"] == []


@pytest.mark.parametrize("noun", ["", "/findings"])
async def test_a_run_of_others_or_of_all_is_as_unknown_as_one_that_never_was(
    api: Api, noun: str
) -> None:
    mine, others = await an_organization(api.engine), await an_organization(api.engine)
    tenant = await api.tenant(mine)
    of_all = await record(api.engine, a_run(), on(NOON, {mine: 1}), a_finding(mine))
    for hidden in (await org_run(api, others), of_all):
        refused = problem(await tenant.get(f"{RUNS}/{hidden.run_id}{noun}"), 404, "not_found")
        never_was = unique("run")
        absent = problem(await tenant.get(f"{RUNS}/{never_was}{noun}"), 404, "not_found")
        assert refused["detail"].replace(hidden.run_id, never_was) == absent["detail"]
    assert (await get(tenant))["items"] == []


async def test_an_organisations_key_cannot_ask_about_another(api: Api) -> None:
    mine, others = await an_organization(api.engine), await an_organization(api.engine)
    tenant = await api.tenant(mine)
    for path in ("", "/reliability", "/reliability.svg"):
        for org_id in (others, unique("org")):
            query = {"source": "vapi", "org_id": org_id}
            problem(await tenant.get(f"{RUNS}{path}", params=query), 403, "forbidden")


async def test_reliability_of_an_organisations_key_is_its_own(api: Api) -> None:
    mine, others = await an_organization(api.engine), await an_organization(api.engine)
    looked = on(await today(api), {mine: 3, others: 5})
    await record(api.engine, a_run(), looked, a_finding(others, occurred_at=await today(api)))
    tenant = await api.tenant(mine)
    [day] = await get(tenant, "/reliability", source="vapi")
    assert (day["checked"], day["missing"], day["reliability_percent"]) == (3, 0, "100.00")
    drawn = await tenant.get(f"{RUNS}/reliability.svg", params={"source": "vapi"})
    assert mine in drawn.text
    assert others not in drawn.text


@pytest.mark.parametrize("path", ["", "/x", "/x/findings", "/reliability", "/reliability.svg"])
async def test_nobody_reads_without_a_key(api: Api, path: str) -> None:
    answer = await api.anonymous.get(f"{RUNS}{path}", params={"source": "vapi"})
    problem(answer, 401, "unauthorized")


# ---- reliability by day


async def test_reliability_is_given_for_the_days_asked_for(api: Api) -> None:
    org_id, now = await an_organization(api.engine), await today(api)
    looked: Checked = {(org_id, (now - number * DAY).date()): 100 for number in (0, 2, 40)}
    missed = [a_finding(org_id, 5, occurred_at=now - 2 * DAY) for _ in range(6)]
    await record(api.engine, a_run(), looked, *missed)
    asked = {"source": "vapi", "org_id": org_id}
    days = await get(api.operator, "/reliability", **asked)
    assert [(one["missing"], one["reliability_percent"]) for one in days] == [
        (6, "94.00"), (0, "100.00"),
    ]  # fmt: skip
    assert len(await get(api.operator, "/reliability", **asked, days="2")) == 1
    assert len(await get(api.operator, "/reliability", **asked, days="41")) == 3
    assert await get(api.operator, "/reliability", **{**asked, "source": "stripe"}) == []


@pytest.mark.parametrize("path", ["/reliability", "/reliability.svg"])
async def test_reliability_needs_a_source_a_number_of_days_and_somebody(
    api: Api, path: str
) -> None:
    for query in ({}, {"source": "twilio"}, {"source": "vapi", "days": "93"},
                  {"source": "vapi", "days": "0"}):  # fmt: skip
        problem(await api.operator.get(f"{RUNS}{path}", params=query), 422, "invalid")
    nobody = {"source": "vapi", "org_id": unique("org")}
    problem(await api.operator.get(f"{RUNS}{path}", params=nobody), 404, "not_found")


async def chart(api: Api, org_id: str) -> ET.Element:
    query = {"source": "vapi", "org_id": org_id}
    answer = await api.operator.get(f"{RUNS}/reliability.svg", params=query)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/svg+xml"
    return ET.fromstring(answer.text)  # noqa: S314  (our own answer)


def texts(svg: ET.Element) -> list[str]:
    return [str(one.text) for one in svg.iter(f"{SVG}text")]


async def test_the_chart_shows_each_day_its_counts_and_the_line_for_95_percent(api: Api) -> None:
    org_id, now = await an_organization(api.engine), await today(api)
    days = {number: now - number * DAY for number in (0, 1, 3)}
    looked: Checked = {(org_id, day.date()): 1000 for day in days.values()}
    missed = [a_finding(org_id, occurred_at=days[1]) for _ in range(51)]
    missed += [a_finding(org_id, occurred_at=days[3]) for _ in range(50)]
    await record(api.engine, a_run(), looked, *missed)
    svg = await chart(api, org_id)
    assert svg.attrib["role"] == "img"
    assert str(svg.findtext(f"{SVG}title")).startswith("Webhooks of Vapi that arrived, by day: ")
    assert org_id in str(svg.findtext(f"{SVG}title"))
    assert svg.findtext(f"{SVG}desc") == (
        "3,000 calls, 101 missed: 96.63 %; 1 of 3 days below 95 %"
    )
    assert {"95 %", "94.90", "95.00", "100.00", "51", "1,000"} <= set(texts(svg))
    colours = [one.attrib["fill"] for one in svg.iter(f"{SVG}circle")]
    assert len(colours) == 3
    assert colours[0] == colours[2] != colours[1]
    [dashed] = [one for one in svg.iter(f"{SVG}line") if "stroke-dasharray" in one.attrib]
    heights = [float(one.attrib["cy"]) for one in svg.iter(f"{SVG}circle")]
    assert float(dashed.attrib["y1"]) == heights[0] < heights[1]
    spoken = [one.findtext(f"{SVG}title") for one in svg.iter(f"{SVG}g")]
    assert spoken[1] == f"{days[3].date() + DAY}: not looked at"
    assert spoken[2] == f"{days[1].date()}: 94.90 % of 1,000 arrived, 51 missed"


async def test_the_chart_needs_nothing_from_elsewhere_and_runs_nothing(api: Api) -> None:
    org_id = await an_organization(api.engine)
    await record(api.engine, a_run(), on(await today(api), {org_id: 1}))
    svg = await chart(api, org_id)
    for element in svg.iter():
        assert element.tag.removeprefix(SVG) in {
            "svg", "title", "desc", "rect", "line", "path", "circle", "g", "text",
        }  # fmt: skip
        assert not any("href" in name or name.startswith("on") for name in element.attrib)
        assert not any("url(" in value for value in element.attrib.values())


async def test_the_chart_of_nothing_says_so(api: Api) -> None:
    svg = await chart(api, await an_organization(api.engine))
    assert "No reconciliation has looked at these days yet." in texts(svg)


async def test_a_name_in_the_chart_is_only_a_name(api: Api) -> None:
    org_id = await an_organization(api.engine, org_id=unique("<script>&"))
    assert any(org_id in one for one in texts(await chart(api, org_id)))


# ---- starting, before anything runs


async def post(client: httpx.AsyncClient, **body: Any) -> httpx.Response:
    return await client.post(RUNS, json=body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"source": "twilio"},
        {"source": "vapi", "since": "2026-11-01"},
        {"source": "vapi", "since": "2026-11-01T00:00:00"},
        {"source": "vapi", "until": "yesterday"},
        {"source": "vapi", "until": "0001-01-01T00:00:00+14:00"},
        {"source": "vapi", "org_id": "not an id"},
        {"source": "vapi", "dry_run": "perhaps"},
        {"source": "vapi", "window": "latest"},
    ],
)
async def test_a_request_that_makes_no_sense_is_invalid(api: Api, body: dict[str, Any]) -> None:
    problem(await post(api.operator, **body), 422, "invalid")


async def test_an_organisations_key_starts_nothing_but_its_own(api: Api) -> None:
    mine, others = await an_organization(api.engine), await an_organization(api.engine)
    tenant = await api.tenant(mine)
    for org_id in (None, others, unique("org")):
        for source in (Source.VAPI, Source.STRIPE):
            problem(await post(tenant, source=source, org_id=org_id), 403, "forbidden")
    problem(await post(tenant, source="vapi"), 403, "forbidden")
    problem(await post(api.anonymous, source="vapi", org_id=mine), 401, "unauthorized")


async def test_an_organisation_that_does_not_exist_has_nothing_to_reconcile(api: Api) -> None:
    answer = await post(api.operator, source="vapi", org_id=unique("org"))
    problem(answer, 404, "not_found")


async def test_without_a_worker_nothing_is_started_and_that_is_said(api: Api) -> None:
    org_id = await an_organization(api.engine)
    answer = await post(api.operator, source="vapi", org_id=org_id)
    told = problem(answer, 503, "temporal_unavailable")
    assert "no reconciliation was started" in told["detail"]
    assert answer.headers["retry-after"]
    started = await api.temporal.count_workflows(
        f"WorkflowId = 'reconcile-vapi/org:{org_id}/latest'"
    )
    assert started.count == 0
