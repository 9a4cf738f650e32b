"""Facts of a call only get better, whoever says them and in whatever order."""

from dataclasses import fields, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.calls.call import EndedCall, duration_seconds
from billing.calls.fact_source import FactSource
from billing.calls.facts import merge, of_notice
from billing.calls.length import StatedLength
from tests.support.factories import NOON, as_api, ended_call

KINDS = ("call_id", "provider_ended", "sources")
APART = ("cap_seconds", "stated")
NAMES = [one.name for one in fields(EndedCall) if one.name not in KINDS]

moments = st.integers(0, 100).map(lambda number: NOON + timedelta(seconds=number))
texts = st.sampled_from("abcde")


def said_by(source: FactSource) -> st.SearchStrategy[EndedCall]:
    """Return what one source may say of the call: anything, or nothing."""

    def call(**said: Any) -> EndedCall:
        is_api = source is FactSource.API
        known = {
            name: source for name, value in said.items() if value is not None and name not in APART
        }
        if source in (FactSource.REPORT, FactSource.PERSON):
            return EndedCall("id", **said)
        if is_api:
            known = {"ended_at": source} if said["ended_at"] is not None else {}
        return EndedCall("id", **said, provider_ended=is_api, sources=known or None)

    by_type = {"datetime": moments, "Decimal": st.integers(0, 9).map(Decimal), "str": texts}
    of_fields: dict[str, st.SearchStrategy[Any]] = {
        one.name: st.none() | next(by_type[kind] for kind in by_type if kind in str(one.type))
        for one in fields(EndedCall)
        if one.name in NAMES and one.name not in APART and source is not FactSource.PERSON
    }
    if source is FactSource.NOTICE:
        of_fields["cap_seconds"] = st.none() | st.integers(10, 20)
    if source is FactSource.PERSON:
        of_fields["stated"] = st.builds(
            StatedLength, st.integers(0, 9).map(Decimal), texts, moments
        )
    return st.builds(call, **of_fields)


NOTICES, REPORTS, READS, STATED = (
    said_by(one)
    for one in (FactSource.NOTICE, FactSource.REPORT, FactSource.API, FactSource.PERSON)
)
OLD_READS = READS.map(lambda call: replace(call, sources=None))
ANY = st.one_of(NOTICES, REPORTS, READS, OLD_READS, STATED)
MERGED = st.lists(ANY, min_size=1, max_size=4).map(lambda said: merge_all(*said))


def merge_all(first: EndedCall, *more: EndedCall) -> EndedCall:
    for one in more:
        first = merge(first, one)
    return first


def sources_of(call: EndedCall) -> dict[str, FactSource]:
    return {name: call.source_of(name) for name in NAMES if getattr(call, name) is not None}


@given(MERGED)
def test_the_same_facts_again_change_nothing(call: EndedCall) -> None:
    assert merge(call, call) == call


@given(MERGED, MERGED)
def test_what_was_told_once_changes_nothing_when_it_is_told_again(
    known: EndedCall, told: EndedCall
) -> None:
    once = merge(known, told)
    assert merge(once, told) == once


@given(NOTICES, REPORTS, READS, STATED, st.permutations(range(4)))
def test_the_order_in_which_sources_speak_does_not_matter(
    notice: EndedCall, report: EndedCall, read: EndedCall, stated: EndedCall, order: list[int]
) -> None:
    said = (notice, report, read, stated)
    assert merge_all(*(said[one] for one in order)) == merge_all(*said)


@given(MERGED, MERGED)
def test_a_known_fact_is_never_emptied(known: EndedCall, told: EndedCall) -> None:
    both = merge(known, told)
    for name in NAMES:
        values = {getattr(known, name), getattr(told, name)}
        assert getattr(both, name) in values
        assert getattr(both, name) is not None or values == {None}
    assert both.provider_ended == (known.provider_ended or told.provider_ended)


@given(MERGED, MERGED)
def test_a_fact_is_only_replaced_by_one_of_a_source_as_good(
    known: EndedCall, told: EndedCall
) -> None:
    before, after = sources_of(known), sources_of(merge(known, told))
    assert all(after[name].rank >= source.rank for name, source in before.items())
    for name, source in sources_of(told).items():
        assert after[name].rank >= source.rank


def test_an_ended_call_of_vapi_s_api_beats_a_report_field_by_field() -> None:
    report = ended_call("reported", 1800, call_id="c", reported_seconds=Decimal(1800))
    read = as_api(replace(ended_call(None, 60, call_id="c"), ended_reason=None))
    both = merge(report, read)
    assert duration_seconds(both) == 60
    assert (both.assistant_id, both.ended_reason) == ("reported", "customer-ended-call")
    assert both.source_of("ended_at") is FactSource.API
    assert both.source_of("assistant_id") is FactSource.REPORT
    assert merge(read, report) == both


def test_a_report_knows_better_than_what_came_before_it_whose_the_call_is() -> None:
    notice, report = of_notice("c", "first", "number"), ended_call("second", call_id="c")
    for both in (merge(notice, report), merge(report, notice)):
        assert (both.assistant_id, both.phone_number_id) == ("second", "number")
        assert both.source_of("phone_number_id") is FactSource.NOTICE


def test_what_vapi_s_api_says_later_counts_and_of_two_reports_the_first() -> None:
    first, second = ended_call("a", 60, call_id="c"), ended_call("a", 90, call_id="c")
    assert duration_seconds(merge(first, second)) == 60
    assert duration_seconds(merge(as_api(first), as_api(second))) == 90


def test_a_start_that_was_reported_is_not_forgotten_because_vapi_s_api_lacks_it() -> None:
    report = ended_call("a", 60, call_id="c")
    never = as_api(replace(report, started_at=None))
    assert duration_seconds(never) == 0
    assert duration_seconds(merge(report, never)) == duration_seconds(merge(never, report)) == 60


def test_the_reported_length_is_a_check_on_every_time_that_is_not_vapi_s_own() -> None:
    report = ended_call("a", 60, call_id="c", reported_seconds=Decimal(60))
    later = as_api(replace(report, started_at=None, ended_at=NOON + timedelta(hours=20)))
    assert duration_seconds(merge(report, later)) is None


def test_what_version_0_1_took_for_an_end_is_none_until_somebody_says_one() -> None:
    """It may be when the record at Vapi was changed; who else names an end is believed."""
    old = replace(ended_call("a", 72_000, call_id="c"), provider_ended=True)
    assert old.source_of("ended_at") is FactSource.RECORD
    assert duration_seconds(old) is None
    report = replace(ended_call("a", 60, call_id="c"), started_at=None, ended_at=old.started_at)
    assert duration_seconds(merge(old, report)) == 0
    assert duration_seconds(merge(old, as_api(ended_call("a", 61, call_id="c")))) == 61


def test_facts_of_two_calls_are_not_merged() -> None:
    with pytest.raises(ValueError, match="two calls"):
        merge(ended_call(call_id="one"), ended_call(call_id="other"))
