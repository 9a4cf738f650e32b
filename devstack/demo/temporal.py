"""What an operator sees and does in Temporal: lists, pages and signals, and links to them."""

from dataclasses import dataclass
from urllib.parse import quote, urlencode

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.temporal.search_attributes import BILLING_STATE, BillingState
from billing.calls.call import call_workflow_id
from workflows.bill_call import BillCall

PARKED = f'{BILLING_STATE.name}="{BillingState.PARKED}"'


@dataclass(frozen=True)
class Operator:
    """An operator at Temporal. `ui_url` is the address of its web UI."""

    client: Client
    ui_url: str

    async def parked(self, call_id: str) -> str:
        """Return the reason for which Temporal lists a call as parked, or `not parked`."""
        query = f'{PARKED} AND WorkflowId="{call_workflow_id(call_id)}"'
        async for found in self.client.list_workflows(query):
            return str(found.search_attributes["ParkReason"][0])
        return "not parked"

    async def state(self, workflow_id: str) -> str:
        """Return a workflow's status in Temporal and its BillingState, or `unheard of`."""
        try:
            found = await self.client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return "unheard of"
        status = found.status.name if found.status else "UNKNOWN"
        return f"{status}, {found.typed_search_attributes.get(BILLING_STATE)}"

    async def tries(self, workflow_id: str) -> int:
        """Return the most tries that any activity of a workflow took."""
        history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        return max(event.activity_task_started_event_attributes.attempt for event in history.events)

    async def reprocess(self, call_id: str, who_and_why: str) -> None:
        """Send the signal that the button in the UI sends."""
        handle = self.client.get_workflow_handle(call_workflow_id(call_id))
        await handle.signal(BillCall.reprocess, who_and_why)

    def page(self, workflow_id: str) -> str:
        """Return the URL of a workflow's page."""
        return f"{self._namespace}/workflows/{quote(workflow_id, safe='')}"

    async def explanation(self, workflow_id: str) -> str:
        """Return the URL of the tab that says why a workflow waits, and what to do about it."""
        found = await self.client.get_workflow_handle(workflow_id).describe()
        return f"{self.page(workflow_id)}/{found.run_id}/user-metadata"

    def parked_page(self) -> str:
        """Return the URL of the list of what is parked, as a view that can be saved."""
        query = urlencode({"query": PARKED, "savedQuery": "parked"}, quote_via=quote)
        return f"{self._namespace}/workflows?{query}"

    @property
    def _namespace(self) -> str:
        return f"{self.ui_url}/namespaces/{self.client.namespace}"
