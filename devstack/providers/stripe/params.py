"""Decode Stripe's form parameters, and validate them by the SDK's own parameter types."""

import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import stripe
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import TypedDict, is_typeddict

from devstack.providers.stripe.errors import StripeError, invalid_request

Params = dict[str, Any]

_STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def decode(pairs: Iterable[tuple[str, str]]) -> Params:
    """Return `a[b][0][c]=1` as nested dicts and lists, the reverse of the SDK's encoder.

    `a[]=1` appends. Raise StripeError if one name is both a value and a container.
    """
    tree: Params = {}
    for name, value in pairs:
        keys = name.replace("]", "").split("[")
        _put(tree, keys, value)
    return {name: _with_lists(value) for name, value in tree.items()}


def _put(tree: Params, keys: list[str], value: str) -> None:
    node = tree
    for key in keys[:-1]:
        node = node.setdefault(key, {})
        if not isinstance(node, dict):
            raise invalid_request(f"Invalid object: {keys[0]}", param=keys[0])
    last = keys[-1] or str(len(node))
    node[last] = value


def _with_lists(value: Any) -> Any:
    """Turn dicts whose keys count from 0 into lists."""
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(item) for key, item in value.items()}
    counted = [str(number) for number in range(len(inner))]
    return [inner[key] for key in counted] if set(inner) == set(counted) else inner


@cache
def _adapter(model: type) -> TypeAdapter[Params]:
    """Build the validator of a `stripe.params` TypedDict that forbids unknown names at every depth.

    It leaves out the SDK's request options (`api_key`, …), which the type has, but no request does.
    """
    module = sys.modules[model.__module__]
    for nested in vars(module).values():
        if is_typeddict(nested) and nested.__module__ == module.__name__:
            nested.__pydantic_config__ = _STRICT
    options = stripe.RequestOptions.__annotations__
    own = {name: hint for name, hint in model.__annotations__.items() if name not in options}
    make: Any = TypedDict
    wire = make(model.__name__, own)
    wire.__pydantic_config__ = _STRICT
    wire.__module__ = model.__module__
    adapter: TypeAdapter[Params] = TypeAdapter(wire, _parent_depth=0)
    adapter.rebuild(force=True, _types_namespace=vars(module))
    return adapter


def validate(model: type, params: Params) -> Params:
    """Return the parameters in their types. Raise a StripeError that names a wrong one."""
    try:
        return _adapter(model).validate_python(params)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False), params) from error


def _refusal(errors: list[ErrorDetails], params: Params) -> StripeError:
    """Return the error of one parameter: unknown names come before others, as at Stripe."""
    unknown = [error for error in errors if error["type"] == "extra_forbidden"]
    error = (unknown or errors)[0]
    param = _param(error["loc"], params)
    if error["type"] == "extra_forbidden":
        return invalid_request(
            f"Received unknown parameter: {param}", code="parameter_unknown", param=param
        )
    if error["type"] == "missing":
        return invalid_request(
            f"Missing required param: {param}.", code="parameter_missing", param=param
        )
    if error["type"] == "int_parsing":
        message = f"Invalid integer: {error['input']}"
        return invalid_request(message, code="parameter_invalid_integer", param=param)
    return invalid_request(f"Invalid {param}: {error['msg']}", param=param)


def _param(location: tuple[int | str, ...], params: Params) -> str:
    """Return pydantic's location as Stripe writes it, without pydantic's names of union members."""
    node: Any = params
    steps: list[str] = []
    for number, step in enumerate(location):
        if isinstance(node, list) and isinstance(step, int):
            node = node[step]
        elif isinstance(node, dict) and (step in node or _missing(location, number)):
            node = node.get(step)
        else:
            continue
        steps.append(str(step))
    head, *rest = steps or [str(location[0])]
    return head + "".join(f"[{step}]" for step in rest)


def _missing(location: tuple[int | str, ...], number: int) -> bool:
    """Return whether a step is the last one, and the name of a parameter, not of a type."""
    name = str(location[number])
    is_type = not name.replace("_", "").isalnum() or name in ("int", "str", "bool")
    return number == len(location) - 1 and not is_type
