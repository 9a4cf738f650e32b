"""What browsers are told about every answer, whoever has answered."""

import asyncio
import re

import httpx
import pytest

from api.http.security_headers import PAGES
from tests.support.api_server import Api

EXPECTED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
}
FOR_DATA = "default-src 'none'; frame-ancestors 'none'"


def has_them(headers: httpx.Headers) -> None:
    assert {name: headers.get(name) for name in EXPECTED} == EXPECTED
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/organizations", 200),
        ("GET", "/v1/reconciliations/nothing", 404),
        ("GET", "/nothing", 404),
        ("PATCH", "/v1/organizations", 405),
        ("POST", "/v1/organizations", 422),
        ("POST", "/webhooks/vapi", 401),
        ("GET", "/webhooks/vapi", 405),
        ("GET", "/health", 200),
        ("GET", "/health/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
    ],
)
async def test_every_answer_is_data_that_nobody_shows_or_keeps(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = await api.operator.request(method, path)
    assert answer.status_code == status
    has_them(answer.headers)
    assert answer.headers["content-security-policy"] == FOR_DATA
    assert answer.headers["cache-control"] == "no-store"


async def test_a_defect_has_them_too(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail() -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(api.app.state.services.observer, "health", fail)
    answer = await api.anonymous.get("/health")
    assert answer.status_code == 500
    has_them(answer.headers)


async def test_what_is_no_http_has_them_too(api: Api) -> None:
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"hello\r\n\r\n")
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    writer.close()
    has_them(httpx.Headers([line.split(": ", 1) for line in head.splitlines()[1:-1]]))  # type: ignore[arg-type]


@pytest.mark.parametrize("path", PAGES)
async def test_pages_of_the_documentation_may_get_all_that_they_name(api: Api, path: str) -> None:
    answer = await api.anonymous.get(path)
    has_them(answer.headers)
    directives = (
        one.split(" ", 1) for one in answer.headers["content-security-policy"].split("; ")
    )
    policy = {name: sources.split() for name, sources in directives}
    page = answer.text
    wanted = {
        "script-src": re.findall(r'<script[^>]* src="([^"]+)"', page),
        "style-src": re.findall(r'<link[^>]* href="([^"]+)"[^>]*rel="stylesheet"', page)
        + re.findall(r'<link[^>]* rel="stylesheet"[^>]* href="([^"]+)"', page)
        + re.findall(r'<link href="([^"]+)" rel="stylesheet"', page),
        "img-src": re.findall(r'<link rel="shortcut icon" href="([^"]+)"', page),
    }
    assert wanted["script-src"]
    for directive, addresses in wanted.items():
        for address in addresses:
            origin = "/".join(address.split("/")[:3])
            assert origin in policy[directive], address
    if re.search(r"<script>\s*\S", page):
        assert "'unsafe-inline'" in policy["script-src"]
    assert policy["connect-src"] == ["'self'"]
