"""How well an explainer describes pictures whose findings are known, and what the checker sees of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.findings import Sign
from medsiglip_search.explain.parsing import Description
from medsiglip_search.explain.picture_evidence import Caution


@dataclass(frozen=True, slots=True)
class DescribedPicture:
    """A picture's true signs, what was said of it, and what the checker objects to."""

    signs: tuple[Sign, ...]
    said: Description
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, slots=True)
class ExplainerFigures:
    """Shares are 0..1, NaN where there is nothing to count.

    f1: micro, of findings named, sides aside. sides: the true side among sided findings that were named.
    invented, missed, wrong_sides: how many mistakes there were, and of those how many the checker flags.
    flagged_right: of pictures without a mistake, how many it objects to all the same. parsed: answers in the
    form that was asked for.
    """

    pictures: int
    f1: float
    sides: float
    invented: tuple[int, int]
    missed: tuple[int, int]
    wrong_sides: tuple[int, int]
    flagged_right: tuple[int, int]
    parsed: float


def measure_explainer(described: Sequence[DescribedPicture]) -> ExplainerFigures:
    """Return how good descriptions are."""
    right = named = there = 0
    sides: list[bool] = []
    invented, missed, wrong_sides, flagged_right = (np.zeros(2, int) for _ in range(4))
    for each in described:
        truth = {sign.finding: sign.side for sign in each.signs}
        said = {finding.finding: finding for finding in each.said.findings}
        right += len(truth.keys() & said.keys())
        named += len(said)
        there += len(truth)
        wrong = 0
        for finding in said.keys() - truth.keys():
            invented += (1, _is_flagged(each.cautions, finding, "unsupported", "contradicted"))
            wrong += 1
        for finding in truth.keys() - said.keys():
            missed += (1, _is_flagged(each.cautions, finding, "unsaid", "normal", "contradicted"))
            wrong += 1
        for finding in truth.keys() & said.keys():
            if truth[finding] is None:
                continue
            sides.append(said[finding].side == truth[finding])
            if not sides[-1]:
                wrong_sides += (1, _is_flagged(each.cautions, finding, "side"))
                wrong += 1
        if not wrong:
            flagged_right += (1, bool(each.cautions))
    return ExplainerFigures(
        len(described),
        2 * right / (named + there) if named + there else float("nan"),
        float(np.mean(sides)) if sides else float("nan"),
        _pair(invented),
        _pair(missed),
        _pair(wrong_sides),
        _pair(flagged_right),
        float(np.mean([each.said.parsed for each in described])) if described else float("nan"),
    )


def _is_flagged(cautions: Sequence[Caution], finding: str, *kinds: str) -> bool:
    return any(
        caution.kind in kinds and (finding in caution.message.lower() or caution.kind == "normal")
        for caution in cautions
    )


def _pair(counts: np.ndarray) -> tuple[int, int]:
    return int(counts[0]), int(counts[1])
