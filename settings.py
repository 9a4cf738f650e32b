"""What each process is told by its environment: what all need, and the secrets of one."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from itertools import chain
from typing import Literal, Self

import structlog
from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

import logs
from billing.calls.gate import LONGEST_CAP_SECONDS, SHORTEST_CAP_SECONDS
from billing.payments.return_urls import origins_in
from billing.platform_rules import PlatformRules, UntypedPayments
from environment import (
    SHORTEST_SECRET,
    BaseUrl,
    DatabaseUrl,
    EnvironmentAndFiles,
    HostAndPort,
    IpAndPort,
    Networks,
    OptionalDatabaseUrl,
    OptionalMode,
    OptionalSecret,
    OptionalSlackUrl,
    OptionalUrl,
    Origins,
    ProviderKey,
    TwilioTokens,
    WebhookSecret,
    WrongSetting,
    is_on,
    secret_settings,
    secrets_in,
    tokens_in,
    what_is_wrong,
)
from store.database.session import Pooler

_DEFAULT = PlatformRules()
_KEY_MODE = re.compile(r"[sr]k_(live|test)_")
log = structlog.get_logger()


class Settings(BaseSettings):
    """What every process is told; a command but `setup` needs no more.

    What the platform decides is here under the names of `PlatformRules`. A secret may be in a file
    that `…_FILE` names.
    """

    # An error that showed what it was given would show secrets.
    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True)

    database_url: DatabaseUrl
    database_pooler: Pooler = Pooler.NONE
    temporal_address: HostAndPort = "localhost:7233"
    temporal_namespace: str = Field(default="billing", min_length=1)
    temporal_api_key: OptionalSecret = None
    temporal_ui_url: OptionalUrl = None
    sms_reverse_undelivered: bool = _DEFAULT.sms_reverse_undelivered
    checkout_return_origins: Origins = ""
    own_workflow_rate: float = Field(default=_DEFAULT.own_workflow_rate, ge=0, allow_inf_nan=False)
    adjustment_approval_minor: int = Field(default=_DEFAULT.adjustment_approval_minor, ge=0)
    adjustment_day_approval_minor: int = Field(default=_DEFAULT.adjustment_day_approval_minor, ge=0)
    debt_limit_approval_minor: int = Field(default=_DEFAULT.debt_limit_approval_minor, ge=0)
    recharge_charge_cap_minor: int = Field(default=_DEFAULT.recharge_charge_cap_minor, gt=0)
    recharge_day_cap_minor: int = Field(default=_DEFAULT.recharge_day_cap_minor, gt=0)
    parked_money_alert_minor: int = Field(default=_DEFAULT.parked_money_alert_minor, gt=0)
    start_balance_minor: int = Field(default=_DEFAULT.start_balance_minor, ge=0)
    longest_call_seconds: int = Field(
        default=_DEFAULT.longest_call_seconds, ge=SHORTEST_CAP_SECONDS, le=LONGEST_CAP_SECONDS
    )
    gate_fails_open: bool = _DEFAULT.gate_fails_open
    untyped_payments: UntypedPayments = _DEFAULT.untyped_payments
    keep_bodies_days: int = Field(default=_DEFAULT.keep_bodies_days, ge=1, le=36_500)
    log_level: Literal["debug", "info", "warning"] = "info"
    log_json: bool = False

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, and for secrets the files that it names."""
        return init_settings, EnvironmentAndFiles(settings_cls)


class SetupSettings(Settings):
    """What `callwallet setup` is told: it alone knows the owner of the tables."""

    database_owner_url: OptionalDatabaseUrl = None
    vapi_faults_free: bool = False


class ApiSettings(Settings):
    """What the API is told: by what webhooks are checked, and no key to ask a provider with.

    What checks webhooks may be several, separated by commas: while one is replaced, both are live.
    Of Stripe's key, which version 0.1 had to have here, only the mode is read.
    """

    stripe_mode: OptionalMode = None
    stripe_api_key: OptionalSecret = None
    stripe_webhook_secret: WebhookSecret
    vapi_webhook_secret: WebhookSecret
    twilio_auth_tokens: TwilioTokens = SecretStr("")
    public_base_url: OptionalUrl = None
    api_host: str = Field(default="127.0.0.1", min_length=1)
    api_port: int = Field(default=8000, ge=0, le=65_535)
    most_connections: int = Field(default=2000, ge=1, le=100_000)
    head_seconds: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    body_seconds: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    uploads_mib: int = Field(default=64, ge=16)
    trusted_proxies: Networks = ""
    starts_per_minute: int = Field(default=120, ge=1)
    wrong_keys_per_minute: int = Field(default=120, ge=1)
    requests_per_second: int = Field(default=50, ge=1)
    vapi_message_seconds: int = Field(default=86_400, ge=1)

    @model_validator(mode="after")
    def _has_a_public_url_for_twilio(self) -> Self:
        if tokens_in(self.twilio_auth_tokens) and self.public_base_url is None:
            raise ValueError("PUBLIC_BASE_URL is needed with TWILIO_AUTH_TOKENS: Twilio signs it")
        return self

    @model_validator(mode="after")
    def _has_one_mode(self) -> Self:
        _require_mode(self.stripe_mode, self.stripe_api_key)
        return self

    @property
    def stripe_livemode(self) -> bool | None:
        """Whether Stripe's events are of live mode; None where nothing says so."""
        mode = self.stripe_mode or _mode_of(self.stripe_api_key)
        return None if mode is None else mode == "live"


