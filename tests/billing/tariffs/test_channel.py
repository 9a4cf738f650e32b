"""What a message goes over, by its addresses and its id: nothing unknown is taken for an SMS."""

import pytest

from billing.tariffs.channel import Channel, channel_of, without_channel

SMS, MMS = "SM" + "a" * 32, "MM" + "a" * 32


@pytest.mark.parametrize(
    ("sid", "addresses", "media", "channel"),
    [
        (SMS, ("+15017122661", "+447700900123"), 0, Channel.SMS),
        (SMS, (None, None), 0, Channel.SMS),
        (MMS, ("+15017122661", "+447700900123"), 0, Channel.MMS),
        (SMS, ("+15017122661", "+447700900123"), 1, Channel.MMS),
        (SMS, ("whatsapp:+15017122661", "whatsapp:+447700900123"), 0, Channel.WHATSAPP),
        # with a picture it has an id of an MMS
        (MMS, ("whatsapp:+15017122661", "whatsapp:+447700900123"), 1, Channel.WHATSAPP),
        (SMS, ("rcs:acme_agent", "+447700900123"), 0, Channel.RCS),
        (SMS, (None, "rcs:+447700900123"), 0, Channel.RCS),
        (SMS, ("messenger:1234567890", "messenger:9876543210"), 0, Channel.OTHER),
        (MMS, ("carrier-pigeon:1", "+447700900123"), 0, Channel.OTHER),
        (SMS, ("WhatsApp:+15017122661", None), 0, Channel.WHATSAPP),
    ],
)
def test_a_channel_is_named_before_an_address_or_follows_from_the_id(
    sid: str, addresses: tuple[str | None, ...], media: int, channel: Channel
) -> None:
    assert channel_of(sid, *addresses, media=media) is channel


def test_whatever_comes_next_is_none_of_those_that_have_prices() -> None:
    assert Channel("apple") is Channel.OTHER
    assert {one for one in Channel if one.is_free_at_first} == {Channel.WHATSAPP, Channel.RCS}


def test_an_address_without_its_channel_is_the_number_that_anybody_registers() -> None:
    assert without_channel("whatsapp:+447700900123") == "+447700900123"
    assert without_channel("+447700900123") == "+447700900123"
