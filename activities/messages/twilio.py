"""Read messages from Twilio's API, which has the last word about a message."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine
from temporalio import activity

from activities.temporal.retry_after import require_success
from billing.errors import MessageMissing
from billing.messages.message import MessageFacts, MessageRef, SeenMessage
from billing.messages.twilio import message_from_api
from store.messages import messages

Read = tuple[SeenMessage | None, MessageFacts]


class TwilioApi:
    """Twilio's API, through an HTTP client that knows its address.

    `tokens` are the live tokens of each account, sub-accounts too, of which the first is used.
    """

    def __init__(self, http: httpx.AsyncClient, tokens: Mapping[str, Sequence[bytes]]) -> None:
        self._http = http
        self._tokens = tokens

    async def read(self, ref: MessageRef) -> Read:
        """Read one message (`GET …/Accounts/{AccountSid}/Messages/{Sid}.json`).

        Raise MessageMissing if Twilio does not know it in that account. Everything else is a fault,
        also the 401 that Twilio answers if there is no token for the account.
        """
        path = f"/2010-04-01/Accounts/{ref.account_sid}/Messages/{ref.sid}.json"
        token = next(iter(self._tokens.get(ref.account_sid, ())), b"")
        answer = await self._http.get(path, auth=(ref.account_sid.encode(), token))
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise MessageMissing(f"account {ref.account_sid} has no message {ref.sid}")
        require_success(answer, "Twilio")
        return message_from_api(answer.json())


class TwilioActivities:
    """Activities that ask Twilio."""

    def __init__(self, engine: AsyncEngine, api: TwilioApi) -> None:
        self._engine = engine
        self._api = api

    @activity.defn
    async def fetch_message(self, ref: MessageRef) -> None:
        """Read a message and keep what Twilio says of it; raise MessageMissing.

        Nothing is returned, for who sent it must stay in PostgreSQL.
        """
        seen, facts = await self._api.read(ref)
        async with self._engine.begin() as connection:
            await messages.observe(connection, [seen] if seen else [])
            await messages.keep_facts(connection, {ref.sid: facts})
