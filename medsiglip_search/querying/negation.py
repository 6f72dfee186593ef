"""What a text says is there, and what it says is not: "effusion, no pneumothorax", "ohne Erguss".

Encoders that were trained to match pictures with text hardly heed "no": to most of them "no effusion" is a
text about effusions. So what a query negates is taken out of its text and scored apart. English and German,
by the words that negate and the words that end their reach, as NegEx does it (Chapman 2001); no grammar.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Understood:
    """A text taken apart. present: the rest of it, None if nothing is left. absent: what it negates."""

    present: str | None
    absent: tuple[str, ...] = ()


def understood(text: str) -> Understood:
    """Return what `text` says is present and what absent; without a negation it is present as it stands.

    The time it takes grows with the length of the text.
    """
    tokens = list(_TOKEN.finditer(text))
    words = [match.group().lower() for match in tokens]
    if not _FIRST_WORDS.intersection(words):
        return Understood(text)
    absent: list[str] = []
    kept: list[tuple[int, int]] = []  # runs of tokens that stay
    clause = position = 0  # where the running clause, and the run that is kept, begins
    at = 0

    def cut(start: int, end: int, terms: Iterable[tuple[int, int]]) -> None:
        nonlocal clause, position, at
        absent.extend(_written(text, tokens, term) for term in terms)
        kept.append((position, start))
        clause = position = at = end

    while at < len(words):
        if at > clause and (length := _length_at(_AFTER, words, at)) and words[at - 1] not in _UNDONE:
            cut(clause, at + length, _stripped(words, [(clause, at)]))
        elif length := _length_at(_BEFORE, words, at):
            ands_join = words[at] in _AND_JOINS
            end, terms = _reach(words, at + length, ands_join)
            if terms and not _says_normal(words, terms):
                cut(at, end, terms)
            else:
                at = max(end, at + 1)
        else:
            clause = at + 1 if words[at] in _ENDS or words[at] == "," else clause
            at += 1
    if not absent:
        return Understood(text)
    kept.append((position, len(words)))
    pieces = [_written(text, tokens, run) for run in map(_bare, [words] * len(kept), kept) if run]
    return Understood(", ".join(pieces) or None, tuple(dict.fromkeys(absent)))


_TOKEN = re.compile(r"[^\W_]+(?:[-'\u2019/.][^\W_]+)*|[^\s]")


def _phrases(*lines: str) -> dict[str, tuple[tuple[str, ...], ...]]:
    """Return phrases by their first word, the longest first."""
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for phrase in (tuple(phrase.split()) for line in lines for phrase in line.split(", ")):
        by_first.setdefault(phrase[0], []).append(phrase)
    return {first: tuple(sorted(found, key=len, reverse=True)) for first, found in by_first.items()}


# What negates the words after it.
_BEFORE = _phrases(
    "no, neither, without, negative for, absence of, absent, free of, free from, lack of, lacking, excluding",
    "ohne, kein, keine, keinen, keinem, keiner, keines, keinerlei, weder, frei von, negativ für",
    "ausschluss von, ausschluss eines, ausschluss einer",
)
# What negates the words before it, up to the beginning of the clause.
_AFTER = _phrases(
    "is absent, are absent, absent, is excluded, excluded, is ruled out, are ruled out, ruled out",
    "not seen, is not seen, are not seen, not present, is not present, are not present",
    "not visible, is not visible, are not visible, not identified, is not identified, are not identified",
    "ist ausgeschlossen, ausgeschlossen, ist nicht nachweisbar, nicht nachweisbar, nicht sichtbar",
    "ist nicht sichtbar, nicht erkennbar, ist nicht erkennbar, fehlt, fehlen",
)
_FIRST_WORDS = frozenset(_BEFORE) | frozenset(_AFTER)
_UNDONE = frozenset({"not", "cannot", "be", "nicht"})
"""Before a word of `_AFTER` they undo it: "cannot be excluded"."""

_AND_JOINS = frozenset(_BEFORE) - frozenset({"no", "kein", "keine", "keinen", "keinem", "keiner", "keines"})
"""After these "and" goes on with what is absent: "without A and B", but "no A and B" says that B is there."""

_ENDS = frozenset(
    {*".;:!?()", "but", "with", "however", "although", "though", "yet", "while", "which", "showing"}
    | {"aber", "mit", "jedoch", "sondern", "wobei"}
)
_OR = frozenset({"or", "nor", "oder", "noch", "/"})
_AND = frozenset({"and", "und", "as", "sowie", "&"})
_EDGES = _OR | _AND | _ENDS | {",", "-", "\u2013", "there", "is", "are", "es", "there's", "besteht", "zeigt"}
"""What is left over at the ends of a piece that stays, and means nothing there."""

# What may stand between the word that negates and what it negates.
_FILLERS = _phrases(
    "any, a, an, the, evidence of, evidence for, sign of, signs of, findings of, finding of, indication of",
    "suggestion of, presence of, further, obvious, definite, clear, new",
    "ein, eine, einen, einem, einer, eines, der, die, das, den, dem, des, nachweis von, nachweis eines",
    "nachweis einer, nachweis, hinweis auf, hinweise auf, hinweis für, hinweise für, zeichen von",
    "zeichen eines, zeichen einer, zeichen für, anhalt für, von",
)
_NORMAL = frozenset(
    {"abnormality", "abnormalities", "process", "processes", "disease", "diseases", "finding", "findings"}
    | {"pathology", "change", "changes", "problem", "doubt", "longer", "auffälligkeit", "auffälligkeiten"}
    | {"befund", "befunde", "pathologie", "veränderung", "veränderungen"}
)
"""Last words of what cannot be seen as such: "no acute cardiopulmonary process" is said of a normal picture,
and encoders have learnt it as a whole."""


def _length_at(phrases: dict[str, tuple[tuple[str, ...], ...]], words: Sequence[str], at: int) -> int:
    """Return how many words the longest phrase has that stands here, 0 for none."""
    for phrase in phrases.get(words[at], ()):
        if tuple(words[at : at + len(phrase)]) == phrase:
            return len(phrase)
    return 0


def _reach(words: Sequence[str], start: int, ands_join: bool) -> tuple[int, list[tuple[int, int]]]:
    """Return where a negation that begins at `start` ends, and its terms as runs of words.

    A comma ends it, unless an "or" comes later in what would then be a list.
    """
    bounds = [start]  # where terms begin; the word before each is a comma, an "or" or an "and"
    settled, settled_end = 1, None  # as many of them are surely in the list; where it ends if no more are
    at = start
    while at < len(words) and words[at] not in _ENDS:
        word = words[at]
        if at > start and _length_at(_BEFORE, words, at):
            break
        if word in _OR or (ands_join and word in _AND and words[at + 1 : at + 2] != ["with"]):
            bounds.append(at + 1)
            settled, settled_end = len(bounds), None
        elif word in _AND:
            # "no A, B and C" is a list as well, "no A and a healthy B" is none.
            break
        elif word == ",":
            settled_end = at if settled_end is None else settled_end
            bounds.append(at + 1)
        at += 1
    end = at if settled_end is None else settled_end
    bounds = bounds[:settled]
    terms = [(first, last) for first, last in zip(bounds, [*(b - 1 for b in bounds[1:]), end], strict=True)]
    return end, _stripped(words, terms)


def _stripped(words: Sequence[str], terms: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the terms without fillers before them and leftovers around them; empty ones are dropped."""
    stripped = []
    for start, end in terms:
        run = _bare(words, (start, end))
        while run and (length := _length_at(_FILLERS, words, run[0])):
            run = _bare(words, (run[0] + length, run[1]))
        if run:
            stripped.append(run)
    return stripped


def _bare(words: Sequence[str], run: tuple[int, int]) -> tuple[int, int] | None:
    """Return a run without leftovers at its ends, None if nothing else is in it."""
    start, end = run
    while start < end and words[start] in _EDGES:
        start += 1
    while end > start and words[end - 1] in _EDGES:
        end -= 1
    return (start, end) if start < end else None


def _says_normal(words: Sequence[str], terms: Sequence[tuple[int, int]]) -> bool:
    return all(words[end - 1] in _NORMAL for _, end in terms)


def _written(text: str, tokens: Sequence[re.Match[str]], run: tuple[int, int]) -> str:
    """Return a run of words as the text has it."""
    return text[tokens[run[0]].start() : tokens[run[1] - 1].end()]
