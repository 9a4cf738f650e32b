"""Read calls from Vapi's API, which has the last word about a call."""

from http import HTTPStatus
from urllib.parse import quote

import httpx
from temporalio import activity

from activities.temporal.retry_after import require_success
from billing.calls.call import EndedCall
from billing.calls.vapi import call_from_api, has_ended
from billing.errors import CallMissing, CallNotEnded


class VapiActivities:
    """Activities that ask Vapi, through an HTTP client that knows its address and key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @activity.defn
    async def fetch_call(self, call_id: str) -> EndedCall:
        """Read one ended call (`GET /call/{id}`).

        Raise CallMissing or CallNotEnded. Everything else is a fault.
        """
        # A sender's words in an address: also dots, which could lead to another one.
        quoted = quote(call_id, safe="").replace(".", "%2E")
        answer = await self._http.get(f"/call/{quoted}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise CallMissing(f"Vapi has no call {call_id}")
        require_success(answer, "Vapi")
        call = answer.json()
        if not has_ended(call):
            raise CallNotEnded(f"Vapi says that call {call_id} is {call.get('status')}")
        return call_from_api(call)
