"""Webhooks come to the paths that somebody has typed at a provider; nobody is sent elsewhere."""

import httpx
import pytest

from tests.support.answers import accepted, problem
from tests.support.api_server import Api
from tests.support.signed_webhooks import Webhook, report, stripe_event
from tests.support.twilio_callbacks import PUBLIC_BASE_URL, URL, callback

PATHS = {
    "stripe": "/webhooks/stripe",
    "vapi": "/webhooks/vapi",
    "twilio": "/webhooks/twilio/sms-status",
}


async def post(api: Api, path: str, webhook: Webhook) -> httpx.Response:
    content, headers = webhook.body, dict(webhook.headers)
    return await api.anonymous.post(path, content=content, headers=headers)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("source", PATHS)
async def test_a_webhook_may_come_with_a_slash_behind_its_path(
    api: Api, source: str, slash: str
) -> None:
    made = {"stripe": stripe_event(), "vapi": report(), "twilio": callback(url=URL + slash)}
    webhook = made[source]
    assert accepted(await post(api, PATHS[source] + slash, webhook)) == "accepted"
    assert (await api.event(webhook.key)).status == "waiting"


async def test_twilio_signs_the_path_as_it_was_sent(api: Api) -> None:
    escaped = "/webhooks/twilio/sms%2Dstatus"
    assert accepted(await post(api, escaped, callback(url=PUBLIC_BASE_URL + escaped)))
    for path, signed in (
        (escaped, URL),
        (PATHS["twilio"] + "/", URL),
        (PATHS["twilio"], URL + "/"),
    ):
        problem(await post(api, path, callback(url=signed)), 401, "unauthorized")


async def test_no_path_sends_anybody_to_the_host_that_they_name(api: Api) -> None:
    document = (await api.anonymous.get("/openapi.json")).json()
    evil = {"host": "evil.example.com"}
    paths = [f"{path.format_map(AnyId())}/" for path in document["paths"]]
    for path in [*paths, "/openapi.json/", "/docs/"]:
        answer = await api.operator.get(path, headers=evil)
        assert answer.status_code in (404, 422), path


class AnyId(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "some-id"
