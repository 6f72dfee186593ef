"""Foreign text made harmless: reports, names and models' answers are data, for people and for models."""

import re
import unicodedata

MOST_QUOTED = 4000
"""Characters of one foreign text that a prompt quotes."""

_FENCE = "||||"
_MARKUP = re.compile(r"<[^<>\n]{0,400}>")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,400})\]\(([^()\n]{0,2000})\)")
_ADDRESS = re.compile(r"\b(?:[a-z][a-z0-9+.-]{1,20}://|javascript:|data:[a-z]+/|www\.)\S*", re.IGNORECASE)


def plain(text: str) -> str:
    """Return text without what a terminal, a browser or a Markdown reader would act upon.

    Control and invisible characters go, tags and addresses become words: a model's answer or a report may
    hold any. Line breaks stay.
    """
    text = unicodedata.normalize("NFC", text)
    text = "".join(c for c in text if c == "\n" or unicodedata.category(c)[0] != "C")
    text = _LINK.sub(r"\1", text)
    text = _MARKUP.sub(" ", text)
    text = _ADDRESS.sub("(address left out)", text)
    text = text.replace("<", "\u2039").replace(">", "\u203a").replace("`", "'")
    return re.sub(r"[ \t]+", " ", text).strip()


def quoted(text: str, most: int = MOST_QUOTED) -> str:
    """Return foreign text as a prompt quotes it: plain, cut to length, between lines that it cannot hold."""
    inner = plain(text)
    while "||" in inner:
        inner = inner.replace("||", "|")
    if len(inner) > most:
        inner = inner[:most].rstrip() + " (cut)"
    return f"{_FENCE}\n{inner}\n{_FENCE}"
