"""No posting goes untold: how transactions on the ledger are opened, and what is told of them."""

import ast
import dataclasses
import importlib
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

import activities
import store
from activities.ledger.postings import MOST_LINES, books
from billing.ledger.entry import Posting, PostingCounts
from store.ledger import ledger
from tests.support.factories import an_organization, balance_of, charge_of, credit_of
from worker import WORKFLOWS

# What posts, by the name that activities call it by.
POSTS = {"calls.charge", "messages.settle", "ledger.post", "ledger.post_locked"}
ACTIVITIES = Path(inspect.getfile(activities)).parent
ROOT = ACTIVITIES.parent
MODULES = [one for one in sorted(ACTIVITIES.rglob("*.py")) if one.stem != "__init__"]


class Undone(Exception):
    """What rolls a transaction back."""


# ---- what is told


async def test_a_posting_is_told_with_its_answer_once_it_is_committed(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine, debt_limit_minor=0)
    given, taken = credit_of(org_id, 100), charge_of(org_id, 150)
    with capture_logs() as logs:
        async with books(engine) as connection:
            await ledger.post(connection, [given, taken])
            assert not logs
        async with books(engine) as connection:
            await ledger.post(connection, [given])
    first, second, third = logs
    assert first == {
        "event": "posted", "log_level": "info", "key": given.key, "kind": "topup",
        "org_id": org_id, "amount_minor": 100, "currency": "gbp", "outcome": "applied",
        "entry": first["entry"], "balance_before_minor": 0, "balance_after_minor": 100,
        "refusal": None,
    }  # fmt: skip
    assert (second["key"], second["outcome"]) == (taken.key, "refused")
    assert (second["entry"], second["refusal"]) == (None, "debt_limit")
    assert (third["outcome"], third["entry"]) == ("duplicate", first["entry"])
    assert (third["balance_before_minor"], third["balance_after_minor"]) == (100, 100)


async def test_what_was_rolled_back_is_not_told(engine: AsyncEngine) -> None:
    org_id = await an_organization(engine)

    async def post_and_fail() -> None:
        async with books(engine) as connection:
            await ledger.post(connection, [credit_of(org_id, 100)])
            raise Undone

    with capture_logs() as logs, pytest.raises(Undone):
        await post_and_fail()
    assert (logs, await balance_of(engine, org_id)) == ([], 0)


async def test_of_many_only_refusals_have_lines_that_are_not_for_debugging(
    engine: AsyncEngine,
) -> None:
    org_id = await an_organization(engine, MOST_LINES, debt_limit_minor=0)
    with capture_logs() as logs:
        async with books(engine) as connection:
            await ledger.post(connection, [charge_of(org_id, 1) for _ in range(MOST_LINES + 1)])
    levels = [(line["outcome"], line["log_level"]) for line in logs]
    assert levels == [("applied", "debug")] * MOST_LINES + [("refused", "info")]


# ---- that it cannot be forgotten


def test_what_posts_is_what_activities_post_by() -> None:
    """A new way to the ledger has to be named above."""
    found = {
        f"{file.stem}.{name}"
        for file in sorted(Path(inspect.getfile(store)).parent.rglob("*.py"))
        for name, body in functions_of(file).items()
        if not name.startswith("_")
        and reached(file, calls_in(body)) & {"ledger.post_locked", "post_locked"}
    }
    assert found | {"ledger.post_locked"} == POSTS


def test_every_transaction_that_posts_is_one_that_tells() -> None:
    opened = [
        (file, ast.unparse(item.context_expr))
        for file in MODULES
        for block in ast.walk(parsed(file))
        if isinstance(block, ast.AsyncWith)
        for item in block.items
        if reached(file, calls_in(block)) & POSTS
    ]
    assert {how for _, how in opened} == {"books(self._engine)"}
    assert {file for file, _ in opened} == {
        file for file in MODULES if calls_in(parsed(file)) & POSTS
    }


def test_every_activity_that_posts_answers_with_the_postings_or_how_many_there_were() -> None:
    names = {method.__name__ for method in posting_activities()}
    assert names >= {"bill_call", "bill_message", "collect", "drain", "drain_messages"}
    for method in posting_activities():
        assert holds(get_type_hints(method)["return"]), method.__qualname__


def test_every_process_that_posts_answers_with_the_postings_or_never_ends() -> None:
    posting = {method.__qualname__ for method in posting_activities()}
    asking = {one for one in WORKFLOWS if posting & set(re.findall(r"\w+\.\w+", source_of(one)))}
    assert {one.__name__ for one in asking} >= {"BillCall", "Collect", "SettlePayment"}
    for process in asking:
        answer = get_type_hints(process.run)["return"]
        assert answer is type(None) or holds(answer), process.__name__


def posting_activities() -> list[Any]:
    """Every activity in whose course something is posted."""
    return [
        method
        for file in MODULES
        for kind in classes_of(file)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if hasattr(method, "__temporal_activity_definition")
        and reached(file, calls_in(functions_of(file)[name])) & POSTS
    ]


def classes_of(file: Path) -> list[type]:
    module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
    found = inspect.getmembers(importlib.import_module(module), inspect.isclass)
    return [one for _, one in found if one.__module__ == module]


def holds(answer: Any) -> bool:
    """Whether a posting, or a count of them, is somewhere in values of this type."""
    inner = list(get_args(answer))
    if dataclasses.is_dataclass(answer):
        inner += get_type_hints(answer).values()
    return answer in (Posting, PostingCounts) or any(map(holds, inner))


def source_of(process: type) -> str:
    return inspect.getsource(inspect.getmodule(process) or process)


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def functions_of(file: Path) -> dict[str, ast.AST]:
    found = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {one.name: one for one in ast.walk(parsed(file)) if isinstance(one, found)}


def calls_in(node: ast.AST) -> set[str]:
    """The names of what is called, or handed on to be called, as they are written.

    Methods of its own are without `self`.
    """
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    handed_on = (argument for one in calls for argument in one.args)
    named = (*(one.func for one in calls), *handed_on)
    return {ast.unparse(one).removeprefix("self.") for one in named}


def reached(file: Path, called: set[str]) -> set[str]:
    """What is called, and what the functions of the same file call in their turn."""
    functions, seen = functions_of(file), set[str]()
    while more := called - seen:
        seen |= more
        called = called.union(*(calls_in(functions[one]) for one in more if one in functions))
    return seen
