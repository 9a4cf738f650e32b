"""The process that `forks` asks: it imports our programs once, and forks one for each request."""

import gc
import json
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Sequence

# What takes so long.
import worker  # noqa: F401
from devstack.launch import end_with_parent
from tests.support.forks import STDERR, STDOUT, Wanted


def main(asked: socket.socket) -> None:
    """Serve until who asks has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is there now is garbage to nobody: a fork would copy it all to find that out at its end.
    gc.collect()
    gc.freeze()
    while True:
        length, outputs, _, _ = socket.recv_fds(asked, 4, 2)
        if not length:
            return
        size = int.from_bytes(length, "big")
        wanted = Wanted(**json.loads(asked.recv(size, socket.MSG_WAITALL)))
        told, tell = os.pipe()
        between = os.fork()
        if between == 0:
            pid = os.fork()
            if pid == 0:
                asked.close()
                os.closerange(told, tell + 1)
                be(wanted, outputs)
                return
            os.write(tell, pid.to_bytes(4, "big"))
            os._exit(0)
        os.waitpid(between, 0)
        asked.sendall(os.read(told, 4))
        for descriptor in (told, tell, *outputs):
            os.close(descriptor)


def be(wanted: Wanted, outputs: Sequence[int]) -> None:
    """Become the program, once who asked for it has become our parent."""
    while os.getppid() != wanted.parent:
        time.sleep(0.0005)
    end_with_parent(wanted.parent, wanted.orphan_signal)
    if wanted.own_session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for output, number in zip(outputs, (STDOUT, STDERR), strict=True):
        os.dup2(output, number)
        os.close(output)
    os.environ.clear()
    os.environ.update(wanted.env)
    module, *sys.argv[1:] = wanted.arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
