"""A tariff is only ever added, and never where it would change what something has cost."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.errors import NoTariff
from billing.ledger.money import Currency
from billing.tariffs.channel import Channel
from billing.tariffs.sms_tariff import SmsTariff, charges_what_was_free, sms_tariff_at
from billing.tariffs.tariff import Tariff, overtaken, tariff_at
from tests.billing.tariffs.test_tariff import tariff

DAYS = [datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=day) for day in range(8)]
NOW = DAYS[4]


def price(name: str, day: int, prefix: str = "", org_id: str | None = None) -> SmsTariff:
    return SmsTariff(
        name, prefix, Currency.USD, Decimal(1), Decimal(1), Currency.USD, DAYS[day], org_id
    )


@pytest.mark.parametrize(
    ("new", "others", "changed"),
    [
        # nobody had a tariff: nothing can have been charged
        (tariff("new", effective_from=DAYS[0]), [], None),
        # in the future everything may change
        (tariff("new", effective_from=DAYS[5]), [tariff("old")], None),
        (tariff("new", effective_from=NOW), [tariff("old")], None),
        # what was in effect yesterday has charged calls
        (tariff("new", effective_from=DAYS[3]), [tariff("old")], "old"),
        (tariff("new", effective_from=DAYS[3], org_id="acme"), [tariff("old")], "old"),
        # before the first one there was none, and from then on that one counts
        (
            tariff("new", effective_from=DAYS[0]),
            [tariff("first", effective_from=DAYS[2])],
            None,
        ),
        # but an organisation's own counts before the default, also after that began
        (
            tariff("new", effective_from=DAYS[0], org_id="acme"),
            [tariff("first", effective_from=DAYS[2])],
            "first",
        ),
        # and the default never counts before its own
        (
            tariff("new", effective_from=DAYS[0], org_id="acme"),
            [tariff("own", effective_from=DAYS[1], org_id="acme"),
             tariff("first", effective_from=DAYS[2])],
            None,
        ),
        # what others have, or wallets of another currency, is their own affair
        (
            tariff("new", effective_from=DAYS[0], org_id="acme"),
            [tariff("theirs", org_id="another")],
            None,
        ),
        (
            tariff("new", effective_from=DAYS[0]),
            [tariff("dollars", wallet_currency=Currency.USD), tariff("own", org_id="acme")],
            None,
        ),
    ],
)  # fmt: skip
def test_a_tariff_may_begin_where_it_changes_nothing_that_was_charged(
    new: Tariff, others: list[Tariff], changed: str | None
) -> None:
    found = overtaken(new, others, NOW)
    assert (found and found.tariff_id) == changed


@pytest.mark.parametrize(
    ("new", "others", "changed"),
    [
        (price("new", 0), [], None),
        (price("new", 5, "44"), [price("old", 0, "44")], None),
        (price("new", 3, "44"), [price("old", 0, "44")], "old"),
        # a longer prefix takes over from a shorter, and not the other way round
        (price("new", 3, "44"), [price("anywhere", 0)], "anywhere"),
        (price("new", 3), [price("old", 0, "44")], None),
        # but an organisation's own, however short, comes before every default
        (price("new", 3, "", "acme"), [price("old", 0, "44")], "old"),
        (price("new", 3, "44"), [price("old", 0, "1")], None),
    ],
)
def test_a_price_may_begin_where_it_changes_nothing_that_was_charged(
    new: SmsTariff, others: list[SmsTariff], changed: str | None
) -> None:
    found = overtaken(new, others, NOW)
    assert (found and found.sms_tariff_id) == changed


def test_a_price_of_one_channel_takes_over_from_none_of_another() -> None:
    assert overtaken(replace(price("new", 3), channel=Channel.MMS), [price("old", 0)], NOW) is None
    old = replace(price("old", 0), channel=Channel.MMS)
    assert overtaken(replace(price("new", 3), channel=Channel.MMS), [old], NOW) == old


@pytest.mark.parametrize(
    ("new", "others", "is_refused"),
    [
        (price("new", 5), [], False),
        (price("new", 4), [], False),
        (price("new", 3), [], True),
        (price("new", 3), [price("first", 3, "44")], False),
        (price("new", 2), [price("first", 3, "44")], True),
        # a price to come begins nothing yet
        (price("new", 4), [price("first", 5, "44")], False),
        # an organisation's own is no beginning for all, but the default is one for it
        (price("new", 3), [price("own", 2, org_id="acme")], True),
        (price("new", 3, org_id="acme"), [price("default", 2)], False),
        (price("new", 3, org_id="acme"), [price("theirs", 2, org_id="another")], True),
    ],
)
def test_the_first_price_of_whatsapp_or_rcs_charges_nothing_that_was_sent_before_it(
    new: SmsTariff, others: list[SmsTariff], *, is_refused: bool
) -> None:
    for channel in (Channel.WHATSAPP, Channel.RCS):
        there = [replace(one, channel=channel) for one in others]
        assert charges_what_was_free(replace(new, channel=channel), there, NOW) is is_refused
    assert not charges_what_was_free(new, others, NOW)
    assert not charges_what_was_free(tariff("new", effective_from=DAYS[0]), [], NOW)


_owners = st.sampled_from([None, "acme", "another"])
_moments = [day + timedelta(hours=hour) for day in DAYS for hour in (0, 12)]


def _charged(tariffs: list[Tariff], org_id: str, moment: datetime) -> str | None:
    try:
        return tariff_at(tariffs, org_id, Currency.GBP, moment).tariff_id
    except NoTariff:
        return None


@given(places=st.lists(st.tuples(_owners, st.integers(0, 7)), min_size=1, max_size=6, unique=True))
def test_no_call_of_the_past_costs_anything_else_after_a_tariff_was_added(
    places: list[tuple[str | None, int]],
) -> None:
    new, *others = (
        tariff(f"{number}", org_id=org_id, effective_from=DAYS[day])
        for number, (org_id, day) in enumerate(places)
    )
    changes = any(
        (before := _charged(others, org_id, moment)) is not None
        and _charged([*others, new], org_id, moment) != before
        for org_id in ("acme", "another", "anybody")
        for moment in _moments
        if moment < NOW
    )
    assert (overtaken(new, others, NOW) is not None) == changes


_prefixes = st.sampled_from(["", "4", "44", "447", "1"])


def _priced(tariffs: list[SmsTariff], org_id: str, to: str, moment: datetime) -> str | None:
    try:
        return sms_tariff_at(
            tariffs, org_id, Currency.USD, to, moment, channel=Channel.SMS
        ).sms_tariff_id
    except NoTariff:
        return None


@given(
    places=st.lists(
        st.tuples(_owners, _prefixes, st.integers(0, 7)), min_size=1, max_size=6, unique=True
    )
)
def test_no_message_of_the_past_costs_anything_else_after_a_price_was_added(
    places: list[tuple[str | None, str, int]],
) -> None:
    new, *others = (
        price(f"{number}", day, prefix, org_id)
        for number, (org_id, prefix, day) in enumerate(places)
    )
    changes = any(
        (before := _priced(others, org_id, to, moment)) is not None
        and _priced([*others, new], org_id, to, moment) != before
        for org_id in ("acme", "another", "anybody")
        for to in ("447123", "441234", "431234", "123456", "999999")
        for moment in _moments
        if moment < NOW
    )
    assert (overtaken(new, others, NOW) is not None) == changes
