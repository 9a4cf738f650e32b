"""Adjustments over HTTP: who may ask, who must agree, and what becomes of the money."""

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import Any

import httpx
import pytest

from activities.adjustments import AdjustmentActivities, AdjustmentOpening
from billing.adjustments import APPROVAL_WAITS, Who
from billing.ledger.money import Currency
from billing.platform_rules import PlatformRules
from tests.support.adjustments import BIG, adjusted, another_operator, pending, post, say, wanted
from tests.support.answers import balance, parked, problem, settled
from tests.support.api_server import Api, new_operator_key
from tests.support.factories import (
    an_assistant,
    an_organization,
    credit,
    entries_of,
    keys_of,
    unique,
)
from tests.support.proposals import proposed
from tests.support.signed_webhooks import call_id_of, report

DAY = PlatformRules().adjustment_day_approval_minor


async def listed(api: Api, org_id: str) -> list[dict[str, Any]]:
    answer = await api.operator.get(f"/v1/organizations/{org_id}/adjustments")
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return items


async def read(api: Api, adjustment: dict[str, Any]) -> dict[str, Any]:
    answer = await api.operator.get(f"/v1/adjustments/{adjustment['adjustment_id']}")
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


async def decided(api: Api, **which: str) -> list[dict[str, Any]]:
    answer = await api.operator.get("/v1/decisions", params=which)
    items: list[dict[str, Any]] = answer.raise_for_status().json()["items"]
    return items


# ---- giving and taking


@pytest.mark.parametrize(
    ("direction", "account", "after"),
    [("credit", "adjustments", 3500), ("credit", "goodwill", 3500), ("debit", "adjustments", -500)],
)
async def test_an_adjustment_is_one_entry_against_the_account_that_it_names(
    working_api: Api, direction: str, account: str, after: int
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000 if direction == "credit" else 2000)
    made = await adjusted(api.operator, org_id, direction, account=account, actor="Ann")
    [entry] = await entries_of(api.engine, org_id)
    assert (made["state"], made["decision"]) == ("applied", None)
    assert made["posting"]["outcome"] == "applied"
    assert made["posting"]["entry"]["entry_id"] == entry.entry_id
    assert made["posting"]["balance_after"]["amount_minor"] == after
    accounts = (account, f"wallet:{org_id}")
    assert (entry.debit_account, entry.credit_account) == (
        accounts if direction == "credit" else accounts[::-1]
    )
    assert (entry.kind, entry.key) == ("adjustment", f"adjustment:{made['adjustment_id']}")
    assert (entry.note, entry.cause) == (made["reason"], f"adjustment/{made['adjustment_id']}")
    who = made["requested_by"]
    assert entry.actor == f"the tests' operator (key {who['key_id']})"
    assert who["name"] == "Ann"
    assert await balance(api, org_id) == after
    assert await read(api, made) == made
    assert await listed(api, org_id) == [made]


