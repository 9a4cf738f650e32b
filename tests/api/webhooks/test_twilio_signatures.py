"""Twilio's signature, held against Twilio's own validator."""

import string
from urllib.parse import parse_qs, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twilio.request_validator import RequestValidator

from api.http.problems import Unauthorized
from api.webhooks.twilio import parse_form, verify_twilio
from tests.support.twilio_callbacks import NEW, OLD, URL, Parameters, Repeated, signature

TOKENS = (NEW.encode(), OLD.encode())
ODD = [
    ("Body", "two  spaces, a +, a %, an & and an ="),
    ("Emoji", "\U0001f600 caf\u00e9 \u4f60\u597d"),
    ("Blank", ""),
    ("Trailing", " kept "),
    ("Lines", "one\r\ntwo"),
    ("aLower", "1"),
    ("Zed", "2"),
]


def is_taken(signed: str, parameters: Parameters, url: str = URL) -> bool:
    form = parse_form(urlencode(list(parameters)).encode())
    try:
        verify_twilio({"x-twilio-signature": signed}, url, form, TOKENS)
    except Unauthorized:
        return False
    return True


def is_valid(signed: str, parameters: Parameters, url: str = URL) -> bool:
    """What Twilio's own validator says, given what a web framework would."""
    form = parse_qs(urlencode(list(parameters)), keep_blank_values=True)
    return any(
        RequestValidator(token.decode()).validate(url, Repeated(form), signed) for token in TOKENS
    )


@pytest.mark.parametrize("token", [NEW, OLD])
def test_odd_characters_are_signed_as_twilio_signs_them(token: str) -> None:
    assert is_taken(signature(ODD, token), ODD)


def test_repeated_parameters_are_signed_once_a_value_and_sorted() -> None:
    repeated = [("MediaUrl", "b"), ("MediaUrl", "a"), ("MediaUrl", "b"), ("A", "1")]
    assert is_taken(signature(repeated), repeated)


@pytest.mark.parametrize(
    "signed_url",
    [
        "https://billing.example.com/webhooks/twilio/sms-status",
        "https://billing.example.com:443/webhooks/twilio/sms-status",
    ],
)
@pytest.mark.parametrize(
    "configured_url",
    [
        "https://billing.example.com/webhooks/twilio/sms-status",
        "https://billing.example.com:443/webhooks/twilio/sms-status",
    ],
)
def test_the_port_may_be_signed_or_not(signed_url: str, configured_url: str) -> None:
    signed = signature(ODD, NEW, signed_url)
    assert is_taken(signed, ODD, configured_url)
    assert is_valid(signed, ODD, configured_url)


@pytest.mark.parametrize(
    "url",
    [
        URL + "?org=acme&x=%20%2B",
        URL + "?b=2&a=1",
        "http://127.0.0.1:8000/webhooks/twilio/sms-status",
        "https://billing.example.com:8443/behind/a/prefix/webhooks/twilio/sms-status?x",
    ],
)
def test_the_whole_url_is_signed_with_its_query(url: str) -> None:
    signed = signature(ODD, NEW, url)
    assert is_taken(signed, ODD, url)
    assert is_valid(signed, ODD, url)
    assert not is_taken(signed, ODD, url + "&more=1")
    assert not is_taken(signed, ODD, url.replace("://", "://other."))


def test_a_changed_added_or_missing_parameter_is_found_out() -> None:
    signed = signature(ODD)
    assert not is_taken(signed, [*ODD, ("More", "1")])
    assert not is_taken(signed, ODD[1:])
    assert not is_taken(signed, [("Body", "other"), *ODD[1:]])


@pytest.mark.parametrize("shown", ["", "x", signature(ODD, "nobody's"), signature(ODD)[:-1]])
def test_a_wrong_signature_is_refused(shown: str) -> None:
    assert not is_taken(shown, ODD)


def test_an_account_without_a_token_is_refused() -> None:
    with pytest.raises(Unauthorized):
        verify_twilio({"x-twilio-signature": signature(ODD)}, URL, {}, ())


# A form with a NUL is malformed, whoever has signed it.
_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_URLS = st.builds(
    "{}://{}{}/webhooks/twilio/sms-status{}".format,
    st.sampled_from(["http", "https"]),
    st.sampled_from(["billing.example.com", "10.0.0.1"]),
    st.sampled_from(["", ":80", ":443", ":8443"]),
    st.one_of(
        st.just(""),
        st.text(string.ascii_letters + "=&%+", min_size=1, max_size=12).map("?{}".format),
    ),
)


@given(st.lists(st.tuples(_TEXTS.filter(bool), _TEXTS), max_size=6), _URLS, st.booleans())
def test_whatever_is_sent_we_say_what_twilios_validator_says(
    parameters: list[tuple[str, str]], url: str, is_signed: bool
) -> None:
    signed = signature(parameters, NEW if is_signed else "nobody's", url)
    assert is_taken(signed, parameters, url) is is_valid(signed, parameters, url) is is_signed
