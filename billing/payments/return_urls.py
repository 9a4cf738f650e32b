"""Where a customer may be sent back to after paying: only to pages of allowed origins."""

import re
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

from billing.errors import BillingError

# Printable ASCII without the backslash, which browsers read as a slash and `urlsplit` does not.
_HARMLESS = re.compile(r"[\x21-\x5b\x5d-\x7e]+")
# A host's name or address. A pattern is refused, for it would look as if it allowed many hosts.
_HOST = re.compile(r"[a-z0-9._:-]+")
_PORTS = {"https": 443, "http": 80}


class ReturnUrlNotAllowed(BillingError):
    """The customer would be sent to a page that no operator has allowed."""

    code = "return_url_not_allowed"
    title = "That page is not one to return to"


def origins_in(setting: str) -> frozenset[str]:
    """Read origins that are separated by commas: `https://app.example, http://localhost:3000`.

    Raise ValueError for what is more or less than an origin, and for plain http to anywhere but
    this machine.
    """
    return frozenset(_named_origin(one.strip()) for one in setting.split(",") if one.strip())


def require_allowed(url: str, origins: Collection[str]) -> None:
    """Raise ReturnUrlNotAllowed unless a URL has scheme, host and port of an allowed origin."""
    try:
        origin = _origin(_parsed(url))
    except ValueError as error:
        raise ReturnUrlNotAllowed(f"a return URL must be a plain https URL: {error}") from error
    if origin not in origins:
        raise ReturnUrlNotAllowed(
            f"{origin} is not among the origins that this service returns customers to"
            " (CHECKOUT_RETURN_ORIGINS)"
        )


def _parsed(url: str) -> SplitResult:
    if not _HARMLESS.fullmatch(url):
        raise ValueError("it holds spaces, control characters, a backslash or non-ASCII")
    return urlsplit(url)


def _origin(parts: SplitResult) -> str:
    """Return scheme, host and port, written in one way without the default port.

    Raise ValueError.
    """
    host = parts.hostname or ""
    if not _HOST.fullmatch(host):
        raise ValueError("it names no host")
    if "@" in parts.netloc:
        raise ValueError("it names a user")
    if parts.scheme not in _PORTS or (parts.scheme == "http" and not _is_this_machine(host)):
        raise ValueError("its scheme is not https")
    port = parts.port
    shown = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{shown}"


def _is_this_machine(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _named_origin(written: str) -> str:
    parts = _parsed(written)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{written} is more than an origin (scheme, host and port)")
    return _origin(parts)
