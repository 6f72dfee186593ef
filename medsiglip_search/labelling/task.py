"""What is labelled, and how: images of a gallery or groups of them, with one classifier."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling.rows import sliced
from medsiglip_search.labelling.run import IMAGE_KEYS, LabelledBlock, labelled_blocks
from medsiglip_search.labelling.studies import (
    POOLS,
    GroupBy,
    Pool,
    count_groups,
    group_keys,
    labelled_groups,
)
from medsiglip_search.labels.calibration import Calibration
from medsiglip_search.labels.labeller import Labeller


@dataclass(frozen=True)
class Task:
    """Label the images of a gallery that fit `where`, or groups of them; see `labelled_groups`."""

    gallery: Gallery
    labeller: Labeller
    where: str | None = None
    group_by: GroupBy | None = None
    pool: Pool | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the labels."""
        return self.labeller.classifier.labels

    @property
    def of_what(self) -> str:
        """What is counted: images, studies, ..."""
        return {None: "images", "study": "studies", "series": "series", "patient": "patients"}[self.group_by]

    @property
    def keys(self) -> pa.Schema:
        """The columns that name an image or a group."""
        if self.group_by is not None:
            return group_keys(self.group_by)
        return pa.schema([self.gallery.schema.field(name) for name in IMAGE_KEYS])

    @cached_property
    def count(self) -> int:
        """How many images or groups there are. Raises InvalidQuery if there is none."""
        image_ids = self.gallery.select(self.where)
        if not len(image_ids):
            why = "no image fits the filter; change it or leave it out"
            if self.where is None:
                why = "holds no image to label; index an archive into it first"
            raise InvalidQuery(f"{self.gallery.path}: {why}")
        if self.group_by is None:
            return len(image_ids)
        return count_groups(self.gallery, self.group_by, self.where)

    def blocks(self, start: int = 0) -> Iterator[LabelledBlock]:
        """Yield what is labelled, without the first `start` images or groups. Raises InvalidQuery."""
        if self.group_by is None:
            yield from labelled_blocks(self.gallery, self.labeller, where=self.where, start=start)
            return
        passed = 0
        for block in labelled_groups(
            self.gallery, self.labeller, self.group_by, pool=self.pool, where=self.where
        ):
            skipped = min(len(block), max(0, start - passed))
            passed += len(block)
            if skipped < len(block):
                yield sliced(block, skipped) if skipped else block

    def about(self) -> dict[str, Any]:
        """Return what rows of this task are, as JSON has it; what is written into a file of them."""
        classifier, calibration = self.labeller.classifier, self.labeller.calibration
        meta = self.gallery.meta
        about: dict[str, Any] = {
            "label_set": classifier.name,
            "label_set_digest": classifier.digest,
            "kind": classifier.kind,
            "mode": classifier.mode,
            "encoder": meta.encoder,
            "encoder_revision": meta.revision,
            "encoder_weights_digest": meta.weights_digest,
            "gallery": self.gallery.path.name,
            "gallery_state": self.gallery.state,
            "where": self.where,
            "group_by": self.group_by,
            "pool": (self.pool or POOLS[classifier.mode]) if self.group_by else None,
        }
        if calibration is not None:
            about["calibration"] = _CALIBRATION.dump_python(calibration, mode="json")
        return about

    def plan(self) -> dict[str, Any]:
        """Return whatever the rows depend on, as JSON has it: equal plans give equal rows."""
        classifier = self.labeller.classifier
        numbers = (classifier.weights, classifier.bias, classifier.thresholds, np.float64(classifier.scale))
        image_ids = self.gallery.select(self.where)
        return {
            **self.about(),
            "labels": list(self.labels),
            "classifier": _digest(*numbers),
            "images": _digest(image_ids),
        }


_CALIBRATION = TypeAdapter(Calibration)


def _digest(*arrays: np.ndarray | np.generic) -> str:
    hashed = hashlib.sha256()
    for array in arrays:
        hashed.update(array.tobytes())
    return hashed.hexdigest()