async def test_a_debit_stops_at_the_debt_limit_unless_it_is_said_to_go_below(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    at_the_limit = await adjusted(api.operator, org_id, "debit", 1500)
    assert at_the_limit["state"] == "applied"
    refused = await adjusted(api.operator, org_id, "debit", 1)
    assert (refused["state"], refused["posting"]["outcome"]) == ("refused", "refused")
    assert refused["posting"]["entry"] is None
    assert refused["posting"]["refusal"] == {
        "code": "debt_limit",
        "would_be": {"amount_minor": -501, "currency": "gbp"},
        "over_by": {"amount_minor": 1, "currency": "gbp"},
    }
    assert await read(api, refused) == refused
    below = await adjusted(api.operator, org_id, "debit", 1, allow_below_limit=True)
    assert below["state"] == "applied"
    assert await balance(api, org_id) == -501
    assert [one["state"] for one in await listed(api, org_id)] == ["applied", "refused", "applied"]


async def test_a_credit_charges_the_calls_that_waited_for_money_oldest_first(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    assistant = await an_assistant(api.engine, org_id)
    webhooks = [report(assistant, seconds) for seconds in (600, 660)]
    for webhook in webhooks:
        await api.send(webhook)
        await parked(api, call_id_of(webhook), "debt_limit")
    made = await adjusted(api.operator, org_id, amount_minor=1000)
    for webhook in webhooks:
        await settled(api, call_id_of(webhook))
    keys = [f"adjustment:{made['adjustment_id']}", *(f"call:{call_id_of(one)}" for one in webhooks)]
    assert await keys_of(api.engine, org_id) == keys


async def test_every_balance_is_proved_by_its_entries_whatever_was_asked_at_once(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    asked = [wanted("debit" if number % 3 else "credit", 400) for number in range(12)]
    answers = await asyncio.gather(*(post(api.operator, org_id, one) for one in asked))
    states = [one.json()["state"] for one in answers]
    entries = await entries_of(api.engine, org_id)
    assert states.count("refused") >= 1  # 1000 + 4 * 400 - 8 * 400 is 100 below the limit
    assert len(entries) == states.count("applied")
    assert min(one.balance_after.amount_minor for one in entries) >= -500
    moved = sum(
        one.amount.amount_minor if one.credit_account.startswith("wallet:")
        else -one.amount.amount_minor
        for one in entries
    )  # fmt: skip
    assert await balance(api, org_id) == 1000 + moved == entries[-1].balance_after.amount_minor


# ---- who may, and what may be asked


async def test_an_organisation_sees_its_own_adjustments_and_makes_none(working_api: Api) -> None:
    api = working_api
    mine, others = await an_organization(api.engine), await an_organization(api.engine)
    tenant = await api.tenant(mine)
    my_own, theirs = await adjusted(api.operator, mine), await adjusted(api.operator, others)
    waits = await pending(api.operator, mine)
    problem(await post(tenant, mine, wanted()), 403, "forbidden")
    for verdict in ("approve", "reject"):
        problem(await say(tenant, waits, verdict), 403, "forbidden")
    found = await tenant.get(f"/v1/adjustments/{my_own['adjustment_id']}")
    assert found.json() == for_organization(my_own)
    unknown = await tenant.get(f"/v1/adjustments/{theirs['adjustment_id']}")
    problem(unknown, 404, "not_found")
    items = (await tenant.get(f"/v1/organizations/{mine}/adjustments")).json()["items"]
    assert items == [for_organization(waits), for_organization(my_own)]
    problem(await tenant.get(f"/v1/organizations/{others}/adjustments"), 403, "forbidden")
    problem(await post(api.anonymous, mine, wanted()), 401, "unauthorized")


@pytest.mark.parametrize(
    ("wrong", "at"),
    [
        ({"direction": "sideways"}, "body.direction"),
        ({"amount_minor": 0}, "body.amount_minor"),
        ({"amount_minor": -5}, "body.amount_minor"),
        ({"amount_minor": 10**9}, "body.amount_minor"),
        ({"amount_minor": 1.5}, "body.amount_minor"),
        ({"currency": "eur"}, "body.currency"),
        ({"reason": ""}, "body.reason"),
        ({"reason": "  \n"}, "body.reason"),
        ({"reason": "a" * 501}, "body.reason"),
        ({"reason": "a\0b"}, "body.reason"),
        ({"actor": " "}, "body.actor"),
        ({"account": "stripe"}, "body.account"),
        ({"direction": "debit", "account": "goodwill"}, "body"),
        ({"unheard_of": 1}, "body.unheard_of"),
    ],
)
async def test_an_adjustment_that_makes_no_sense_is_invalid_and_says_where(
    api: Api, wrong: dict[str, Any], at: str
) -> None:
    org_id = await an_organization(api.engine)
    document = problem(await post(api.operator, org_id, {**wanted(), **wrong}), 422, "invalid")
    assert [error["at"] for error in document["errors"]] == [at]


async def test_an_adjustment_in_another_currency_than_the_wallets_is_refused(api: Api) -> None:
    org_id = await an_organization(api.engine, currency=Currency.USD)
    answer = await post(api.operator, org_id, wanted())
    assert "is in usd" in problem(answer, 422, "currency_mismatch")["detail"]


async def test_what_nobody_knows_is_not_found(api: Api) -> None:
    unknown = {"adjustment_id": unique("adj")}
    problem(await post(api.operator, unique("org"), wanted()), 404, "not_found")
    for verdict in ("approve", "reject"):
        problem(await say(api.operator, unknown, verdict), 404, "not_found")
    path = f"/v1/adjustments/{unknown['adjustment_id']}"
    problem(await api.operator.get(path), 404, "not_found")
    answer = await api.operator.get(f"/v1/organizations/{unique('org')}/adjustments")
    problem(answer, 404, "not_found")


async def test_adjustments_are_listed_newest_first_page_by_page(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    made = [(await adjusted(api.operator, org_id, amount_minor=1))["position"] for _ in range(3)]
    path = f"/v1/organizations/{org_id}/adjustments"
    first = (await api.operator.get(path, params={"limit": 2})).json()
    second = (await api.operator.get(path, params={"cursor": first["next_cursor"]})).json()
    assert [one["position"] for one in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None


def for_organization(adjustment: dict[str, Any]) -> dict[str, Any]:
    """What an organisation is shown of an adjustment that nobody has decided."""
    posting = adjustment["posting"] and {
        **adjustment["posting"],
        "entry": {**adjustment["posting"]["entry"], "actor": "support"},
    }
    support = {"key_id": None, "label": "support", "name": None}
    return {**adjustment, "requested_by": support, "posting": posting}


# ---- a second operator


async def test_a_big_adjustment_waits_until_another_operator_approves_it(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    waits = await pending(api.operator, org_id)
    assert await balance(api, org_id) == 0
    other = await another_operator(api)
    answer = await say(other, waits, "approve", "ticket 4711")
    approved = answer.json()
    assert (answer.status_code, approved["state"]) == (200, "applied")
    assert (approved["decision"]["verdict"], approved["decision"]["note"]) == (
        "approved", "ticket 4711",
    )  # fmt: skip
    assert approved["decision"]["by"]["key_id"] not in (None, waits["requested_by"]["key_id"])
    assert await balance(api, org_id) == BIG
    assert await read(api, waits) == approved
    again = await say(other, waits, "approve")
    posted = {**approved["posting"], "outcome": "duplicate"}
    posted["balance_before"] = posted["balance_after"]
    assert (again.status_code, again.json()) == (200, {**approved, "posting": posted})
    assert await read(api, waits) == approved
    problem(await say(other, waits, "reject"), 409, "already_decided")
    assert await keys_of(api.engine, org_id) == [f"adjustment:{waits['adjustment_id']}"]


@pytest.mark.parametrize(("said", "verdict"), [("approve", "approved"), ("reject", "rejected")])
async def test_what_a_second_operator_said_is_listed_once_with_all_decisions(
    working_api: Api, said: str, verdict: str
) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    waits = await pending(api.operator, org_id)
    workflow_id = f"adjustment/{waits['adjustment_id']}"
    assert await decided(api, org_id=org_id) == []
    other = await another_operator(api)
    decision = (await say(other, waits, said, "ticket 4711")).raise_for_status().json()["decision"]
    await say(other, waits, said, "once more")
    [one] = await decided(api, org_id=org_id)
    assert one.pop("position") > 0
    assert one == {
        "workflow_id": workflow_id,
        "run_id": "",
        "number": 1,
        "verdict": verdict,
        "who_and_why": f"{decision['by']['label']} (key {decision['by']['key_id']}): ticket 4711",
        "org_id": org_id,
        "reason": "approval",
        "decided_at": decision["at"],
    }
    assert len(await decided(api, workflow_id=workflow_id)) == 1


async def test_as_much_as_one_operator_may_do_alone_needs_no_other(working_api: Api) -> None:
    org_id = await an_organization(working_api.engine)
    made = await adjusted(working_api.operator, org_id, amount_minor=BIG - 1)
    assert (made["state"], made["needs_approval"]) == ("applied", False)


async def test_the_operator_who_asked_cannot_approve_but_may_take_it_back(
    working_api: Api,
) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    waits = await pending(api.operator, org_id, actor="Ann")
    path = f"/v1/adjustments/{waits['adjustment_id']}/approve"
    answer = await api.operator.post(path, json={"note": "It is fine", "actor": "Bob"})
    problem(answer, 403, "same_operator")
    assert (await read(api, waits))["state"] == "pending"
    taken_back = (await say(api.operator, waits, "reject")).json()
    assert (taken_back["state"], taken_back["posting"]) == ("rejected", None)
    assert await balance(api, org_id) == 0


async def test_keys_that_one_person_has_are_one_pair_of_eyes(working_api: Api) -> None:
    """Who makes a key sees its secret, and so has what is made with that one, too."""
    api = working_api
    org_id = await an_organization(api.engine)
    first = await another_operator(api)
    child = api.with_key(await made_with(first))
    grandchild = api.with_key(await made_with(child))
    for asks, approves in ((first, child), (first, grandchild), (child, first)):
        waits = await pending(asks, org_id)
        problem(await say(approves, waits, "approve"), 403, "same_operator")
        assert (await read(api, waits))["state"] == "pending"
        await say(asks, waits, "reject")
    waits = await pending(grandchild, org_id)
    approved = (await say(api.operator, waits, "approve")).json()
    assert approved["state"] == "applied"


async def test_a_key_that_was_made_for_the_occasion_approves_nothing(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    waits = await pending(api.operator, org_id)
    young = api.with_key(await new_operator_key(api.engine))
    refused = problem(await say(young, waits, "approve"), 403, "same_operator")
    assert "younger than the request" in refused["detail"]
    approved = await say(await another_operator(api), waits, "approve")
    assert approved.json()["state"] == "applied"


async def test_many_small_ones_are_a_big_one(working_api: Api) -> None:
    """What one person adjusts alone in a day, with whichever keys, is bounded."""
    api = working_api
    org_id = await an_organization(api.engine)
    first = await another_operator(api)
    child = api.with_key(await made_with(first))
    last = await adjusted(first, org_id, amount_minor=1)
    before = replace(
        proposed(org_id, DAY - BIG, needs_approval=False), requested_by=who_asked(last)
    )
    now = datetime.fromisoformat(last["requested_at"])
    await AdjustmentActivities(api.engine).open_adjustment(
        AdjustmentOpening(before, now, now + APPROVAL_WAITS)
    )
    await adjusted(child, org_id, amount_minor=BIG - 1)
    answer = await post(first, org_id, wanted(amount_minor=1))
    waits = answer.json()
    assert (answer.status_code, waits["state"], waits["needs_approval"]) == (202, "pending", True)
    problem(await say(child, waits, "approve"), 403, "same_operator")
    assert (await say(api.operator, waits, "approve")).json()["state"] == "applied"
    await adjusted(await another_operator(api), org_id)


def who_asked(adjustment: dict[str, Any]) -> Who:
    return Who(**adjustment["requested_by"])


async def made_with(operator: httpx.AsyncClient) -> str:
    answer = await operator.post("/v1/api-keys", json={"label": "another"})
    made = answer.raise_for_status().json()
    assert made["api_key"]["made_by"] is not None
    secret: str = made["secret"]
    return secret


async def test_what_is_rejected_is_never_posted(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    waits = await pending(api.operator, org_id)
    other = await another_operator(api)
    rejected = (await say(other, waits, "reject", "Not ours to pay")).json()
    assert (rejected["state"], rejected["decision"]["note"]) == ("rejected", "Not ours to pay")
    again = await say(other, waits, "reject")
    assert (again.status_code, again.json()) == (200, rejected)
    told = problem(await say(other, waits, "approve"), 409, "already_decided")
    assert told["detail"] == "the adjustment is rejected"
    assert await keys_of(api.engine, org_id) == []


@pytest.mark.parametrize("verdicts", [("approve",) * 6, ("approve", "reject") * 3])
async def test_of_those_who_decide_at_once_the_first_does(
    working_api: Api, verdicts: tuple[str, ...]
) -> None:
    api = working_api
    org_id = await an_organization(api.engine)
    waits = await pending(api.operator, org_id)
    others = [await another_operator(api) for _ in verdicts]
    answers = await asyncio.gather(
        *(say(one, waits, verdict) for one, verdict in zip(others, verdicts, strict=True))
    )
    final = await read(api, waits)
    won = {"applied": "approve", "rejected": "reject"}[final["state"]]
    for answer, verdict in zip(answers, verdicts, strict=True):
        if verdict == won:
            assert (answer.status_code, answer.json()) == (200, final)
        else:
            problem(answer, 409, "already_decided")
    assert await balance(api, org_id) == (BIG if won == "approve" else 0)


async def test_what_was_approved_may_still_be_refused_at_the_debt_limit(working_api: Api) -> None:
    api = working_api
    org_id = await an_organization(api.engine, BIG)
    waits = await pending(api.operator, org_id, "debit")
    await adjusted(api.operator, org_id, "debit", 501)
    other = await another_operator(api)
    refused = (await say(other, waits, "approve")).json()
    assert (refused["state"], refused["posting"]["refusal"]["over_by"]["amount_minor"]) == (
        "refused", 1,
    )  # fmt: skip
    await credit(api.engine, org_id, 1)
    assert (await say(other, waits, "approve")).json() == refused
    assert await balance(api, org_id) == BIG - 501 + 1


@pytest.mark.parametrize("wrong", [{}, {"note": ""}, {"note": " "}, {"note": "x", "more": 1}])
async def test_who_decides_must_say_why(api: Api, wrong: dict[str, Any]) -> None:
    for verdict in ("approve", "reject"):
        answer = await api.operator.post(f"/v1/adjustments/some/{verdict}", json=wrong)
        problem(answer, 422, "invalid")


async def test_an_adjustment_whose_process_was_lost_can_still_be_decided(working_api: Api) -> None:
    """Temporal's database is gone, or somebody has terminated it."""
    api = working_api
    org_id = await an_organization(api.engine)
    waits = await pending(api.operator, org_id)
    process = api.temporal.get_workflow_handle(f"adjustment/{waits['adjustment_id']}")
    await process.terminate("a test")
    approved = (await say(await another_operator(api), waits, "approve")).json()
    assert (approved["state"], approved["expires_at"]) == ("applied", waits["expires_at"])
    assert await balance(api, org_id) == BIG
