"""`callwallet`, many times: a process that has imported it forks one for each that is typed.

Python takes a second to import it, which is longer than most tests take. A fork is a process like
any other: its arguments, environment, output and end are its own.
"""

import gc
import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import cli  # noqa: F401  (what takes so long)


def main(path: Path) -> None:
    """Serve at a socket: each connection asks for one command, and hears how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # What is there now is garbage to nobody: a fork would copy it all to find that out at its end.
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    attend(connection)
                    return


def attend(connection: socket.socket) -> None:
    """Run what a connection asks for in a fork, wait for its end, and tell of it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rw") as asked, TemporaryFile() as output, TemporaryFile() as said:
        typed = json.loads(asked.readline())
        pid = os.fork()
        if pid == 0:
            run(typed, output, said)
            return
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        said.seek(0)
        told = {
            "status": os.waitstatus_to_exitcode(status),
            "output": output.read().decode(),
            "said": said.read().decode(),
        }
        asked.write(json.dumps(told))


def run(typed: dict[str, Any], output: IO[bytes], said: IO[bytes]) -> None:
    """Be `python -m cli`, with these arguments and this environment and no other."""
    os.dup2(output.fileno(), sys.stdout.fileno())
    os.dup2(said.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(typed["env"])
    sys.argv[1:] = typed["arguments"]
    runpy.run_module("cli", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
