"""Settings: what may be left out, and that an error never shows a secret."""

import socket
from dataclasses import fields
from typing import get_type_hints

import pytest
from pydantic import ValidationError

from billing.platform_rules import PlatformRules, UntypedPayments
from environment import WrongSetting, tokens_in, what_is_wrong
from store.database.session import Pooler
from tests.support.repository import ROOT, tracked
from wiring import Settings, connect_temporal, metrics_runtime, platform_rules, weak_secrets

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


def test_every_rule_of_the_platform_is_the_setting_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known, types = settings(monkeypatch), get_type_hints(PlatformRules)
    assert platform_rules(known) == PlatformRules()
    for name in {rule.name for rule in fields(PlatformRules)} - {"checkout_return_origins"}:
        assert Settings.model_fields[name].annotation == types[name]
        changed = platform_rules(known.model_copy(update={name: "changed"}))
        assert getattr(changed, name) == "changed"
    origins = "https://app.example, http://localhost:3000"
    named = platform_rules(settings(monkeypatch, CHECKOUT_RETURN_ORIGINS=origins))
    assert named.checkout_return_origins == frozenset(origins.split(", "))


WRONG = {
    "DATABASE_URL": ("", " ", "given", "mysql://x/y", "postgresql://x:port/y"),
    "TEMPORAL_ADDRESS": ("", "localhost", "http://x:1/", "localhost:0", "localhost:99999"),
    "TEMPORAL_NAMESPACE": ("",),
    "STRIPE_API_KEY": ("", " "),
    "STRIPE_API_BASE": ("", "api.stripe.com", "ftp://x"),
    "STRIPE_WEBHOOK_SECRET": ("", ",", " , "),
    "VAPI_API_KEY": ("", " "),
    "VAPI_API_BASE": ("", "https://"),
    "VAPI_WEBHOOK_SECRET": ("", " "),
    "TWILIO_API_BASE": ("", "x"),
    "TEMPORAL_UI_URL": ("localhost:8080",),
    "API_HOST": ("",),
    "API_PORT": ("", "-1", "65536", "http"),
    "MOST_CONNECTIONS": ("0", "", "1000000000"),
    "HEAD_SECONDS": ("0", "nan", "inf"),
    "BODY_SECONDS": ("0", "-1"),
    "UPLOADS_MIB": ("15",),
    "TRUSTED_PROXIES": ("*", "proxy.example", "10.0.0.1/8"),
    "STARTS_PER_MINUTE": ("0",),
    "WRONG_KEYS_PER_MINUTE": ("0",),
    "VAPI_MESSAGE_SECONDS": ("0",),
    "OWN_WORKFLOW_RATE": ("-1", "nan", "inf", "many"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for value in WRONG[name]:
        with pytest.raises(ValidationError) as refused:
            settings(monkeypatch, **{name: value})
        [told] = what_is_wrong(refused.value)
        assert told.startswith(f"{name}: "), value


def test_secrets_that_somebody_might_guess_are_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET", "VAPI_API_KEY", "VAPI_WEBHOOK_SECRET")
    strong = dict.fromkeys(names, "x" * 16)
    twilio = {"PUBLIC_BASE_URL": "https://x.example", "TWILIO_AUTH_TOKENS": f"AC1:{'x' * 16}"}
    assert weak_secrets(settings(monkeypatch, **strong, **twilio)) == []
    for name in names:
        weak = strong | twilio | {name: "XshortX"}
        [told] = weak_secrets(settings(monkeypatch, **weak))
        assert told.startswith(f"{name} ")
        assert "XshortX" not in told
    for name in ("STRIPE_WEBHOOK_SECRET", "VAPI_WEBHOOK_SECRET"):
        one_of_two = strong | twilio | {name: f"{'x' * 16},XshortX"}
        assert len(weak_secrets(settings(monkeypatch, **one_of_two))) == 1
    twilio["TWILIO_AUTH_TOKENS"] += ",AC2:XshortX"
    [told] = weak_secrets(settings(monkeypatch, **strong, **twilio))
    assert told.startswith("TWILIO_AUTH_TOKENS ")


def test_an_address_of_metrics_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = settings(monkeypatch, WORKER_METRICS_ADDRESS=address)
        with pytest.raises(WrongSetting, match="WORKER_METRICS_ADDRESS"):
            metrics_runtime(found)


async def test_what_temporal_s_own_environment_says_wrong_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEMPORAL_PROFILE", "nobody's")
    with pytest.raises(WrongSetting, match=r"Temporal's own environment .*nobody's"):
        await connect_temporal(settings(monkeypatch), lazy=True)


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


def test_what_becomes_of_payments_without_a_type_has_three_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert settings(monkeypatch).untyped_payments is UntypedPayments.AUTO
    said = settings(monkeypatch, UNTYPED_PAYMENTS="credited")
    assert said.untyped_payments is UntypedPayments.CREDITED
    with pytest.raises(ValidationError):
        settings(monkeypatch, UNTYPED_PAYMENTS="perhaps")


def test_tokens_of_twilio_are_read_by_account_and_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    base = {"PUBLIC_BASE_URL": "https://billing.example.com"}
    tokens = " AC1:XXnewXX, AC2:XXsubXX ,AC1:XXoldXX,"
    found = settings(monkeypatch, **base, TWILIO_AUTH_TOKENS=tokens)
    assert tokens_in(found.twilio_auth_tokens) == {
        "AC1": (b"XXnewXX", b"XXoldXX"), "AC2": (b"XXsubXX",),
    }  # fmt: skip
    assert "XX" not in repr(found)
    for wrong in ("XXtokenXX", ":XXtokenXX", "AC1:"):
        with pytest.raises(ValidationError, match="pairs of an account") as refused:
            settings(monkeypatch, **base, TWILIO_AUTH_TOKENS=wrong)
        assert "XX" not in str(refused.value)


def test_twilio_needs_the_url_that_it_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch, TWILIO_AUTH_TOKENS="", PUBLIC_BASE_URL="").public_base_url is None
    with pytest.raises(ValidationError, match="PUBLIC_BASE_URL"):
        settings(monkeypatch, TWILIO_AUTH_TOKENS="AC1:XXtokenXX", PUBLIC_BASE_URL="")


@pytest.mark.parametrize(
    "url", ["billing.example.com", "ftp://x", "https://", "https://x:99999", "https://x?y=1"]
)
def test_a_public_url_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ValidationError):
        settings(monkeypatch, PUBLIC_BASE_URL=url)


