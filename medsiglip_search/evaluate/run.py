"""The evaluation: labels and search, of each gallery under each source of labels, on the same resamples."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from medsiglip_search.evaluate import retrieval, training_sets
from medsiglip_search.evaluate.comparison import Column, Comparison, Side
from medsiglip_search.evaluate.labels import LabelEvaluation, evaluate_labels
from medsiglip_search.evaluate.resampling import Bootstrap
from medsiglip_search.evaluate.retrieval import Retrieval
from medsiglip_search.labels.calibration import Calibration
from medsiglip_search.truth import TruthTable
from medsiglip_search.truth.table import listed

MAX_QUERIES = 2_000
FEW_PATIENTS = 10
_BLOCK = 8_192

Show = Callable[[int, int, str], None]
"""Takes how many steps are done, of how many, and what is next."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is asked for. top_k: of precision and recall. max_queries: images asked with, a sample of more."""

    retrieval: bool = True
    top_k: int = 10
    resamples: int = 1000
    seed: int = 0
    max_queries: int = MAX_QUERIES


@dataclass(frozen=True, slots=True, eq=False)
class ColumnResult:
    """How good the labels of one source are in one gallery.

    by_text: what their words find; None of a probe, and if not asked for.
    """

    column: Column
    labels: LabelEvaluation
    by_text: Retrieval | None


@dataclass(frozen=True, slots=True, eq=False)
class SideResult:
    """How good one gallery is. by_image: what its images find, None if not asked for."""

    side: Side
    columns: tuple[ColumnResult, ...]
    by_image: Retrieval | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """All figures. queries: how many images were asked with."""

    table: TruthTable
    settings: Settings
    images: int
    patients: int
    queries: int
    sides: tuple[SideResult, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def evaluate(
    comparison: Comparison,
    table: TruthTable,
    settings: Settings,
    show: Show = lambda done, total, word: None,
) -> Evaluation:
    """Return how good the sides of a comparison are."""
    truth = comparison.sides[0].truth
    bootstrap = Bootstrap(truth.patients, settings.resamples, settings.seed)
    queries = retrieval.sample_queries(truth, settings.max_queries, settings.seed)
    steps = sum(1 + 2 * len(side.columns) for side in comparison.sides)
    done = -1

    def step(word: str) -> None:
        nonlocal done
        done += 1
        show(done, steps, word)

    sides = []
    for side in comparison.sides:
        embeddings = side.gallery.stored_embeddings_of(side.truth.image_ids)
        columns = []
        for column in side.columns:
            step(f"labels of {column.labels.name}")
            found = evaluate_labels(
                _scores(column, embeddings), column.labels.labeller, column.truth, bootstrap
            )
            step(f"search by the words of {column.labels.name}")
            by_text = None
            if settings.retrieval and (words := _words(column)) is not None:
                by_text = retrieval.by_text(embeddings, words, column.truth, bootstrap, settings.top_k)
            columns.append(ColumnResult(column, found, by_text))
        step("search by image")
        by_image = None
        if settings.retrieval:
            by_image = retrieval.by_image(embeddings, side.truth, queries, bootstrap, settings.top_k)
        sides.append(SideResult(side, tuple(columns), by_image))
    return Evaluation(
        table,
        settings,
        images=len(truth.image_ids),
        patients=len(np.unique(truth.patients)),
        queries=len(queries) if settings.retrieval else 0,
        sides=tuple(sides),
        notes=(*comparison.notes, *_notes(comparison, settings, len(queries))),
        warnings=_warnings(comparison, table),
    )


def _scores(column: Column, embeddings: np.ndarray) -> np.ndarray:
    """Return the (N, L) float32 scores of (N, D) embeddings, computed some thousand at a time."""
    classifier = column.labels.labeller.classifier
    blocks = (embeddings[start : start + _BLOCK] for start in range(0, len(embeddings), _BLOCK))
    return np.concatenate([classifier.scores(block) for block in blocks])


def _words(column: Column) -> np.ndarray | None:
    """Return the (F, D) embeddings of the words of the labels that the truth knows."""
    words = column.labels.labeller.classifier.words
    if words is None:
        return None
    known = column.labels.labeller.classifier.labels
    return words[[known.index(label) for label in column.truth.labels]]


def _notes(comparison: Comparison, settings: Settings, queries: int) -> Iterator[str]:
    truth = comparison.sides[0].truth
    shows = truth.present == 1
    if settings.retrieval and queries < (asked := int(shows.any(axis=1).sum())):
        yield f"search by image asks with {queries} of the {asked} images with a finding, drawn by chance"
    patients = {
        label: len(np.unique(truth.patients[column]))
        for label, column in zip(truth.labels, shows.T, strict=True)
    }
    if few := [label for label, count in patients.items() if 0 < count < FEW_PATIENTS]:
        yield (
            f"fewer than {FEW_PATIENTS} patients show {listed(few)}: figures of so few say little, and "
            "their intervals are too narrow"
        )


def _warnings(comparison: Comparison, table: TruthTable) -> tuple[str, ...]:
    """Return what speaks against the figures, once each."""
    said = [
        training_sets.warning(
            side.gallery.meta.encoder,
            [*side.archives, str(table.path.resolve()), str(side.gallery.path.resolve())],
            side.uris,
        )
        for side in comparison.sides
    ]
    said += [_seen_before(column, table) for side in comparison.sides for column in side.columns]
    return tuple(dict.fromkeys(warning for warning in said if warning is not None))


def _seen_before(column: Column, table: TruthTable) -> str | None:
    """Return that a probe or a calibration was fitted on what it is evaluated on, None if none was."""
    labels = column.labels
    fits = {"trained": labels.trained_on, "calibrated": labels.labeller.calibration}
    for how, fitted in fits.items():
        on = fitted.fitted_on if isinstance(fitted, Calibration) else fitted
        if on is not None and on.truth_digest == table.digest:
            return (
                f"{labels.name} was {how} on this very table: its figures are better than on other patients; "
                "evaluate it on a table of others"
            )
    return None
