"""Post to Slack. The webhook's URL is a secret, so no error and no result here has it in it.

Source: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks.
"""

import re
from http import HTTPStatus

import httpx
from pydantic import SecretStr
from temporalio.exceptions import ApplicationError

from activities.temporal.retry_after import retry_after
from billing.alerts.alert import Alert
from billing.alerts.slack import message

# Slack refuses with a few words. Anything else is not from Slack, and may name the URL, as a
# proxy's page does.
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
        """Post an alert; return why Slack will never take it, or None if Slack has taken it.

        A 429, a 5xx and silence are faults. After silence Slack may have taken it all the same.
        Slack knows no idempotency key, so an alert may come twice.
        """
        answer = await self._send(alert)
        if answer.is_success:
            return None
        refused = f"Slack answered {answer.status_code}"
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise retry_after(answer.headers, refused)
        if answer.is_server_error:
            raise ApplicationError(refused, type="slack_unavailable")
        reason = _WORDS.fullmatch(answer.text)
        return f"{refused}: {reason[0] if reason else 'no reason that can be told'}"

    async def _send(self, alert: Alert) -> httpx.Response:
        """Send an alert. What httpx raises has the URL in it, so it is not kept even as a cause."""
        try:
            return await self._http.post(
                self._url.get_secret_value(), json=message(alert, self._workflows_url)
            )
        except httpx.RequestError as error:
            what = type(error).__name__
        raise ApplicationError(f"Slack cannot be reached: {what}", type="slack_unavailable")
