"""What can be learnt of a label takes enough examples of it, and of its absence."""

from collections.abc import Mapping
from pathlib import Path

from medsiglip_search.errors import TooFewExamples


def with_enough(
    counts: Mapping[str, tuple[int, int]],
    needed: tuple[int, int],
    of_what: str,
    table: Path,
    advice: str,
    skip_scarce: bool,
) -> tuple[str, ...]:
    """Return the labels of which there are enough.

    counts: how many have each label, and how many lack it; of_what: of what, in the plural.
    Raises TooFewExamples with all that are short of `needed`, unless they are to be skipped and any is left.
    """
    scarce = [label for label, count in counts.items() if count[0] < needed[0] or count[1] < needed[1]]
    if scarce and (not skip_scarce or len(scarce) == len(counts)):
        there = "; ".join("{} {} with and {} without".format(label, *counts[label]) for label in scarce)
        raise TooFewExamples(
            f"{table}: too few {of_what} of {len(scarce)} of {len(counts)} labels; needed are {needed[0]} "
            f"with and {needed[1]} without, and there are: {there}. {advice} with --skip-scarce"
        )
    return tuple(label for label in counts if label not in scarce)
