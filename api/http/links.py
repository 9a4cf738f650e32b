"""The links of the OpenAPI document: where an answer leads on.

They follow from names. The next page of a list is the same list, with another cursor; whatever was
made leads to all that has its id in the path, and a list to the first of what it lists.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Links = dict[str, dict[str, Any]]
_MADE = frozenset({"201", "202"})
_CURSOR = "next_cursor"
# Where else an answer may have what a path calls by its name.
_ELSEWHERE = {
    "call_id": "call/call_id",
    "entry": "entry_id",
    "key_id": "api_key/key_id",
    "sender_id": "agent_id",
}


@dataclass(frozen=True, slots=True)
class _Operation:
    method: str
    path: str
    definition: dict[str, Any]

    def parameters(self, where: str) -> list[str]:
        """Return the names of the parameters that are in the path, or in the query."""
        given = self.definition.get("parameters", [])
        return [one["name"] for one in given if one["in"] == where]


def add_links(document: dict[str, Any]) -> None:
    """Add to each good answer where it leads."""
    operations = [
        _Operation(method, path, definition)
        for path, methods in document["paths"].items()
        for method, definition in methods.items()
    ]
    for source in operations:
        for status, response in source.definition["responses"].items():
            links = _links(document, operations, source, status, response)
            if links:
                response["links"] = links


def _links(
    document: dict[str, Any],
    operations: list[_Operation],
    source: _Operation,
    status: str,
    response: dict[str, Any],
) -> Links:
    schema = response.get("content", {}).get("application/json", {}).get("schema", {})
    if not status.startswith("2") or not schema:
        return {}
    links: Links = {}
    if source.method == "post" and status in _MADE:
        made = [one for one in operations if one is not source]
        links |= dict(_leads_to(document, source, made, schema, ""))
    if _has(document, schema, "items/0"):
        listed = [one for one in operations if _is_one_of(one, source)]
        links |= dict(_leads_to(document, source, listed, schema, "items/0/"))
    if "cursor" in source.parameters("query") and _has(document, schema, _CURSOR):
        links["next_page"] = _next_page(source)
    return links


def _next_page(source: _Operation) -> dict[str, Any]:
    same = {
        name: f"$request.{where}.{name}"
        for where in ("path", "query")
        for name in source.parameters(where)
    }
    return {
        "operationId": source.definition["operationId"],
        "parameters": {**same, "cursor": f"$response.body#/{_CURSOR}"},
        "description": f"The next page, unless `{_CURSOR}` is null",
    }


def _is_one_of(target: _Operation, source: _Operation) -> bool:
    """Whether a target reads one of what a source lists: the noun before its id is the list's."""
    collection, _, last = target.path.rpartition("/")
    noun = source.path.rpartition("/")[2]
    return target.method == "get" and last.startswith("{") and collection == f"/v1/{noun}"


def _leads_to(
    document: dict[str, Any],
    source: _Operation,
    targets: list[_Operation],
    schema: dict[str, Any],
    prefix: str,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the links to those targets whose path needs an id that only the answer has."""
    given = source.parameters("path")
    for target in targets:
        needed = target.parameters("path")
        found = {
            name: f"$response.body#/{pointer}"
            for name in needed
            if name not in given and (pointer := _pointer(document, schema, prefix, name))
        }
        kept = {name: f"$request.path.{name}" for name in needed if name in given}
        if kept and not target.path.startswith(source.path):
            continue  # its neighbour: what one calls an id the other may call so, too
        if found and found.keys() | kept.keys() == set(needed):
            operation = target.definition["operationId"]
            yield (
                operation,
                {
                    "operationId": operation,
                    "parameters": {**kept, **found},
                    "description": target.definition["summary"],
                },
            )


def _pointer(document: dict[str, Any], schema: dict[str, Any], prefix: str, name: str) -> str:
    """Return where an answer has what a path calls by this name; nothing if nowhere."""
    pointers = [prefix + one for one in (name, _ELSEWHERE.get(name, name))]
    return next((one for one in pointers if _has(document, schema, one)), "")


def _has(document: dict[str, Any], schema: dict[str, Any], pointer: str) -> bool:
    """Whether every answer of a schema has a value at a pointer: one that may be null is none."""
    for step in pointer.split("/"):
        schema = _resolved(document, schema)
        schema = schema.get("items", {}) if step == "0" else schema.get("properties", {}).get(step)
        if not schema:
            return False
    return pointer == _CURSOR or "anyOf" not in _resolved(document, schema)


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found
