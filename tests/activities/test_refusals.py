"""A refusal is an answer: one line of the log, and no traceback."""

import logging

import pytest
from temporalio.client import Client

from billing.calls.call import EndedCall
from tests.support.factories import unique
from tests.support.parked_workflows import until_parked
from workflows import bill_call
from workflows.bill_call import BillCall


async def test_a_refusal_is_one_line_of_the_log(
    worker: Client, caplog: pytest.LogCaptureFixture
) -> None:
    call_id = unique("call")
    call = EndedCall(call_id)
    with caplog.at_level(logging.INFO, logger="temporalio.activity"):
        handle = await worker.start_workflow(BillCall.run, call, **bill_call.start_options(call))
        await until_parked(handle, "call_missing")
    said = [one for one in caplog.records if call_id in f"{one.getMessage()} {one.exc_info}"]
    refused = [one for one in said if "refused as call_missing" in one.getMessage()]
    assert len(refused) == 3  # as often as Vapi was asked
    assert not [one for one in said if one.exc_info]
