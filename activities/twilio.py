"""Read messages from Twilio's API, where the truth about a message is."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.retry_after import retry_after
from billing.errors import MessageMissing
from billing.message import MessageFacts, MessageRef, SeenMessage
from billing.twilio import message_from_api
from store import messages

Read = tuple[SeenMessage | None, MessageFacts]


class TwilioApi:
    """Twilio's API, through an HTTP client that knows its address.

    Each account, sub-accounts too, has live tokens of its own, the one to be used first.
    """

    def __init__(self, http: httpx.AsyncClient, tokens: Mapping[str, Sequence[bytes]]) -> None:
        self._http = http
        self._tokens = tokens

    async def read(self, ref: MessageRef) -> Read:
        """Read one message (`GET …/Accounts/{AccountSid}/Messages/{Sid}.json`).

        Refuses with MessageMissing when Twilio does not know it in that account; everything else
        is a fault. Without a token for the account Twilio says 401, and this is one.
        """
        path = f"/2010-04-01/Accounts/{ref.account_sid}/Messages/{ref.sid}.json"
        token = next(iter(self._tokens.get(ref.account_sid, ())), b"")
        answer = await self._http.get(path, auth=(ref.account_sid.encode(), token))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise MessageMissing(f"account {ref.account_sid} has no message {ref.sid}")
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise retry_after(answer.headers, "Twilio answered 429 Too Many Requests")
        answer.raise_for_status()
        return message_from_api(answer.json())


class TwilioActivities:
    """Calls to Twilio."""

    def __init__(self, engine: AsyncEngine, api: TwilioApi) -> None:
        self._engine = engine
        self._api = api

    @activity.defn
    async def fetch_message(self, ref: MessageRef) -> None:
        """Read a message and keep what it says.

        It answers nothing: who sent it stays in PostgreSQL. Refuses with MessageMissing.
        """
        seen, facts = await self._api.read(ref)
        async with self._engine.begin() as connection:
            await messages.observe(connection, [seen] if seen else [])
            await messages.keep_facts(connection, {ref.sid: facts})
