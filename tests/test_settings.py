"""Settings: what may be left out, whose they are, and that an error never shows a secret."""

import socket
from dataclasses import fields
from pathlib import Path
from typing import TypeVar, get_type_hints

import pytest
from pydantic import ValidationError

from billing.platform_rules import PlatformRules, UntypedPayments
from environment import WrongSetting, secret_settings, tokens_in, what_is_wrong
from settings import (
    ApiSettings,
    Settings,
    SetupSettings,
    WorkerSettings,
    kinds_of_settings,
    platform_rules,
    warn_of_secrets,
    weak_secrets,
)
from store.database.session import Pooler
from tests.support.repository import ROOT, tracked
from wiring import connect_temporal, metrics_runtime

Told = TypeVar("Told", bound=Settings)
KINDS = kinds_of_settings()
REQUIRED = {
    "DATABASE_URL": "postgresql://localhost/callwallet",
    "STRIPE_API_KEY": "sk",
    "STRIPE_WEBHOOK_SECRET": "whsec",
    "VAPI_API_KEY": "vapi",
    "VAPI_WEBHOOK_SECRET": "secret",
}


def told(monkeypatch: pytest.MonkeyPatch, kind: type[Told], **given: str) -> Told:
    """What a process is told; an API has no keys to ask providers with, unless they are given."""
    asks = {"STRIPE_API_KEY", "VAPI_API_KEY"} if kind is ApiSettings else set()
    for name in asks - given.keys():
        monkeypatch.delenv(name, raising=False)
    for name, value in {**REQUIRED, **given}.items():
        if name in given or name not in asks:
            monkeypatch.setenv(name, value)
    return kind()


def api(monkeypatch: pytest.MonkeyPatch, **given: str) -> ApiSettings:
    return told(monkeypatch, ApiSettings, **given)


def worker(monkeypatch: pytest.MonkeyPatch, **given: str) -> WorkerSettings:
    return told(monkeypatch, WorkerSettings, **given)


def settings(monkeypatch: pytest.MonkeyPatch, **given: str) -> Settings:
    return told(monkeypatch, Settings, **given)


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
    "STRIPE_API_KEY": ("", " ", "sk_1\nsk_2", "sk 1", "sk\t"),
    "STRIPE_API_BASE": ("", "api.stripe.com", "ftp://x"),
    "STRIPE_WEBHOOK_SECRET": ("", ",", " , "),
    "STRIPE_MODE": ("lively", " "),
    "VAPI_API_KEY": ("", " ", "key\r"),
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
    "REQUESTS_PER_SECOND": ("0",),
    "WRONG_KEYS_PER_MINUTE": ("0",),
    "VAPI_MESSAGE_SECONDS": ("0",),
    "OWN_WORKFLOW_RATE": ("-1", "nan", "inf", "many"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kinds = [kind for kind in KINDS if name.lower() in kind.model_fields]
    optional = kinds.pop(kinds.index(ApiSettings)) if name == "STRIPE_API_KEY" else None
    assert kinds or optional
    for kind in kinds:
        for value in WRONG[name]:
            with pytest.raises(ValidationError) as refused:
                told(monkeypatch, kind, **{name: value})
            [said] = what_is_wrong(refused.value)
            assert said.startswith(f"{name}: "), value


GUESSED = {
    ApiSettings: ("STRIPE_WEBHOOK_SECRET", "VAPI_WEBHOOK_SECRET"),
    WorkerSettings: ("STRIPE_API_KEY", "VAPI_API_KEY"),
}


@pytest.mark.parametrize("kind", [ApiSettings, WorkerSettings])
def test_secrets_that_somebody_might_guess_are_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, kind: type[ApiSettings | WorkerSettings]
) -> None:
    """By whoever has them, and all that are secret at all but URLs, which others have chosen."""
    names = {*GUESSED[kind], "TWILIO_AUTH_TOKENS", "TEMPORAL_API_KEY"}
    strong = dict.fromkeys(names, "x" * 16) | {"TWILIO_AUTH_TOKENS": f"AC1:{'x' * 16}"}
    strong["PUBLIC_BASE_URL"] = "https://x.example"
    assert weak_secrets(told(monkeypatch, kind, **strong)) == []
    for name in names:
        weak = "XshortX" if name != "TWILIO_AUTH_TOKENS" else f"{strong[name]},AC2:XshortX"
        [said] = weak_secrets(told(monkeypatch, kind, **strong | {name: weak}))
        assert said.startswith(f"{name} ")
        assert "XshortX" not in said
    for name in names & {"STRIPE_WEBHOOK_SECRET", "VAPI_WEBHOOK_SECRET"}:
        one_of_two = strong | {name: f"{'x' * 16},XshortX"}
        assert len(weak_secrets(told(monkeypatch, kind, **one_of_two))) == 1
    secret = {name.upper() for name in secret_settings(kind) if not name.endswith("_url")}
    assert secret - names == ({"STRIPE_API_KEY"} if kind is ApiSettings else set())


