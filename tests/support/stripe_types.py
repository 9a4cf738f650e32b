"""Which fields of Stripe's objects may be null and which may be absent, by its SDK for TypeScript.

The Python SDK says `Optional` of both. What is needed is kept in `stripe_types.json`, and read anew
by `python -m tests.support.stripe_types TARBALL` from what `npm pack stripe` downloads.
"""

import json
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_suffix(".json")
# By the SDK's file: objects, and parts of them, that the stand-in answers with.
OBJECTS: Mapping[str, tuple[str, ...]] = {
    "BalanceTransactions": ("BalanceTransaction", "BalanceTransaction.FeeDetail"),
    "Charges": (
        "Charge",
        "Charge.BillingDetails",
        "Charge.Outcome",
        "Charge.PaymentMethodDetails.Card",
    ),
    "Checkout/Sessions": ("Session", "Session.AutomaticTax", "Session.CustomerDetails"),
    "Customers": ("Customer", "Customer.InvoiceSettings"),
    "Disputes": ("Dispute", "Dispute.EvidenceDetails"),
    "PaymentIntents": (
        "PaymentIntent",
        "PaymentIntent.AutomaticPaymentMethods",
        "PaymentIntent.LastPaymentError",
    ),
    "PaymentMethods": ("PaymentMethod", "PaymentMethod.BillingDetails", "PaymentMethod.Card"),
    "Refunds": ("Refund", "Refund.DestinationDetails"),
}
_BLOCK = re.compile(r"(?:export )?(?:declare )?(?:interface|namespace) (\w+)(?: extends .*)? \{")
_INLINE = re.compile(r"(\w+)(\??): \{")
_FIELD = re.compile(r"(\w+)(\??): (.+);")
_published: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}


def differences(name: str, value: Mapping[str, Any]) -> list[str]:
    """Say which fields are null or absent that are never; nothing of an object that is not kept."""
    fields: Mapping[str, str] = _published["objects"].get(name, {})
    nulls = {one for one in value if value[one] is None and "null" not in fields.get(one, "null")}
    absent = {one for one in fields.keys() - value.keys() if "absent" not in fields[one]}
    found = dict.fromkeys(nulls, "null") | dict.fromkeys(absent, "absent")
    return [f"{name}.{one} is {what}" for one, what in sorted(found.items())]


def read(tarball: tarfile.TarFile) -> dict[str, Any]:
    """Read from the SDK what of each field may be: null, absent, both or neither."""
    objects: dict[str, Mapping[str, str]] = {}
    for file, names in OBJECTS.items():
        source = tarball.extractfile(f"package/cjs/resources/{file}.d.ts")
        assert source is not None
        found = dict(_interfaces(source.read().decode()))
        objects |= {name: found[name] for name in names}
    return {"sdk": Path(str(tarball.name)).name, "objects": objects}


def _interfaces(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Read each interface with the fields of its own, under its name in its namespaces."""
    text = re.sub(r"/\*\*.*?\*/", "", text, flags=re.DOTALL)
    within: list[tuple[str, dict[str, str]]] = []
    for line in map(str.strip, text.splitlines()):
        if line.endswith("{"):
            block, inline = _BLOCK.fullmatch(line), _INLINE.fullmatch(line)
            if inline:
                within[-1][1][inline[1]] = "absent" if inline[2] else ""
            within.append((block[1] if block else "", {}))
        elif line.startswith("}"):
            if fields := within[-1][1]:
                yield ".".join(name for name, _ in within), fields
            within.pop()
        elif within and (field := _FIELD.fullmatch(line)):
            may_be = ("absent" if field[2] else "", "null" if "null" in field[3].split(" ") else "")
            within[-1][1][field[1]] = " ".join(filter(None, may_be))


if __name__ == "__main__":
    with tarfile.open(sys.argv[1]) as sdk:
        FILE.write_text(json.dumps(read(sdk), indent=1) + "\n")
