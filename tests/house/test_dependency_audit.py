"""`make audit-dependencies` says what OSV knows, and says so where it cannot be asked."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.support import dependency_audit
from tests.support.api_process import NOBODY_LISTENS

KNOWN = {
    "id": "PYSEC-2020-1",
    "affected": [{"package": {"name": "badly", "ecosystem": "PyPI"}}],
    "summary": "it does what others want",
}


class Osv(BaseHTTPRequestHandler):
    """The database, as far as pip-audit asks it: one package and version a request."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = {"vulns": [KNOWN]} if asked["package"]["name"] == "badly" else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def osv() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Osv) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def lock(folder: Path, *names: str) -> str:
    file = folder / "requirements.lock"
    hashed = f" --hash=sha256:{'0' * 64}"
    file.write_text("".join(f"{name}==1.0{hashed}\n" for name in names))
    return str(file)


@pytest.mark.parametrize(("names", "status"), [(["well"], 0), (["well", "badly"], 1)])
def test_what_is_known_is_named_by_package_and_version(
    osv: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], names: list[str], status: int
) -> None:
    asked = ["--osv-url", osv, "--cache-dir", str(tmp_path)]
    assert dependency_audit.main(asked, [lock(tmp_path, *names)]) == status
    said = capsys.readouterr().out
    assert f"{len(names)} audited, {status} with vulnerabilities" in said
    assert ("badly 1.0: PYSEC-2020-1" in said) == bool(status)


def test_a_database_that_cannot_be_asked_is_no_clean_bill(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["--osv-url", f"http://{NOBODY_LISTENS}"]
    assert dependency_audit.main(nowhere, [lock(tmp_path, "well")]) == 2
    said = capsys.readouterr()
    assert "not audited, for the database of OSV does not answer" in said.err
    assert said.out == ""
