"""The decisions of a label run that could as well have been others: what a person should look at first."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medsiglip_search.labelling.run import LabelledBlock
from medsiglip_search.labels.labeller import DECISIONS, Labeller

MOST = 50


class Uncertain:
    """Of each label the few images, or groups of images, on which it was nearest to be decided otherwise.

    A finding is as near as its probability is to its threshold. Of exclusive labels only the likeliest of an
    image counts, and is as near as its probability is to that of the second.
    """

    def __init__(self, labeller: Labeller, most: int = MOST) -> None:
        """most: images of each label."""
        self._labels: Sequence[str] = labeller.classifier.labels
        self._mode = labeller.classifier.mode
        self._thresholds = labeller.thresholds.astype(np.float32)
        self._most = most
        count = len(self._labels)
        # (K, L) each, of every label the nearest first; a distance of infinity where there is none.
        self._distances = np.full((most, count), np.inf, np.float32)
        self._image_ids = np.zeros((most, count), np.int64)
        self._probabilities = np.zeros((most, count), np.float32)
        self._decisions = np.zeros((most, count), np.int8)

    def add(self, block: LabelledBlock) -> None:
        """Look at some more. Of equally near ones those stay that came first."""
        probabilities = block.labelled.best
        distances = self._distance(probabilities)
        # Few of the later ones are nearer than any that are kept.
        near = np.flatnonzero((distances < self._distances[-1]).any(axis=1))
        if not len(near):
            return
        names = block.keys.schema.names
        ids = block.keys["image_id" if "image_id" in names else "first_image_id"].to_numpy()[near]
        shape = (len(near), len(self._labels))
        joined = np.concatenate([self._distances, distances[near]])
        order = np.argsort(joined, axis=0, kind="stable")[: self._most]
        self._distances = np.take_along_axis(joined, order, axis=0)
        self._image_ids = _taken(self._image_ids, np.broadcast_to(ids[:, None], shape), order)
        self._probabilities = _taken(self._probabilities, probabilities[near], order)
        self._decisions = _taken(self._decisions, block.labelled.decisions[near], order)

    def rows(self) -> list[dict[str, Any]]:
        """Return an object for each, as JSON has it: label by label, the nearest first.

        image_id: of a group its first. probability: calibrated where it can be.
        """
        return [
            {
                "image_id": int(self._image_ids[place, column]),
                "label": label,
                "probability": float(self._probabilities[place, column]),
                "decision": DECISIONS[self._decisions[place, column]],
            }
            for column, label in enumerate(self._labels)
            for place in np.flatnonzero(np.isfinite(self._distances[:, column]))
        ]

    def _distance(self, probabilities: np.ndarray) -> np.ndarray:
        """Return (N, L) how near each was to another decision, infinity where a label does not count."""
        if self._mode == "findings":
            return np.abs(probabilities - self._thresholds)
        distances = np.full(probabilities.shape, np.inf, np.float32)
        # A second of 0, so that a single label has one, too.
        padded = np.pad(probabilities, ((0, 0), (0, 1)))
        second, first = np.sort(padded, axis=1)[:, -2:].T
        distances[np.arange(len(probabilities)), probabilities.argmax(axis=1)] = first - second
        return distances


def _taken(kept: np.ndarray, new: np.ndarray, order: np.ndarray) -> np.ndarray:
    return np.take_along_axis(np.concatenate([kept, new]), order, axis=0)
