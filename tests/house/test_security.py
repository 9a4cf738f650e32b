"""SECURITY.md claims nothing that no test holds."""

import re

import pytest

from tests.support.repository import ROOT, read

DOCUMENT = "SECURITY.md"
CLAIMS = ("Assets", "Boundaries", "Attackers", "What each key can do")
# What is asked of people, what is left open, and what is to be done: no claims about the code.
OTHERS = ("Report a vulnerability", "Accepted risks", "Hardening guide")
_LINK = re.compile(r"\[[^]]+\]\((tests/[\w/]+\.py)#(test_\w+)\)")


def sections(document: str) -> dict[str, str]:
    """The text under each heading."""
    parts = re.split(r"^## (.+)\n", document, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def claims_of(name: str, text: str) -> list[str]:
    """The claims of a section: of each row of a table its last cell, and each sentence of text."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    rows = re.findall(r"^\|.*\|$", text, re.MULTILINE)
    tables = [row.strip("| ").split(" | ")[-1] for row in rows if not re.match(r"\|[-|]+$", row)]
    heads = {row.strip("| ").split(" | ")[-1] for row in re.findall(r"(\|.*\|)\n\|-", text)}
    prose = " ".join(line for line in text.splitlines() if not line.startswith("|")).strip()
    sentences = re.split(r"(?<=\.)\s+(?=[A-Z`*])", prose) if prose else []
    return [one for one in tables if one not in heads] + sentences


def unheld(document: str) -> list[str]:
    """The claims without a test."""
    return [
        claim
        for name, text in sections(document).items()
        if name in CLAIMS
        for claim in claims_of(name, text)
        if not _LINK.search(claim)
    ]


def test_every_claim_has_a_test() -> None:
    assert unheld(read(DOCUMENT)) == []
    assert {*CLAIMS, *OTHERS} == sections(read(DOCUMENT)).keys()


def test_every_test_that_is_named_is_there() -> None:
    links = _LINK.findall(read(DOCUMENT))
    assert len(links) > 50
    for file, name in links:
        assert (ROOT / file).exists(), file
        assert re.search(rf"def {name}\(", read(file)), f"{file} has no {name}"
    assert len(links) == len(re.findall(r"\]\(tests/", read(DOCUMENT)))


@pytest.mark.parametrize(
    "claim",
    ["| a key | can do all | but not this |\n", "It holds.\n", "It holds ([test](x.py)).\n"],
)
def test_a_claim_that_nothing_holds_is_found_out(claim: str) -> None:
    assert len(unheld(f"{read(DOCUMENT)}\n## Assets\n{claim}")) == 1
