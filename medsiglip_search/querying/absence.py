"""A query for what is there and what is not: one embedding, present minus absent."""

from collections.abc import Sequence

import numpy as np

ABSENT_WEIGHT = 0.5
"""How much what must be absent counts beside what must be present, in spreads of their scores."""

ABSENT_ALONE_WEIGHT = 1.0
"""The same where nothing is said to be present, and the mean picture of a kind stands for it."""

KIND_SHARE = 0.05
"""The share of the sample that tells in what kind of picture something would be seen."""

NO_SPREAD = 1e-6
"""A standard deviation of cosines that is rounding."""


def present_minus_absent(
    present: np.ndarray, absent: Sequence[np.ndarray], sample: np.ndarray, weight: float = ABSENT_WEIGHT
) -> np.ndarray:
    """Return a (D,) query, of any length, that scores high where `present` does and `absent` does not.

    present: (D,). absent: (D,) each, at least one. sample: (N, D), embeddings that tell how the scores of
    both spread. weight: how much all that is absent counts.
    The score of a present text also rises with what the absent text has in common with it, the modality above
    all. So of each absent text only what the present one does not foretell counts (the residual of a linear
    regression over the sample), and each in units of its own spread: a text whose cosines differ little
    weighs as much as one whose cosines differ a lot.
    """
    scores = sample @ present
    query = present / _spread(scores)
    for each in absent:
        unwanted = sample @ each
        foretold = max(_slope(scores, unwanted), 0.0)
        query = query - weight / len(absent) ** 0.5 * (each - foretold * present) / _spread(unwanted)
    return query


def kind_of(absent: Sequence[np.ndarray], sample: np.ndarray, kinds: np.ndarray) -> str:
    """Return the kind of picture in which `absent` would be seen: the commonest among the sample's nearest.

    absent: (D,) each; sample: (N, D), at least one row; kinds: (N,), the modality of each. It is what
    "no effusion" asks for without saying so: chest films.
    """
    scores = sample @ np.mean(absent, axis=0)
    nearest = np.argsort(-scores, kind="stable")[: max(round(KIND_SHARE * len(sample)), 1)]
    names, counts = np.unique(kinds[nearest], return_counts=True)
    return str(names[counts.argmax()])


def _spread(scores: np.ndarray) -> float:
    """Return the standard deviation, 1 where there is none to speak of."""
    spread = float(scores.std()) if len(scores) else 0.0
    return spread if spread > NO_SPREAD else 1.0


def _slope(scores: np.ndarray, others: np.ndarray) -> float:
    """Return by how much `others` rise with `scores`."""
    if not len(scores) or scores.std() <= NO_SPREAD:
        return 0.0
    return float(np.cov(scores, others, bias=True)[0, 1] / scores.var())