def test_no_process_has_a_secret_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twilio's token is one for both: callbacks are signed with it, and Twilio is asked with it."""
    common = {"database_url", "temporal_api_key"}
    assert all(common <= secret_settings(kind) for kind in KINDS)
    own = {kind: secret_settings(kind) - common for kind in KINDS}
    assert own == {
        Settings: set(),
        SetupSettings: {"database_owner_url"},
        ApiSettings: {
            "stripe_api_key", "stripe_webhook_secret", "vapi_webhook_secret", "twilio_auth_tokens",
        },
        WorkerSettings: {
            "stripe_api_key", "vapi_api_key", "twilio_auth_tokens", "slack_webhook_url",
        },
    }  # fmt: skip
    for name in REQUIRED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", REQUIRED["DATABASE_URL"])
    assert Settings()
    assert SetupSettings()
    for kind, needed in (
        (ApiSettings, {"STRIPE_WEBHOOK_SECRET", "VAPI_WEBHOOK_SECRET"}),
        (WorkerSettings, {"STRIPE_API_KEY", "VAPI_API_KEY"}),
    ):
        with pytest.raises(ValidationError) as refused:
            kind()
        assert set(what_is_wrong(refused.value)) == {f"{name}: Field required" for name in needed}


@pytest.mark.parametrize("key", ["sk_live_1", "rk_live_1", "sk_test_1", "rk_test_1"])
def test_a_worker_with_a_key_of_the_other_mode_does_not_start(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    mode, other = ("live", "test") if "live" in key else ("test", "live")
    assert worker(monkeypatch, STRIPE_API_KEY=key, STRIPE_MODE=mode).stripe_mode == mode
    assert worker(monkeypatch, STRIPE_API_KEY=key, STRIPE_MODE="").stripe_mode is None
    for kind in (WorkerSettings, ApiSettings):
        with pytest.raises(ValidationError) as refused:
            told(monkeypatch, kind, STRIPE_API_KEY=key, STRIPE_MODE=other)
        [said] = what_is_wrong(refused.value)
        assert f"STRIPE_MODE is {other}, but STRIPE_API_KEY is of {mode} mode" in said
        assert key not in said


@pytest.mark.parametrize(
    ("said", "is_live"),
    [
        ({"STRIPE_MODE": "live"}, True),
        ({"STRIPE_MODE": "test"}, False),
        ({"STRIPE_MODE": "test", "STRIPE_API_KEY": "sk_org_1"}, False),
        ({"STRIPE_API_KEY": "sk_live_1"}, True),
        ({"STRIPE_API_KEY": "rk_live_1"}, True),
        ({"STRIPE_API_KEY": "sk_test_1"}, False),
        ({"STRIPE_API_KEY": "rk_test_1", "STRIPE_MODE": ""}, False),
        ({"STRIPE_API_KEY": "sk_org_1"}, None),
        ({"STRIPE_API_KEY": "whsk_live_1"}, None),
        ({"STRIPE_API_KEY": ""}, None),
        ({}, None),
    ],
)
def test_the_mode_of_stripe_s_events_is_a_setting_or_else_in_the_key_s_prefix(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], *, is_live: bool | None
) -> None:
    strong = dict.fromkeys(("STRIPE_WEBHOOK_SECRET", "VAPI_WEBHOOK_SECRET"), "x" * 16)
    found = api(monkeypatch, **strong, **said)
    assert found.stripe_livemode is is_live
    unclear = [one for one in warn_of_secrets(found) if one.startswith("STRIPE_MODE is not set")]
    assert len(unclear) == (not said.get("STRIPE_MODE"))


SECRETS = [(kind, name.upper()) for kind in KINDS for name in sorted(secret_settings(kind))]
GOOD = {
    "DATABASE_URL": "postgresql://localhost/in_a_file",
    "DATABASE_OWNER_URL": "postgresql://localhost/in_a_file",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.example/in_a_file",
    "TWILIO_AUTH_TOKENS": "AC1:in_a_file",
}


def from_file(
    monkeypatch: pytest.MonkeyPatch, kind: type[Told], name: str, file: str | Path
) -> Told:
    for other in REQUIRED.keys() - {name}:
        monkeypatch.setenv(other, REQUIRED[other])
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://x.example")
    monkeypatch.setenv(f"{name}_FILE", str(file))
    return kind()


