"""`callwallet up`: the whole stack, from the first process to Ctrl-C, shown to a person."""

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

# Wide enough for a table in a log, where rich would assume 80 columns.
LOG_COLUMNS = 130


class Steps:
    """What happens, step by step: spinners that become ticks on a terminal, plain lines elsewhere.

    It is alive inside `with`. A note that comes later is a line of its own, or `quiet_later`
    nothing.
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
        """Say where a step stands; one that is `ready …` or `done …` has its tick."""
        if self._is_alive and self._console.is_terminal:
            self.show(step, detail)
        elif self._is_alive or not self._quiet_later:
            self._console.print(escape(f"{step}: {detail}"), highlight=False, soft_wrap=True)

    def show(self, step: str, detail: str) -> None:
        """Say where a step stands, but only to somebody who watches."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(escape(step), total=1, detail="")
        finished = detail.startswith(("ready", "done"))
        self._progress.update(self._tasks[step], detail=escape(detail), completed=int(finished))


def make_console() -> Console:
    """Make a console that does not squeeze its tables when nobody watches."""
    console = Console()
    return console if console.is_terminal else Console(width=LOG_COLUMNS)


async def up(state: Path, ports: Mapping[str, int]) -> int:
    """Start the stack and stay until SIGINT or SIGTERM; answers with the exit status.

    `ports` fixes some of Stack's ports. What cannot start is told to the person, with status 1.
    """
    console = make_console()
    steps = Steps(console)
    stack = Stack(state, ports=ports, on_step=steps.note)
    try:
        with until_signalled():
            await _serve(stack, console, steps)
    except StackError as error:
        return tell(error, console)
    return 0


async def _serve(stack: Stack, console: Console, steps: Steps) -> None:
    async with started(stack, steps):
        console.print(addresses(stack))
        await asyncio.Event().wait()


@asynccontextmanager
async def started(stack: Stack, steps: Steps) -> AsyncIterator[Stack]:
    """Run a stack whose start is shown by `steps`."""
    async with AsyncExitStack() as running:
        with steps:
            await running.enter_async_context(stack)
        yield stack


def addresses(stack: Stack) -> Panel:
    """List where everything is, and how a shell gets at it."""
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
        ("Settings for a shell", f"set -a; . {shown(stack.state)}/env"),
        ("Logs", f"{shown(stack.state)}/logs/"),
    ):
        table.add_row(name, f"[bold]{escape(where)}[/]")
    return Panel(table, title="callwallet is up", subtitle="Ctrl-C stops it", expand=False)


def shown(path: Path) -> Path:
    """Write a path the way it can be typed here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def tell(error: StackError, console: Console) -> int:
    """Say why nothing runs; answers with the exit status."""
    console.print(f"[red]callwallet:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
    return 1