class WorkerSettings(Settings):
    """What the worker is told: the keys to ask providers with, and none that checks webhooks."""

    stripe_mode: OptionalMode = None
    stripe_api_key: ProviderKey
    stripe_api_base: BaseUrl = "https://api.stripe.com"
    vapi_api_key: ProviderKey
    vapi_api_base: BaseUrl = "https://api.vapi.ai"
    twilio_auth_tokens: TwilioTokens = SecretStr("")
    twilio_api_base: BaseUrl = "https://api.twilio.com"
    slack_webhook_url: OptionalSlackUrl = None
    worker_metrics_address: IpAndPort = ""

    @model_validator(mode="after")
    def _has_a_key_of_that_mode(self) -> Self:
        _require_mode(self.stripe_mode, self.stripe_api_key)
        return self


def _mode_of(api_key: SecretStr | None) -> str | None:
    """Return whether a key of Stripe's is of `live` or `test` mode; None if nothing says so.

    Secret and restricted keys say so by their prefix (docs.stripe.com/keys).
    """
    mode = api_key and _KEY_MODE.match(api_key.get_secret_value())
    return mode[1] if mode else None


def _require_mode(mode: str | None, api_key: SecretStr | None) -> None:
    """Raise ValueError if Stripe's key is of another mode than the one that is set."""
    known = _mode_of(api_key)
    if mode and known and mode != known:
        raise ValueError(f"STRIPE_MODE is {mode}, but STRIPE_API_KEY is of {known} mode")


def weak_secrets(settings: Settings) -> list[str]:
    """Say of each setting that holds a secret which somebody might guess that it does."""
    return [
        f"{name.upper()} holds a secret of fewer than {SHORTEST_SECRET} characters"
        for name in sorted(secret_settings(type(settings)))
        if any(len(secret) < SHORTEST_SECRET for secret in _secrets_of(settings, name))
    ]


def _secrets_of(settings: Settings, name: str) -> tuple[bytes, ...]:
    """Return what could be guessed of a setting; of a URL somebody else has chosen it."""
    value: SecretStr | None = None if name.endswith("_url") else getattr(settings, name)
    if value is None:
        return ()
    if name == "twilio_auth_tokens":
        return tuple(chain.from_iterable(tokens_in(value).values()))
    return secrets_in(value)


def unclear_mode(settings: ApiSettings) -> list[str]:
    """Say what is wrong with an API that is not told Stripe's mode."""
    if settings.stripe_mode is not None:
        return []
    if settings.stripe_livemode is not None:
        return ["STRIPE_MODE is not set: it is read from STRIPE_API_KEY, else of no use to the API"]
    return ["STRIPE_MODE is not set: Stripe's events of live and of test mode are both taken"]


def warn_of_secrets(settings: Settings) -> list[str]:
    """Log what had better not be as it is about secrets; return what was logged."""
    unclear = unclear_mode(settings) if isinstance(settings, ApiSettings) else []
    for warning in (warnings := [*weak_secrets(settings), *unclear]):
        log.warning("a secret is weak or misplaced", setting=warning)
    return warnings


def kinds_of_settings() -> tuple[type[Settings], ...]:
    """Return what there is to be told: what all processes are, and of each what it alone is."""
    return Settings, *Settings.__subclasses__()


def is_about_settings(error: ValidationError) -> bool:
    """Return whether it is a setting that is missing or wrong, and not some other value."""
    return error.title in {one.__name__ for one in kinds_of_settings()}


@contextmanager
def one_sentence() -> Iterator[None]:
    """End a process in one sentence where a setting is missing or wrong."""
    try:
        yield
    except ValidationError as error:
        if not is_about_settings(error):
            raise
        reason = "; ".join(what_is_wrong(error))
    except WrongSetting as wrong:
        reason = str(wrong)
    else:
        return
    logs.set_up("info", as_json=is_on("LOG_JSON"))
    logs.end(reason)


def platform_rules(settings: Settings) -> PlatformRules:
    """Return what the platform decides; each rule has the name of its setting."""
    decided = {rule.name: getattr(settings, rule.name) for rule in fields(PlatformRules)}
    decided["checkout_return_origins"] = origins_in(settings.checkout_return_origins)
    return PlatformRules(**decided)
