"""Processes that are under way when new code is deployed go on: recorded histories replay."""

import json

import pytest
from temporalio.client import WorkflowHistory
from temporalio.workflow import NondeterminismError

from tests.replay.one import replayer
from tests.replay.record import HISTORIES
from worker import WORKFLOWS

RECORDED = sorted(file.stem for file in HISTORIES.glob("*.json"))


def history(name: str) -> str:
    return (HISTORIES / f"{name}.json").read_text()


def started_type(name: str) -> str:
    [first, *_] = json.loads(history(name))["events"]
    return str(first["workflowExecutionStartedEventAttributes"]["workflowType"]["name"])


@pytest.mark.parametrize("name", RECORDED)
async def test_a_recorded_history_replays_with_the_code_of_today(name: str) -> None:
    await replayer().replay_workflow(WorkflowHistory.from_json(name, history(name)))


def test_every_process_has_a_recorded_history() -> None:
    assert {started_type(name) for name in RECORDED} == {one.__name__ for one in WORKFLOWS}


@pytest.mark.parametrize(
    ("name", "was", "became"),
    [
        ("bill_call_vapi_fault", "fetch_call", "bill_call"),
        ("settle_payment_credited", "fetch_payment", "settle_payment"),
        ("drain_inbox", "drain", "collect"),
    ],
)
async def test_code_that_took_another_way_would_be_found_out(
    name: str, was: str, became: str
) -> None:
    changed = history(name).replace(f'"name": "{was}"', f'"name": "{became}"')
    assert changed != history(name)
    with pytest.raises(NondeterminismError):
        await replayer().replay_workflow(WorkflowHistory.from_json(name, changed))
