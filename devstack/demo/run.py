"""Run `callwallet demo`: start everything, play the scenes, and show whether all figures agree."""

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from devstack.demo import messages, night, scenes, show, waiting
from devstack.demo.check import Figure
from devstack.demo.figures import Scene
from devstack.demo.world import World, open_world
from devstack.errors import StackError
from devstack.signals import until_signalled
from devstack.stack import Stack
from devstack.up import Steps, addresses, make_console, print_error, run_stack

SCENES: dict[str, Scene] = {
    "top-ups credited": scenes.topups,
    "calls charged by the tariff": scenes.calls,
    "a flood, in batches": scenes.flood,
    "messages by Twilio": messages.messages,
    "over the debt limit": waiting.debt,
    "a fault at Stripe": waiting.stripe_trouble,
    "reprocessed by a signal": waiting.reprocess,
    "a lost report, found at night": night.lost_report,
    "left parked for you": waiting.left_for_you,
    "totals": scenes.totals,
}
INTERRUPTED = 130


async def demo(state: Path, *, stay: bool) -> int:
    """Run the demo; return the exit status: 1 if a figure is wrong or the stack does not start."""
    console, status = make_console(), INTERRUPTED
    stack = Stack(state, on_step=(steps := Steps(console, quiet_later=True)).note)
    try:
        with until_signalled():
            async with run_stack(stack, steps):
                status = await _perform(stack, console)
                if stay:
                    console.print(addresses(stack))
                    await asyncio.Event().wait()
    except StackError as error:
        return print_error(error, console)
    return status


async def _perform(stack: Stack, console: Console) -> int:
    began = time.monotonic()
    async with open_world(stack) as world:
        acts = await play(world, SCENES, console)
        console.print(show.table(acts))
        status = verdict(acts, console, time.monotonic() - began)
        show.links(console, world, stack)
        show.how_to_return(console, stack)
    return status


async def play(world: World, played: dict[str, Scene], console: Console) -> list[show.Act]:
    """Play scenes one after another, up to the first figure that is wrong."""
    acts: list[show.Act] = []
    with Steps(console) as steps:
        for name, scene in played.items():
            figures = await _scene(world, name, scene, steps)
            acts.append((name, figures))
            if not all(figure.agrees for figure in figures):
                break
    return acts


def verdict(acts: Iterable[show.Act], console: Console, seconds: float) -> int:
    """Print which figures are wrong, or that all are right; return the exit status."""
    figures = [figure for _, shown in acts for figure in shown]
    wrong = [figure for figure in figures if not figure.agrees]
    for figure in wrong:
        console.print(f"[bold red]WRONG[/] {escape(figure.complaint())}", highlight=False)
    if not wrong:
        console.print(f"[green]All {len(figures)} figures are right[/], after {seconds:.1f} s.")
    return 1 if wrong else 0


async def _scene(world: World, name: str, scene: Scene, steps: Steps) -> list[Figure]:
    began, figures = time.monotonic(), list[Figure]()
    steps.note(name, "starting")
    async for figure in scene(world):
        figures.append(figure)
        if not figure.agrees:
            steps.note(name, figure.complaint())
            return figures
        steps.show(name, f"{figure.what}: {figure.found}")
    steps.note(name, f"done in {time.monotonic() - began:.1f} s, {len(figures)} figures right")
    return figures
