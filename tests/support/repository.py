"""Read the files of the repository, for tests about documents, names and rooms."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATIONS = "docs/operations.md"
ARCHITECTURE = "docs/architecture.md"
DEVELOPMENT = "docs/development.md"
GLOSSARY = "docs/glossary.md"
DOCUMENTS = ("README.md", "CONTRIBUTING.md", ARCHITECTURE, DEVELOPMENT, GLOSSARY, OPERATIONS)


def read(path: str) -> str:
    return (ROOT / path).read_text()


def tracked(*patterns: str) -> list[Path]:
    """List every file that git has or would add, by its path from the root."""
    listed = _git("ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns)
    return [Path(name) for name in listed if (ROOT / name).exists()]


def ignored(*names: str) -> set[str]:
    """Return which of these names git ignores, since they are made on each machine."""
    return set(_git("check-ignore", "--no-index", "--stdin", typed="\n".join(names)))


def _git(*arguments: str, typed: str | None = None) -> list[str]:
    try:
        answer = subprocess.run(
            ["git", *arguments],
            cwd=ROOT, input=typed, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        pytest.skip("there is no git")
    if answer.stderr:
        pytest.skip("not a git checkout")
    return answer.stdout.splitlines()


def section(document: str, heading: str) -> str:
    """Return the text under a heading, up to the next heading of its level or above."""
    level = heading.partition(" ")[0]
    below = read(document).partition(f"\n{heading}\n")[2]
    assert below, f"{document} has no {heading}"
    return re.split(rf"\n#{{2,{len(level)}}} ", below)[0]


def table(document: str, heading: str, number: int = 0) -> list[list[str]]:
    """Return the cells of a table under a heading (the first, or by number), its head first."""
    tables = re.findall(r"(?:^\|.*\n?)+", section(document, heading), re.MULTILINE)
    rows = [line.strip("|").split("|") for line in tables[number].splitlines()]
    return [[cell.strip() for cell in row] for at, row in enumerate(rows) if at != 1]
