"""The OpenAPI document: what it promises, held against the running API by machine."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import jsonschema_rs
import pytest

from api.dependencies import LARGEST_REQUEST
from api.webhooks.exchange import LARGEST_BODY
from tests.support.answers import problem
from tests.support.api_server import Api
from tests.support.factories import an_organization, unique
from tests.support.signed_webhooks import VAPI_SECRETS

OPEN = {
    "/webhooks/stripe", "/webhooks/vapi", "/webhooks/twilio/sms-status",
    "/health", "/health/ready",
}  # fmt: skip


@pytest.fixture(scope="module")
async def document(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.anonymous.get("/openapi.json")).json()
    return found


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every operation by its method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_every_operation_says_what_it_does(operations: dict[str, dict[str, Any]]) -> None:
    silent = [
        name
        for name, operation in operations.items()
        if not (operation.get("summary") and operation.get("description") and operation["tags"])
    ]
    assert silent == []


def test_only_webhooks_and_health_are_open(operations: dict[str, dict[str, Any]]) -> None:
    is_open = {name.split()[1] for name, operation in operations.items()
               if not operation.get("security")}  # fmt: skip
    assert is_open == OPEN


async def test_whatever_declares_security_has_it(
    api: Api, operations: dict[str, dict[str, Any]]
) -> None:
    """A body that is no body: who is not let in is not told what is wrong with it."""
    for name, operation in operations.items():
        method, path = name.split()
        if operation.get("security"):
            answer = await api.anonymous.request(method, path.format_map(AnyId()), json={})
            assert answer.status_code in (401, 422), name
            if answer.status_code == 401:
                problem(answer, 401, "unauthorized")


class AnyId(dict[str, str]):
    def __missing__(self, name: str) -> str:
        return "some-id"


def request_bodies(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], list[Any]]]:
    """The name, schema and examples of each body that is sent."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "requestBody" in operation:
                [content] = operation["requestBody"]["content"].values()
                schema = resolved(document, content["schema"])
                examples = [*schema.get("examples", []), *_named(content), *_single(content)]
                yield f"{method} {path}", content["schema"], examples


def _named(content: dict[str, Any]) -> list[Any]:
    return [named["value"] for named in content.get("examples", {}).values()]


def _single(content: dict[str, Any]) -> list[Any]:
    return [content["example"]] if "example" in content else []


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def test_every_request_body_has_examples_that_are_valid(document: dict[str, Any]) -> None:
    bodies = list(request_bodies(document))
    assert len(bodies) >= 7
    for name, schema, examples in bodies:
        assert examples, name
        validator = jsonschema_rs.validator_for({**schema, "components": document["components"]})
        for example in examples:
            validator.validate(example)


def test_every_error_is_documented_as_a_problem(operations: dict[str, dict[str, Any]]) -> None:
    for name, operation in operations.items():
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")) and not name.startswith("GET /health"):
                [media_type] = response["content"]
                assert media_type == "application/problem+json", (name, status)


def test_every_closed_operation_documents_what_a_key_may_meet(
    operations: dict[str, dict[str, Any]],
) -> None:
    for name, operation in operations.items():
        if operation.get("security"):
            assert {"401", "429", "503"} <= operation["responses"].keys(), name
        if "requestBody" in operation:
            assert {"400", "413"} <= operation["responses"].keys(), name


async def test_problems_have_stable_codes(api: Api) -> None:
    operator, anonymous = api.operator, api.anonymous
    json = {"content-type": "application/json"}
    problem(await operator.post("/v1/api-keys", content=b"{", headers=json), 400, "malformed")
    problem(await operator.post("/v1/api-keys", content=b'"\xff"', headers=json), 400, "malformed")
    problem(await anonymous.get("/v1/organizations"), 401, "unauthorized")
    problem(await operator.get("/nothing/here"), 404, "not_found")
    for answer in (
        await operator.patch("/v1/organizations"),
        await anonymous.get("/webhooks/vapi"),
    ):
        problem(answer, 405, "method_not_allowed")
        assert answer.headers["allow"]


async def test_a_method_that_no_path_knows_is_a_problem_everywhere(
    api: Api, document: dict[str, Any]
) -> None:
    for path, methods in document["paths"].items():
        answer = await api.operator.patch(path.format_map(AnyId()))
        problem(answer, 405, "method_not_allowed")
        # The id of a process may have slashes: it ends wherever its path ends.
        others = {"GET"} if path.startswith("/v1/parked/{workflow_id}/") else set()
        expected = {method.upper() for method in methods} | others
        assert set(answer.headers["allow"].split(", ")) == expected, path


