"""What the worker serves: every process and every activity, and what the sandbox lets through."""

import ast
import importlib
import inspect
from collections import Counter
from collections.abc import Iterator
from types import ModuleType

import pytest
from temporalio import activity, workflow
from temporalio.worker import Worker

from devstack.programs import STAND_INS
from settings import Settings, platform_rules
from tests.support.factories import unique
from tests.support.repository import ROOT, tracked
from wiring import Clients, connect_temporal
from worker import PASSED_THROUGH, WORKFLOWS, build_workers
from workflows.shared.options import BILLING_QUEUE, PROVIDERS_QUEUE

PROCESSES = {one.__module__ for one in WORKFLOWS}


def modules(floor: str) -> Iterator[ModuleType]:
    for file in tracked(f"{floor}/*.py"):
        yield importlib.import_module(
            ".".join(file.with_suffix("").parts).removesuffix(".__init__")
        )


def imported_by(module: str) -> set[str]:
    """The modules of ours that a module imports, by the name of each."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    found = set()
    for statement in ast.walk(tree):
        if isinstance(statement, ast.ImportFrom) and statement.module is not None:
            found |= {f"{statement.module}.{alias.name}" for alias in statement.names}
        elif isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
    return {module_of(name) for name in found if (ROOT / name.partition(".")[0]).is_dir()}


def module_of(name: str) -> str:
    """Cut off what is in the module."""
    while not (ROOT / f"{name.replace('.', '/')}.py").exists() and "." in name:
        name = name.rpartition(".")[0]
    return name


def is_passed_through(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in PASSED_THROUGH)


def test_every_process_is_served() -> None:
    defined = {
        one
        for module in modules("workflows")
        for _, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == module.__name__ and workflow._Definition.from_class(one)
    }
    assert defined == set(WORKFLOWS)


@pytest.fixture(scope="module")
async def workers(settings: Settings, clients: Clients) -> list[Worker]:
    """The workers of a namespace of their own: the SDK takes one a namespace and queue."""
    elsewhere = settings.model_copy(update={"temporal_namespace": unique("the-house")})
    return build_workers(await connect_temporal(elsewhere), clients, platform_rules(elsewhere))


def test_every_activity_is_served_by_one_queue(workers: list[Worker]) -> None:
    defined = {
        name
        for module in modules("activities")
        for _, one in inspect.getmembers(module, inspect.isclass)
        if one.__module__ == module.__name__
        for _, function in inspect.getmembers(one, inspect.isfunction)
        if (definition := activity._Definition.from_callable(function))
        and (name := definition.name)
    }
    served = Counter(
        activity._Definition.must_from_callable(one).name
        for worker in workers
        for one in worker.config()["activities"]
    )
    assert served == Counter(defined)


def test_who_asks_a_provider_is_served_by_the_providers_queue(workers: list[Worker]) -> None:
    """By the module's name, `stripe_cards` or `vapi`: PostgreSQL's work does not wait for them."""
    served_by = {
        worker.task_queue: {
            one.__module__.rpartition(".")[2].partition("_")[0]
            for one in worker.config()["activities"]
        }
        for worker in workers
    }
    assert served_by[PROVIDERS_QUEUE] & set(STAND_INS)
    assert not served_by[BILLING_QUEUE] & set(STAND_INS)


def test_what_processes_share_is_passed_through_the_sandbox_and_no_process_is() -> None:
    shared = {module for process in PROCESSES for module in imported_by(process)} - PROCESSES
    assert "workflows.shared.parking" in shared
    assert {module for module in shared if not is_passed_through(module)} == set()
    assert {module for module in PROCESSES if is_passed_through(module)} == set()
    unused = {one for one in PASSED_THROUGH if not any(m.startswith(one) for m in shared)}
    assert unused == set()
