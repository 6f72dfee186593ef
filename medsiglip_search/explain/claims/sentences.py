"""Text to sentences of words in normal form: prose, Markdown lists, and lines like JSON."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from medsiglip_search.explain.claims.lexicon import WORD, normal_form

LONGEST = 300
"""Words; a longer sentence is parted, so that looking around in one never takes long."""
_LONGEST_QUOTE = 300  # characters

# Emphasis, quotes and code marks say nothing; a hyphen within a word parts it.
_TOKEN = re.compile(rf"{WORD}|\n|[^\s\w*_`#\"\u201c\u201d\u201e]", re.IGNORECASE)
_WITHIN = re.compile(r"[^\W_]")
_ENDS = frozenset(".!?\u2022\u00b7")
_ABBREVIATIONS = frozenset({"dr", "vs", "e", "g", "i", "approx", "ca", "cf", "fig", "no"})
_CONTINUES = frozenset(
    {"and", "or", "nor", "of", "the", "no", "a", "an", "with", "in", "on", "without", ",", "left", "right"}
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence taken apart. words: in normal form, marks among them. spans: where each is in the text."""

    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    quote: str


def sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of a text; the time it takes grows with its length."""
    words: list[str] = []
    spans: list[tuple[int, int]] = []
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        mark = match.group()
        if mark == "\n":
            if words and _ends_line(text, words, start, spans[0][0]):
                yield _sentence(text, words, spans)
                words, spans = [], []
            continue
        if mark in "-\u2010\u2011" and _is_within(text, start):
            continue
        words.append("-" if mark in "\u2010\u2011\u2012\u2013\u2014\u2015\u2212" else normal_form(mark))
        spans.append((start, end))
        if len(words) >= LONGEST or (mark in _ENDS and _ends_sentence(text, words, end)):
            yield _sentence(text, words, spans)
            words, spans = [], []
    if words:
        yield _sentence(text, words, spans)


def _sentence(text: str, words: list[str], spans: list[tuple[int, int]]) -> Sentence:
    quote = text[spans[0][0] : min(spans[-1][1], spans[0][0] + _LONGEST_QUOTE)]
    return Sentence(tuple(words), tuple(spans), " ".join(quote.split()))


def _is_within(text: str, at: int) -> bool:
    """Return whether a hyphen is one of a word: "left-sided", and "right- or"."""
    return at > 0 and text[at - 1].isalnum() and at + 1 < len(text) and text[at + 1].isalnum()


def _ends_sentence(text: str, words: list[str], end: int) -> bool:
    if text[end - 1] != ".":
        return True
    after = text[end : end + 1]
    if after and after.isalnum():
        return not after.isdigit() and after.isupper()
    return len(words) < 2 or words[-2] not in _ABBREVIATIONS


def _ends_line(text: str, words: list[str], at: int, start: int) -> bool:
    """Return whether the end of a line ends a sentence: not where a long line was wrapped within one."""
    following = text[at + 1 : at + 60].lstrip(" \t")
    if not following or not following[0].islower() or words[-1] in {";", ":", "}", "]", "."}:
        return not (words[-1] in {"and", "or", "no", "without"} and following[:1].isalpha())
    if words[-1] in _CONTINUES:
        return False
    line_start = max(text.rfind("\n", max(0, at - 200), at) + 1, start, at - 200)
    label = following.partition("\n")[0][:40]
    return at - line_start < 50 or ":" in label or " - " in label
