"""Read from docs/operations.md what a person is to open, so that tests can open it in the UI."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote_plus, urlsplit

_DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
_VIEW = re.compile(r"^\| ([^|]+) \| `[^`]+` \| \[`\?query[^\]]*\]\((http[^)]+)\)", re.MULTILINE)
_COLUMNS = re.compile(r"\*Configure Columns\*(.*?)\(pence", re.DOTALL)
# The document's examples, which a reader replaces: an organisation, and a moment.
ORGANIZATION, MOMENT = "acme", "2026-11-21T00:00:00Z"


@dataclass(frozen=True)
class View:
    """A list in the UI, as a link to the UI of the compose file."""

    link: str

    @property
    def name(self) -> str:
        """Its name in the UI until somebody saves it."""
        return parse_qs(urlsplit(self.link).query)["savedQuery"][0]

    def at(self, ui_url: str) -> str:
        """Return the same link to another UI."""
        return self.link.replace("http://localhost:8080", ui_url)

    def with_(self, written: str, instead: str) -> "View":
        """Return the link with something else in place of one of the document's examples."""
        written, instead = quote_plus(written), quote_plus(instead)
        assert written in self.link, self.link
        return View(self.link.replace(written, instead))


def documented_views() -> Mapping[str, View]:
    """Return every view of the table, by its name in the document."""
    return {name: View(link) for name, link in _VIEW.findall(_DOCUMENT.read_text())}


def documented_columns() -> list[str]:
    """Return the columns that the document says to add."""
    found = _COLUMNS.search(_DOCUMENT.read_text())
    assert found is not None
    return re.findall(r"`(\w+)`", found[1])
