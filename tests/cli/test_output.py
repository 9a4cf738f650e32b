"""What others have written can do no more in a terminal than be read."""

import io

import pytest
import typer
from rich.table import Table

from cli.output import Screen, require_plain

WRITTEN = "Acme\x1b]0;owned\x07 \u202eevil\u200b [red]x[/red]"
SHOWN = r"Acme\x1b]0;owned\x07 \u202eevil\u200b [red]x[/red]"


@pytest.mark.parametrize("in_a_table", [True, False])
def test_a_terminal_is_shown_escapes_and_obeys_none(*, in_a_table: bool) -> None:
    file = io.StringIO()
    screen = Screen(file=file, width=100, markup=False, highlight=False)
    table = Table(box=None, show_header=False)
    table.add_row(WRITTEN)
    screen.print(table if in_a_table else f"{WRITTEN}\n{WRITTEN}")
    lines = [line.strip() for line in file.getvalue().splitlines()]
    assert lines == [SHOWN] * (1 if in_a_table else 2)


@pytest.mark.parametrize("hidden", ["\n", "\x1b[2J", "\u202e", "\u200b"])
def test_a_note_that_does_not_show_what_it_says_is_not_taken(hidden: str) -> None:
    with pytest.raises(typer.BadParameter):
        require_plain(f"ticket {hidden} 4711")
    require_plain("ticket 4711: “why?”")
