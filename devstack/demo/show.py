"""Show what happened in a table, and where to look at it."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from devstack.demo.check import Figure
from devstack.demo.world import World
from devstack.stack import Stack
from devstack.up import path_from_here

Act = tuple[str, Sequence[Figure]]
"""The name of a scene, and its figures."""


def table(acts: Sequence[Act]) -> Table:
    """Return the table of all figures, each beside what was expected."""
    drawn = Table(title="What happened", title_justify="left")
    for heading in ("Scene", "Figure", "Expected", "Found", ""):
        drawn.add_column(heading, overflow="fold")
    for name, figures in acts:
        for number, figure in enumerate(figures):
            tick = "[green]✓[/]" if figure.agrees else "[bold red]✗[/]"
            cells = (name if number == 0 else "", figure.what, figure.expected, figure.found)
            drawn.add_row(*map(escape, cells), tick)
        drawn.add_section()
    return drawn


def links(console: Console, world: World, stack: Stack) -> None:
    """Print where to look in the Temporal UI."""
    pages = {
        **world.exhibits,
        "all that is parked": world.operator.parked_page(),
        "the API's documentation": f"{stack.api_url}/docs",
    }
    console.print("\n[bold]Look at[/]")
    width = max(map(len, pages))
    for name, url in pages.items():
        console.print(f"  {name:{width}}  {url}", highlight=False, soft_wrap=True)


def how_to_return(console: Console, stack: Stack) -> None:
    """Print how to start the same stack again, with the same addresses."""
    command = f"callwallet up --state {path_from_here(stack.state)}"
    kept = f"\nEverything is kept: [bold]{escape(command)}[/] makes these links work again."
    console.print(kept, highlight=False, soft_wrap=True)
