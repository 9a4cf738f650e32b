"""Write an alert as a message to Slack's incoming webhook, cut and escaped as Slack wants it.

Source: docs.slack.dev, Block Kit reference (limits) and "Formatting message text" (escaping).
"""

import re
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from billing.alerts.alert import Alert

_LONGEST_HEADER = 150
_LONGEST_TEXT = 3000
_LONGEST_FIELD = 2000
_FIELDS_A_SECTION = 10
_MOST_BLOCKS = 50
# Header, text and context take a block each. The other blocks are for the facts.
MOST_FACTS = (_MOST_BLOCKS - 3) * _FIELDS_A_SECTION


def message(alert: Alert, workflows_url: str | None = None) -> dict[str, Any]:
    """Return an alert as `{"text", "blocks"}`; `text` is what a notification shows.

    `workflows_url` is where the Temporal UI shows workflows, for a link to the alert's workflow or
    view.
    """
    headline = f"{alert.level.capitalize()}: {alert.title}"
    blocks = [
        {"type": "header", "text": _plain(headline)},
        *([{"type": "section", "text": _mrkdwn(_fit(alert.text))}] if alert.text else []),
        *_table(alert.facts[:MOST_FACTS]),
        {"type": "context", "elements": [_mrkdwn(one) for one in _context(alert, workflows_url)]},
    ]
    return {"text": _fit(headline), "blocks": blocks}


def _table(facts: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    fields = [_mrkdwn(_fit(f"*{name}*\n{value}", _LONGEST_FIELD)) for name, value in facts]
    return [
        {"type": "section", "fields": fields[first : first + _FIELDS_A_SECTION]}
        for first in range(0, len(fields), _FIELDS_A_SECTION)
    ]


def _context(alert: Alert, workflows_url: str | None) -> list[str]:
    """Return the level, whom the alert is about, where to look, and how many facts had no room."""
    texts = [_fit(f"level {alert.level}")]
    if alert.org_id is not None:
        texts.append(_fit(f"organisation {alert.org_id}"))
    if alert.workflow_id is not None:
        page = f"/{quote(alert.workflow_id, safe='')}"
        texts.append(_link(alert.workflow_id, page, workflows_url))
    if alert.view is not None:
        texts.append(_link(alert.view, f"?query={quote(alert.view, safe='')}", workflows_url))
    if (left_out := len(alert.facts) - MOST_FACTS) > 0:
        texts.append(f"{left_out} facts more in the table `alerts`")
    return texts


def _link(name: str, page: str, workflows_url: str | None) -> str:
    """Return a link to a page of the UI, or just its name if there is no link or a too long one."""
    link = f"<{workflows_url}{page}|{escape(name, quote=False)}>"
    return link if workflows_url and len(link) <= _LONGEST_TEXT else _fit(name)


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": _fit(text, _LONGEST_HEADER), "emoji": False}


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text}


def _fit(text: str, longest: int = _LONGEST_TEXT) -> str:
    """Escape Slack's control characters, then cut to `longest`, never in the middle of an escape.

    Unescaped, a name could call the whole channel (`<!channel>`) or pass for a link.
    """
    escaped = escape(text, quote=False)
    if len(escaped) <= longest:
        return escaped
    return re.sub(r"&[a-z]*$", "", escaped[: longest - 1]) + "…"
