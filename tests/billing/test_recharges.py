"""When a saved card is charged, how much, and when it is left alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.ledger.entry import Account, Entry, EntryKind, wallet_account
from billing.ledger.money import Currency, Money
from billing.ledger.wallet import Wallet
from billing.platform_rules import PlatformRules
from billing.recharges import recharge
from billing.recharges import standing as standings
from billing.recharges.attempt import (
    Attempt,
    AttemptState,
    Card,
    ChargeOutcome,
    SavedCard,
    declined,
    may_be_sent,
)
from billing.recharges.declines import FINAL, MOST_DECLINES, MOST_TRIES, cool_down, is_final
from billing.recharges.history import (
    LARGEST_CHARGE_MINOR,
    SMALLEST_CHARGE_MINOR,
    Caps,
    RechargeHistory,
    RechargeSettings,
    Suspension,
    gap_of_returns,
    recharge_below,
)
from billing.recharges.recharge import (
    HoldReason,
    RechargeDecision,
    RechargeStep,
    shortage,
    suspension_after,
)
from billing.recharges.standing import RechargeStanding, RechargeState
from tests.support.factories import NOON

ON = RechargeSettings(enabled=True)
RULES = PlatformRules()
CARD, OTHER = Card("cus", "pm", "finger"), Card("cus", "pm_2", "other finger")
SAVED = SavedCard(CARD)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAILURES = (AttemptState.DECLINED, AttemptState.ABANDONED)


def decide(
    history: RechargeHistory, saved: SavedCard | None, now: datetime, **approved: int
) -> RechargeDecision:
    return recharge.decide(history, saved, now, RULES, **approved)


def shown(history: RechargeHistory, now: datetime) -> RechargeStanding:
    return standings.shown(history, now, RULES)


def wallet(balance_minor: int) -> Wallet:
    return Wallet("org", Currency.GBP, balance_minor, recharge_below_minor=500)


def standing(balance_minor: int = 400, **fields: Any) -> RechargeHistory:
    return RechargeHistory(wallet(balance_minor), **{"settings": ON, **fields})


def attempt(number: int = 1, state: AttemptState = AttemptState.OPEN, **fields: Any) -> Attempt:
    given: dict[str, Any] = {"amount": Money(5000, Currency.GBP), "card": CARD}
    given |= {"created_at": NOON, **fields}
    written_at = given["created_at"]
    return Attempt(f"a{number}", "org", number, written_at=written_at, state=state, **given)


def declines(count: int, code: str = "insufficient_funds") -> tuple[Attempt, ...]:
    """So many in a row, each as soon as it was allowed."""
    made, at = [], NOON
    for number in range(1, count + 1):
        made.append(attempt(number, AttemptState.DECLINED, created_at=at, code=code))
        at += cool_down(number)
    return tuple(made)


# ---- how much


@pytest.mark.parametrize(
    ("balance_minor", "waiting_minor", "settings", "expected"),
    [
        (500, 0, {}, 0),
        (499, 0, {}, 5000),
        (-500, 0, {}, 5000),
        (-500, 9000, {}, 10_000),
        (600, 101, {}, 5000),
        (600, 100, {}, 0),
        (499, 0, {"amount_minor": 1000}, 1000),
        (-500, 0, {"amount_minor": 1000}, 1000),
        (-600, 0, {"amount_minor": 1000}, 1100),
        (499, 0, {"refill_to_minor": 3000}, 2501),
        (499, 0, {"refill_to_minor": 600}, SMALLEST_CHARGE_MINOR),
        (500, 0, {"refill_to_minor": 3000}, 0),
        (-(10**12), 0, {}, LARGEST_CHARGE_MINOR),
    ],
)
def test_one_charge_closes_the_whole_gap_and_is_no_less_than_the_smallest(
    balance_minor: int, waiting_minor: int, settings: dict[str, Any], expected: int
) -> None:
    wanted = replace(ON, **settings)
    short = shortage(standing(balance_minor, waiting_minor=waiting_minor, settings=wanted))
    assert short == expected


@given(
    st.integers(-100_000, 100_000),
    st.integers(0, 100_000),
    st.integers(100, 10_000),
    st.integers(1000, 50_000),
    st.none() | st.integers(10_000, 100_000),
)
def test_after_one_charge_nothing_is_short(
    balance: int, waiting: int, threshold: int, amount: int, refill_to: int | None
) -> None:
    wanted = RechargeSettings(
        enabled=True, threshold_minor=threshold, amount_minor=amount, refill_to_minor=refill_to
    )
    before = standing(balance, waiting_minor=waiting, settings=wanted)
    short = shortage(before)
    after = standing(balance + short, waiting_minor=waiting, settings=wanted)
    assert short == 0 or short >= SMALLEST_CHARGE_MINOR
    assert shortage(after) == 0


def test_what_is_paid_and_not_credited_yet_is_not_charged_again() -> None:
    paid = attempt(state=AttemptState.SUCCEEDED, payment_id="pi_1")
    assert decide(standing(attempts=(paid,)), SAVED, NOON).step is RechargeStep.NOTHING
    credited = replace(paid, is_credited=True)
    assert decide(standing(attempts=(credited,)), SAVED, NOON).step is RechargeStep.CHARGE


# ---- what comes next


def test_an_attempt_that_is_under_way_is_finished_whatever_the_settings_say_by_now() -> None:
    for state in (AttemptState.OPEN, AttemptState.REQUIRES_ACTION):
        for settings in (ON, RechargeSettings()):
            found = decide(
                standing(settings=settings, attempts=(attempt(state=state),)), SAVED, NOON
            )
            assert found.step is RechargeStep.FINISH


def test_off_or_nothing_short_is_nothing_to_do() -> None:
    assert decide(standing(settings=RechargeSettings()), SAVED, NOON).step is RechargeStep.NOTHING
    assert decide(standing(500), SAVED, NOON).step is RechargeStep.NOTHING
    assert recharge_below(RechargeSettings()) is None
    assert recharge_below(ON) == 500


def test_a_card_is_looked_for_only_when_money_is_short() -> None:
    assert decide(standing(), None, NOON).step is RechargeStep.FIND_CARD
    assert decide(standing(500), None, NOON).step is RechargeStep.NOTHING


def test_without_a_card_it_waits_and_looks_again_a_day_later() -> None:
    found = decide(standing(), SavedCard(None), NOON)
    assert (found.reason, found.until) == (HoldReason.NO_SAVED_CARD, NOON + DAY)


def test_while_a_dispute_is_open_no_card_is_charged() -> None:
    found = decide(standing(is_disputed=True), SAVED, NOON)
    assert found.reason is HoldReason.DISPUTE_OPEN


# ---- declines


@pytest.mark.parametrize("count", range(1, MOST_DECLINES))
def test_a_declined_card_is_left_alone_for_an_hour_doubling(count: int) -> None:
    tried = standing(attempts=declines(count))
    until = tried.own[-1].created_at + HOUR * 2 ** (count - 1)
    held = decide(tried, SAVED, until - timedelta(seconds=1))
    assert (held.reason, held.until) == (HoldReason.CARD_DECLINED, until)
    assert "`insufficient_funds`" in held.why
    assert decide(tried, SAVED, until).step is RechargeStep.CHARGE


def test_another_card_a_success_and_forgiveness_each_end_a_cool_down() -> None:
    tried = declines(3)
    now = tried[-1].created_at
    assert decide(standing(attempts=tried), SavedCard(OTHER), now).step is RechargeStep.CHARGE
    assert decide(standing(attempts=tried, lifted_number=3), SAVED, now).step is RechargeStep.CHARGE
    paid = attempt(4, AttemptState.SUCCEEDED, is_credited=True, created_at=now)
    assert decide(standing(attempts=(*tried, paid)), SAVED, now).step is RechargeStep.CHARGE


def test_declines_of_the_card_elsewhere_do_not_cool_it_down_here() -> None:
    elsewhere = tuple(replace(one, org_id="another") for one in declines(3))
    assert decide(standing(attempts=elsewhere), SAVED, NOON).step is RechargeStep.CHARGE


def test_no_card_is_tried_more_often_in_a_month_than_networks_allow_whoever_lifts_what() -> None:
    tries = tuple(
        attempt(number, AttemptState.DECLINED, created_at=NOON + HOUR * number, code="x")
        for number in range(1, MOST_TRIES + 1)
    )
    mixed = tuple(replace(one, org_id="another") if one.number % 2 else one for one in tries)
    worn = standing(attempts=mixed, lifted_number=99)
    until = NOON + HOUR + timedelta(days=30)
    held = decide(worn, SAVED, NOON + DAY)
    assert (held.reason, held.until) == (HoldReason.CARD_DECLINED, until)
    assert decide(worn, SAVED, until).step is RechargeStep.CHARGE
    assert decide(worn, SavedCard(OTHER), NOON + DAY).step is RechargeStep.CHARGE


def test_a_suspended_card_is_not_charged_and_another_one_is() -> None:
    held = standing(suspension=Suspension("lost_card", NOON, CARD.fingerprint))
    assert decide(held, SAVED, NOON).reason is HoldReason.RECHARGE_SUSPENDED
    assert decide(held, SavedCard(OTHER), NOON).step is RechargeStep.CHARGE


@pytest.mark.parametrize("code", sorted(FINAL))
def test_a_final_decline_suspends_at_once(code: str) -> None:
    outcome = declined(code, "pi_1")
    assert outcome.is_final
    assert suspension_after(standing(), attempt(), outcome) == code


@pytest.mark.parametrize("code", ["insufficient_funds", "do_not_honor", "processing_error", "new"])
def test_a_soft_decline_suspends_only_after_the_last_try(code: str) -> None:
    outcome = declined(code, "pi_1")
    assert not is_final(code)
    for count in range(1, MOST_DECLINES + 1):
        tried = standing(attempts=declines(count))
        found = suspension_after(tried, tried.own[-1], outcome)
        assert found == ("too_many_declines" if count == MOST_DECLINES else None)


def test_an_issuer_that_says_never_again_is_believed_whatever_the_code() -> None:
    assert declined("generic_decline", "pi_1", "do_not_try_again").is_final
    assert not declined("generic_decline", "pi_1", "try_again_later").is_final


def test_a_bank_that_wants_to_hear_from_the_customer_has_not_declined() -> None:
    outcome = declined("authentication_required", "pi_1")
    assert outcome == ChargeOutcome(AttemptState.REQUIRES_ACTION, "pi_1", "authentication_required")


# ---- caps


@pytest.mark.parametrize(
    ("settings", "until"),
    [
        ({"max_per_day": 2}, NOON.replace(hour=0) + DAY),
        ({"max_minor_per_day": 10_999}, NOON.replace(hour=0) + DAY),
        ({"max_per_month": 2}, NOON.replace(month=12, day=1, hour=0)),
        ({"max_minor_per_month": 10_999}, NOON.replace(month=12, day=1, hour=0)),
    ],
)
def test_a_cap_holds_until_its_window_passes(settings: dict[str, Any], until: Any) -> None:
    paid = tuple(
        attempt(number, AttemptState.SUCCEEDED, is_credited=True) for number in range(1, 3)
    )
    capped = standing(settings=replace(ON, **settings), attempts=paid)
    held = decide(capped, SAVED, NOON)
    assert (held.reason, held.until) == (HoldReason.RECHARGE_CAPPED, until)
    assert decide(capped, SAVED, until).step is RechargeStep.CHARGE


def test_a_cap_in_money_leaves_as_much_as_fits() -> None:
    capped = standing(settings=replace(ON, max_minor_per_day=3000))
    assert decide(capped, SAVED, NOON).amount == Money(3000, Currency.GBP)


@pytest.mark.parametrize("state", FAILURES)
def test_what_was_not_paid_uses_up_no_cap(state: AttemptState) -> None:
    failed = attempt(1, state, created_at=NOON - 2 * HOUR, code="x")
    capped = standing(settings=replace(ON, max_per_day=1), attempts=(failed,))
    assert decide(capped, SAVED, NOON).step is RechargeStep.CHARGE


def test_yesterdays_charges_do_not_count_today() -> None:
    paid = attempt(1, AttemptState.SUCCEEDED, created_at=NOON - DAY, is_credited=True)
    capped = standing(settings=replace(ON, max_per_day=1), attempts=(paid,))
    assert decide(capped, SAVED, NOON).step is RechargeStep.CHARGE


def test_a_key_is_used_again_within_a_day_only() -> None:
    assert may_be_sent(attempt(), NOON + 22 * HOUR)
    assert not may_be_sent(attempt(), NOON + 23 * HOUR)


# ---- the caps of a card


@pytest.mark.parametrize(
    ("waiting_minor", "paid", "expected"),
    [
        (49_900, (), RechargeStep.CHARGE),
        (49_901, (), RechargeStep.HOLD),
        (0, (50_000, 45_000), RechargeStep.CHARGE),
        (0, (50_000, 45_001), RechargeStep.HOLD),
    ],
)
def test_what_is_above_the_caps_of_a_card_waits_for_a_person(
    waiting_minor: int, paid: tuple[int, ...], expected: RechargeStep
) -> None:
    attempts = tuple(
        attempt(number, AttemptState.SUCCEEDED, amount=Money(minor, Currency.GBP), is_credited=True)
        for number, minor in enumerate(paid, 1)
    )
    asked = standing(waiting_minor=waiting_minor, attempts=attempts)
    found = decide(asked, SAVED, NOON)
    assert found.step is expected
    if expected is RechargeStep.HOLD:
        assert found.reason is HoldReason.RECHARGE_ABOVE_CAP
        assert found.amount is not None
        approved = decide(asked, SAVED, NOON, approved_minor=found.amount.amount_minor)
        assert (approved.step, approved.amount) == (RechargeStep.CHARGE, found.amount)
        less = decide(asked, SAVED, NOON, approved_minor=found.amount.amount_minor - 1)
        assert less.step is RechargeStep.HOLD


def test_a_days_cap_goes_on_by_itself_on_the_next_day() -> None:
    paid = attempt(1, AttemptState.SUCCEEDED, amount=Money(100_000, Currency.GBP), is_credited=True)
    held = decide(standing(attempts=(paid,)), SAVED, NOON)
    assert (held.reason, held.until) == (
        HoldReason.RECHARGE_ABOVE_CAP,
        NOON.replace(hour=0) + DAY,
    )
    assert held.until is not None
    assert decide(standing(attempts=(paid,)), SAVED, held.until).step is RechargeStep.CHARGE


def test_who_was_recharged_before_there_were_caps_keeps_their_own() -> None:
    dear = replace(ON, amount_minor=80_000)
    assert decide(standing(settings=dear), SAVED, NOON).reason is HoldReason.RECHARGE_ABOVE_CAP
    kept = standing(settings=dear, kept=Caps(80_000, 160_000))
    assert decide(kept, SAVED, NOON).amount == Money(80_000, Currency.GBP)
    paid = tuple(
        attempt(one, AttemptState.SUCCEEDED, amount=Money(80_000, Currency.GBP), is_credited=True)
        for one in (1, 2)
    )
    twice = replace(kept, attempts=paid)
    assert decide(replace(kept, attempts=paid[:1]), SAVED, NOON).step is RechargeStep.CHARGE
    assert decide(twice, SAVED, NOON).reason is HoldReason.RECHARGE_ABOVE_CAP


# ---- what went back


def entry(kind: EntryKind, effect_minor: int, after_minor: int, key: str = "a key") -> Entry:
    mine, other = wallet_account("org"), Account.STRIPE
    debit, credit = (mine, other) if effect_minor < 0 else (other, mine)
    return Entry(
        entry_id=1,
        key=key,
        kind=kind,
        org_id="org",
        debit_account=debit,
        credit_account=credit,
        amount=Money(abs(effect_minor), Currency.GBP),
        balance_after=Money(after_minor, Currency.GBP),
        occurred_at=NOON,
        recorded_at=NOON,
        cause="a test",
        actor="a test",
    )


REFUND, DISPUTE, TOPUP, CALL = (
    EntryKind.REFUND,
    EntryKind.DISPUTE,
    EntryKind.TOPUP,
    EntryKind.CALL,
)


@pytest.mark.parametrize(
    ("moved", "gap_minor"),
    [
        ([], 0),
        ([(REFUND, -400)], 0),
        ([(REFUND, -5500)], 5000),
        ([(DISPUTE, -5500)], 5000),
        ([(CALL, -5500)], 0),
        ([(CALL, -600), (REFUND, -5000)], 5000),
        ([(REFUND, -5500), (CALL, -56)], 5000),
        ([(REFUND, -5500), (TOPUP, 2000)], 3000),
        ([(REFUND, -5500), (TOPUP, 9000), (CALL, -4500)], 0),
        ([(REFUND, -5500), (EntryKind.REFUND_REVERSAL, 5500)], 0),
        ([(REFUND, -60_000), (CALL, -56), ("recharge", 5000)], 59_500),
    ],
)
def test_the_gap_that_refunds_have_left_is_known_until_it_is_closed(
    moved: list[tuple[Any, int]], gap_minor: int
) -> None:
    """It begins at 10.00, and the threshold is 5.00."""
    after, entries = 1000, []
    for kind, effect in moved:
        after += effect
        is_recharge = kind == "recharge"
        key = "of a recharge" if is_recharge else "a key"
        entries.append(entry(TOPUP if is_recharge else kind, effect, after, key))
    assert gap_of_returns(entries, 500, {"of a recharge"}) == gap_minor


def test_a_refund_starts_no_recharge_and_usage_after_it_one_of_the_usual_amount() -> None:
    refunded = standing(-4500, returned_minor=5000)
    assert decide(refunded, SAVED, NOON).step is RechargeStep.NOTHING
    used = replace(refunded, wallet=wallet(-4556))
    assert decide(used, SAVED, NOON).amount == Money(5000, Currency.GBP)
    refill = replace(used, settings=replace(ON, refill_to_minor=3000))
    assert decide(refill, SAVED, NOON).amount == Money(3000 - 444, Currency.GBP)
    recharged = replace(used, wallet=wallet(-4556 + 5000))
    assert decide(recharged, SAVED, NOON).step is RechargeStep.NOTHING


# ---- any input

ANY_AMOUNT = st.integers(-(2**63), 2**63 - 1)
ANY_CHARGE = st.integers(1, 2**63 - 1)
ANY_TIME = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
ANY_SETTINGS = st.builds(
    RechargeSettings,
    enabled=st.booleans(),
    threshold_minor=ANY_AMOUNT,
    amount_minor=ANY_AMOUNT,
    refill_to_minor=st.none() | ANY_AMOUNT,
    max_per_day=st.none() | st.integers(-1, 2**31 - 1),
    max_per_month=st.none() | st.integers(-1, 2**31 - 1),
    max_minor_per_day=st.none() | ANY_AMOUNT,
    max_minor_per_month=st.none() | ANY_AMOUNT,
)
ANY_ATTEMPT = st.builds(
    attempt,
    st.integers(1, 100),
    st.sampled_from(AttemptState),
    amount=st.builds(Money, ANY_CHARGE, st.just(Currency.GBP)),
    created_at=ANY_TIME,
    card=st.sampled_from([CARD, OTHER]),
    is_credited=st.booleans(),
)


@st.composite
def any_history(draw: st.DrawFn) -> RechargeHistory:
    attempts = draw(st.lists(ANY_ATTEMPT, max_size=40))
    return RechargeHistory(
        wallet=wallet(draw(ANY_AMOUNT)),
        settings=draw(ANY_SETTINGS),
        waiting_minor=draw(ANY_AMOUNT),
        attempts=tuple(sorted(attempts, key=lambda one: one.created_at)),
        lifted_number=draw(st.integers(0, 100)),
        is_disputed=draw(st.booleans()),
        is_frozen=draw(st.booleans()),
        returned_minor=draw(st.integers(0, 2**63 - 1)),
        kept=draw(st.builds(Caps, st.integers(0, 10**12), st.integers(0, 10**12))),
    )


@given(any_history(), ANY_TIME, st.integers(0, 2**63 - 1))
def test_whatever_it_is_asked_nothing_is_charged_beyond_the_bounds(
    history: RechargeHistory, now: datetime, approved_minor: int
) -> None:
    assert shortage(history) == 0 or (
        SMALLEST_CHARGE_MINOR <= shortage(history) <= LARGEST_CHARGE_MINOR
    )
    found = decide(history, SAVED, now, approved_minor=approved_minor)
    if found.step is not RechargeStep.CHARGE:
        return
    assert found.amount is not None
    charged = found.amount.amount_minor
    assert SMALLEST_CHARGE_MINOR <= charged <= LARGEST_CHARGE_MINOR
    assert history.settings.enabled
    assert not history.is_disputed
    assert not history.is_frozen
    assert charged <= max(approved_minor, 50_000, history.kept.charge_minor)
    today = [
        one
        for one in history.own
        if one.created_at >= now.replace(hour=0, minute=0, second=0, microsecond=0)
    ]
    spent = sum(one.amount.amount_minor for one in today if one.state not in FAILURES)
    if charged > approved_minor:
        assert spent + charged <= max(100_000, history.kept.day_minor)


@given(any_history(), ANY_TIME)
def test_whatever_is_shown_of_it_can_be_shown(history: RechargeHistory, now: datetime) -> None:
    assert shown(history, now).org_id == "org"


# ---- what is shown

WAITING = attempt(
    state=AttemptState.REQUIRES_ACTION, link="https://stripe.example/c/pay", deadline=NOON + DAY
)


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"settings": RechargeSettings()}, RechargeState.OFF),
        ({"balance_minor": 500}, RechargeState.IDLE),
        ({}, RechargeState.CHARGING),
        ({"attempts": (attempt(),)}, RechargeState.CHARGING),
        ({"attempts": (attempt(state=AttemptState.SUCCEEDED),)}, RechargeState.CHARGING),
        ({"attempts": declines(1)}, RechargeState.COOLING_DOWN),
        ({"attempts": (WAITING,)}, RechargeState.WAITING_FOR_CUSTOMER),
        ({"settings": replace(ON, max_per_day=0)}, RechargeState.CAPPED),
        ({"is_disputed": True}, RechargeState.FROZEN),
        ({"suspension": Suspension("lost_card", NOON, "finger")}, RechargeState.SUSPENDED),
    ],
)
def test_where_it_stands_is_said_in_one_word(fields: dict[str, Any], state: RechargeState) -> None:
    assert shown(standing(**fields), NOON).state is state


def test_a_waiting_customers_link_and_deadline_are_shown() -> None:
    found = shown(standing(attempts=(WAITING,)), NOON)
    assert (found.link, found.until) == (WAITING.link, NOON + DAY)
    assert (found.caps_used.today, found.caps_used.this_month_minor) == (1, 5000)


def test_a_suspension_shows_why_and_since_when() -> None:
    found = shown(standing(suspension=Suspension("lost_card", NOON, "finger")), NOON)
    assert (found.suspended_for, found.suspended_since) == ("lost_card", NOON)
