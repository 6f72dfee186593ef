"""How a hit and what was asked for are alike, from the findings that each is said to show."""

from collections.abc import Iterable, Sequence

from medsiglip_search.explain.parsing import Named

_SIDED = ("left ", "right ", "bilateral ")


def matches(asked: Sequence[str], shown: Sequence[str]) -> str:
    """Return a sentence on what both show, "" where that is nothing or where nothing is known of either."""
    both = [finding for finding in asked if finding in shown]
    loosely = [
        finding
        for finding in asked
        if finding not in both and without_side(finding) in set(map(without_side, shown))
    ]
    told = []
    if both:
        told.append(f"Both show {joined(both)}.")
    if loosely:
        told.append(f"Both show {joined(map(without_side, loosely))}, but not on the same side.")
    return " ".join(told)


def differs(asked: Sequence[str], shown: Sequence[str]) -> str:
    """Return a sentence or two on what only one of them shows, "" where that is nothing."""
    only_hit = [finding for finding in shown if finding not in asked]
    only_asked = [finding for finding in asked if finding not in shown]
    told = []
    if only_hit:
        told.append(f"Only the hit shows {joined(only_hit)}.")
    if only_asked:
        told.append(f"Not seen in the hit: {joined(only_asked)}.")
    return " ".join(told)


def names(findings: Sequence[Named]) -> tuple[str, ...]:
    """Return findings by name and side, each once."""
    return tuple(dict.fromkeys(map(str, findings)))


def without_side(finding: str) -> str:
    """Return a finding's name without the side before it."""
    return next((finding[len(side) :] for side in _SIDED if finding.startswith(side)), finding)


def joined(words: Iterable[str]) -> str:
    """Return words as a sentence lists them."""
    listed = list(dict.fromkeys(words))
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
