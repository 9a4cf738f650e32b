"""Look for secrets in what git has or would add: `python -m tests.support.secret_scan [FILE …]`.

The patterns are those of detect-secrets, and ours. Its own scan goes line by line and takes a
minute; one look at each whole file takes seconds. Status 1: there are some.
"""

import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from detect_secrets.plugins.aws import AWSKeyDetector
from detect_secrets.plugins.azure_storage_key import AzureStorageKeyDetector
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.github_token import GitHubTokenDetector
from detect_secrets.plugins.gitlab_token import GitLabTokenDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.npm import NpmDetector
from detect_secrets.plugins.openai import OpenAIDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector
from detect_secrets.plugins.pypi_token import PypiTokenDetector
from detect_secrets.plugins.sendgrid import SendGridDetector
from detect_secrets.plugins.slack import SlackDetector

from billing.organizations import KEY_PREFIX
from tests.support.repository import ROOT, tracked


class CallwalletKey(RegexBasedDetector):
    secret_type = "callwallet's own API key"
    denylist = (re.compile(rf"\b{KEY_PREFIX}_[0-9a-f]{{16}}_[\w-]{{43}}"),)


class StripeSecret(RegexBasedDetector):
    """The plugin of detect-secrets knows no key of test mode, and no signing secret."""

    secret_type = "Stripe's key or signing secret"
    denylist = (
        re.compile(r"\b[sr]k_(?:live|test)_[0-9A-Za-z]{16,}"),
        re.compile(r"\bwhsec_[0-9A-Za-z+/]{24,}"),
    )


class TwilioToken(RegexBasedDetector):
    """The plugin takes the id of an account, which is no secret, for one."""

    secret_type = "Twilio's auth token"
    denylist = (re.compile(r"\bAC[0-9a-f]{32}:[0-9a-f]{32}\b"),)


DETECTORS: tuple[RegexBasedDetector, ...] = (
    AWSKeyDetector(),
    AzureStorageKeyDetector(),
    BasicAuthDetector(),
    CallwalletKey(),
    GitHubTokenDetector(),
    GitLabTokenDetector(),
    JwtTokenDetector(),
    NpmDetector(),
    OpenAIDetector(),
    PrivateKeyDetector(),
    PypiTokenDetector(),
    SendGridDetector(),
    SlackDetector(),
    StripeSecret(),
    TwilioToken(),
)
# Passwords of URLs that are only examples; shorter ones are as well.
EXAMPLES = frozenset({"password", "guess"})
SHORTEST = 4


def found_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the kind of whatever looks like a secret, and never the secret."""
    for detector in DETECTORS:
        named = set(detector.analyze_string(text)) - EXAMPLES
        secrets = {one for one in named if len(one) >= SHORTEST}
        for pattern in detector.denylist if secrets else ():
            for match in pattern.finditer(text):
                if secrets & {match[0], *match.groups()}:
                    yield text.count("\n", 0, match.start()) + 1, detector.secret_type


def main(files: Sequence[str | Path]) -> None:
    """Scan the files, or all; exit with a line for each secret, if there are any."""
    told = [
        f"{file}:{line}: this looks like a secret ({kind})"
        for file in files or tracked()
        for line, kind in sorted(found_in((ROOT / file).read_text(errors="ignore")))
    ]
    if told:
        sys.exit("\n".join(told))


if __name__ == "__main__":
    main(sys.argv[1:])
