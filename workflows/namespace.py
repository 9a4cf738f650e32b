"""What Temporal must have before anything runs: namespace, search attributes, drain, schedules."""

import asyncio
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client
from temporalio.common import SearchAttributeIndexedValueType
from temporalio.service import RPCError, RPCStatusCode

from activities.attributes import KEYS
from workflows import drain_inbox, drain_messages, schedules
from workflows.drain_inbox import DrainInbox
from workflows.drain_messages import DrainMessages
from workflows.options import BILLING_QUEUE

RETENTION = timedelta(days=90)
_TYPES = {
    SearchAttributeIndexedValueType.KEYWORD: IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    SearchAttributeIndexedValueType.DATETIME: IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    SearchAttributeIndexedValueType.INT: IndexedValueType.INDEXED_VALUE_TYPE_INT,
}
_NAMESPACE_CACHE_SECONDS = 0.5


async def prepare(client: Client) -> None:
    """Bring Temporal to what this code needs; the same again changes nothing."""
    await _register_namespace(client)
    await _register_search_attributes(client)
    await nudge_drain(client)
    await nudge_message_drain(client)
    await schedules.set_up(client)


async def nudge_drain(client: Client) -> None:
    """Tell the drain that there is something in the inbox; start it if it does not run."""
    await client.start_workflow(
        DrainInbox.run,
        id=drain_inbox.WORKFLOW_ID,
        task_queue=BILLING_QUEUE,
        static_summary=drain_inbox.SUMMARY,
        start_signal="nudge",
    )


async def nudge_message_drain(client: Client) -> None:
    """The same for the drain of messages."""
    await client.start_workflow(
        DrainMessages.run,
        id=drain_messages.WORKFLOW_ID,
        task_queue=BILLING_QUEUE,
        static_summary=drain_messages.SUMMARY,
        start_signal="nudge",
    )


async def _register_namespace(client: Client) -> None:
    """Make the namespace, and wait until the server's caches have it."""
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
    """Register what is missing, and wait until a query may use it."""
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
