"""Read calls from Vapi's API, where the truth about a call is."""

from http import HTTPStatus

import httpx
from temporalio import activity

from activities.retry_after import retry_after
from billing.call import EndedCall
from billing.errors import CallMissing, CallNotEnded
from billing.vapi import call_from_api


class VapiActivities:
    """Calls to Vapi, through an HTTP client that knows its address and key."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    @activity.defn
    async def fetch_call(self, call_id: str) -> EndedCall:
        """Read one ended call (`GET /call/{id}`).

        Refuses with CallMissing and CallNotEnded; everything else is a fault.
        """
        answer = await self._http.get(f"/call/{call_id}")
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise CallMissing(f"Vapi has no call {call_id}")
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise retry_after(answer.headers, "Vapi answered 429 Too Many Requests")
        answer.raise_for_status()
        call = answer.json()
        if call.get("status") != "ended":
            raise CallNotEnded(f"Vapi says that call {call_id} is {call.get('status')}")
        return call_from_api(call)
