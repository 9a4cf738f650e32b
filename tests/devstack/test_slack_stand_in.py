"""The Slack sink: it checks messages, keeps them, and can be told to be busy."""

from collections.abc import AsyncIterator

import pytest

from tests.support.stand_in_process import StandIns, running

HOOK = "/services/T000/B000/secret"


@pytest.fixture(scope="module")
async def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandIns]:
    async with running(tmp_path_factory.mktemp("slack") / "state.db") as stand_ins:
        yield stand_ins


async def test_a_message_is_kept_as_it_was_sent(stand_ins: StandIns) -> None:
    await stand_ins.slack.delete("/_control/messages")
    message = {
        "text": "Zero calls billed",
        "blocks": [{"type": "section", "text": {"type": "mrkdwn", "text": "*0* calls"}}],
    }
    answer = await stand_ins.slack.post(HOOK, json=message)
    assert (answer.status_code, answer.text) == (200, "ok")
    kept = (await stand_ins.slack.get("/_control/messages")).json()["messages"]
    assert kept == [message]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("not json", "invalid_payload"),
        ('{"text": 5}', "invalid_payload"),
        ('{"text": "x", "blocks": [{}]}', "invalid_payload"),
        ("{}", "no_text"),
    ],
)
async def test_a_bad_message_is_refused_in_plain_text(
    stand_ins: StandIns, body: str, text: str
) -> None:
    answer = await stand_ins.slack.post(HOOK, content=body)
    assert (answer.status_code, answer.text) == (400, text)


SHORT = {"type": "mrkdwn", "text": "x"}


@pytest.mark.parametrize(
    "blocks",
    [
        [{"type": "header", "text": {"type": "plain_text", "text": "x" * 151}}],
        [{"type": "header", "text": SHORT}],
        [{"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3001}}],
        [{"type": "section", "text": {"type": "mrkdwn", "text": ""}}],
        [{"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 2001}]}],
        [{"type": "section", "fields": [SHORT] * 11}],
        [{"type": "section"}],
        [{"type": "context", "elements": [SHORT] * 11}],
        [{"type": "divider"}] * 51,
        [{"type": "unheard of"}],
    ],
)
async def test_blocks_beyond_a_limit_are_refused(
    stand_ins: StandIns, blocks: list[dict[str, object]]
) -> None:
    answer = await stand_ins.slack.post(HOOK, json={"text": "x", "blocks": blocks})
    assert (answer.status_code, answer.text) == (400, "invalid_blocks")


async def test_a_busy_slack_says_when_to_come_back(stand_ins: StandIns) -> None:
    fault = {"kind": "status", "path": "/services/*", "status": 429, "retry_after": 30}
    await stand_ins.control("slack", "faults", fault)
    busy = await stand_ins.slack.post(HOOK, json={"text": "x"})
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "30")
    assert (await stand_ins.slack.post(HOOK, json={"text": "x"})).status_code == 200


async def test_a_control_request_that_does_not_parse_names_the_field(stand_ins: StandIns) -> None:
    answer = await stand_ins.slack.post("/_control/faults", json={"kind": "status", "typo": 1})
    assert answer.status_code == 400
    assert answer.json()["error"][0]["loc"] == ["typo"]
