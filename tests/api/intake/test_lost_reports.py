"""A call is known from its status-updates on, and settled even if its report never comes."""

from sqlalchemy import text

from billing.inbox.webhook_event import Drain, Source
from processes.drains import nudge
from store.inbox import inbox
from tests.support.answers import accepted, balance, eventually, settled
from tests.support.api_server import Api
from tests.support.assistant_requests import a_number, ask
from tests.support.factories import an_assistant, an_organization, ended_call, keys_of, unique
from tests.support.signed_webhooks import call_id_of, message, report, with_bearer
from tests.support.stand_ins import VapiStandIn

DEFAULT_DUE = 600 + 180


async def says(api: Api, call_id: str, status: str, assistant_id: str | None = None) -> str:
    """Let Vapi tell of a call's status; answers with what it is told."""
    call = {"id": call_id, "assistantId": assistant_id}
    body = message("status-update", call_id, status=status, call=call)
    return accepted(await api.send(with_bearer(body)))


async def due_in(api: Api, call_id: str) -> int | None:
    """In how many seconds, to ten, its report is overdue; None when none is expected."""
    query = text(
        "SELECT extract(epoch FROM due_at - now()) FROM calls_in_progress WHERE call_id = :call_id"
    )
    async with api.engine.connect() as connection:
        left = await connection.scalar(query, {"call_id": call_id})
    return None if left is None else int(round(left, -1))


async def time_passes(api: Api, call_id: str, seconds: int) -> None:
    """Let what was to come in this time be overdue, and have the drain look."""
    statement = text(
        "UPDATE calls_in_progress SET due_at = due_at - make_interval(secs => :seconds)"
        " WHERE call_id = :call_id"
    )
    async with api.engine.begin() as connection:
        await connection.execute(statement, {"seconds": seconds, "call_id": call_id})
    await nudge(api.temporal, Drain.INBOX)


async def test_a_report_is_expected_when_the_call_must_have_ended(api: Api) -> None:
    call_id = unique("call")
    for status in ("scheduled", "queued", "ringing"):
        assert await says(api, call_id, status) == "ignored"
    assert await due_in(api, call_id) is None
    assert await says(api, call_id, "in-progress") == "ignored"
    assert await due_in(api, call_id) == DEFAULT_DUE
    await says(api, call_id, "forwarding")
    assert await due_in(api, call_id) == DEFAULT_DUE


async def test_a_call_that_has_ended_has_its_report_expected_within_a_minute(api: Api) -> None:
    call_id = unique("call")
    for status in ("in-progress", "ended", "in-progress"):
        await says(api, call_id, status)
    assert await due_in(api, call_id) == 60
    never_heard_of = unique("call")
    await says(api, never_heard_of, "ended")
    assert await due_in(api, never_heard_of) == 60


async def test_the_cap_that_the_gate_gave_is_kept(api: Api) -> None:
    org_id = await an_organization(api.engine, 79, debt_limit_minor=0)
    number, assistant = await a_number(api, org_id)
    call_id = unique("call")
    said = await ask(api, number, call_id)
    assert said["assistantOverrides"]["maxDurationSeconds"] == 85
    await eventually(lambda: is_known(api, call_id))
    await says(api, call_id, "in-progress", assistant)
    assert await due_in(api, call_id) in (260, 270)


async def test_a_call_that_was_turned_away_has_no_report_to_come(api: Api) -> None:
    number, _ = await a_number(api, await an_organization(api.engine, debt_limit_minor=0))
    call_id, after = unique("call"), unique("call")
    assert "error" in await ask(api, number, call_id)
    await says(api, after, "in-progress")
    assert await due_in(api, call_id) is None


async def test_a_status_update_after_the_report_does_not_make_the_call_go_on_again(
    api: Api,
) -> None:
    webhook = report()
    await api.send(webhook)
    for status in ("in-progress", "ended"):
        assert await says(api, call_id_of(webhook), status) == "ignored"
    assert await due_in(api, call_id_of(webhook)) is None
    assert (await api.event(webhook.key)).status == "waiting"


async def test_a_lost_report_is_made_up_for_and_changes_nothing_when_it_comes_after_all(
    working_api: Api, vapi: VapiStandIn
) -> None:
    api = working_api
    org_id = await an_organization(api.engine, 1000)
    call = ended_call(await an_assistant(api.engine, org_id), 60)
    await says(api, call.call_id, "in-progress", call.assistant_id)
    await vapi.knows(call)
    await time_passes(api, call.call_id, DEFAULT_DUE)
    found = await settled(api, call.call_id)
    assert (found["org_id"], found["workflow_id"]) == (org_id, f"call/{call.call_id}")
    assert await balance(api, org_id) == 1000 - 56

    late = report(call.assistant_id, 60, call_id=call.call_id)
    assert accepted(await api.send(late)) == "accepted"
    await says(api, call.call_id, "in-progress", call.assistant_id)
    async with api.engine.begin() as connection:
        await inbox.make_due(connection, Source.VAPI, [late.key])
    await nudge(api.temporal, Drain.INBOX)
    await eventually(lambda: is_handled(api, late.key))
    await time_passes(api, call.call_id, DEFAULT_DUE)
    await eventually(lambda: is_forgotten(api, call.call_id))
    assert await keys_of(api.engine, org_id) == [f"call:{call.call_id}"]
    assert await balance(api, org_id) == 1000 - 56


async def is_known(api: Api, call_id: str) -> bool:
    return await due_in(api, call_id) is not None


async def is_forgotten(api: Api, call_id: str) -> bool:
    return await due_in(api, call_id) is None


async def is_handled(api: Api, key: str) -> bool:
    return bool((await api.event(key)).status == "handled")