@pytest.mark.parametrize(("kind", "name"), SECRETS)
def test_every_secret_may_be_in_a_file_with_a_line_break_at_its_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Settings], name: str
) -> None:
    file, held = tmp_path / "secret", GOOD.get(name, "in_a_file")
    for written in (held, f"{held}\n"):
        file.write_text(written)
        monkeypatch.delenv(name, raising=False)
        found = from_file(monkeypatch, kind, name, file)
        value = getattr(found, name.lower())
        assert (value if isinstance(value, str) else value.get_secret_value()) == held
        assert "in_a_file" not in repr(found)
        # Compose gives what is not set as nothing.
        monkeypatch.setenv(name, "")
        assert from_file(monkeypatch, kind, name, file) == found


@pytest.mark.parametrize(("kind", "name"), SECRETS)
def test_a_secret_is_given_once_and_a_file_that_is_none_is_named_without_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Settings], name: str
) -> None:
    file = tmp_path / "XfileX"
    file.write_text("XheldX")
    monkeypatch.setenv(name, "XgivenX")
    with pytest.raises(WrongSetting, match=f"^{name} and {name}_FILE: give one") as refused:
        from_file(monkeypatch, kind, name, file)
    assert "X" not in str(refused.value)
    monkeypatch.delenv(name)
    large, binary = tmp_path / "XlargeX", tmp_path / "XbinaryX"
    large.write_text("X" * 70_000)
    binary.write_bytes(b"X\xff")
    for wrong in (large, binary, tmp_path / "XnowhereX", "X" * 5_000, tmp_path):
        with pytest.raises(WrongSetting, match=f"^{name}_FILE: the file ") as refused:
            from_file(monkeypatch, kind, name, wrong)
        assert "X" not in str(refused.value)


@pytest.mark.parametrize("held", ["", "\n", "key\n\n", "one\ntwo\n"])
def test_a_file_without_a_key_or_with_more_is_refused_as_the_setting_would_be(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: str
) -> None:
    file = tmp_path / "secret"
    file.write_text(held)
    monkeypatch.delenv("STRIPE_API_KEY", raising=False)
    with pytest.raises(ValidationError) as refused:
        from_file(monkeypatch, WorkerSettings, "STRIPE_API_KEY", file)
    [said] = what_is_wrong(refused.value)
    assert said.startswith("STRIPE_API_KEY: ")


def test_no_other_setting_is_read_from_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert api(monkeypatch, API_HOST_FILE="/nowhere").api_host == "127.0.0.1"


def test_an_address_of_metrics_that_cannot_be_had_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        found = worker(monkeypatch, WORKER_METRICS_ADDRESS=address)
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
        found = worker(monkeypatch, **given)
        assert (found.slack_webhook_url, found.temporal_ui_url) == (None, None)


def test_a_webhook_that_is_no_url_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValidationError, match="URL of an incoming webhook") as refused:
        worker(monkeypatch, SLACK_WEBHOOK_URL="hooks.slack.com/services/XXsecretXX")
    assert "XXsecretXX" not in str(refused.value)


def test_a_webhook_is_shown_as_stars(monkeypatch: pytest.MonkeyPatch) -> None:
    found = worker(monkeypatch, SLACK_WEBHOOK_URL="https://hooks.slack.com/services/XXsecretXX")
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
    both: tuple[type[ApiSettings | WorkerSettings], ...] = (ApiSettings, WorkerSettings)
    for kind in both:
        found = told(monkeypatch, kind, **base, TWILIO_AUTH_TOKENS=tokens)
        assert tokens_in(found.twilio_auth_tokens) == {
            "AC1": (b"XXnewXX", b"XXoldXX"), "AC2": (b"XXsubXX",),
        }  # fmt: skip
        assert "XX" not in repr(found)
        for wrong in ("XXtokenXX", ":XXtokenXX", "AC1:"):
            with pytest.raises(ValidationError, match="pairs of an account") as refused:
                told(monkeypatch, kind, **base, TWILIO_AUTH_TOKENS=wrong)
            assert "XX" not in str(refused.value)


def test_twilio_needs_the_url_that_it_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert api(monkeypatch, TWILIO_AUTH_TOKENS="", PUBLIC_BASE_URL="").public_base_url is None
    with pytest.raises(ValidationError, match="PUBLIC_BASE_URL"):
        api(monkeypatch, TWILIO_AUTH_TOKENS="AC1:XXtokenXX", PUBLIC_BASE_URL="")


@pytest.mark.parametrize(
    "url", ["billing.example.com", "ftp://x", "https://", "https://x:99999", "https://x?y=1"]
)
def test_a_public_url_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    with pytest.raises(ValidationError):
        api(monkeypatch, PUBLIC_BASE_URL=url)


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
    assert metrics_runtime(worker(monkeypatch)) is None
    for good in ("127.0.0.1:9464", "[::1]:9464"):
        assert worker(monkeypatch, WORKER_METRICS_ADDRESS=good).worker_metrics_address == good
    for wrong in ("9464", "localhost:9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0"):
        with pytest.raises(ValidationError, match="an IP address and a port"):
            worker(monkeypatch, WORKER_METRICS_ADDRESS=wrong)


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
