"""The headers that come with problems, as the OpenAPI document describes them."""

from typing import Any

from api.http.problems import MEDIA_TYPE

_RETRY_AFTER = {
    "description": "When to try again, in seconds",
    "required": True,
    "schema": {"type": "integer", "minimum": 1},
}
_WWW_AUTHENTICATE = {
    "description": "How to authenticate",
    "required": True,
    "schema": {"type": "string"},
}
_HEADERS = {
    "401": {"WWW-Authenticate": _WWW_AUTHENTICATE},
    "429": {"Retry-After": _RETRY_AFTER},
    "503": {"Retry-After": _RETRY_AFTER},
}


def add_headers(document: dict[str, Any]) -> None:
    """Add to each problem of a document the headers that those of its status have."""
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status in _HEADERS and MEDIA_TYPE in response.get("content", {}):
                    response["headers"] = _HEADERS[status]
