"""Start our own programs as forks of one process that has imported them.

Python takes seconds of processor time to import the API, the worker or the command: longer than
most tests take. A fork is a process like any other: its pid, parent, arguments, environment,
output and end are its own. It is a child of the process that asked for it.
"""

import asyncio
import ctypes
import json
import os
import signal
import socket
import subprocess
from asyncio import StreamReader
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Self

import pytest

from devstack import process
from devstack.process import ROOT, Program
from devstack.programs import python

MODULES = ("api", "worker", "cli", "devstack.providers")
STDOUT, STDERR = 1, 2
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Wanted:
    """A program to be: `python -m …` with this environment and no other."""

    arguments: Sequence[str]
    env: dict[str, str]
    parent: int
    orphan_signal: int
    own_session: bool

    def encoded(self) -> bytes:
        return json.dumps(asdict(self)).encode()


class Fork:
    """A child: what `asyncio.subprocess.Process` is, as far as tests and `devstack` use one."""

    def __init__(self, pid: int, stdout: StreamReader | None, stderr: StreamReader | None) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._pidfd = os.pidfd_open(pid)
        loop.add_reader(self._pidfd, self._reap)

    async def wait(self) -> int:
        status: int = await asyncio.shield(self._ended)
        return status

    async def communicate(self) -> tuple[bytes, bytes]:
        output, said, _ = await asyncio.gather(_all(self.stdout), _all(self.stderr), self.wait())
        return output, said

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set_result(self.returncode)

    def __del__(self) -> None:
        os.close(self._pidfd)


async def _all(stream: StreamReader | None) -> bytes:
    return b"" if stream is None else await stream.read()


class Forks:
    """The process that has imported them all. It starts when it is first needed."""

    def __init__(self) -> None:
        self._asked: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def end(self) -> None:
        if self._asked and self._process:
            self._asked.close()
            self._process.wait()

    async def run(
        self,
        command: Sequence[str],
        env: Mapping[str, str],
        *,
        stdout: int,
        stderr: int,
        orphan_signal: int = signal.SIGKILL,
        own_session: bool = False,
    ) -> Fork:
        """Run `python -m …` with this environment and no other.

        Where it writes to is a descriptor of ours, a PIPE or DEVNULL.
        """
        outputs = [await _Output.of(target) for target in (stdout, stderr)]
        wanted = Wanted(command[2:], dict(env), os.getpid(), int(orphan_signal), own_session)
        pid = self._fork(wanted.encoded(), [output.written for output in outputs])
        for output in outputs:
            output.is_given()
        return Fork(pid, *(output.stream for output in outputs))

    async def launch(self, program: Program, stdout: int | None) -> Process | Fork:
        """Start one of our own programs as a fork, and any other as `devstack` does."""
        if not is_ours(program.command):
            return await started(program, stdout)
        program.log.parent.mkdir(parents=True, exist_ok=True)
        with program.log.open("ab") as log:
            return await self.run(
                program.command,
                process.environment(program.env),
                stdout=log.fileno() if stdout is None else stdout,
                stderr=log.fileno(),
                orphan_signal=program.orphan_signal,
                own_session=True,
            )

    def _fork(self, wanted: bytes, descriptors: Sequence[int]) -> int:
        """Return the pid of a new child. Its parent has ended, and so it becomes ours."""
        asked = self._asked or self._start()
        _adopt_orphans(True)
        try:
            socket.send_fds(asked, [len(wanted).to_bytes(4, "big")], descriptors)
            asked.sendall(wanted)
            return int.from_bytes(_exactly(asked, 4), "big")
        finally:
            _adopt_orphans(False)

    def _start(self) -> socket.socket:
        self._asked, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*python("tests.support.fork_server"), str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
            )
        return self._asked


started = process._launch


def is_ours(command: Sequence[str]) -> bool:
    return command[:2] == python("")[:2] and command[2] in MODULES


FORKS = Forks()


@contextmanager
def forking() -> Iterator[None]:
    """Let `devstack` start our programs as forks in the meantime."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "_launch", FORKS.launch)
        yield
    FORKS.end()


class _Output:
    """Where a child writes to. The other end of a pipe is read here."""

    def __init__(self, written: int, stream: StreamReader | None, is_ours: bool) -> None:
        self.written = written
        self.stream = stream
        self._is_ours = is_ours

    @classmethod
    async def of(cls, target: int) -> Self:
        if target == DEVNULL:
            return cls(os.open(os.devnull, os.O_WRONLY), None, True)
        if target != PIPE:
            return cls(target, None, False)
        read, written = os.pipe()
        stream = StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(read, "rb")
        )
        return cls(written, stream, True)

    def is_given(self) -> None:
        if self._is_ours:
            os.close(self.written)


def _adopt_orphans(adopt: bool) -> None:
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, int(adopt), 0, 0, 0)


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        assert part, "the process that forks our programs has ended"
        received += part
    return received
