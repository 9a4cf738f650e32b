"""What a document or a comment names in backticks is there: files, folders, modules, tests.

Not held to the tree are patterns and examples (`*`, `{name}`, `…`, FILE.json), what git ignores
because each machine makes it (`.callwallet/env`), and what is listed below.
"""

import pkgutil
import re
from collections.abc import Iterator
from functools import cache

from tests.support.repository import ROOT, ignored, tracked

_FENCED = re.compile(r"```\w*\n(.*?)```", re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_WORD = re.compile(r"[^\s'\"`()\[\],;=|]+")
_EXAMPLE = re.compile(r"[*{}<>…$:\\]|FILE")
_FILE = re.compile(r"\.(csv|json|lock|md|py|svg|toml|ya?ml)$")
_DOTTED = re.compile(r"\w+(\.\w+)+")
# A field of what `/health` answers, and a file that decision 8 says we do not have.
NOT_OURS = {"workflows.parked", "uv.lock"}


@cache
def paths() -> frozenset[str]:
    """Every file and folder, from the root."""
    return frozenset(str(path) for file in tracked() for path in (file, *file.parents))


@cache
def ends() -> frozenset[str]:
    """Every way to name a file or folder by the end of its path, such as `gate.py`."""
    parts = [path.split("/") for path in paths()]
    return frozenset("/".join(one[at:]) for one in parts for at in range(len(one)))


@cache
def folders() -> frozenset[str]:
    return frozenset(path.partition("/")[0] for path in paths() if "/" in path)


@cache
def packages() -> frozenset[str]:
    """What a dotted name can begin with."""
    return frozenset(
        {one for one in folders() if f"{one}/__init__.py" in paths()}
        | {path.removesuffix(".py") for path in paths() if re.fullmatch(r"\w+\.py", path)}
    )


def words(text: str) -> Iterator[str]:
    """Everything in backticks, word by word, without what is only an example."""
    inside = _FENCED.findall(text)
    for paragraph in _FENCED.sub("", text).split("\n\n"):
        inside += _INLINE.findall(paragraph)
    for word in _WORD.findall("\n".join(inside)):
        if not _EXAMPLE.search(word):
            yield word.rstrip(".")


@cache
def names_of_tests() -> frozenset[str]:
    """Every test, by its name alone."""
    sources = ((ROOT / file).read_text() for file in tracked("tests/*.py"))
    return frozenset(name for source in sources for name in re.findall(r"def (test_\w+)", source))


@cache
def is_lost(word: str) -> bool:
    """Whether it looks like a file, folder, module or test of ours, and is none."""
    first = re.split(r"[./]", word)[0]
    if word in NOT_OURS:
        return False
    if re.fullmatch(r"test_\w+", word):
        return word not in names_of_tests()
    if _FILE.search(word):
        return word not in ends()
    if "/" in word:
        return first in folders() and word.rstrip("/") not in paths()
    if first in packages() and _DOTTED.fullmatch(word):
        return not resolves(word)
    return False


def resolves(name: str) -> bool:
    """Whether a dotted name is a module, or something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def lost(text: str) -> set[str]:
    found = {word for word in words(text) if is_lost(word)}
    return found - ignored(*found) if found else found


def lost_in(pattern: str) -> dict[str, set[str]]:
    found = {str(file): lost((ROOT / file).read_text()) for file in tracked(pattern)}
    return {file: names for file, names in found.items() if names}


def in_backticks(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


def test_no_document_names_what_is_not_there() -> None:
    assert lost_in("*.md") == {}


def test_no_docstring_or_comment_names_what_is_not_there() -> None:
    assert lost_in("*.py") == {}


def test_what_has_moved_would_be_found_out() -> None:
    moved = {
        "billing/gate.py", "gates.py", "tests/replays/", "store.calls.charge", "test_of_nothing",
    }  # fmt: skip
    assert lost(in_backticks(*moved)) == moved
    fence = "`" * 3
    block = f"{fence}sh\npython -m tests.replay.recorder api/processes.py\n{fence}"
    assert lost(block) == {"tests.replay.recorder", "api/processes.py"}


def test_what_is_there_or_is_an_example_or_made_on_a_machine_is_not_lost() -> None:
    there = ("api/gate.py", "gate.py", "tests/replay/", "store.calls.calls.charge")
    example = ("billing/{noun}.py", "api/*.py", "FILE.json", "call/abc", "0.1")
    made = (".callwallet/env", "deploy/prometheus/alertmanagers.yml")
    assert lost(in_backticks(*there, *example, *made)) == set()
