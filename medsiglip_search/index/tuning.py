"""How much a first stage must look at to find the share of the best rows that is asked for.

Measured on queries that the index was not made for: stored rows, each of which does not count as its own
answer, and texts, which lie elsewhere than images do and are harder to answer. The worse of the two counts.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medsiglip_search.index.exact import ExactIndex
from medsiglip_search.index.first_stage import FirstStage
from medsiglip_search.index.rows import Rows

TUNED_FOR = 10
"""The hits that an answer has in the measurements."""

HELD_OUT_IMAGES = 300
DEPTHS = (20, 40, 80, 160, 320)
"""Candidates that are scored exactly for ten hits."""

ENOUGH = 0.999
"""No more is tried once so much is found."""


@dataclass(frozen=True, slots=True)
class Setting:
    """How much the stage looks at, how many candidates are scored exactly, and what came of it.

    recall_images, recall_texts: the share of the ten best rows that were found, on the average.
    recall: what it is at least for both, with a certainty of 95 %: so few queries can be lucky ones.
    seconds: of one query, asked alone.
    """

    effort: int
    depth: int
    recall_images: float
    recall_texts: float | None
    recall: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Held:
    """Queries that were held out. images, texts: (n, D) float32 unit rows; places: of the images."""

    images: np.ndarray
    places: np.ndarray
    texts: np.ndarray

    @classmethod
    def of(cls, rows: Rows, texts: np.ndarray | None) -> "Held":
        """Return the same stored rows each time, and the texts if there are any."""
        size, dim = rows.base.shape
        places = np.sort(np.random.default_rng(0).permutation(size)[:HELD_OUT_IMAGES])
        images = rows.base[places].astype(np.float32)
        images /= np.linalg.norm(images, axis=1, keepdims=True)
        return cls(images, places, np.empty((0, dim), np.float32) if texts is None else texts)


def measure(stage: FirstStage, exact: ExactIndex, held: Held) -> list[Setting]:
    """Return settings of the stage in order of what they cost, each with what it finds."""
    in_base = np.zeros(len(exact.rows.image_ids), bool)
    in_base[: len(exact.rows.base)] = True
    queries = np.concatenate([held.images, held.texts])
    own = np.concatenate([held.places, np.full(len(held.texts), -1)])
    best = _without(exact.nearest(queries, TUNED_FOR + 1, in_base)[1], own)
    settings = []
    for effort in stage.efforts:
        for depth in DEPTHS:
            setting = _measured(stage, exact, held, (queries, own, best), effort, depth)
            settings.append(setting)
            if setting.recall >= ENOUGH:
                break
        if settings[-1].recall >= ENOUGH:
            break
    return list(_frontier(settings))


def cheapest(settings: Sequence[Setting], recall: float) -> Setting:
    """Return the first of `settings` that reaches `recall`, or the one that comes nearest."""
    return next((one for one in settings if one.recall >= recall), max(settings, key=lambda one: one.recall))


def _measured(
    stage: FirstStage,
    exact: ExactIndex,
    held: Held,
    truth: tuple[np.ndarray, np.ndarray, np.ndarray],
    effort: int,
    depth: int,
) -> Setting:
    shares, seconds = [], []
    for query, own, best in zip(*truth, strict=True):
        started = time.perf_counter()
        near = stage.candidates(query[None], depth, effort, None)[0]
        _, found = exact.best(query, near[near >= 0], TUNED_FOR + 1)
        seconds.append(time.perf_counter() - started)
        shares.append(np.isin(best, found[found != own][:TUNED_FOR]).mean())
    images, texts = np.split(np.array(shares), [len(held.images)])
    return Setting(
        effort,
        depth,
        recall_images=round(float(images.mean()), 4),
        recall_texts=round(float(texts.mean()), 4) if len(texts) else None,
        recall=round(min(_at_least(each) for each in (images, texts) if len(each)), 4),
        seconds=round(float(np.median(seconds)), 6),
    )


def _at_least(shares: np.ndarray) -> float:
    """Return what the mean of such shares is at least, with a certainty of 95 %."""
    return float(shares.mean() - 1.645 * shares.std() / np.sqrt(len(shares)))


def _without(places: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return each row of `places` less its own place, or less its last where that is not among them."""
    others = [row[row != mine][:TUNED_FOR] for row, mine in zip(places, own, strict=True)]
    return np.stack([row[: min(map(len, others))] for row in others])


def _frontier(settings: Sequence[Setting]) -> Iterator[Setting]:
    """Yield the settings of which none that costs less finds as much."""
    found = -1.0
    for setting in sorted(settings, key=lambda one: one.seconds):
        if setting.recall > found:
            found = setting.recall
            yield setting
