"""How a hit and what was asked for are alike, from the findings that each is said to show."""

from collections.abc import Iterable, Sequence

from medsiglip_search.explain.claims.lexicon import Lexicon
from medsiglip_search.explain.parsing import Named

_SIDES = {"left": {"left"}, "right": {"right"}, "bilateral": {"left", "right"}}
_LEXICON = Lexicon()

Apart = tuple[str, frozenset[str]]
"""A finding's name without its side, and its sides, none where it tells of none."""


def matches(asked: Sequence[str] | None, shown: Sequence[str], of_pictures: bool = True) -> str:
    """Return a sentence on what both show, "" where that is nothing or nothing is known to be asked for.

    A finding without a side is found on any. of_pictures: of two of them, and not of words and a picture.
    """
    there = _gathered(shown)
    both: list[str] = []
    other_side: list[str] = []
    for finding in asked or ():
        name, sides = apart(finding)
        found = _found(name, there)
        if found is None:
            continue
        (both if not sides or not found or sides <= found else other_side).append(finding)
    told = []
    if both:
        told.append(f"{'Both show' if of_pictures else 'Shows'} {joined(both)}.")
    if other_side:
        names = (apart(finding)[0] for finding in other_side)
        told.append(f"{'Both show' if of_pictures else 'Shows'} {joined(names)}, but on another side.")
    return " ".join(told)


def differs(asked: Sequence[str] | None, shown: Sequence[str], of_pictures: bool = True) -> str:
    """Return what only one of them shows, "" where nothing is known of what was asked for."""
    if asked is None:
        return ""
    wanted, there = _gathered(asked), _gathered(shown)
    only_hit = [finding for finding in shown if _found(apart(finding)[0], wanted) is None]
    only_asked = [finding for finding in asked if _found(apart(finding)[0], there) is None]
    told = []
    if only_hit:
        told.append(f"{'Only the hit shows' if of_pictures else 'Also shows'} {joined(only_hit)}.")
    if only_asked:
        told.append(f"Not seen in the hit: {joined(only_asked)}.")
    return " ".join(told)


def disagreement(one: Sequence[str], other: Sequence[str]) -> list[str]:
    """Return the findings of one that the other lacks, or has on another side."""
    there = _gathered(other)
    missing = []
    for finding in one:
        name, sides = apart(finding)
        found = _found(name, there)
        if found is None or (sides and found and not sides <= found):
            missing.append(finding)
    return missing


def names(findings: Sequence[Named]) -> tuple[str, ...]:
    """Return findings by name and side, each once."""
    return tuple(dict.fromkeys(map(str, findings)))


def apart(finding: str) -> Apart:
    """Return a finding's name without the side before it, and its sides."""
    first, _, rest = finding.partition(" ")
    sides = _SIDES.get(first) if rest else None
    return (rest, frozenset(sides)) if sides else (finding, frozenset())


def joined(words: Iterable[str]) -> str:
    """Return words as a sentence lists them."""
    listed = list(dict.fromkeys(words))
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


def _gathered(findings: Sequence[str]) -> dict[str, frozenset[str]]:
    """Return the sides of each finding; none where it is named without one."""
    found: dict[str, frozenset[str]] = {}
    for name, sides in map(apart, findings):
        found[name] = sides | found.get(name, frozenset())
    return found


def _found(name: str, there: dict[str, frozenset[str]]) -> frozenset[str] | None:
    """Return the sides on which a finding is there, by this name, a wider or a narrower one; else None."""
    if name in there:
        return there[name]
    return next((sides for other, sides in there.items() if _LEXICON.same(name, other)), None)
