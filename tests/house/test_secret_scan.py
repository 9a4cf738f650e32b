"""`make check` finds secrets that somebody is about to commit, and writes down what we install."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from billing.organizations import KEY_PREFIX
from tests.support import secret_scan
from tests.support.repository import ROOT, ignored, read

# In pieces: this file is scanned as well.
PLANTED = {
    "stripe_live": "sk_" + "live_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "stripe_restricted": "rk_" + "test_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "stripe_signing": "whsec_" + "4eC39HqLyjWDarjtT1zdp7dc",
    "aws": "AKIA" + "IOSFODNN7EXAMPLF",
    "ours": f"{KEY_PREFIX}_" + "0123456789abcdef" + "_" + "A1b2-" * 8 + "C3d",
    "twilio": "AC" + "0" * 32 + ":" + "1" * 32,
    "slack": "https://hooks.slack.com/services/" + "T00000000/B00000000/" + "X" * 24,
    "database": "postgresql://callwallet:" + "hunter2" + "@db/callwallet",
    "private_key": "-----BEGIN " + "PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----",
}


@pytest.mark.parametrize("secret", PLANTED.values(), ids=PLANTED)
def test_a_planted_secret_is_found_by_its_line_and_not_shown(tmp_path: Path, secret: str) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(f"first line\nkey = '{secret}'\n")
    with pytest.raises(SystemExit) as ended:
        secret_scan.main([file])
    said = str(ended.value.code)
    assert re.fullmatch(rf"{file}:2: this looks like a secret \(.*\)", said), said
    assert secret not in said


def test_what_only_looks_like_one_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text(
        "sk_test_1 whsec_x AC0123456789abcdef0123456789abcdef cw_a_b\n"
        "postgresql://user:password@host/database --hash=sha256:" + "0" * 64
    )
    secret_scan.main([file])


def recipe(target: str) -> list[str]:
    """The commands of a target in the Makefile."""
    found = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)
    assert found, target
    return [line.strip("\t@") for line in found[1].replace("\\\n", "").splitlines()]


def test_make_check_scans_and_writes_the_bill_of_materials() -> None:
    assert "$(BIN)/python -m tests.support.secret_scan" in recipe("check")
    assert re.search(r"^check:.* sbom\b", read("Makefile"), re.MULTILINE)


def test_the_bill_of_materials_has_all_that_the_image_installs(tmp_path: Path) -> None:
    """And is not committed: it follows from the lock."""
    [command] = [one for one in recipe("sbom") if "cyclonedx_py" in one]
    written = tmp_path / "sbom.json"
    words = [
        str(written) if word == "build/sbom.json" else word.replace("$(BIN)/python", sys.executable)
        for word in shlex.split(command)
    ]
    assert ignored("build/sbom.json")
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    bill = json.loads(written.read_text())
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", read("requirements.lock"), re.MULTILINE))
    assert {one["name"]: one["version"] for one in bill["components"]} == locked
    assert bill["metadata"]["component"]["name"] == "callwallet"
