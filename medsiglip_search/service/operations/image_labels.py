"""The labels of one image: what a label run has decided of it, and what it scores now."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from medsiglip_search.gallery_schema import LabelColumn
from medsiglip_search.labels import Mode
from medsiglip_search.labels.labeller import DECISIONS, Labeller
from medsiglip_search.labels.shipped import shipped_label_set
from medsiglip_search.service.callers import Caller
from medsiglip_search.service.core import Service
from medsiglip_search.service.operations.pictures import instance_of


@dataclass(frozen=True, slots=True)
class Decision:
    """What a column of the gallery holds of an image: a word of `DECISIONS`, or an exclusive label."""

    column: str
    about: LabelColumn
    decision: str


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label of an image. probability: not calibrated. threshold: from which on it is present."""

    label: str
    score: float
    probability: float
    threshold: float
    decision: str


@dataclass(frozen=True, slots=True)
class ImageLabels:
    """What a label set says of an image, the likeliest label first."""

    label_set: str
    mode: Mode
    labels: tuple[LabelScore, ...]


def decided(service: Service, caller: Caller, name: str, image_id: int) -> tuple[Decision, ...]:
    """Return what label runs have decided of an image and the gallery keeps. Raises NotFound, Unavailable."""
    with service.audit.watch(caller, "metadata", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        columns = gallery.view.gallery.label_columns()
        cells = instance_of(gallery, image_id).sidecar
        return _decisions(cells, columns, service.settings.hidden)


def labels_of(service: Service, caller: Caller, name: str, image_id: int, label_set: str) -> ImageLabels:
    """Return what a shipped label set says of an image. Raises NotFound, Unavailable, InvalidLabelSet."""
    with service.audit.watch(caller, "label", name) as entry:
        entry.subjects = [str(image_id)]
        gallery = service.gallery(caller, name)
        instance_of(gallery, image_id)
        chosen = shipped_label_set(label_set)
        entry.details["label_set"] = chosen.name
        labeller = Labeller(service.classifiers.of(chosen, gallery.view.searcher))
        labelled = labeller.label(gallery.view.gallery.embeddings_of([image_id]))
        scores = [
            LabelScore(label, float(score), float(probability), float(threshold), DECISIONS[decision])
            for label, score, probability, threshold, decision in zip(
                labeller.classifier.labels,
                labelled.scores[0],
                labelled.best[0],
                labeller.thresholds,
                labelled.decisions[0],
                strict=True,
            )
        ]
        order = np.argsort([-one.probability for one in scores], kind="stable")
        return ImageLabels(chosen.name, chosen.mode, tuple(scores[place] for place in order))


def _decisions(
    cells: Mapping[str, object], columns: Mapping[str, LabelColumn], hidden: frozenset[str]
) -> tuple[Decision, ...]:
    return tuple(
        Decision(column, about, str(cells[column]))
        for column, about in columns.items()
        if column not in hidden and cells.get(column) is not None
    )
