"""Settings: what may be left out, and that an error never shows a secret."""

import pytest
from pydantic import ValidationError

from wiring import Settings

REQUIRED = {
    "DATABASE_URL": "postgresql://localhost/callwallet",
    "STRIPE_API_KEY": "sk",
    "STRIPE_WEBHOOK_SECRET": "whsec",
    "VAPI_API_KEY": "vapi",
    "VAPI_WEBHOOK_SECRET": "secret",
}


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    for name, value in {**REQUIRED, **given}.items():
        monkeypatch.setenv(name, value)
    return Settings()


def test_slack_and_the_ui_may_be_left_out_or_left_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in ({}, {"SLACK_WEBHOOK_URL": "", "TEMPORAL_UI_URL": ""}):
        found = settings(monkeypatch, **given)
        assert (found.slack_webhook_url, found.temporal_ui_url) == (None, None)


def test_a_webhook_that_is_no_url_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValidationError, match="URL of an incoming webhook") as refused:
        settings(monkeypatch, SLACK_WEBHOOK_URL="hooks.slack.com/services/XXsecretXX")
    assert "XXsecretXX" not in str(refused.value)


def test_a_webhook_is_shown_as_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(monkeypatch, SLACK_WEBHOOK_URL="https://hooks.slack.com/services/XXsecretXX")
    assert "XXsecretXX" not in repr(found)


def test_no_origin_is_allowed_until_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch).checkout_return_origins == ""
    named = settings(monkeypatch, CHECKOUT_RETURN_ORIGINS="https://app.example,")
    assert named.checkout_return_origins == "https://app.example,"
    for wrong in ("app.example", "http://app.example", "https://app.example/wallet"):
        with pytest.raises(ValidationError):
            settings(monkeypatch, CHECKOUT_RETURN_ORIGINS=wrong)
