"""The rooms: what is where, under which name, and how long."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from tests.support.repository import ARCHITECTURE, DEVELOPMENT, ROOT, table, tracked

LONGEST_FILE = 300
FLOORS = ("cli", "api", "processes", "workflows", "activities", "store", "billing")
# What these hold is looked for by its own name; the schema follows the store's rooms.
OPENED = {"api/routes", "api/webhooks"}
# Names that say nothing about what is inside.
NO_NAMES = {"utils", "util", "helpers", "helper", "managers", "manager", "services", "service",
            "handlers", "handler", "common", "misc"}  # fmt: skip
# What `create_app` was given, for the routes.
KEPT = {Path("api/services.py")}


def modules() -> list[Path]:
    """Every module of the floors."""
    return [file for file in tracked("*.py") if file.parts[0] in FLOORS]


def units() -> set[str]:
    """What a table of the rooms has to name: each file and folder of a floor."""
    found = set()
    for file in modules():
        if file.name not in ("__init__.py", "__main__.py"):
            depth = 3 if "/".join(file.parts[:2]) in OPENED else 2
            is_folder = len(file.parts) > depth
            found.add("/".join(file.parts[:depth]) + "/" * is_folder)
    return found


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def rooms() -> Mapping[str, Mapping[str, list[str]]]:
    """The table of development.md: of each room and floor, the files and folders."""
    [head, *rows] = table(DEVELOPMENT, "## The rooms, file by file")
    floors = [floor.strip("`/") for floor in head[1:]]
    return {
        row[0]: {
            floor: [f"{floor}/{name}" for name in names_in(cell)]
            for floor, cell in zip(floors, row[1:], strict=True)
        }
        for row in rows
    }


def beside_the_rooms() -> list[str]:
    [_, *rows] = table(DEVELOPMENT, "### Beside the rooms")
    return [name for row in rows for name in names_in(row[0])]


def twice(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Names of public classes that stand in more than one place, and where."""
    found = defaultdict(list)
    for file, source in sources.items():
        for one in ast.walk(ast.parse(source)):
            if isinstance(one, ast.ClassDef) and not one.name.startswith("_"):
                found[one.name].append(file)
    return {name: files for name, files in found.items() if len(files) > 1}


def alone(files: Iterable[Path]) -> set[str]:
    """Folders with one module, which could be a file."""
    inside = defaultdict(set)
    for file in files:
        if file.name != "__init__.py":
            for folder, below in zip(file.parents, (file, *file.parents), strict=False):
                inside[folder].add(below)
    return {str(folder) for folder, found in inside.items() if len(found) == 1 and folder.parts}


def test_the_table_of_the_rooms_names_everything_once() -> None:
    named = [name for floors in rooms().values() for names in floors.values() for name in names]
    assert Counter([*named, *beside_the_rooms()]) == Counter(units())


def test_the_page_of_the_rooms_has_the_rooms_of_each_floor() -> None:
    [head, *rows] = table(ARCHITECTURE, "## The rooms", number=1)
    assert tuple(head[2:]) == FLOORS
    shown = {row[0]: dict(zip(FLOORS, map(bool, row[2:]), strict=True)) for row in rows}
    assert shown == {
        room: {floor: bool(names) for floor, names in floors.items()}
        for room, floors in rooms().items()
    }


def test_every_floor_is_on_the_page_of_the_rooms() -> None:
    [_, *rows] = table(ARCHITECTURE, "## The rooms")
    assert tuple(row[0].strip("`/") for row in rows) == FLOORS


def test_no_room_is_a_folder_of_one() -> None:
    assert alone(modules()) == set()


def test_a_folder_of_one_would_be_found_out() -> None:
    room = Path("billing/calls/__init__.py"), Path("billing/calls/call.py"), Path("billing/a.py")
    assert alone(room) == {"billing/calls"}


def test_no_module_has_a_name_that_says_nothing() -> None:
    named = {file for file in modules() if NO_NAMES & {*file.parts, file.stem}}
    assert named == KEPT


def test_no_public_class_name_stands_twice() -> None:
    outside = [file for file in tracked("*.py") if file.parts[0] not in ("tests", "devstack")]
    assert twice({str(file): (ROOT / file).read_text() for file in outside}) == {}


def test_a_class_name_that_stands_twice_would_be_found_out() -> None:
    once, again = "class Entry: ...\nclass _Row: ...", "class _Row: ...\nclass Entry: ..."
    assert twice({"a.py": once, "b.py": again}) == {"Entry": ["a.py", "b.py"]}


def test_no_file_is_too_long_to_read() -> None:
    long = {
        str(file): lines
        for file in tracked("*.py")
        if file.parts[0] != "tests"
        and (lines := len((ROOT / file).read_text().splitlines())) > LONGEST_FILE
    }
    assert not long
