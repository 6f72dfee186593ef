"""Foreign text made harmless: reports, names and models' answers are data, for people and for models."""

import re
import unicodedata
from collections.abc import Callable

MOST_HELD = 400
"""Characters that a tag or a link may have."""

MOST_QUOTED = 4000
"""Characters of one foreign text that a prompt quotes."""

_FENCE = "||||"
_MARKUP = re.compile(r"<[^<>\n]{0,400}>")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,400})\]\(([^()\n]{0,2000})\)")
_ADDRESS = re.compile(r"[a-z0-9+.-]{0,20}://\S*|(?:javascript:|data:[a-z]+/|\bwww\.)\S*", re.IGNORECASE)


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
    for mark, harmless in (("<", "\u2039"), (">", "\u203a"), ("`", "'"), ("](", "] (")):
        text = text.replace(mark, harmless)
    return re.sub(r"[ \t]+", " ", text).strip()


def quoted(text: str, most: int = MOST_QUOTED) -> str:
    """Return foreign text as a prompt quotes it: plain, cut to length, between lines that it cannot hold."""
    inner = plain(text)
    while "||" in inner:
        inner = inner.replace("||", "|")
    if len(inner) > most:
        inner = inner[:most].rstrip() + " (cut)"
    return f"{_FENCE}\n{inner}\n{_FENCE}"


class PlainWords:
    """Passes on a text in pieces as `plain` would make of it, a word or what belongs together at a time."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._held = ""

    def __call__(self, piece: str) -> None:
        self._held += piece
        # A tag or a link is known by its end; one that is opened and never closed waits for the line's.
        opened = re.search(r"<[^<>\n]*$|!?\[[^\[\]\n]*\]?$|\]\([^()\n]*$", self._held[-MOST_HELD:])
        end = len(self._held) - (len(opened[0]) if opened else 0)
        cut = max(self._held.rfind(" ", 0, end), self._held.rfind("\n", 0, end)) + 1
        self._pass_on(cut)

    def finish(self) -> None:
        """Pass on what is still held back."""
        self._pass_on(len(self._held))

    def _pass_on(self, cut: int) -> None:
        ready, self._held = self._held[:cut], self._held[cut:]
        said = plain(ready)
        if said:
            space = ready[: len(ready) - len(ready.lstrip())], ready[len(ready.rstrip()) :]
            self._tell(f"{space[0]}{said}{space[1]}")
        elif ready.strip() == "" and ready:
            self._tell(ready)
