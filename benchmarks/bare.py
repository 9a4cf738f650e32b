"""The smallest workflow, to compare with: one activity, which does nothing."""

import asyncio
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Worker

QUEUE = "bare"
NAMESPACE = "billing"


@activity.defn
async def do_nothing(argument: str) -> str:
    """Return the argument."""
    return argument


@workflow.defn
class Bare:
    """A workflow of one activity."""

    @workflow.run
    async def run(self, argument: str) -> str:
        """Run the activity; return its result."""
        return await workflow.execute_activity(
            do_nothing, argument, start_to_close_timeout=timedelta(seconds=15)
        )


async def main(address: str) -> None:
    """Serve the bare task queue until the process is ended."""
    client = await Client.connect(
        address, namespace=NAMESPACE, data_converter=pydantic_data_converter
    )
    await Worker(client, task_queue=QUEUE, workflows=[Bare], activities=[do_nothing]).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
