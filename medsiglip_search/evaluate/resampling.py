"""Confidence intervals by the bootstrap: patients are drawn, and all images of one go with them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.evaluate.metrics import mean_of_defined

CONFIDENCE = 0.95
_CHUNK_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and where 95 % of those of its resamples lie (percentiles); NaN where it is undefined.

    resamples: in how many it is defined; the others are left out.
    """

    value: float
    low: float
    high: float
    resamples: int


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """A figure, and what it is in each resample, (R,) float64; NaN where it is undefined."""

    value: float
    samples: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Estimate":
        """Return it of (1 + R,) values, as `Bootstrap.weights` orders them."""
        return cls(float(values[0]), values[1:])

    def minus(self, other: "Estimate") -> "Estimate":
        """Return the difference of two figures of the very same resamples."""
        return Estimate(self.value - other.value, self.samples - other.samples)

    @property
    def interval(self) -> Interval:
        """The figure with its interval."""
        samples = self.samples[~np.isnan(self.samples)]
        if np.isnan(self.value) or not len(samples):
            return Interval(self.value, np.nan, np.nan, len(samples))
        tail = 100 * (1 - CONFIDENCE) / 2
        low, high = np.percentile(samples, [tail, 100 - tail])
        return Interval(self.value, float(low), float(high), len(samples))


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """Return the mean of figures over those that are defined, in each resample those defined in it."""
    values = np.array([[estimate.value, *estimate.samples] for estimate in estimates])
    return Estimate.of(mean_of_defined(values))


@dataclass(frozen=True, slots=True, eq=False)
class Bootstrap:
    """Resamples of images by patient; the same ones whenever they are asked for.

    patients: (N,) int64, equal for images of one patient.
    """

    patients: np.ndarray
    resamples: int = 1000
    seed: int = 0

    def weights(self) -> Iterator[np.ndarray]:
        """Yield weights of the images, (N, r) float64, as many at a time as 64 MB hold.

        The first column of all is ones: the images as they are. Then as many patients are drawn as there are,
        with replacement, and a weight is how often an image's patient was.
        """
        _, numbers = np.unique(self.patients, return_inverse=True)
        count = numbers.max(initial=-1) + 1
        width = max(1, _CHUNK_BYTES // (8 * max(1, len(numbers))))
        random = np.random.default_rng(self.seed)
        for start in range(0, 1 + self.resamples, width):
            stop = min(start + width, 1 + self.resamples)
            drawn = np.ones((count, stop - start))
            for column in range(1 if start == 0 else 0, stop - start):
                # The multinomial's own draw, in an eighth of the time of Generator.multinomial.
                drawn[:, column] = np.bincount(random.integers(0, count, count), minlength=count)
            yield drawn[numbers]
