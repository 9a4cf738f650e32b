"""The secrets of one state directory: made once, and readable by their owner only."""

import json
import secrets
from pathlib import Path

from devstack.files import read_json, write_private
from devstack.providers.twilio.messages import ACCOUNT_SID

PREFIXES = {
    "STRIPE_API_KEY": "sk_test_",
    "STRIPE_WEBHOOK_SECRET": "whsec_",
    "VAPI_API_KEY": "vapi_",
    "VAPI_WEBHOOK_SECRET": "vapi_",
    "TWILIO_AUTH_TOKENS": f"{ACCOUNT_SID}:",
}
OPERATOR = "OPERATOR_API_KEY"


class Credentials:
    """Random keys by the name of the environment variable that carries them."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def providers(self) -> dict[str, str]:
        """Return the keys that callwallet shares with the stand-ins; make the missing ones."""
        known = self._known()
        made = {name: prefix + secrets.token_hex(16) for name, prefix in PREFIXES.items()}
        chosen = {name: known.get(name, key) for name, key in made.items()}
        if chosen.items() - known.items():
            self._write({**known, **chosen})
        return chosen

    def operator(self) -> str:
        """Return the operator's API key, or an empty text until there is one."""
        return self._known().get(OPERATOR, "")

    def keep_operator(self, key: str) -> None:
        """Store the operator's key, for the database has only its hash."""
        self._write({**self._known(), OPERATOR: key})

    def _known(self) -> dict[str, str]:
        return {name: str(value) for name, value in read_json(self._file).items()}

    def _write(self, values: dict[str, str]) -> None:
        write_private(self._file, json.dumps(values, indent=1))
