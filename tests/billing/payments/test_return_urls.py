"""Return URLs: to the pages of allowed origins, and by no trick to any other."""

import pytest

from billing.payments.return_urls import ReturnUrlNotAllowed, origins_in, require_allowed

ALLOWED = origins_in("https://app.example, http://localhost:3000/,http://[::1]:3000,")


def test_origins_are_read_from_one_setting() -> None:
    assert frozenset(
        {"https://app.example", "http://localhost:3000", "http://[::1]:3000"}
    ) == ALLOWED  # fmt: skip
    assert origins_in("") == frozenset()
    assert origins_in("https://App.Example:443") == frozenset({"https://app.example"})


@pytest.mark.parametrize(
    "written",
    [
        "app.example",
        "https://",
        "https://app.example/wallet",
        "https://app.example?x=1",
        "https://user@app.example",
        "http://app.example",
        "http://127.0.0.1.app.example",
        "ftp://app.example",
        "https://*.app.example",
        "https://app.example:port",
    ],
)
def test_what_is_no_origin_is_refused_at_the_start(written: str) -> None:
    with pytest.raises(ValueError, match=r"it|origin|Port"):
        origins_in(written)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example",
        "https://app.example/paid?session={CHECKOUT_SESSION_ID}#top",
        "https://app.example:443/paid",
        "https://APP.example/paid",
        "https://app.example/@evil.example",
        "https://app.example?next=https://evil.example",
        "http://localhost:3000/paid",
        "http://[::1]:3000/paid",
    ],
)
def test_pages_of_an_allowed_origin_pass(url: str) -> None:
    require_allowed(url, ALLOWED)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/paid",
        "https://app.example.evil.example/paid",
        "https://evil.example/app.example",
        "https://app.example@evil.example/paid",
        "https://app.example:443@evil.example/paid",
        "https://app.example@app.example/paid",
        "https://user:password@app.example/paid",
        "https://@app.example/paid",
        "https://evil.example#@app.example",
        "https://evil.example\\@app.example/paid",
        "https://app.example\\.evil.example/paid",
        "https:\\\\app.example/paid",
        "https://app.example\t.evil.example/paid",
        "https://app.example\n/paid",
        "ht\ntps://app.example/paid",
        " https://app.example/paid",
        "https://app.example /paid",
        "https://app.example\x00/paid",
        "https://app.example./paid",
        "https://app.example%2eevil.example/paid",
        "https://аpp.example/paid",  # noqa: RUF001  (a Cyrillic letter, on purpose)
        "https://app.example。evil.example/paid",
        "https://app.example:8443/paid",
        "https://app.example:99999/paid",
        "https://app.example:x/paid",
        "https://[app.example]/paid",
        "https://[::1/paid",
        "http://app.example/paid",
        "https://localhost:3000/paid",
        "http://localhost:3001/paid",
        "http://localhost/paid",
        "http://127.0.0.1:3000/paid",
        "http://localhost.evil.example:3000/paid",
        "https:app.example/paid",
        "https:///app.example/paid",
        "https:/app.example/paid",
        "//app.example/paid",
        "/paid",
        "app.example/paid",
        "",
        "javascript:alert(1)//https://app.example",
        "data:text/html,https://app.example",
        "ftp://app.example/paid",
        "blob:https://app.example/paid",
    ],
)
def test_no_trick_leads_anywhere_else(url: str) -> None:
    with pytest.raises(ReturnUrlNotAllowed):
        require_allowed(url, ALLOWED)


def test_without_a_setting_nothing_is_allowed_and_the_setting_is_named() -> None:
    with pytest.raises(ReturnUrlNotAllowed, match="CHECKOUT_RETURN_ORIGINS"):
        require_allowed("https://app.example/paid", origins_in(""))
