"""Texts that others have written: whether one shows all that it says, and how to show one that
does not.
"""

import re
import unicodedata

# How an organisation is told of an operator: names and notes of operators are among them.
SUPPORT = "support"
GIVEN_UP_BY_SUPPORT = f"given up by {SUPPORT}"

# What means something in Markdown within a line, and what makes an address a link. An underscore
# within a word means nothing.
_MARKUP = re.compile(
    r"[\\*~\[<@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|&(?=[#A-Za-z])|(?<=:)/(?=/)|(?<=[wW]{3})\."
)
# Control characters; bidi, zero-width and other formats; halves of characters; ends of lines.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def is_plain(text: str) -> bool:
    """Whether all of a text is seen, in the order in which it is written, in one line."""
    return not any(map(_is_unseen, text))


def visible(text: str, kept: str = "") -> str:
    """Write what is not seen as in a program: a new line as `\\\\n`, an escape as `\\\\x1b`.

    All but what is `kept`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(ascii(one)[1:-1] if _is_unseen(one) and one not in kept else one for one in text)


def inert(text: str) -> str:
    """Write a text in Markdown, in one line, such that nothing in it is markup but `code`.

    No emphasis, link, picture or HTML comes of it, nor does an address become a link.
    """
    text = visible(text)
    # Backticks that others pair in another way than we do are shown as what they look like.
    if "``" in text or text.count("`") % 2:
        text = text.replace("`", "'")
    parts = text.split("`")
    parts[::2] = [_MARKUP.sub(r"\\\g<0>", part) for part in parts[::2]]
    return "`".join(parts)


def code(text: str) -> str:
    """Write a text in Markdown such that it is shown as it is, to be copied."""
    text = visible(text)
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text.replace('``', '` `')}{pad}{fence}"


def _is_unseen(character: str) -> bool:
    return unicodedata.category(character) in _UNSEEN
