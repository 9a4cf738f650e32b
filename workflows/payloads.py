"""How values travel through Temporal: as pydantic's JSON, read by adapters that are made once."""

from functools import cache
from typing import Any

from pydantic import TypeAdapter
from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)

_adapter = cache(TypeAdapter)


class _Json(PydanticJSONPlainPayloadConverter):
    """The SDK's converter keeps its adapters too, but each workflow has a converter of its own;
    to make the adapters of a call again and again took a tenth of the worker's time.
    """

    def from_payload(self, payload: Payload, type_hint: type | None = None) -> Any:
        return _adapter(Any if type_hint is None else type_hint).validate_json(payload.data)


class Payloads(CompositePayloadConverter):
    """The default converters, with pydantic's for JSON."""

    def __init__(self) -> None:
        super().__init__(
            *(
                _Json() if isinstance(one, JSONPlainPayloadConverter) else one
                for one in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


DATA_CONVERTER = DataConverter(payload_converter_class=Payloads)
