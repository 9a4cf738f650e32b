"""Who shows no good key gives no work: the key is looked at before the body is read."""

import asyncio
import json
from typing import Any

import pytest

from api.dependencies import Key, KeyFirst
from api.http.problems import MOST_ERRORS
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import unique

NOBODYS = "Bearer cw_0123456789abcdef_nobodys"
KIB = 1024


async def answer_to_the_head_alone(api: Api, method: str, path: str, authorization: str) -> str:
    """Promise a body and never send it; return the status of the answer."""
    host, _, port = api.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {authorization}\r\n"
        "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n".encode()
    )
    try:
        async with asyncio.timeout(120):
            head = await reader.readuntil(b"\r\n")
    finally:
        writer.close()
    return head.decode().split(" ")[1]


async def operations_with_a_body(api: Api) -> list[tuple[str, str]]:
    document = (await api.anonymous.get("/openapi.json")).json()
    return [
        (method.upper(), path.format_map(AnId()))
        for path, operations in document["paths"].items()
        if path.startswith("/v1/")
        for method, operation in operations.items()
        if "requestBody" in operation
    ]


class AnId(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "an-id"


@pytest.mark.parametrize("authorization", ["", NOBODYS, "Basic abc"])
async def test_who_has_no_key_is_told_so_before_the_body_comes(
    api: Api, authorization: str
) -> None:
    operations = await operations_with_a_body(api)
    assert len(operations) >= 15
    for method, path in operations:
        told = await answer_to_the_head_alone(api, method, path, authorization)
        assert told == "401", (method, path)


def test_a_route_that_does_not_say_which_keys_it_lets_in_cannot_be_made() -> None:
    async def answer(_: Key) -> None: ...

    with pytest.raises(ValueError, match="/nobody does not say which keys it lets in"):
        KeyFirst("/nobody", answer)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "in chunks"])
async def test_a_request_has_64_kib_at_most(api: Api, declared: bool) -> None:
    body = json.dumps({"label": "x" * 64 * KIB}).encode()

    async def chunks() -> Any:
        for start in range(0, len(body), KIB):
            yield body[start : start + KIB]

    headers = {"content-type": "application/json"}
    content = body if declared else chunks()
    answer = await api.operator.post("/v1/api-keys", content=content, headers=headers)
    assert answer.status_code == 413
    problem(answer, 413, "too_large")


async def test_of_many_mistakes_the_first_are_told_and_the_others_counted(api: Api) -> None:
    wrong = {unique("field"): 1 for _ in range(400)}
    answer = await api.operator.post("/v1/api-keys", json={"label": "x", **wrong})
    told = problem(answer, 422, "invalid")
    assert len(told["errors"]) == MOST_ERRORS
    assert told["detail"].endswith(f"; and {400 - MOST_ERRORS} more")


@pytest.mark.parametrize(
    "many",
    [{f"f{number}": 1 for number in range(600)}, {"f": [0] * 600}, {"f": [[[0]] * 200] * 3}],
    ids=["fields", "a list", "lists in lists"],
)
async def test_a_body_of_very_many_values_is_looked_at_no_further(
    api: Api, many: dict[str, Any]
) -> None:
    """Each of them could be wrong, and would have to be told so."""
    answer = await api.operator.post("/v1/api-keys", json={"label": "x", **many})
    problem(answer, 413, "too_large")


async def test_a_mistake_with_a_long_name_is_told_in_short(api: Api) -> None:
    answer = await api.operator.post("/v1/api-keys", json={"label": "x", "y" * 30 * KIB: 1})
    problem(answer, 422, "invalid")
    assert len(answer.content) < 2 * KIB
