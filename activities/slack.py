"""Post to Slack. The webhook's URL is a secret: nothing that is raised or answered here tells it.

Source: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
"""

import re
from http import HTTPStatus

import httpx
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError

from activities.retry_after import retry_after
from billing.alert import Alert
from billing.slack import message

# Slack refuses with a word or a few. Anything else is not Slack's, and a proxy's page may name the
# URL that was asked for.
_WORDS = re.compile(r"[A-Za-z_ ]{1,60}")


class SlackWebhook:
    """An incoming webhook, and where the Temporal UI shows the workflows that alerts link to."""

    def __init__(
        self, http: httpx.AsyncClient, url: SecretStr, workflows_url: str | None = None
    ) -> None:
        self._http = http
        self._url = url
        self._workflows_url = workflows_url

    async def post(self, alert: Alert) -> str | None:
        """Post an alert; answers why Slack will never take it, or None when it has.

        A 429, a 5xx and silence are faults. After silence Slack may have it all the same: there is
        no idempotency key, so an alert may come twice.
        """
        answer = await self._send(alert)
        if answer.is_success:
            return None
        refused = f"Slack answered {answer.status_code}"
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise retry_after(answer.headers, refused)
        if answer.is_server_error:
            raise ApplicationError(refused, type="slack_unavailable")
        said = _WORDS.fullmatch(answer.text)
        return f"{refused}: {said[0] if said else 'no reason that can be told'}"

    async def _send(self, alert: Alert) -> httpx.Response:
        """Send it. What httpx raises knows the URL, so it goes no further, not even as a cause."""
        try:
            return await self._http.post(
                self._url.get_secret_value(), json=message(alert, self._workflows_url)
            )
        except httpx.RequestError as error:
            what = type(error).__name__
        raise ApplicationError(f"Slack cannot be reached: {what}", type="slack_unavailable")
