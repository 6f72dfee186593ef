"""What a text says is there, and what it says is not: "effusion, no pneumothorax", "ohne Erguss".

Encoders that were trained to match pictures with text hardly heed "no": to most of them "no effusion" is a
text about effusions. So what a query negates is taken out of its text and scored apart. English and German,
by the words that negate and the words that end their reach, as NegEx does it (Chapman 2001); no grammar.

A text taken apart wrongly finds the opposite of what it says, so a phrase in doubt is left as it stands.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medsiglip_search.querying import negation_words as table

Run = tuple[int, int]  # words, the second not included


@dataclass(frozen=True, slots=True)
class Understood:
    """A text taken apart. present: the rest of it, None if nothing is left. absent: what it negates."""

    present: str | None
    absent: tuple[str, ...] = ()


def understood(text: str) -> Understood:
    """Return what `text` says is present and what absent; without a negation it is present as it stands.

    The time it takes grows with the length of the text.
    """
    # The tables are in NFC; files of macOS and PDFs have "für" with a combining mark.
    composed = unicodedata.normalize("NFC", text)
    tokens = list(_TOKEN.finditer(composed))
    words = [match.group().lower().replace("\u2019", "'") for match in tokens]
    if not table.FIRST_WORDS.intersection(words):
        return Understood(text)
    absent: list[str] = []
    kept: list[Run] = []  # runs of tokens that stay
    clause = position = at = 0  # where the running clause, and the run that is kept, begins
    while at < len(words):
        cut: tuple[int, int, list[Run]] | None = None
        after = table.length_at(table.AFTER, words, at)
        before = table.length_at(table.BEFORE, words, at)
        if after and (terms := _terms_before(words, clause, at, after)):
            cut = terms[0][0], at + after, terms
        elif before:
            end, terms = _reach(words, at + before, words[at] in table.AND_JOINS)
            if terms and not _in_doubt(words, clause, at, end, terms):
                cut = at, end, terms
            else:
                clause = at = max(end, at + 1)
        elif after and words[at] != ":":
            clause = at = at + after
        else:
            clause = at + 1 if words[at] in table.ENDS or words[at] == "," else clause
            at += 1
        if cut:
            start, end, terms = cut
            absent.extend(_written(composed, tokens, term) for term in terms)
            kept.append((position, start))
            clause = position = at = end
    if not absent:
        return Understood(text)
    kept.append((position, len(words)))
    pieces = [_written(composed, tokens, run) for run in map(_bare, [words] * len(kept), kept) if run]
    return Understood(", ".join(pieces) or None, tuple(dict.fromkeys(absent)))


# A hyphen, stroke or full stop within a word is of it; so are the star of "T2*", the hyphen of "right- or".
_TOKEN = re.compile(
    r"[^\W_]+(?:(?:[-'\u2019/.]|(?<=\d)\u2013(?=\d))[^\W_]+)*"
    r"(?:(?<=[tT]2)\*)?(?:-(?=[ ](?:or|and|oder|und)\b))?"
    r"|[\n\r]|\S"
)


def _terms_before(words: Sequence[str], clause: int, at: int, length: int) -> list[Run]:
    """Return the terms that a phrase of `AFTER` negates; none if there are none, or in doubt.

    The phrase must end its clause: "not seen on the prior film" says something else. Of "A and B not seen"
    only B is surely absent; of "A and B are absent" and "A, B or C not seen" it is not sure what is.
    """
    end = at + length
    if words[end : end + 1] == ["?"]:
        return []
    if end < len(words) and not (
        words[end] in table.ENDS | table.AND | table.OR | table.QUOTES or words[end] == ","
    ):
        return []
    if clause == at or _is_undone(words, clause, at):
        return []
    ands = [place for place in range(clause, at) if words[place] in table.AND]
    ors = [place for place in range(clause, at) if words[place] in table.OR]
    if (ands or ors) and clause and words[clause - 1] == ",":
        return []
    if ands and table.PLURAL.intersection(words[at:end]):
        return []
    start = ands[-1] + 1 if ands else clause
    ors = [place for place in ors if place >= start]
    items = list(zip([start, *(place + 1 for place in ors)], [*ors, at], strict=True))
    terms = _stripped(words, _joined(words, items))
    return [] if _is_left(words, terms) else terms


def _is_undone(words: Sequence[str], clause: int, at: int) -> bool:
    """Return whether a word shortly before undoes a negation: "cannot be entirely excluded", "nicht ohne"."""
    return bool(table.UNDONE.intersection(words[max(clause, at - 4) : at]))


def _is_left(words: Sequence[str], terms: Sequence[Run]) -> bool:
    """Return whether the terms are said of a normal picture, or one of them is in doubt."""
    if all(table.says_normal(words[start:end]) for start, end in terms):
        return True
    return any(table.is_unsure(word) for start, end in terms for word in words[start:end])


def _in_doubt(words: Sequence[str], clause: int, at: int, end: int, terms: Sequence[Run]) -> bool:
    """Return whether what is negated from `at` to `end` must be left as it stands."""
    second, last = ["", "", *words[max(at - 2, 0) : at]][-2:]
    both = (second in table.WITH and last in table.AND | table.OR) or (
        second in table.OR and last in table.WITH
    )
    maybe = last in table.OR and at - 1 > clause  # "effusion or no effusion"
    nested = last in table.BEFORE or _is_undone(words, clause, at)
    digits = [word[0].isdigit() for word in [*words[at + 1 : at + 3], "."]]
    number = words[at] == "no" and digits[:2] == [True, False]  # "Station No 7"
    place = words[terms[0][0]] in table.PLACES  # "absent on the left"
    return both or maybe or nested or number or place or _goes_on(words, end) or _is_left(words, terms)


def _goes_on(words: Sequence[str], end: int) -> bool:
    """Return whether what follows a negation takes some of it back, or adds to it: ", except", "(or"."""
    mark, following = [*words[end : end + 2], "", ""][:2]
    if mark == "?" or (mark == "(" and following not in ("but", "aber")):
        return True
    return bool(table.EXCEPT.intersection(words[end : end + 4])) or (mark != "," and following in table.OR)


def _reach(words: Sequence[str], start: int, ands_join: bool) -> tuple[int, list[Run]]:
    """Return where a negation that begins at `start` ends, and its terms as runs of words; none if in doubt.

    A comma ends it, unless what follows is a list: the "or" before its last item comes later, and each item
    is a short thing by itself. "no A, small or large B" is none, for "small" is no thing. Where an item might
    be a statement of its own ("no A, large B or C") it is in doubt. A comma after the "or" ends the list.
    """
    items: list[Run] = []
    commas: list[int] = []  # the items that follow a mere comma
    settled, over = 1, False  # as many items are surely in it; whether its "or" has come
    quoted = False
    first = at = start
    while at < len(words) and words[at] not in table.ENDS:
        word = words[at]
        if at > start and table.length_at(table.BEFORE, words, at) and _stripped(words, [(start, at)]):
            break
        if word in table.QUOTES:
            if not quoted and at > first:
                break  # it closes what was opened before the negation
            quoted = not quoted
        joins = word in table.OR or (ands_join and word in table.AND and words[at + 1 : at + 2] != ["with"])
        if word in table.AND and not joins:
            break  # "no A, B and C" is a list as well, "no A and a healthy B" is none
        if word == "," and over and not table.OR.intersection(words[at + 1 : at + 2]):
            if _lists_on(words[at + 1 : at + 13]):
                return at, []  # "no A or B, C or D"
            break
        if joins and word in table.AND and any(map(table.is_qualifier, words[at + 1 : at + 2])):
            return at, []  # "without contrast and left effusion"
        if joins or word == ",":
            if at > first:
                items.append((first, at))
            elif commas and commas[-1] == len(items):
                commas.pop()  # ", or"
            if word == "," and not over:
                commas.append(len(items))
            if joins:
                over, settled = True, len(items) + 1
            first = at + 1
        at += 1
    items.append((first, at))
    if not over:
        settled = commas[0] if commas else len(items)
    if over and commas:
        listed = [words[start:end] for start, end in items[:settled]]
        rest = listed[commas[0] :]
        if any(all(map(table.is_qualifier, item)) or table.STATES.intersection(item) for item in rest):
            settled = commas[0]
        elif any(table.lacks_noun(item) or any(map(table.may_state, item)) or len(item) > 5 for item in rest):
            return at, []
        elif any(_has_place(words, item) for item in items[: settled - 1]):
            return at, []  # "no metastases in liver, spleen or bone"
    items = items[:settled]
    return items[-1][1] if items else at, _stripped(words, _joined(words, items))


def _lists_on(words: Sequence[str]) -> bool:
    """Return whether what follows the comma after a list might be one more."""
    end = next((at for at, word in enumerate(words) if word == "," or word in table.ENDS), len(words))
    item = words[:end]
    return bool(table.OR.intersection(item)) and not any(
        w in table.STATES or table.is_qualifier(w) for w in item
    )


def _joined(words: Sequence[str], items: Iterable[Run]) -> list[Run]:
    """Return the items of a list, those that are no thing by themselves with what they belong to.

    "pleural or pericardial effusion", "effusion left or right" and "fracture of radius or ulna" are one term.
    """
    joined: list[Run] = []
    waits = False
    for start, end in items:
        item = words[start:end]
        if joined and (waits or (item and all(map(table.is_qualifier, item)))):
            joined[-1] = joined[-1][0], end
        else:
            joined.append((start, end))
        waits = table.lacks_noun(item) or _has_place(words, (start, end))
    return joined


def _has_place(words: Sequence[str], item: Run) -> bool:
    return any(table.PLACES.intersection(words[start:end]) for start, end in _stripped(words, [item]))


def _stripped(words: Sequence[str], terms: Iterable[Run]) -> list[Run]:
    """Return the terms without fillers before them and leftovers around them; empty ones are dropped."""
    stripped = []
    for start, end in terms:
        run = _bare(words, (start, end))
        while run and (length := table.length_at(table.FILLERS, words, run[0])):
            run = _bare(words, (run[0] + length, run[1]))
        while run and words[run[1] - 1] in table.SEEN:
            run = _bare(words, (run[0], run[1] - 1))
        if run:
            stripped.append(run)
    return stripped


def _bare(words: Sequence[str], run: Run) -> Run | None:
    """Return a run without leftovers at its ends, None if nothing else is in it."""
    start, end = run
    while start < end and (words[start] in table.EDGES or not words[start][0].isalnum()):
        start += 1
    while end > start and (
        words[end - 1] in table.EDGES or not (words[end - 1][0].isalnum() or words[end - 1] == "%")
    ):
        end -= 1
    return (start, end) if start < end else None


def _written(text: str, tokens: Sequence[re.Match[str]], run: Run) -> str:
    """Return a run of words as the text has it."""
    return text[tokens[run[0]].start() : tokens[run[1] - 1].end()]
