"""Replay one history with the code that is here: `python -m tests.replay.one FILE.json`.

The file is what `temporal workflow show --output json` writes, or *Download*, *Encoded* on a
workflow's page in the UI. The status is 0 if it replays, 1 if it does not, and 2 if the file is no
history.
"""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from google.protobuf.json_format import ParseError
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer

from worker import WORKFLOWS, sandbox
from workflows.shared.data_converter import DATA_CONVERTER

REPLAYS, DOES_NOT, NO_HISTORY = 0, 1, 2


class NoHistory(Exception):
    """The file does not hold a history that can be replayed."""


def replayer() -> Replayer:
    """Make what runs the worker's workflows on histories, in the worker's sandbox."""
    return Replayer(
        workflows=WORKFLOWS,
        workflow_runner=sandbox(),
        data_converter=DATA_CONVERTER,
        namespace="billing",
    )


def read_history(file: Path) -> WorkflowHistory:
    """Read a history under the id of its workflow; raise NoHistory."""
    try:
        history = WorkflowHistory.from_json(file.stem, file.read_text())
    except (OSError, ValueError, ParseError) as error:
        raise NoHistory(
            f"{error} (of the UI's downloads, only *Encoded* can be replayed)"
        ) from error
    if not history.events:
        raise NoHistory("it has no events")
    started = history.events[0].workflow_execution_started_event_attributes
    return replace(history, workflow_id=started.workflow_id or file.stem)


async def replay(file: Path) -> int:
    """Replay the history in a file, tell what came of it, and return the exit status."""
    try:
        history = read_history(file)
    except NoHistory as error:
        sys.stderr.write(f"{file} is no history: {error}\n")
        return NO_HISTORY
    started = history.events[0].workflow_execution_started_event_attributes
    what = f"{started.workflow_type.name} {history.workflow_id}"
    result = await replayer().replay_workflow(history, raise_on_replay_failure=False)
    if result.replay_failure is not None:
        sys.stderr.write(f"{what} does not replay: {result.replay_failure}\n")
        return DOES_NOT
    sys.stdout.write(f"{what} replays: {len(history.events)} events\n")
    return REPLAYS


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    status = asyncio.run(replay(Path(sys.argv[1])))
    sys.stdout.flush()
    # The SDK's threads are still there, and can crash an interpreter that is being torn down.
    os._exit(status)
