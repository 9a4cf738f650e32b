"""What Temporal must have before anything runs: namespace, search attributes, drains, schedules."""

import asyncio
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeIndexedValueType
from temporalio.service import RPCError, RPCStatusCode

from activities.temporal.search_attributes import KEYS
from billing.inbox.webhook_event import Drain
from processes import schedules
from processes.drains import nudge

RETENTION = timedelta(days=90)
_TYPES = {
    SearchAttributeIndexedValueType.KEYWORD: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    SearchAttributeIndexedValueType.DATETIME: IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    SearchAttributeIndexedValueType.INT: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}
_NAMESPACE_CACHE_SECONDS = 0.5


async def prepare(client: Client) -> None:
    """Set up in Temporal what this code needs. A second run changes nothing."""
    await _register_namespace(client)
    await _register_search_attributes(client)
    for drain in Drain:
        await nudge(client, drain)
    await schedules.set_up(client)


async def _register_namespace(client: Client) -> None:
    """Register the namespace, and wait until the server's caches know it."""
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(
                namespace=client.namespace,
                workflow_execution_retention_period=Duration(
                    seconds=int(RETENTION.total_seconds())
                ),
            )
        )
    except RPCError as error:
        if error.status is not RPCStatusCode.ALREADY_EXISTS:
            raise
    while not await _exists(client):  # noqa: ASYNC110  (a server, not an event)
        await asyncio.sleep(_NAMESPACE_CACHE_SECONDS)


async def _exists(client: Client) -> bool:
    try:
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
        await client.count_workflows()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def _register_search_attributes(client: Client) -> None:
    """Register the search attributes that are missing, and wait until a query may use them."""
    wanted = {key.name: _TYPES[key.indexed_value_type] for key in KEYS}
    while missing := wanted.keys() - await _search_attributes(client):
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(
                namespace=client.namespace,
                search_attributes={name: wanted[name] for name in missing},
            )
        )


async def _search_attributes(client: Client) -> set[str]:
    found = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    return set(found.custom_attributes)
