"""Version 0.1 as it was, out of this repository's history: its API, worker and command."""

import io
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from devstack import programs
from devstack.postgres import EmbeddedPostgres
from tests.support.repository import ROOT

# The last commit of version 0.1. Its migrations end with 0015.
COMMIT = "0b99be2"
LAST_MIGRATION = "0015"
_RUN = """
import runpy, sys
tree, module = sys.argv[1:3]
sys.path.insert(0, tree)
sys.argv[1:3] = []
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""


def check_out(into: Path) -> Path:
    """Write version 0.1 into a directory; skip the test where the history does not reach it."""
    archive = subprocess.run(
        ["git", "-C", ROOT, "archive", COMMIT], capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"the history of this clone does not reach version 0.1 ({COMMIT})")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tree:
        tree.extractall(into, filter="data")
    return into


@contextmanager
def run_from(tree: Path) -> Iterator[None]:
    """Let whatever of ours is started in the meantime be of that version; not the stand-ins."""
    today = programs.python

    def of_that_version(module: str, *arguments: str) -> tuple[str, ...]:
        if module.startswith("devstack"):
            return today(module, *arguments)
        # It has those tariffs in its migrations, and no such option.
        known = (one for one in arguments if one != "--example-tariffs")
        return (sys.executable, "-c", _RUN, str(tree), module, *known)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(programs, "python", of_that_version)
        # There, each process had to be told everything.
        patch.setattr(programs, "told", lambda _, everything: dict(everything))
        # It knew one role.
        patch.setattr(EmbeddedPostgres, "service_url", EmbeddedPostgres.url)
        yield
