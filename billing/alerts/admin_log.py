"""Alerts about what stands in the book of powers. No labels or names: alerts go to Slack."""

from billing.adjustments import Who
from billing.admin_log import AdminRecord
from billing.alerts.alert import Alert, AlertLevel
from billing.debt_limits import request_in
from billing.organizations import ApiKey
from billing.tariffs.channel import Channel


def operator_key_made(key: ApiKey) -> Alert:
    """Return the alert that there is another key that may do all."""
    return Alert(
        f"api-key/{key.key_id}:made",
        AlertLevel.HIGH,
        "There is a new operator's key",
        "Whoever made it has seen it, and it may do all. Does the person that it is for know of it?"
        " If nobody should have made it, revoke it and the key it was made with.",
        facts=(("Key", key.key_id), ("Made with", key.made_by or "the command, by the database")),
    )


def debt_limit_waits(line: AdminRecord) -> Alert:
    """Return the alert that a raise of a debt limit waits for a second operator."""
    asked = request_in(line)
    return Alert(
        f"debt-limit/{line.subject_id}/{line.position}:waits",
        AlertLevel.MEDIUM,
        "A raise of a debt limit waits for a second operator",
        "It holds as soon as another operator PUTs the same debt limit, and is forgotten on"
        f" {asked.expires_at:%Y-%m-%d at %H:%M} UTC.",
        asked.org_id,
        (
            ("From", f"{asked.debt_limit_now_minor} minor units"),
            ("To", f"{asked.debt_limit_minor} minor units"),
            ("Asked with", _key_of(line.by)),
        ),
    )


def debt_limit_raised(line: AdminRecord) -> Alert:
    """Return the alert that two people have raised a debt limit."""
    before, after = line.before or {}, line.after or {}
    return Alert(
        f"debt-limit/{line.subject_id}/{line.position}:raised",
        AlertLevel.MEDIUM,
        "A debt limit was raised by much",
        "Two operators asked for it. If one of them did not, lower it, and revoke the keys.",
        line.org_id,
        (
            ("From", f"{before.get('debt_limit_minor')} minor units"),
            ("To", f"{after.get('debt_limit_minor')} minor units"),
            ("Asked with", str(after.get("asked_with_key"))),
            ("Agreed with", _key_of(line.by)),
        ),
    )


def payer_changed(line: AdminRecord) -> Alert:
    """Return the alert that somebody else pays from now on for what answers calls, or sends."""
    before = (line.before or {}).get("org_id")
    return Alert(
        f"registration/{line.position}",
        AlertLevel.MEDIUM,
        "Another organisation pays from now on",
        f"This {line.subject} was {before}'s, and is {line.org_id}'s. What began or was sent before"
        f" stays {before}'s to pay. If nobody meant it, register it back, and put right by"
        " adjustments what was charged meanwhile.",
        line.org_id,
        # A sender may be a telephone number, which is nobody's business in Slack.
        (("Line of the book", str(line.position)), ("Changed with", _key_of(line.by))),
    )


def answered_by_another(line: AdminRecord, owner: str) -> Alert:
    """Return the alert that a number's calls are another organisation's to pay."""
    return Alert(
        f"registration/{line.position}:answered",
        AlertLevel.MEDIUM,
        "A number is answered by what is another organisation's",
        f"The number is {line.org_id}'s; {owner} pays for its calls, for what answers them is"
        f" {owner}'s. If nobody meant it, register the number with something of {line.org_id}'s.",
        owner,
        (("Line of the book", str(line.position)), ("Changed with", _key_of(line.by))),
    )


def price_fell(price_id: str, org_id: str | None, channel: Channel | str) -> Alert:
    """Return the alert that something will cost less than half of what it does, or nothing."""
    what = f"a message by {channel}" if channel else "a call"
    whom = f"for {org_id}" if org_id else "for everybody who has no price of their own"
    return Alert(
        f"price/{price_id}",
        AlertLevel.MEDIUM,
        f"The price of {what} falls by more than half",
        f"By {price_id} it costs less than half of what it does by now, or nothing, {whom}. What"
        " that comes to depends on how much they use. If nobody meant it, add another price that"
        " begins before it does, or soon.",
        org_id,
        (("Price", price_id),),
    )


def _key_of(by: Who) -> str:
    return by.key_id or "no key"
