"""Become another program that ends when its parent does: a script that `process` runs.

It does what is to be done between fork and exec. In a process with threads no Python code may run
there (`preexec_fn` can deadlock), so this is a program of its own. It imports the standard library
only, and starts in 10 ms.
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

NOBODY = 65534
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG = 1
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def main(arguments: list[str]) -> None:
    """Read PARENT_PID ORPHAN_SIGNAL OWNED_DIRECTORY|'' PROGRAM [ARGUMENT …], and become PROGRAM."""
    parent, orphan_signal, owned, *command = arguments
    if owned and os.geteuid() == 0:
        leave_root(Path(owned), Path(command[0]))
    end_with_parent(int(parent), int(orphan_signal))
    os.execv(command[0], command)  # noqa: S606


def end_with_parent(parent: int, orphan_signal: int) -> None:
    """Ask the kernel to send us `orphan_signal` when the parent dies, even by SIGKILL.

    A change of user clears this request, so it comes last. If the parent has died before it, the
    kernel would never send the signal. Another process is our parent by then, which shows it.
    """
    if sys.platform != "linux":
        return
    libc().prctl(PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0)
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGKILL)


def leave_root(owned: Path, program: Path) -> None:
    """Stop being root, for PostgreSQL refuses to run as root, and keep access to `owned`.

    In a user namespace of our own, root appears as nobody, and the files stay root's. A container
    may forbid namespaces, or directories of other users may lie on the path. Then we become nobody
    and give nobody the files. They are no longer root's, so every later start does the same.
    """
    if _succeeds_in_a_fork(owned, program):
        _enter_user_namespace()
    else:
        _give_to_nobody(owned)
        _become_nobody()


def libc() -> ctypes.CDLL:
    """Return the C library of this process, for Python 3.11 has neither unshare nor prctl."""
    return ctypes.CDLL(None, use_errno=True)


def _succeeds_in_a_fork(owned: Path, program: Path) -> bool:
    """Return whether a user namespace is possible, and both paths are reachable from it.

    A child process tries it, so that a failure leaves this one as it is.
    """
    child = os.fork()
    if child == 0:
        reachable = False
        try:
            _enter_user_namespace()
            reachable = os.access(owned, os.W_OK | os.X_OK) and os.access(program, os.X_OK)
        finally:
            os._exit(0 if reachable else 1)
    return os.waitpid(child, 0)[1] == 0


def _enter_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    if libc().unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{NOBODY} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{NOBODY} {gid} 1")


def _become_nobody() -> None:
    """Become nobody, but keep the capability to enter directories that only root may enter."""
    libc().prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    wanted = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Effective, permitted and inheritable; then the same three for the capabilities above 31.
    data = (ctypes.c_uint32 * 6)(wanted, wanted, wanted, 0, 0, 0)
    if libc().capset(header, data) == 0:
        libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def _give_to_nobody(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        if path.lstat().st_uid != NOBODY:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


if __name__ == "__main__":
    main(sys.argv[1:])
