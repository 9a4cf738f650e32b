"""Convert values for Temporal to pydantic's JSON and back, by adapters that are made once."""

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
    """The SDK's converter, with adapters that all workflows share.

    The SDK makes a converter for each workflow, and each converter its own adapters. That took a
    tenth of the worker's time.
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
