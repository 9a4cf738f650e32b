"""Run child programs: restart them when they die, and end them when this process ends."""

import asyncio
import os
import signal
import sys
import threading
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from devstack.errors import PortTaken, StackError
from devstack.ports import is_free

ROOT = Path(__file__).parents[1]
LAUNCHER = Path(__file__).with_name("launch.py")
# Variables of the user's shell that would configure our own programs, and must not reach them.
FOREIGN = ("PG", "TEMPORAL_", "STRIPE_", "VAPI_", "TWILIO_", "SLACK_", "DATABASE_", "API_")
READY_SECONDS = 30.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
HEALTHY_SECONDS = 10.0

Note = Callable[[str, str], None]


def silent(_name: str, _detail: str) -> None:
    """Do nothing with a note."""


@dataclass(frozen=True)
class Program:
    """A program to run, and how to end it."""

    name: str
    command: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[int, ...] = ()
    """The ports that it binds. If it does not start, one that is not free is the reason."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 5.0
    orphan_signal: signal.Signals = signal.SIGKILL
    """The signal that the kernel sends it when we die. Nothing of it may outlive us."""
    inherits: tuple[int, ...] = ()
    owned: Path | None = None
    """The directory that it must own, for a program that refuses to run as root."""


class Child:
    """A running program, which leads a process group of its own."""

    def __init__(self, program: Program, process: Process) -> None:
        self.program = program
        self._process = process

    @classmethod
    async def spawn(cls, program: Program) -> Self:
        """Start `program`. All its output goes to its log."""
        return cls(program, await _launch(program, stdout=None))

    @property
    def pid(self) -> int:
        """The pid of the program itself, for the launcher becomes the program by exec."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.returncode is None

    async def ended(self) -> str:
        """Wait until it has ended, and return its exit status or signal in words."""
        status = await self._process.wait()
        return f"signal {-status}" if status < 0 else f"exit status {status}"

    async def stop(self) -> None:
        """Send it its stop signal, and SIGKILL to its group if it takes too long."""
        if not self.is_alive:
            return
        self._process.send_signal(self.program.stop_signal)
        try:
            await asyncio.wait_for(self._process.wait(), self.program.stop_seconds)
        except TimeoutError:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            await self._process.wait()

    def failure(self, what: str) -> StackError:
        """Return the error for a program that did not start: a taken port, or the log's end."""
        taken = [port for port in self.program.ports if not is_free(port)]
        if taken and not self.is_alive:
            return PortTaken(taken[0])
        return StackError(
            f"{self.program.name} {what}; {self.program.log}:\n{tail(self.program.log)}"
        )


class Service:
    """A program that is kept running from `start` to `stop`."""

    def __init__(
        self,
        describe: Callable[[], Program],
        is_ready: Callable[[int], Awaitable[bool]],
        note: Note = silent,
    ) -> None:
        """Call `describe` before every start, then `is_ready` with the pid until it is true."""
        self._describe = describe
        self._is_ready = is_ready
        self._note = note
        self._child: Child | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The pid, or None while it does not run."""
        return self._child.pid if self._child and self._child.is_alive else None

    async def start(self) -> None:
        """Start it and wait until it is ready, at most 30 s.

        Raise PortTaken if another program has its port, StackError if it does not start.
        """
        async with AsyncExitStack() as undo:
            self._child = await Child.spawn(self._describe())
            undo.push_async_callback(self._child.stop)
            await self._until_ready(self._child)
            undo.pop_all()
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Stop it: by its stop signal, then by SIGKILL if it does not end in time."""
        if self._keeper:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._child:
            await self._child.stop()
            self._child = None

    async def _until_ready(self, child: Child) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not await self._is_ready(child.pid):
            if not child.is_alive:
                raise child.failure("ended while it started")
            if time.monotonic() > deadline:
                raise child.failure(f"is not ready after {READY_SECONDS:.0f} s")
            await asyncio.sleep(0.02)

    async def _keep(self) -> None:
        """Start it again whenever it dies: almost at once, then after pauses that double."""
        pause = FIRST_PAUSE
        while self._child:
            began = time.monotonic()
            status = await self._child.ended()
            if time.monotonic() - began > HEALTHY_SECONDS:
                pause = FIRST_PAUSE
            self._note(self._child.program.name, f"ended ({status}), starts again")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            self._child = await Child.spawn(self._describe())
            self._note(self._child.program.name, f"runs again, pid {self._child.pid}")


async def together(*starts: Awaitable[None]) -> None:
    """Wait for all. At the first failure cancel the others, wait until they end, and raise it."""
    tasks = [asyncio.ensure_future(start) for start in starts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def run(program: Program, seconds: float) -> str:
    """Run `program` to its end and return its standard output; its errors go to its log.

    Raise StackError if it fails or takes longer than `seconds`.
    """
    process = await _launch(program, stdout=PIPE)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds)
    except TimeoutError as error:
        raise StackError(f"{program.name} took more than {seconds:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise StackError(f"{program.name} failed; {program.log}:\n{tail(program.log)}")
    return output.decode()


async def _launch(program: Program, stdout: int | None) -> Process:
    """Start `program`, from the main thread only. Raise StackError in another thread.

    Linux sends the orphan signal when the thread that started a child ends, not the process.
    """
    if threading.current_thread() is not threading.main_thread():
        raise StackError("servers must be started from the main thread")
    program.log.parent.mkdir(parents=True, exist_ok=True)
    with program.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *launch_command(program),
            stdin=DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
            env=environment(program.env),
            cwd=ROOT,
            start_new_session=True,
            pass_fds=program.inherits,
        )


def launch_command(program: Program) -> tuple[str, ...]:
    """Return the command line of the launcher, which becomes `program`."""
    owned = str(program.owned) if program.owned else ""
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER))
    orphan = str(int(program.orphan_signal))
    return (*launcher, str(os.getpid()), orphan, owned, *program.command)


def environment(own: Mapping[str, str]) -> dict[str, str]:
    """Return the user's environment with `own`, but without what would configure our programs."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return {**inherited, **own}


def tail(log: Path) -> str:
    """Return the last lines of a log, for an error message."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-12:])
