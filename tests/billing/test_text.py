"""What others have written is refused, or shown as no more than text."""

import pytest

from billing.text import code, inert, is_plain, visible

ESCAPE, OVERRIDE, ZERO_WIDTH = "\x1b[2J", "\u202e", "\u200b"


@pytest.mark.parametrize(
    "text", ["", "Acme", "Zażółć & Söhne 株式会社", "ticket 4711: “why?”", "👍", "a\u00a0b"]
)
def test_whatever_shows_all_that_it_says_is_plain(text: str) -> None:
    assert is_plain(text)
    assert visible(text) == text


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("\0", r"\x00"),
        ("\n", r"\n"),
        ("\x1b", r"\x1b"),
        ("\x7f", r"\x7f"),
        ("\x9b", r"\x9b"),
        (OVERRIDE, r"\u202e"),
        ("\u2066", r"\u2066"),
        (ZERO_WIDTH, r"\u200b"),
        ("\u200d", r"\u200d"),
        ("\ufeff", r"\ufeff"),
        ("\u2028", r"\u2028"),
        ("\U000e0041", r"\U000e0041"),
        ("\ud800", r"\ud800"),
    ],
)
def test_what_is_not_seen_is_not_plain_and_is_shown_as_in_a_program(
    hidden: str, shown: str
) -> None:
    assert not is_plain(f"a{hidden}b")
    assert visible(f"a{hidden}b") == f"a{shown}b"
    assert visible("a\nb", kept="\n") == "a\nb"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain, with a_name in it (and 1.5 > 1)", "plain, with a_name in it (and 1.5 > 1)"),
        ("[pay](https://evil.example)", r"\[pay](https:\//evil.example)"),
        ("![x](//evil.example)", r"!\[x](//evil.example)"),
        ("<img src=x>", r"\<img src=x>"),
        ("**bold** _so_ ~gone~", r"\*\*bold\*\* \_so\_ \~gone\~"),
        ("&lt;b&gt; & co", r"\&lt;b\&gt; & co"),
        ("www.evil.example, a@evil.example", r"www\.evil.example, a\@evil.example"),
        ("one\n# two", r"one\\n# two"),
        ("a `name` of ours", "a `name` of ours"),
        ("`[x](y)` and [x](y)", r"`[x](y)` and \[x](y)"),
        ("` [x](y)", r"' \[x](y)"),
        ("`` ` [x](y) ` ``", r"'' ' \[x](y) ' ''"),
        ("\\` [x](y) `", r"\\` [x](y) `"),
    ],
)
def test_nothing_in_an_inert_text_is_markup_but_code(text: str, written: str) -> None:
    assert inert(text) == written


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("call/abc", "`call/abc`"),
        ("call/[a](b)", "`call/[a](b)`"),
        ("call/a`b", "`` call/a`b ``"),
        ("call/a``b", "`` call/a` `b ``"),
        ("call/\nabc", r"`call/\nabc`"),
    ],
)
def test_code_shows_a_text_as_it_is(text: str, written: str) -> None:
    assert code(text) == written
