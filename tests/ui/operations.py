"""What docs/operations.md tells a person to open, so that it and the UI cannot drift apart."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote_plus, urlsplit

_DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
_VIEW = re.compile(r"^\| ([^|]+) \| `[^`]+` \| \[`\?query[^\]]*\]\((http[^)]+)\)", re.MULTILINE)
_COLUMNS = re.compile(r"\*Configure Columns\*(.*?)\(pence", re.DOTALL)
# What a reader has to put in: an organisation of theirs, and a moment.
ORGANIZATION, MOMENT = "acme", "2026-11-21T00:00:00Z"


@dataclass(frozen=True)
class View:
    """A list in the UI, as a link to the compose file's."""

    link: str

    @property
    def name(self) -> str:
        """What the UI calls it until somebody saves it."""
        return parse_qs(urlsplit(self.link).query)["savedQuery"][0]

    def at(self, ui_url: str) -> str:
        """The same link into another UI."""
        return self.link.replace("http://localhost:8080", ui_url)

    def with_(self, written: str, instead: str) -> "View":
        """Put in something else where the document has an example."""
        written, instead = quote_plus(written), quote_plus(instead)
        assert written in self.link, self.link
        return View(self.link.replace(written, instead))


def documented_views() -> Mapping[str, View]:
    """Every view of the table, by what the document calls it."""
    return {name: View(link) for name, link in _VIEW.findall(_DOCUMENT.read_text())}


def documented_columns() -> list[str]:
    """The columns that the document tells to add."""
    found = _COLUMNS.search(_DOCUMENT.read_text())
    assert found is not None
    return re.findall(r"`(\w+)`", found[1])
