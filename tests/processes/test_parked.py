"""A decision about parked work, told from outside: what the process answers is read in any form."""

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.worker import Worker

from activities.temporal.search_attributes import BILLING_STATE, BillingState
from billing.parking.parked import Parked
from billing.parking.parked_work import ParkedWork, Verdict
from processes import parked
from tests.support.factories import unique
from workflows.shared.decision_answer import DecisionAnswer


@workflow.defn(sandboxed=False)
class AnswersInASentence:
    """A process on a worker of version 0.1, as far as a decision about it goes."""

    @workflow.init
    def __init__(self, sentence: str) -> None:
        self._sentence = sentence
        self._is_over = False

    @workflow.run
    async def run(self, sentence: str) -> str:
        await workflow.wait_condition(lambda: self._is_over)
        return sentence

    @workflow.update
    async def reprocess(self, who_and_why: str) -> str:
        self._is_over = bool(who_and_why)
        return self._sentence


async def nothing(work: ParkedWork) -> None:
    """Write nothing into the book."""


@pytest.mark.parametrize(
    ("sentence", "read"),
    [
        ("settled", DecisionAnswer(BillingState.SETTLED)),
        ("running", DecisionAnswer(BillingState.RUNNING)),
        (
            "parked: fault: fetch_call failed: 500",
            DecisionAnswer(BillingState.PARKED, Parked("fault", "fetch_call failed: 500")),
        ),
    ],
)
async def test_the_sentence_of_a_worker_of_the_version_before_is_read(
    worker: Client, sentence: str, read: DecisionAnswer
) -> None:
    queue = unique("version-before")
    is_parked = TypedSearchAttributes([SearchAttributePair(BILLING_STATE, BillingState.PARKED)])
    async with Worker(worker, task_queue=queue, workflows=[AnswersInASentence]):
        handle = await worker.start_workflow(
            AnswersInASentence.run,
            sentence,
            id=queue,
            task_queue=queue,
            search_attributes=is_parked,
        )
        answer = await parked.decide(worker, queue, Verdict.REPROCESS, "Ann: is it back?", nothing)
        await handle.result()
    assert answer == read
    assert str(answer) == sentence
