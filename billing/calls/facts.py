"""Facts of a call only get better: what several sources say about it becomes one."""

from dataclasses import fields, replace

from billing.calls.call import EndedCall, usual_source
from billing.calls.fact_source import FactSource
from billing.text import SUPPORT

_FACTS = tuple(
    one.name
    for one in fields(EndedCall)
    if one.name not in ("call_id", "provider_ended", "sources")
)
# Of two that one source says, the later counts: Vapi has corrected it, or a person has. Of two
# reports the first counts, for it may be charged already.
_CORRECTS_ITSELF = frozenset({FactSource.API, FactSource.PERSON})


def of_notice(
    call_id: str, assistant_id: str | None, phone_number_id: str | None = None
) -> EndedCall:
    """Return what is known of a call before its end."""
    facts = {"assistant_id": assistant_id, "phone_number_id": phone_number_id}
    sources = {name: FactSource.NOTICE for name, value in facts.items() if value is not None}
    return EndedCall(call_id, assistant_id, phone_number_id, sources=sources or None)


def names_what_answered(call: EndedCall) -> bool:
    """Return whether somebody says what the call was started with, and not only who took part."""
    if call.squad_id is not None or call.workflow_id is not None:
        return True
    took_part = call.source_of("assistant_id") is FactSource.NOTICE
    return call.assistant_id is not None and not took_part


def for_organization(call: EndedCall) -> EndedCall:
    """Return what an organisation is shown of a call.

    That is all but what Vapi charges the platform, and who has stated its length, and why.
    """
    stated = call.stated and replace(call.stated, who_and_why=SUPPORT)
    return replace(call, provider_cost_usd=None, stated=stated)


def merge(known: EndedCall, told: EndedCall) -> EndedCall:
    """Return the better of two facts, one by one: that of the stronger source, if it says any.

    A fact that is known is never emptied. The order matters only between two words of one source.
    Raise ValueError if they are about two calls.
    """
    if known.call_id != told.call_id:
        raise ValueError(f"facts of two calls, {known.call_id} and {told.call_id}")
    provider_ended = known.provider_ended or told.provider_ended
    better = {name: _better(known, told, name) for name in _FACTS}
    facts = {name: getattr(one, name) for name, one in better.items()}
    sources = {
        name: source
        for name, one in better.items()
        if facts[name] is not None
        and (source := one.source_of(name)) is not usual_source(name, provider_ended=provider_ended)
    }
    return EndedCall(
        call_id=known.call_id, provider_ended=provider_ended, sources=sources or None, **facts
    )


def _better(known: EndedCall, told: EndedCall, name: str) -> EndedCall:
    """Return the one of the two whose fact of this name counts."""
    if getattr(told, name) is None or getattr(known, name) is None:
        return known if getattr(told, name) is None else told
    one, other = known.source_of(name), told.source_of(name)
    if one is other:
        return told if one in _CORRECTS_ITSELF else known
    return told if other.rank > one.rank else known
