"""What is compared: galleries, each under each source of labels, on the very same images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import GalleryMismatch, InvalidTruth, UnusableFile
from medsiglip_search.gallery import Gallery
from medsiglip_search.labels import LabelSet
from medsiglip_search.labels.calibration import FittedOn
from medsiglip_search.labels.calibration_file import read_calibration
from medsiglip_search.labels.classifier import zero_shot
from medsiglip_search.labels.labeller import Labeller
from medsiglip_search.labels.opening import open_label_set
from medsiglip_search.labels.probe import SUFFIX, load_probe
from medsiglip_search.truth import Truth, TruthTable, join
from medsiglip_search.truth.table import listed

LoadEncoder = Callable[[Gallery], Encoder]
"""Loads the encoder of a gallery."""


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """A source of labels, for the embeddings of one gallery.

    name: as it is shown. source: the name or file that it was opened by. label_set: None for a probe.
    trained_on: of a probe.
    """

    name: str
    source: str
    labeller: Labeller
    label_set: LabelSet | None = None
    calibration: Path | None = None
    trained_on: FittedOn | None = None


@dataclass(frozen=True, slots=True)
class Joining:
    """How the table is joined to galleries, see `truth.join`."""

    column: str | None = None
    patient: str | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One gallery under one source of labels. truth: of the labels of the source that the table knows."""

    labels: Labels
    truth: Truth


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One gallery, with what the table says of the images that all galleries have, in one order.

    truth: of the labels of all columns; of all that the table names if there is no source of labels.
    archives, uris: where the images are from.
    """

    name: str
    gallery: Gallery
    truth: Truth
    archives: tuple[str, ...]
    uris: tuple[str, ...]
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """The sides; the first is what the others are compared with. notes: what was left out, and why."""

    sides: tuple[Side, ...]
    notes: tuple[str, ...]


def compare(
    paths: Sequence[Path],
    table: TruthTable,
    sources: Sequence[str],
    calibrations: Sequence[Path],
    joining: Joining,
    load_encoder: LoadEncoder,
) -> Comparison:
    """Return the galleries under the sources of labels, on the images that all galleries have.

    An image is the same in two galleries if its path in the archive is, and its frame. Of the calibrations a
    source takes the one that was fitted for it on such embeddings; so does a gallery of the probes.
    Raises InvalidTruth if there is no image that all have; what opening and joining raise; UnusableFile or
    GalleryMismatch for a calibration or a probe that fits nothing.
    """
    galleries = [Gallery.open(path) for path in paths]
    opened = _open_labels(sources, galleries, load_encoder)
    labels = _calibrated(opened, calibrations, galleries)
    truths = [
        [_join(table, gallery, one, joining) for one in (own or (None,))]
        for gallery, own in zip(galleries, labels, strict=True)
    ]
    names = _names(paths)
    notes = _notes(names, labels, truths)
    images = [_images(gallery, own[0].image_ids) for gallery, own in zip(galleries, truths, strict=True)]
    places = _places_of_common(images, table)
    if left := max(map(len, images)) - len(places[0]):
        notes.append(f"{left} images are not in all of the galleries, or not in the table for all: left out")
    sides = []
    for number, gallery in enumerate(galleries):
        # Patients as the first gallery knows them: all are resampled alike.
        patients = truths[0][0].patients[places[0]]
        own = [replace(truth.only(places[number]), patients=patients) for truth in truths[number]]
        archives, uris = zip(*(images[number][place][:2] for place in places[number]), strict=True)
        columns = tuple(map(Column, labels[number], own))
        sides.append(Side(names[number], gallery, _union(own), tuple(sorted(set(archives))), uris, columns))
    return Comparison(tuple(sides), tuple(notes))


def _open_labels(
    sources: Sequence[str], galleries: Sequence[Gallery], load_encoder: LoadEncoder
) -> list[list[Labels]]:
    """Return the sources of labels for each gallery; a probe for those whose embeddings it was trained on.

    Raises GalleryMismatch for a probe that fits no gallery, and for a gallery that no source fits.
    """
    opened: list[list[Labels]] = [[] for _ in galleries]
    misfits: list[GalleryMismatch] = []
    fitting: set[str] = set()
    for gallery, own in zip(galleries, opened, strict=True):
        encoder: Encoder | None = None
        for source in sources:
            if Path(source).suffix.lower() == SUFFIX:
                try:
                    probe = load_probe(Path(source), gallery.meta)
                except GalleryMismatch as error:
                    misfits.append(error)
                    continue
                name, trained_on = probe.info.name, probe.info.fitted_on
                own.append(Labels(name, source, Labeller(probe.classifier), trained_on=trained_on))
            else:
                label_set = open_label_set(source)
                if encoder is None:
                    encoder = load_encoder(gallery)
                    gallery.require(encoder)
                labeller = Labeller(zero_shot(label_set, encoder))
                own.append(Labels(label_set.name, source, labeller, label_set))
            fitting.add(source)
    if misfits and (len(fitting) < len(set(sources)) or not all(opened)):
        raise misfits[0]
    # A name is that of one source.
    names = {(one.name, one.source) for own in opened for one in own}
    shared = {name for name, source in names if sum(name == other for other, _ in names) > 1}
    files = {source: Path(source).name for name, source in names if name in shared}
    told = files if len(set(files.values())) == len(files) else {source: source for source in files}
    return [[replace(one, name=told.get(one.source, one.name)) for one in own] for own in opened]


def _calibrated(
    labels: Sequence[Sequence[Labels]], calibrations: Sequence[Path], galleries: Sequence[Gallery]
) -> list[list[Labels]]:
    """Return the labels of each gallery with their calibrations. Raises if one fits nothing."""
    fitted = [list(own) for own in labels]
    for path in calibrations:
        misfit: Exception | None = None
        fits = False
        for own, gallery in zip(fitted, galleries, strict=True):
            for number, one in enumerate(own):
                classifier = one.labeller.classifier
                try:
                    calibration = read_calibration(path, classifier, gallery.meta)
                except (UnusableFile, GalleryMismatch) as error:
                    misfit = misfit or error
                    continue
                fits = True
                own[number] = replace(one, labeller=Labeller(classifier, calibration), calibration=path)
        if misfit is not None and not fits:
            raise misfit
    return fitted


def _join(table: TruthTable, gallery: Gallery, labels: Labels | None, joining: Joining) -> Truth:
    classifier = None if labels is None else labels.labeller.classifier
    return join(
        table,
        gallery,
        None if classifier is None else classifier.labels,
        "findings" if classifier is None else classifier.mode,
        column=joining.column,
        patient=joining.patient,
        where=joining.where,
    )


def _notes(
    names: Sequence[str], labels: Sequence[Sequence[Labels]], truths: Sequence[Sequence[Truth]]
) -> list[str]:
    """Return what is to be said of the joins, once each."""
    notes: dict[str, list[str]] = {}
    for name, of_labels, of_truths in zip(names, labels, truths, strict=True):
        for truth in of_truths:
            for note in truth.notes:
                notes.setdefault(note, []).append(name)
        for one, truth in zip(of_labels, of_truths, strict=False):
            known = one.labeller.classifier.labels
            if missing := [label for label in known if label not in truth.labels]:
                note = f"{one.name}: the table has no column for {len(missing)} of its {len(known)} labels"
                notes.setdefault(f"{note}: {listed(missing)}", []).append(name)
    everywhere = len(names)
    return [
        note if len(set(of)) == everywhere else f"{', '.join(dict.fromkeys(of))}: {note}"
        for note, of in notes.items()
    ]


def _images(gallery: Gallery, image_ids: np.ndarray) -> list[tuple[str, str, int]]:
    """Return archive, uri and frame of these images."""
    wanted = np.isin(gallery.select(None), image_ids)
    images = []
    start = 0
    for archives, uris, frames in gallery.cell_batches("archive", "uri", "frame"):
        stop = start + len(uris)
        for place in np.flatnonzero(wanted[start:stop]):
            images.append((str(archives[place]), str(uris[place]), int(frames[place] or 0)))
        start = stop
    return images


def _places_of_common(
    images: Sequence[Sequence[tuple[str, str, int]]], table: TruthTable
) -> list[np.ndarray]:
    """Return where each gallery has the images that all have, in the order of the first."""
    places: list[dict[tuple[str, int, int], int]] = []
    for own in images:
        seen: dict[tuple[str, int], int] = {}
        known = {}
        for place, (_, uri, frame) in enumerate(own):
            # A path that two archives of a gallery have is told apart by which of them came first.
            nth = seen[uri, frame] = seen.get((uri, frame), -1) + 1
            known[uri, frame, nth] = place
        places.append(known)
    common = [key for key in places[0] if all(key in known for known in places)]
    if not common:
        raise InvalidTruth(
            f"{table.path}: names no image that all galleries have; compare galleries of the same archive"
        )
    return [np.array([known[key] for key in common]) for known in places]


def _union(truths: Sequence[Truth]) -> Truth:
    """Return what several truths of the same images say."""
    places = {label: (truth, place) for truth in truths for place, label in enumerate(truth.labels)}
    present = np.stack([truth.present[:, place] for truth, place in places.values()], axis=1)
    return replace(truths[0], labels=tuple(places), present=present)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return what galleries are called: their folders, or of folders that are called alike the paths."""
    folders = [path.resolve().name for path in paths]
    return [
        folder if folders.count(folder) == 1 else str(path)
        for folder, path in zip(folders, paths, strict=True)
    ]