async def test_a_body_that_is_too_large_is_a_problem_everywhere(
    api: Api, operations: dict[str, dict[str, Any]]
) -> None:
    """With a key, and for a webhook with a good credential, which comes first."""
    large = b" " * (8 * LARGEST_BODY + 1)
    for name, operation in operations.items():
        method, path = name.split()
        if "requestBody" in operation:
            [media_type] = operation["requestBody"]["content"]
            headers = {"content-type": media_type, "idempotency-key": unique("key")}
            if path.startswith("/webhooks/"):
                headers["authorization"] = f"Bearer {VAPI_SECRETS[0].decode()}"
            url = path.format_map(AnyId())
            sent = large if path.startswith("/webhooks/") else large[: LARGEST_REQUEST + 1]
            answer = await api.operator.request(method, url, content=sent, headers=headers)
            problem(answer, 413, "too_large")


async def test_a_body_that_is_too_large_is_a_problem_however_it_is_sent(api: Api) -> None:
    large = b"x" * (LARGEST_BODY + 1)

    async def chunks() -> AsyncIterator[bytes]:
        yield large[:10]
        yield large[10:]

    headers = {"content-type": "application/json"}
    for content in (large, chunks()):
        answer = await api.operator.post("/v1/organizations", content=content, headers=headers)
        problem(answer, 413, "too_large")


@pytest.mark.parametrize(
    "body",
    [b'{"label": "\\ud800"}', b'{"\\ud800": 1, "label": "x"}', b'{"label": "\\u0000"}',
     b'{"label": "x", "org_id": "\\u0000"}', b'{"label": NaN}', b"[]", b"null"],
)  # fmt: skip
async def test_a_body_that_cannot_be_stored_is_invalid(api: Api, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.operator.post("/v1/api-keys", content=body, headers=headers)
    problem(answer, 422, "invalid")


# Where people write, and where there are amounts.
TEXTS: dict[str, tuple[str, dict[str, Any]]] = {
    "name": ("/v1/organizations", {"currency": "gbp"}),
    "label": ("/v1/api-keys", {}),
    "reason": ("/v1/organizations/{org_id}/frozen", {}),
    "note": ("/v1/bulk-decisions", {"verdict": "discard", "reason": "fault"}),
    "actor": (
        "/v1/organizations/{org_id}/adjustments",
        {"direction": "credit", "amount_minor": 1, "currency": "gbp", "reason": "a test"},
    ),
}
AMOUNTS: dict[str, tuple[str, dict[str, Any]]] = {
    "debt_limit_minor": ("/v1/organizations", {"name": "Acme", "currency": "gbp"}),
    "amount_minor": (
        "/v1/organizations/{org_id}/adjustments",
        {"direction": "credit", "currency": "gbp", "reason": "a test"},
    ),
    "duration_seconds": ("/v1/quotes", {"org_id": "acme"}),
    "rate_minor_per_minute": (
        "/v1/tariffs",
        {
            "tariff_id": "a-test", "currency": "gbp", "fx_rate": 1, "wallet_currency": "gbp",
            "effective_from": "2050-01-01T00:00:00Z",
        },
    ),
    "threshold_minor": ("/v1/organizations/{org_id}/auto-recharge", {"enabled": False}),
}  # fmt: skip


async def refused(api: Api, path: str, body: dict[str, Any], name: str) -> None:
    """Send a body that has something wrong in the one field of this name."""
    path = path.format(org_id=await an_organization(api.engine))
    method = "PUT" if path.endswith(("frozen", "auto-recharge")) else "POST"
    key = {"Idempotency-Key": unique("key")}
    found = await api.operator.request(method, path, json=body, headers=key)
    assert [one["at"] for one in problem(found, 422, "invalid")["errors"]] == [f"body.{name}"]


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("hidden", ["\n", "\x1b[2J", "\u202e", "\u200b"])
async def test_a_text_that_does_not_show_what_it_says_is_refused(
    api: Api, name: str, hidden: str
) -> None:
    path, body = TEXTS[name]
    await refused(api, path, body | {name: f"Acme{hidden}Ltd"}, name)


@pytest.mark.parametrize("name", AMOUNTS)
@pytest.mark.parametrize("written", [True, "1_000"])
async def test_types_are_strict(api: Api, name: str, written: object) -> None:
    path, body = AMOUNTS[name]
    await refused(api, path, body | {name: written}, name)


@pytest.mark.parametrize("path", ["organizations/%00/wallet", "calls/%00", "organizations/%ff",
                                  "organizations?cursor=%00", "api-keys?cursor=%00",
                                  "reconciliations/%00", "reconciliations?org_id=%00"])  # fmt: skip
async def test_an_id_that_cannot_be_is_invalid(api: Api, path: str) -> None:
    problem(await api.operator.get(f"/v1/{path}"), 422, "invalid")