@pytest.mark.parametrize("seconds", ["9", "43201", "forever"])
def test_a_longest_call_that_vapi_would_not_take_is_refused(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    assert settings(monkeypatch, LONGEST_CALL_SECONDS="43200").longest_call_seconds == 43_200
    with pytest.raises(ValidationError, match="longest_call_seconds"):
        settings(monkeypatch, LONGEST_CALL_SECONDS=seconds)


@pytest.mark.parametrize("days", ["0", "-1", "a month"])
def test_bodies_of_webhooks_are_kept_for_a_day_at_least(
    monkeypatch: pytest.MonkeyPatch, days: str
) -> None:
    assert settings(monkeypatch, KEEP_BODIES_DAYS="1").keep_bodies_days == 1
    with pytest.raises(ValidationError, match="keep_bodies_days"):
        settings(monkeypatch, KEEP_BODIES_DAYS=days)


def test_the_address_of_metrics_is_one_that_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    assert metrics_runtime(settings(monkeypatch)) is None
    for good in ("127.0.0.1:9464", "[::1]:9464"):
        assert settings(monkeypatch, WORKER_METRICS_ADDRESS=good).worker_metrics_address == good
    for wrong in ("9464", "localhost:9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0"):
        with pytest.raises(ValidationError, match="an IP address and a port"):
            settings(monkeypatch, WORKER_METRICS_ADDRESS=wrong)


def test_whoever_connects_to_the_database_says_whether_a_pooler_is_between() -> None:
    """One function reads both settings, and everybody connects by it."""
    floors = tracked("api/*.py", "cli/*.py", "processes/*.py", "wiring.py", "worker.py")
    readers = {str(file) for file in floors if ".database_url" in (ROOT / file).read_text()}
    assert readers == {"wiring.py"}


def test_a_pooler_is_none_or_of_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings(monkeypatch).database_pooler is Pooler.NONE
    assert settings(monkeypatch, DATABASE_POOLER="transaction").database_pooler == "transaction"
    with pytest.raises(ValidationError, match="database_pooler"):
        settings(monkeypatch, DATABASE_POOLER="statement")
