"""Messages and their senders over HTTP: who sees what, and what a registration sets going."""

import uuid
from urllib.parse import quote

import pytest
from sqlalchemy import text

from billing.messages.message import MessageFacts, MessageStatus, SeenMessage
from store.messages import messages
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import NOON, a_sender, a_sid, an_organization, unique
from tests.support.twilio_callbacks import MAIN, SUB

SERVICE = "MG" + "0123456789abcdef" * 2


async def a_message(api: Api, sender: str, status: MessageStatus, segments: int = 1) -> str:
    """A message that has come this far, settled."""
    sid = a_sid()
    facts = MessageFacts(NOON, segments, "447700", sender, None)
    async with api.engine.begin() as connection:
        code = 30003 if status is MessageStatus.UNDELIVERED else None
        await messages.observe(connection, [SeenMessage(sid, MAIN, status, code)])
        await messages.keep_facts(connection, {sid: facts})
        await messages.settle(connection, [sid], reverse_undelivered=True)
    return sid


async def test_a_list_shows_state_segments_price_and_error_code(api: Api) -> None:
    org_id = await an_organization(api.engine, 1000)
    sender = await a_sender(api.engine, org_id)
    delivered = await a_message(api, sender, MessageStatus.DELIVERED, segments=2)
    lost = await a_message(api, sender, MessageStatus.UNDELIVERED)
    tenant = await api.tenant(org_id)
    answer = await tenant.get(f"/v1/organizations/{org_id}/messages")
    newest, oldest = answer.raise_for_status().json()["items"]
    assert (newest["sid"], newest["state"], newest["error_code"]) == (lost, "not_charged", 30003)
    assert (oldest["sid"], oldest["state"], oldest["segments"]) == (delivered, "charged", 2)
    assert oldest["amount"] == {"amount_minor": 10, "currency": "gbp"}
    assert oldest["channel"] == "sms"
    assert sender[1:] not in answer.text
    only = await tenant.get(f"/v1/organizations/{org_id}/messages", params={"state": "charged"})
    assert [one["sid"] for one in only.json()["items"]] == [delivered]
    first = (await tenant.get(f"/v1/organizations/{org_id}/messages?limit=1")).json()
    path = f"/v1/organizations/{org_id}/messages?limit=1&cursor={first['next_cursor']}"
    assert [one["sid"] for one in (await tenant.get(path)).json()["items"]] == [delivered]


async def test_a_summary_says_how_many_arrive(api: Api) -> None:
    org_id = await an_organization(api.engine, 1000)
    sender = await a_sender(api.engine, org_id)
    for status in ("sent", "delivered", "delivered", "read", "undelivered", "failed"):
        await a_message(api, sender, MessageStatus(status))
    old = await a_message(api, sender, MessageStatus.FAILED)
    async with api.engine.begin() as connection:
        await connection.execute(
            text("UPDATE messages SET first_seen_at = now() - interval '8 days' WHERE sid = :sid"),
            {"sid": old},
        )
    path = f"/v1/organizations/{org_id}/messages/summary"
    tenant = await api.tenant(org_id)
    found = (await tenant.get(path, params={"days": 7})).raise_for_status().json()["messages"]
    assert found == {
        "pending": 0, "sent": 1, "delivered": 3, "undelivered": 1, "failed": 1,
        "rate_percent": "60.00",
    }  # fmt: skip
    assert (await tenant.get(path)).json()["messages"]["failed"] == 2


async def test_tenants_see_their_own_messages_only(api: Api) -> None:
    org_id, other = await an_organization(api.engine, 1000), await an_organization(api.engine)
    sid = await a_message(api, await a_sender(api.engine, org_id), MessageStatus.SENT)
    owner, stranger = await api.tenant(org_id), await api.tenant(other)
    assert (await owner.get(f"/v1/messages/{sid}")).json()["sid"] == sid
    assert (await api.operator.get(f"/v1/messages/{sid}")).is_success
    problem(await stranger.get(f"/v1/messages/{sid}"), 404, "not_found")
    problem(await owner.get(f"/v1/messages/{a_sid()}"), 404, "not_found")
    for path in ("messages", "messages/summary", "senders"):
        answer = await stranger.get(f"/v1/organizations/{org_id}/{path}")
        problem(answer, 403, "forbidden")
    problem(await api.operator.get("/v1/organizations/nobody/messages"), 404, "not_found")


