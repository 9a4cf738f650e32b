"""Run `callwallet up`: start the whole stack, show it to a person, and stay until Ctrl-C."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from devstack.errors import StackError
from devstack.signals import until_signalled
from devstack.stack import Stack

# Wide enough for the tables. In a log rich would assume 80 columns.
LOG_COLUMNS = 130


class Steps:
    """The steps of a start: spinners that become ticks on a terminal, plain lines elsewhere.

    It is shown inside `with`. A later note is printed as a line; with `quiet_later` it is dropped.
    """

    def __init__(self, console: Console, *, quiet_later: bool = False) -> None:
        self._console = console
        self._quiet_later = quiet_later
        self._is_alive = False
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description}"),
            TextColumn("{task.fields[detail]}", style="dim"),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        self._is_alive = True
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        self._is_alive = False

    def note(self, step: str, detail: str) -> None:
        """Show where a step stands. A detail of `ready …` or `done …` gives it its tick."""
        if self._is_alive and self._console.is_terminal:
            self.show(step, detail)
        elif self._is_alive or not self._quiet_later:
            self._console.print(escape(f"{step}: {detail}"), highlight=False, soft_wrap=True)

    def show(self, step: str, detail: str) -> None:
        """Show where a step stands, on a terminal only."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(escape(step), total=1, detail="")
        finished = detail.startswith(("ready", "done"))
        self._progress.update(self._tasks[step], detail=escape(detail), completed=int(finished))


def make_console() -> Console:
    """Return a console which is wide enough for tables where there is no terminal."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_COLUMNS)


async def up(state: Path, ports: Mapping[str, int]) -> int:
    """Start the stack and stay until SIGINT or SIGTERM; return the exit status.

    `ports` fixes some of Stack's ports. If it cannot start, print why and return 1.
    """
    console = make_console()
    steps = Steps(console)
    stack = Stack(state, ports=ports, on_step=steps.note)
    try:
        with until_signalled():
            await _serve(stack, console, steps)
    except StackError as error:
        return print_error(error, console)
    return 0


async def _serve(stack: Stack, console: Console, steps: Steps) -> None:
    async with run_stack(stack, steps):
        console.print(addresses(stack))
        await asyncio.Event().wait()


@asynccontextmanager
async def run_stack(stack: Stack, steps: Steps) -> AsyncIterator[Stack]:
    """Run a stack, and show its start by `steps`."""
    async with AsyncExitStack() as running:
        with steps:
            await running.enter_async_context(stack)
        yield stack


def addresses(stack: Stack) -> Panel:
    """Return a table of all addresses, and of the settings for a shell."""
    table = Table.grid(padding=(0, 2))
    for name, where in (
        ("API", stack.api_url),
        ("API documentation", f"{stack.api_url}/docs"),
        ("Temporal UI", f"{stack.temporal.ui_url}/namespaces/billing"),
        ("Stripe (stand-in)", stack.stripe_url),
        ("Vapi (stand-in)", stack.vapi_url),
        ("Slack (stand-in)", stack.slack_url),
        ("Twilio (stand-in)", stack.twilio_url),
        ("Worker's metrics", stack.worker_metrics_url),
        ("Settings for a shell", f"set -a; . {path_from_here(stack.state)}/env"),
        ("Logs", f"{path_from_here(stack.state)}/logs/"),
    ):
        table.add_row(name, f"[bold]{escape(where)}[/]")
    return Panel(table, title="callwallet is up", subtitle="Ctrl-C stops it", expand=False)


def path_from_here(path: Path) -> Path:
    """Return a path as it can be typed in this directory."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def print_error(error: StackError, console: Console) -> int:
    """Print why nothing runs; return the exit status."""
    console.print(f"[red]callwallet:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return 1
