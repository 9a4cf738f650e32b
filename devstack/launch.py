"""Become another program that ends when its parent does; a script, run by `process.spawn`.

It stands between fork and exec because Python code may not run there in a process with threads
(`preexec_fn` can deadlock). It imports the standard library only and starts in 10 ms.
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
    """PARENT_PID ORPHAN_SIGNAL OWNED_DIRECTORY|'' PROGRAM [ARGUMENT …]."""
    parent, orphan_signal, owned, *command = arguments
    if owned and os.geteuid() == 0:
        leave_root(Path(owned), Path(command[0]))
    end_with_parent(int(parent), int(orphan_signal))
    os.execv(command[0], command)  # noqa: S606


def end_with_parent(parent: int, orphan_signal: int) -> None:
    """Ask the kernel for `orphan_signal` at the parent's death, even of a SIGKILL.

    A change of credentials clears the wish, so this comes last. The parent may have died before
    it: then nobody would ever signal, and another process is our parent by now.
    """
    if sys.platform != "linux":
        return
    libc().prctl(PR_SET_PDEATHSIG, orphan_signal, 0, 0, 0)
    if os.getppid() != parent:
        signal.raise_signal(signal.SIGKILL)


def leave_root(owned: Path, program: Path) -> None:
    """Stop being root, which PostgreSQL refuses to be, and keep access to `owned`.

    In a user namespace of our own root looks like nobody, and the files stay root's. Where a
    container forbids namespaces, or other users' directories lie on the way, we become nobody
    and give it the files; from then on they are not root's, and every start goes this way.
    """
    if _succeeds_in_a_fork(owned, program):
        _enter_user_namespace()
    else:
        _give_to_nobody(owned)
        _become_nobody()


def libc() -> ctypes.CDLL:
    """The C library of this process (Python 3.11 has neither unshare nor prctl)."""
    return ctypes.CDLL(None, use_errno=True)


def _succeeds_in_a_fork(owned: Path, program: Path) -> bool:
    """Whether a user namespace can be had and reach both paths; tried where it costs nothing."""
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
    """Change to nobody, keeping the one capability that opens directories only root can enter."""
    libc().prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    wanted = 1 << CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # effective, permitted, inheritable; then the same for capabilities above 31
    data = (ctypes.c_uint32 * 6)(wanted, wanted, wanted, 0, 0, 0)
    if libc().capset(header, data) == 0:
        libc().prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


def _give_to_nobody(directory: Path) -> None:
    for path in (directory, *directory.rglob("*")):
        if path.lstat().st_uid != NOBODY:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


if __name__ == "__main__":
    main(sys.argv[1:])