@pytest.mark.parametrize(
    ("new", "kind"),
    [
        ({"phone_number": "+15017122661"}, "sms_number"),
        ({"phone_number": "72345"}, "sms_number"),
        ({"phone_number": "ACME"}, "sms_number"),
        ({"phone_number": "Acme Bank"}, "sms_number"),
        ({"phone_number": "A&B"}, "sms_number"),
        ({"phone_number": "7 + 7_is-x"}, "sms_number"),
        ({"phone_number": "whatsapp:+15017122662"}, "sms_number"),
        ({"phone_number": "rcs:acme_agent_x"}, "sms_number"),
        ({"messaging_service_sid": SERVICE}, "messaging_service"),
    ],
)
async def test_a_sender_is_registered_listed_and_removed(
    api: Api, new: dict[str, str], kind: str
) -> None:
    org_id, other = await an_organization(api.engine), await an_organization(api.engine)
    path = f"/v1/organizations/{org_id}/senders"
    [sender] = new.values()
    for _ in range(2):
        made = await api.operator.post(path, json=new)
        assert (made.status_code, made.json()["agent_id"], made.json()["kind"]) == (
            201, sender, kind,
        )  # fmt: skip
    taken = await api.operator.post(f"/v1/organizations/{other}/senders", json=new)
    problem(taken, 409, "conflict")
    listed = (await (await api.tenant(org_id)).get(path)).json()["items"]
    assert [one["agent_id"] for one in listed] == [sender]
    assistants = (await api.operator.get(f"/v1/organizations/{org_id}/assistants")).json()
    assert assistants["items"] == []
    wrong = await api.operator.delete(f"/v1/organizations/{org_id}/assistants/{sender}")
    # No assistant has a space in its id.
    problem(wrong, *((422, "invalid") if " " in sender else (404, "not_found")))
    assert (await api.operator.delete(f"{path}/{sender}")).status_code == 204
    problem(await api.operator.delete(f"{path}/{sender}"), 404, "not_found")


@pytest.mark.parametrize(
    "new",
    [
        {},
        {"phone_number": "+15017122661", "messaging_service_sid": SERVICE},
        {"phone_number": "+0123456789"},
        {"phone_number": "+1 501 712 2661"},
        {"phone_number": "12-34 56"},
        {"phone_number": "Acme Bank Ltd"},
        {"phone_number": "Acme/Bank"},
        {"phone_number": "whatsapp:"},
        {"phone_number": ":+15017122661"},
        {"phone_number": "AC:+15017122661"},
        {"phone_number": "ACME", "account_sid": "AC1"},
        {"messaging_service_sid": SERVICE, "account_sid": MAIN},
        {"messaging_service_sid": "MG1"},
        {"sender": "+15017122661"},
    ],
)
async def test_what_is_no_sender_is_invalid(api: Api, new: dict[str, str]) -> None:
    org_id = await an_organization(api.engine)
    answer = await api.operator.post(f"/v1/organizations/{org_id}/senders", json=new)
    problem(answer, 422, "invalid")


async def test_an_address_of_a_channel_is_of_any_account_unless_it_names_one(api: Api) -> None:
    org_id, address = (
        await an_organization(api.engine),
        f"whatsapp:+1555{uuid.uuid4().int % 10**7:07}",
    )
    path = f"/v1/organizations/{org_id}/senders"
    for account, name in ((None, address), (MAIN, f"{MAIN}:{address}")):
        new = {"phone_number": address, **({"account_sid": account} if account else {})}
        made = (await api.operator.post(path, json=new)).raise_for_status().json()
        assert (made["agent_id"], made["account_sid"]) == (name, account)
        assert (await api.operator.delete(f"{path}/{quote(name, safe='')}")).status_code == 204


async def test_two_accounts_may_each_have_a_sender_of_the_same_name(api: Api) -> None:
    one, other = await an_organization(api.engine), await an_organization(api.engine)
    name = f"A&B {uuid.uuid4().hex[:6]}"
    for org_id, account in ((one, MAIN), (other, SUB)):
        new = {"phone_number": name, "account_sid": account}
        made = await api.operator.post(f"/v1/organizations/{org_id}/senders", json=new)
        assert made.status_code == 201
        assert (made.json()["agent_id"], made.json()["account_sid"]) == (
            f"{account}:{name}",
            account,
        )
    taken = await api.operator.post(f"/v1/organizations/{one}/senders", json=new)
    problem(taken, 409, "conflict")
    of_any = await api.operator.post(
        f"/v1/organizations/{one}/senders", json={"phone_number": name}
    )
    assert (of_any.json()["agent_id"], of_any.json()["account_sid"]) == (name, None)
    path = f"/v1/organizations/{one}/senders"
    assert await pages_of(api, path) == sorted([f"{MAIN}:{name}", name])
    for sender in (f"{MAIN}:{name}", name):
        gone = await api.operator.delete(f"{path}/{quote(sender, safe='')}")
        assert gone.status_code == 204
    assert await pages_of(api, path) == []


async def pages_of(api: Api, path: str) -> list[str]:
    """Read a list one by one: a cursor may have a space in it."""
    found, query = [], {"limit": "1"}
    while True:
        page = (await api.operator.get(path, params=query)).raise_for_status().json()
        found += [one["agent_id"] for one in page["items"]]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


async def test_only_operators_register_senders(api: Api) -> None:
    org_id = await an_organization(api.engine)
    tenant = await api.tenant(org_id)
    path = f"/v1/organizations/{org_id}/senders"
    problem(await tenant.post(path, json={"phone_number": "ACME"}), 403, "forbidden")
    problem(await tenant.delete(f"{path}/{unique('x')}"), 403, "forbidden")
    nobody = await api.operator.post("/v1/organizations/nobody/senders", json={
        "phone_number": "+15017122661"
    })  # fmt: skip
    problem(nobody, 404, "not_found")
