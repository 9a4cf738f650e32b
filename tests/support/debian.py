"""Servers that Debian has and the wheels have not. Where one is missing its tests are skipped."""

import shutil
from pathlib import Path

import pytest

POSTGRESQL_15 = Path("/usr/lib/postgresql/15/bin")


def postgresql_15() -> Path:
    """Return the directory of its programs."""
    if not (POSTGRESQL_15 / "postgres").exists():
        pytest.skip("PostgreSQL 15 is not installed (Debian: apt-get install postgresql-15)")
    return POSTGRESQL_15


def pgbouncer() -> str:
    """Return the path of the program."""
    found = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if found is None:
        pytest.skip("PgBouncer is not installed (Debian: apt-get install pgbouncer)")
    return found
