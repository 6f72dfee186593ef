"""On which side a text says that something is."""

from collections.abc import Sequence

from medsiglip_search.explain.claims import claim_words as table
from medsiglip_search.explain.claims.lexicon import Named
from medsiglip_search.explain.picture_evidence import Side

ClaimedSide = Side | None | str

_JOINTS = frozenset(
    {",", "and", "or", "nor", ";", "but", "while", "whereas", "wherea", "{", "}", "|", ".", "with", "without"}
)
BREAKS = frozenset(
    {";", "but", "while", "whereas", "wherea", "{", "}", "|", ".", "however", "although", "though"}
    | {"none", "not"}
)


def sides(words: Sequence[str], named: Sequence[Named]) -> list[str | None]:
    """Return the side of each name: "left", "right", "both" or None.

    A side belongs to the name that follows it, one after a name and before the next joint to that name; one
    that opens a clause ("in the left lung there are"), or ends a list ("A and B on the right"), to all of it.
    """
    cues = cues_of(words)
    found: list[str | None] = []
    trailing: list[bool] = []
    # All that bounds the words of a name: the name before, and a break between clauses.
    for index, each in enumerate(named):
        before = named[index - 1].end if index else 0
        after = named[index + 1].start if index + 1 < len(named) else len(words)
        leading = _leading(words, before, each.start, first=not index)
        end = _trailing(words, each.end, after, last=index + 1 == len(named))
        own = [cues[at] for at in range(leading, each.end) if cues[at]]
        behind = [cues[at] for at in range(each.end, end) if cues[at]]
        if (
            own
            and behind
            and not _compares(words, each.end, end)
            and words[each.end : each.end + 1] != (",",)
        ):
            behind = []
        if own and "both" in own:
            behind = []
        found.append(_joined([*own, *behind]))
        trailing.append(bool(behind) and not own and _is_placed(words, each.end, end))
    _share(words, named, found, trailing, cues)
    return found


def cues_of(words: Sequence[str]) -> list[str | None]:
    """Return the side that each word names: "left", "right", "both" or None."""
    cues: list[str | None] = [None] * len(words)
    for at, word in enumerate(words):
        if word in table.BOTH:
            if word in ("both", "each", "either") and not {
                "lung",
                "side",
                "base",
                "hemithorax",
                "eye",
                "hemisphere",
                "lobe",
            }.intersection(words[at + 1 : at + 5]):
                continue
            cues[at] = "both"
        elif word in ("left", "right") and not _is_no_side(words, at):
            cues[at] = word
        elif word in ("l", "r") and words[at + 1 : at + 2] == ("sided",):
            cues[at] = "left" if word == "l" else "right"
    return cues


def _is_no_side(words: Sequence[str], at: int) -> bool:
    after = [word for word in words[at + 1 : at + 3] if word != "the"]
    if after and after[0] in table.NO_SIDE_AFTER and after != ["lateral", "ventricle"]:
        return True
    if words[at + 1 : at + 3] in (("-", "right"), ("/", "right")) or words[at + 1 : at + 2] == ("right",):
        return words[at] == "left" and words[at + 1 : at + 2] == ("right",)
    if at and words[at] == "left" and words[at - 1] == "right":
        return True
    if at and words[at] == "right" and words[at - 1] == "left":
        return True
    if {"image", "viewer", "picture", "frame"}.intersection(words[at + 1 : at + 6]) and "of" in words[
        at + 1 : at + 6
    ]:
        return True
    before = [word for word in words[max(0, at - 2) : at] if word not in ("the", "sided")]
    return bool(before) and (
        before[-1] in table.NO_SIDE_BEFORE or before[-1] in ("image", "viewer", "picture", "viewer's")
    )


def _leading(words: Sequence[str], before: int, start: int, first: bool) -> int:
    """Return from where words belong to the name that follows: after the last joint, or after a verb."""
    for at in range(start - 1, before - 1, -1):
        if words[at] in BREAKS:
            return at + 1
        if words[at] in _JOINTS and not (first and words[at] == "," and _opens_with_place(words, before, at)):
            return at + 1
    if first:
        return before
    # Without a joint a side after a preposition is of the name before: "effusion on the left obscuring"
    at = before
    while at < start:
        if words[at] in table.LOCATES:
            return at + 5 if at + 5 < start else start
        at += 1
    return before


def _opens_with_place(words: Sequence[str], before: int, comma: int) -> bool:
    opening = [word for word in words[before:comma] if word not in ("-", ":")]
    return bool(opening) and (opening[0] in table.LOCATES or opening[0] in ("left", "right"))


def _trailing(words: Sequence[str], end: int, after: int, last: bool) -> int:
    """Return up to where words belong to the name before them."""
    stop = end
    joints = []
    for at in range(end, after):
        if words[at] in BREAKS or (words[at] == "," and words[at + 1 : at + 2] == ("only",)):
            return at
        if words[at] in _JOINTS:
            joints.append(at)
        stop = at + 1
    if last:
        return stop
    if joints:
        return joints[-1]
    located = next((at for at in range(end, after) if words[at] in table.LOCATES), None)
    return stop if located is not None else end


def _compares(words: Sequence[str], start: int, end: int) -> bool:
    return any(word in ("greater", "than", ">", "more", "and", "larger", "also") for word in words[start:end])


def _is_placed(words: Sequence[str], start: int, end: int) -> bool:
    return any(word in table.LOCATES or word in ("bilaterally",) for word in words[start:end])


def _joined(cues: Sequence[str | None]) -> str | None:
    named = {cue for cue in cues if cue}
    if not named:
        return None
    return named.pop() if len(named) == 1 else "both"


def _share(
    words: Sequence[str],
    named: Sequence[Named],
    found: list[str | None],
    trailing: Sequence[bool],
    cues: Sequence[str | None],
) -> None:
    """Give the side that opens a clause, or ends a list, to those of the list that have none."""
    plain = {"and", "or", ",", "nor", "a", "an", "the", "small", "large", "mild", "moderate", "subtle"}
    for index in range(len(named) - 1, 0, -1):
        between = words[named[index - 1].end : named[index].start]
        if trailing[index] and found[index - 1] is None and between and plain.issuperset(between):
            found[index - 1] = found[index]
            if index > 1 and plain.issuperset(words[named[index - 2].end : named[index - 1].start]):
                found[index - 2] = found[index - 2] or found[index]
    if named and words and words[0] in table.LOCATES:
        opening = next((at for at in range(len(words)) if words[at] in table.VERBS or words[at] in BREAKS), 0)
        shared = _joined([cue for cue in cues[:opening] if cue])
        for index, each in enumerate(named):
            if not shared or BREAKS.intersection(words[: each.start]) or "left" in cues[opening : each.start]:
                break
            if "right" in cues[opening : each.start]:
                break
            found[index] = found[index] or shared
