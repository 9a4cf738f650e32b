"""Ask OSV whether what we install has known vulnerabilities: `make audit-dependencies`.

Nothing of that works offline, and a mirror of PyPI answers that it knows of none. So this asks one
database, and says so where it cannot. Status 1: there are some. Status 2: it is not known.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from tests.support.repository import ROOT

LOCKS = ("requirements.lock", "requirements-dev.lock")
VULNERABLE, UNKNOWN = 1, 2
GIVE_UP_SECONDS = 600


def main(arguments: Sequence[str], locks: Sequence[str] = LOCKS) -> int:
    """Audit the locks, with more arguments for pip-audit; tell the person, return the status."""
    status = 0
    for lock in locks:
        audited = _asked(lock, arguments)
        if audited is None or any("vulns" not in one for one in audited):
            sys.stderr.write(f"{lock}: not audited, for the database of OSV does not answer.\n")
            return UNKNOWN
        bad = [one for one in audited if one["vulns"]]
        for one in bad:
            ids = ", ".join(vulnerability["id"] for vulnerability in one["vulns"])
            sys.stdout.write(f"{lock}: {one['name']} {one['version']}: {ids}\n")
        sys.stdout.write(f"{lock}: {len(audited)} audited, {len(bad)} with vulnerabilities\n")
        status = max(status, VULNERABLE if bad else 0)
    return status


def _asked(lock: str, arguments: Sequence[str]) -> list[dict[str, Any]] | None:
    """Return what is known of each package; None if nobody could be asked."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", lock, "--require-hashes"]
    command += ["--disable-pip", "--vulnerability-service", "osv", "--format", "json"]
    answer = subprocess.run(
        [*command, "--progress-spinner", "off", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=GIVE_UP_SECONDS,
    )  # fmt: skip
    try:
        audited: list[dict[str, Any]] = json.loads(answer.stdout)["dependencies"]
    except json.JSONDecodeError:
        return None
    return audited


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
