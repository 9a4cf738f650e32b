"""An event is one line of the log, whoever has written what is in it; with LOG_JSON it is JSON."""

import json
import sys
from asyncio import create_subprocess_exec
from asyncio.subprocess import PIPE

import pytest

from devstack.process import ROOT, environment

# What a sender, a library and a bug may say: a line that looks like another, and an escape.
FORGED = "it is\\n2026-01-01 00:00:00 [info] paid \\x1b[2J \\u202e"
PROGRAM = f"""
import logging, threading, warnings, structlog, logs
logs.set_up("info", as_json={{as_json}})
structlog.get_logger().info("ours: {FORGED}", name="{FORGED}")
logging.getLogger("uvicorn.error").info("theirs: %s", "{FORGED}")
try:
    raise ValueError("{FORGED}")
except ValueError:
    structlog.get_logger().exception("ours failed")
    logging.getLogger("asyncio").exception("theirs failed")
warnings.warn("old", DeprecationWarning, stacklevel=1)


def fail() -> None:
    raise ValueError("{FORGED}")


class Failing:
    def __del__(self) -> None:
        fail()


thread = threading.Thread(target=fail)
thread.start()
thread.join()
failing = Failing()
del failing
"""
# Everything that its core and its networking say, of a server that is not there.
TEMPORAL = """
import asyncio, logging, logs
from dataclasses import replace
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig, TelemetryFilter
logs.set_up("info", as_json=True)
logging.getLogger("temporalio").setLevel(1)
levels = TelemetryFilter(core_level="TRACE", other_level="TRACE")
everything = replace(logs.of_temporal(), filter=levels)
runtime = Runtime(telemetry=TelemetryConfig(logging=everything))


async def main() -> None:
    try:
        await Client.connect("127.0.0.1:9", runtime=runtime)
    except RuntimeError:
        await asyncio.sleep(0.2)


asyncio.run(main())
"""


async def said_by(program: str, status: int = 0) -> list[str]:
    """Run a program in a process of its own; return the lines that it logs."""
    process = await create_subprocess_exec(
        *(sys.executable, "-W", "always", "-c", program),
        cwd=ROOT,
        env=environment({"NO_COLOR": "1"}),
        stdout=PIPE,
        stderr=PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == status, errors.decode()
    return (output + errors).decode().splitlines()


async def test_with_log_json_every_line_is_json() -> None:
    program = PROGRAM.format(as_json=True) + "raise SystemError('a bug')"
    lines = [json.loads(line) for line in await said_by(program, status=1)]
    assert {line["level"] for line in lines} == {"info", "error", "warning", "critical"}
    failed = [line for line in lines if "exception" in line]
    assert len(failed) == 5
    assert all("Traceback" in line["exception"] for line in failed)
    [ours] = [line for line in lines if line["event"].startswith("ours: ")]
    [theirs] = [line for line in lines if line["event"].startswith("theirs: ")]
    assert ours["name"] in theirs["event"]
    assert all(line["timestamp"] for line in lines)


async def test_temporal_s_core_says_json_too() -> None:
    lines = [json.loads(line) for line in await said_by(TEMPORAL)]
    assert {line["logger"].split(".")[0] for line in lines} >= {"temporalio"}
    assert all(line["event"] and line["level"] for line in lines)


async def test_for_people_what_others_have_written_begins_no_line_of_its_own() -> None:
    lines = await said_by(PROGRAM.format(as_json=False))
    told = [line for line in lines if "ours: " in line or "theirs: " in line]
    assert len(told) == 2
    for line in told:
        assert r"it is\n2026-01-01 00:00:00 [info] paid \x1b[2J \u202e" in line
        assert "\x1b[2J" not in line


@pytest.mark.parametrize("as_json", [True, False])
async def test_what_keeps_a_process_from_starting_is_one_line(*, as_json: bool) -> None:
    program = f"import logs\nlogs.set_up('info', as_json={as_json})\nlogs.end('no such schema')"
    [line] = await said_by(program, status=1)
    assert "it does not start: no such schema" in line
