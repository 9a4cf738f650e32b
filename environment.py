"""What the environment may say: secrets, addresses, and how a person is told what is wrong."""

import ipaddress
import os
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from billing.payments.return_urls import origins_in

SHORTEST_SECRET = 16
_ON = frozenset({"1", "true", "t", "yes", "y", "on"})
_MOST_PORTS = 65_535
_LARGEST_FILE = 64 * 1024


class WrongSetting(Exception):
    """A setting that cannot be. Its text names it, and shows no secret."""


class EnvironmentAndFiles(EnvSettingsSource):
    """The environment; a secret that is not in it may be in the file that `…_FILE` names.

    A process shows its environment to whoever may look at it, and hands it on. Raise WrongSetting.
    """

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        said = self.env_vars
        named = {name: said.get(f"{name}_file") for name in secret_settings(settings_cls)}
        read = {name: _read(name.upper(), file) for name, file in named.items() if file}
        if twice := sorted(name.upper() for name in read if said.get(name)):
            raise WrongSetting(f"{twice[0]} and {twice[0]}_FILE: give one of them, not both")
        self.env_vars = {**said, **read}


def secret_settings(settings_cls: type[BaseSettings]) -> frozenset[str]:
    """Return the names of the settings that are shown to nobody."""
    return frozenset(name for name, one in settings_cls.model_fields.items() if _is_secret(one))


def _is_secret(setting: FieldInfo) -> bool:
    kinds = (setting.annotation, *get_args(setting.annotation))
    return SecretStr in kinds or setting.repr is False


def _read(name: str, file: str) -> str:
    """Return what is in a file, without the line break that ends it. Raise WrongSetting.

    The path is not shown: somebody may have given the secret itself.
    """
    try:
        with Path(file).open("rb") as opened:
            held = opened.read(_LARGEST_FILE + 1)
        text = held.decode()
    except UnicodeDecodeError:
        raise WrongSetting(f"{name}_FILE: the file is no text") from None
    except OSError as error:
        raise WrongSetting(f"{name}_FILE: the file cannot be read ({error.strerror})") from None
    if len(held) > _LARGEST_FILE:
        raise WrongSetting(f"{name}_FILE: the file is larger than {_LARGEST_FILE // 1024} KiB")
    return text.removesuffix("\n")


def secrets_in(value: SecretStr) -> tuple[bytes, ...]:
    """Return the secrets of a setting that may hold several, separated by commas."""
    return tuple(one.strip().encode() for one in value.get_secret_value().split(",") if one.strip())


def tokens_in(value: SecretStr) -> dict[str, tuple[bytes, ...]]:
    """Read Twilio's auth tokens by account, from `AC…:token,AC…:token`.

    An account has several while its token is replaced. Raise ValueError, which shows no token.
    """
    tokens: dict[str, tuple[bytes, ...]] = {}
    for pair in secrets_in(value):
        account_sid, colon, token = pair.decode().partition(":")
        if not (account_sid and colon and token):
            raise ValueError("must be pairs of an account and its token")
        tokens[account_sid] = (*tokens.get(account_sid, ()), token.encode())
    return tokens


def is_on(name: str) -> bool:
    """Return whether a variable says yes, where the settings cannot be read."""
    return os.environ.get(name, "").strip().lower() in _ON


def what_is_wrong(error: ValidationError) -> list[str]:
    """Return for each setting that is missing or wrong its name and why."""
    return [
        f"{'.'.join(map(str, one['loc'])).upper() or 'settings'}: {one['msg']}"
        for one in error.errors(include_input=False, include_url=False)
    ]


def _has_a_key(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().strip():
        raise ValueError("must hold a key, and is empty")
    return _is_one_word(value)


def _is_one_word(value: SecretStr) -> SecretStr:
    """Refuse what no header can carry, such as a second line of a file."""
    if len(value.get_secret_value().split()) > 1 or not value.get_secret_value().isprintable():
        raise ValueError("must be one key, without spaces and line breaks")
    return value


def _are_tokens(value: SecretStr) -> SecretStr:
    tokens_in(value)
    return value


def _has_a_secret(value: SecretStr) -> SecretStr:
    if not secrets_in(value):
        raise ValueError("must hold a secret: without one every webhook would be refused")
    return value


def _is_postgresql(value: str) -> str:
    try:
        name = make_url(value).get_backend_name()
    except (ArgumentError, ValueError) as error:
        raise ValueError("must be a URL: postgresql://user:password@host:port/database") from error
    if name not in ("postgresql", "postgres"):
        raise ValueError("must begin with postgresql://")
    return value


def _is_secret_postgresql(value: SecretStr | None) -> SecretStr | None:
    if value:
        _is_postgresql(value.get_secret_value())
    return value


def _is_base(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_usable = parts.scheme in ("https", "http") and parts.hostname and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or parts.query or parts.fragment:
        raise ValueError("must be a URL such as https://billing.example.com")
    return value


def _is_host_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not (host and "/" not in host and port.isdecimal() and 0 < int(port) <= _MOST_PORTS):
        raise ValueError("must be a host and a port, such as localhost:7233")
    return value


def _is_ip_and_port(value: str) -> str:
    host, _, port = value.rpartition(":")
    if value and not (_is_ip(host) and port.isdecimal() and 0 < int(port) <= _MOST_PORTS):
        raise ValueError("must be an IP address and a port, such as 127.0.0.1:9464")
    return value


def _is_ip(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host.removeprefix("[").removesuffix("]")))
    except ValueError:
        return False


def _are_origins(value: str) -> str:
    origins_in(value)
    return value


def _is_slack_url(value: SecretStr | None) -> SecretStr | None:
    if value and not value.get_secret_value().startswith(("https://", "http://")):
        raise ValueError("must be the URL of an incoming webhook")
    return value


def _are_networks(value: str) -> str:
    for one in filter(None, map(str.strip, value.split(","))):
        try:
            ipaddress.ip_network(one)
        except ValueError as error:
            raise ValueError("must be IP addresses or networks, such as 10.0.0.0/8") from error
    return value


def _empty_is_none(value: object) -> object:
    return value or None


ProviderKey = Annotated[SecretStr, AfterValidator(_has_a_key)]
WebhookSecret = Annotated[SecretStr, AfterValidator(_has_a_secret)]
TwilioTokens = Annotated[SecretStr, AfterValidator(_are_tokens)]
OptionalSecret = Annotated[SecretStr | None, BeforeValidator(_empty_is_none)]
OptionalMode = Annotated[Literal["live", "test"] | None, BeforeValidator(_empty_is_none)]
# There is a password in it.
DatabaseUrl = Annotated[str, AfterValidator(_is_postgresql), Field(repr=False)]
OptionalDatabaseUrl = Annotated[
    SecretStr | None, BeforeValidator(_empty_is_none), AfterValidator(_is_secret_postgresql)
]
BaseUrl = Annotated[str, AfterValidator(_is_base)]
OptionalUrl = Annotated[BaseUrl | None, BeforeValidator(_empty_is_none)]
HostAndPort = Annotated[str, AfterValidator(_is_host_and_port)]
Networks = Annotated[str, AfterValidator(_are_networks)]
IpAndPort = Annotated[str, AfterValidator(_is_ip_and_port)]
Origins = Annotated[str, AfterValidator(_are_origins)]
OptionalSlackUrl = Annotated[
    SecretStr | None, BeforeValidator(_empty_is_none), AfterValidator(_is_slack_url)
]
