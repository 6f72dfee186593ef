"""Reduced precisions: the pictures they are fitted to, and the proof that embeddings stay what they were."""

from collections.abc import Callable, Sequence

import numpy as np

from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.records import PreprocessSpec

FAITHFUL = 0.998
"""The least cosine that a picture's embedding may have with that in full precision."""

CALIBRATING, PROVING = 32, 16
"""Pictures that a reduced precision is fitted to, and others that it must prove itself on."""

SAMPLED = CALIBRATING + PROVING

Sample = Callable[[PreprocessSpec], Sequence[np.ndarray]]
"""Returns at most `SAMPLED` pictures of the archive that is to be embedded, (H, W, 3) uint8, in
no order. Its argument is the encoder's own spec."""


def drawn(
    sample: Sample | None, spec: PreprocessSpec, precision: str
) -> tuple[Sequence[np.ndarray], Sequence[np.ndarray]]:
    """Return pictures to fit a reduced precision to, and those to prove it on, others if there are enough.

    Fewer than twice `PROVING` are not divided: too few would be left to fit to, and all are proven.

    Raises EncoderUnavailable where there are none.
    """
    if sample is None:
        raise EncoderUnavailable(
            f"precision {precision}: proves itself on the pictures of an archive; pass --precision "
            f"{precision} to index, and leave it out to ask"
        )
    pictures = sample(spec)
    if not pictures:
        raise EncoderUnavailable(
            f"precision {precision}: no picture of the archive could be read to prove it on; "
            "leave --precision out"
        )
    if len(pictures) < 2 * PROVING:
        return pictures, pictures
    return pictures[PROVING:], pictures[:PROVING]


def least_cosine(some: np.ndarray, others: np.ndarray) -> float:
    """Return the least cosine of (N, D) rows with the others, row by row; -1 where one is not finite."""
    norms = np.linalg.norm(some, axis=1) * np.linalg.norm(others, axis=1)
    with np.errstate(invalid="ignore"):
        cosines = (some.astype(np.float64) * others).sum(axis=1) / norms
    return float(np.nan_to_num(cosines, nan=-1.0).min())


def unfaithful(name: str, precision: str, cosine: float) -> EncoderUnavailable:
    """Return the error of a reduced precision that changes embeddings too much."""
    return EncoderUnavailable(
        f"{name}: in {precision} an embedding of this archive's pictures has a cosine of {cosine:.4f} with "
        f"that in full precision, below {FAITHFUL}; leave --precision out"
    )
