"""An alert as Slack takes it: everything said, nothing of it a command, and within every limit."""

from dataclasses import replace
from typing import Any

import pytest

from billing.alerts.alert import Alert, AlertLevel
from billing.alerts.slack import MOST_FACTS, message
from tests.support.factories import an_alert

UI = "https://ui.example/namespaces/billing/workflows"

ALERT = Alert(
    key="reliability/2026-11-02",
    level=AlertLevel.HIGH,
    title="Reliability fell to 94 %",
    text="6 of 100 calls were missing. Look at *Vapi's* server URL.",
    org_id="acme",
    facts=(("seen", "100"), ("missing", "6")),
    workflow_id="reconcile/2026-11-02",
)


def blocks(alert: Alert, ui: str | None = UI) -> dict[str, list[dict[str, Any]]]:
    """The blocks of the message, by their types."""
    found: dict[str, list[dict[str, Any]]] = {"header": [], "section": [], "context": []}
    for block in message(alert, ui)["blocks"]:
        found[block["type"]].append(block)
    return found


def texts(alert: Alert, ui: str | None = UI) -> list[str]:
    """Every text of the message."""
    sent = message(alert, ui)
    found = [sent["text"]]
    for block in sent["blocks"]:
        inner = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
        found += [one["text"] for one in inner if one]
    return found


def test_an_alert_is_a_headline_a_text_a_table_and_where_to_look() -> None:
    assert texts(ALERT) == [
        "High: Reliability fell to 94 %",
        "High: Reliability fell to 94 %",
        "6 of 100 calls were missing. Look at *Vapi's* server URL.",
        "*seen*\n100",
        "*missing*\n6",
        "level high",
        "organisation acme",
        f"<{UI}/reconcile%2F2026-11-02|reconcile/2026-11-02>",
    ]
    types = [block["type"] for block in message(ALERT, UI)["blocks"]]
    assert types == ["header", "section", "section", "context"]


def test_without_an_address_of_the_ui_the_workflow_is_only_named() -> None:
    assert texts(ALERT, None)[-1] == "reconcile/2026-11-02"


def test_many_workflows_are_a_link_to_the_list_of_them() -> None:
    view = 'BillingState="parked" AND ParkReason!="fault"'
    alert = replace(ALERT, view=view)
    query = "BillingState%3D%22parked%22%20AND%20ParkReason%21%3D%22fault%22"
    assert texts(alert)[-1] == f"<{UI}?query={query}|{view}>"
    assert texts(alert, None)[-1] == view


def test_an_alert_that_says_little_has_no_empty_blocks() -> None:
    alert = replace(ALERT, text="", org_id=None, facts=(), workflow_id=None)
    assert [block["type"] for block in message(alert, UI)["blocks"]] == ["header", "context"]
    assert texts(alert)[-1] == "level high"


def test_what_others_wrote_can_neither_call_a_channel_nor_pass_for_a_link() -> None:
    hostile = "<!channel> & <https://evil.example|Stripe>"
    facts = ((hostile, hostile),)
    alert = Alert("key", AlertLevel.INFO, hostile, hostile, hostile, facts, hostile, hostile)
    said = [text for text in texts(alert, None) if text != "level info"]
    assert len(said) == 7
    for text in said:
        assert "<" not in text
        assert ">" not in text
        assert "&lt;!channel&gt; &amp; &lt;https" in text
    for link in texts(alert)[-2:]:
        assert (link.count("<"), link.count(">"), link.count("|")) == (1, 1, 2)
        assert "!channel>" not in link.partition("|")[0]


@pytest.mark.parametrize("character", ["x", "&", "<", "é", "a&"])
def test_every_text_is_within_slacks_limits_and_no_escape_is_cut(character: str) -> None:
    long = character * 5000
    facts = tuple((f"{number} {long}", long) for number in range(1000))
    alert = Alert("key", AlertLevel.CRITICAL, long, long, long, facts, long, long)
    found = blocks(alert)
    assert len(message(alert, UI)["blocks"]) == 50
    assert len(found["header"][0]["text"]["text"]) <= 150
    assert len(found["section"][0]["text"]["text"]) <= 3000
    for section in found["section"][1:]:
        assert len(section["fields"]) <= 10
        assert max(len(field["text"]) for field in section["fields"]) <= 2000
    assert max(len(text) for text in texts(alert)) <= 3000
    for text in texts(alert):
        escapes = text.count("&amp;") + text.count("&lt;") + text.count("&gt;")
        assert text.count("&") == escapes


def test_a_text_that_just_fits_is_not_cut() -> None:
    fits, too_long = "x" * (150 - len("High: ")), "x" * (151 - len("High: "))
    assert blocks(an_alert(fits))["header"][0]["text"]["text"] == f"High: {fits}"
    assert blocks(an_alert(too_long))["header"][0]["text"]["text"] == f"High: {fits[:-1]}…"


def test_facts_that_have_no_room_are_counted() -> None:
    facts = tuple((str(number), "x") for number in range(MOST_FACTS + 3))
    assert texts(replace(ALERT, facts=facts))[-1] == "3 facts more in the table `alerts`"
    assert "facts more" not in texts(replace(ALERT, facts=facts[:MOST_FACTS]))[-1]
