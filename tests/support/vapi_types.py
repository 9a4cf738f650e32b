"""The types that Vapi publishes, read from its SDK; hold what is said in Vapi's name to them.

The SDK (`vapi_server_sdk`) pins an older pydantic, so it cannot be installed beside ours. What is
needed of its types is kept in `vapi_types.json`, and read anew from a downloaded wheel by
`python -m tests.support.vapi_types WHEEL`.
"""

import ast
import json
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
OBJECTS = (
    "Analysis", "Artifact", "AssistantActivation", "AssistantOverrides", "Call",
    "CallPaginatedResponse", "CostBreakdown", "CreateAssistantDto", "CreateCustomerDto",
    "CreateSquadDto", "PaginationMeta", "ServerMessageAssistantRequest", "ServerMessageCallDeleted",
    "ServerMessageEndOfCallReport",
    "ServerMessageResponseAssistantRequest", "ServerMessageStatusUpdate", "SquadMemberDto",
    "WorkflowOverrides",
)  # fmt: skip
ENUMS = (
    "CallEndedReason", "CallPhoneCallProvider", "CallPhoneCallTransport", "CallStatus", "CallType",
    "PaginationMetaSortOrder",
)  # fmt: skip
# What Vapi sends, and publishes nowhere.
UNPUBLISHED = {
    "ServerMessageEndOfCallReport": {"durationMs", "durationMinutes", "durationSeconds"},
    "CreateAssistantDto": {"id"},
}
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "str": str,
    "bool": bool,
    "float": (int, float),
    "int": int,
}
_published: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}


def values_of(enum: str) -> frozenset[str]:
    """Return the values of a published enum."""
    return frozenset(_published["enums"][enum])


def differences(name: str, value: Mapping[str, Any], where: str = "") -> list[str]:
    """Say how an object differs from the published type of this name; nothing if it fits."""
    return list(_object(name, value, where or name))


def _object(name: str, value: Any, where: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{where} is no object"
        return
    fields = _published["objects"][name]
    for unknown in value.keys() - fields.keys() - UNPUBLISHED.get(name, set()):
        yield f"{where}.{unknown} is not published"
    for field, hint in fields.items():
        is_optional = hint.startswith("Optional[")
        if field in value:
            inner = hint[9:-1] if is_optional else hint
            yield from _value(inner, value[field], f"{where}.{field}")
        elif not is_optional:
            yield f"{where}.{field} is missing"


def _value(hint: str, value: Any, where: str) -> Iterator[str]:
    if value is None:
        yield f"{where} is null, and should be absent"
    elif hint.startswith("List["):
        for number, one in enumerate(value if isinstance(value, list) else [None]):
            yield from _value(hint[5:-1], one, f"{where}[{number}]")
    elif hint in _published["objects"]:
        yield from _object(hint, value, where)
    elif not _fits(hint, value):
        yield f"{where} is {value}, which is no {hint}"


def _fits(hint: str, value: Any) -> bool:
    if hint in _published["enums"]:
        return value in _published["enums"][hint]
    return _is_time(value) if hint == "dt.datetime" else isinstance(value, _KINDS.get(hint, object))


def _is_time(value: Any) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def read(wheel: zipfile.ZipFile) -> dict[str, Any]:
    """Read the types from the SDK's wheel."""
    return {
        "sdk": Path(str(wheel.filename)).name,
        "objects": {name: dict(_fields(_module(wheel, name), name)) for name in OBJECTS},
        "enums": {name: sorted(_values(_module(wheel, name))) for name in ENUMS},
    }


def _module(wheel: zipfile.ZipFile, name: str) -> ast.Module:
    file = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return ast.parse(wheel.read(f"vapi/types/{file}.py"))


def _fields(module: ast.Module, name: str) -> Iterator[tuple[str, str]]:
    [declared] = [one for one in module.body if isinstance(one, ast.ClassDef) and one.name == name]
    for field in declared.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = ast.unparse(field.annotation)
            alias = re.search(r"alias='([^']+)'", text)
            hint = text.removeprefix("typing_extensions.Annotated[").split(", FieldMetadata")[0]
            # The reasons are published once for each message, and are the same.
            hint = re.sub(r"ServerMessage\w+EndedReason", "CallEndedReason", hint)
            name_of_it = alias.group(1) if alias else field.target.id
            yield name_of_it, hint.replace("typing.", "").replace("'", "")


def _values(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "typing.Literal":
            yield from (
                str(one.value) for one in ast.walk(node.slice) if isinstance(one, ast.Constant)
            )


if __name__ == "__main__":
    with zipfile.ZipFile(sys.argv[1]) as sdk:
        FILE.write_text(json.dumps(read(sdk), indent=1) + "\n")
