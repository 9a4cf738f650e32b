"""What every webhook has in common: a small body, and one shape of answer."""

import re
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from api.intake import Accepted
from api.problems import Malformed, TooLarge, UnsupportedMediaType

LARGEST_BODY = 1024 * 1024
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
# Ids and types end up in keys, workflow ids and logs.
_NAME = re.compile(r"[\x21-\x7e]{1,200}")


async def read_body(request: Request, wanted: str = JSON) -> bytes:
    """Read a body of at most 1 MiB; raises TooLarge and UnsupportedMediaType."""
    media_type = request.headers.get("content-type", wanted)
    if media_type.partition(";")[0].strip().lower() != wanted:
        raise UnsupportedMediaType(f"this endpoint takes {wanted}, not {media_type}")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > LARGEST_BODY:
        raise TooLarge(f"the body may have {LARGEST_BODY} bytes at most")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > LARGEST_BODY:
            raise TooLarge(f"the body may have {LARGEST_BODY} bytes at most")
        chunks.append(chunk)
    return b"".join(chunks)


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object; raises Malformed."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed(f"the body is not JSON: {error}") from error
    if not isinstance(parsed, dict):
        raise Malformed("the body is not a JSON object")
    return parsed


def name_at(container: Any, *path: str) -> str | None:
    """Read an id or a type at a path; None when it is not there or not a usable name."""
    for step in path:
        container = container.get(step) if isinstance(container, dict) else None
    if isinstance(container, str) and _NAME.fullmatch(container):
        return container
    return None


def answer(accepted: Accepted, key: str) -> Response:
    """Tell the sender, honestly, what became of its event."""
    return json_answer({"status": accepted, "event": key})


def json_answer(content: dict[str, Any]) -> Response:
    """Answer with a small JSON object."""
    return Response(orjson.dumps(content), media_type="application/json")
