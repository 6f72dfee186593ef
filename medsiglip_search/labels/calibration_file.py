"""Calibrations as files: JSON, and tied to what they were fitted for."""

from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from medsiglip_search.errors import GalleryMismatch, UnusableFile
from medsiglip_search.files import write_file
from medsiglip_search.labels.calibration import Calibration
from medsiglip_search.labels.classifier import Classifier
from medsiglip_search.records import GalleryMeta

SUFFIX = ".calibration.json"
FORMAT_VERSION = 1

_CALIBRATION = TypeAdapter(Calibration)


def write_calibration(calibration: Calibration, path: Path) -> None:
    """Write the file, whole or not at all. Raises UnusableFile if it cannot be written."""
    content = _CALIBRATION.dump_python(calibration, mode="json")
    content = TypeAdapter(dict).dump_json({"format_version": FORMAT_VERSION, **content}, indent=2)
    try:
        write_file(path, content + b"\n")
    except OSError as error:
        raise UnusableFile(f"{path}: cannot be written: {error.strerror}. Name another place") from None


def read_calibration(path: Path, classifier: Classifier, meta: GalleryMeta) -> Calibration:
    """Return the calibration of a classifier on the embeddings of a gallery.

    Raises UnusableFile for a file that holds none, or one of another classifier; GalleryMismatch for one that
    was fitted on embeddings of another encoder or preprocessing.
    """
    try:
        content = from_json(path.read_bytes(), allow_inf_nan=False)
        version = content.pop("format_version")
        calibration = _CALIBRATION.validate_python(content) if version == FORMAT_VERSION else None
    except OSError as error:
        raise UnusableFile(
            f"{path}: cannot be read: {error.strerror}. Name the file that calibrate wrote"
        ) from None
    except (ValidationError, ValueError, KeyError, TypeError, AttributeError):
        raise UnusableFile(f"{path}: holds no calibration. Name the file that calibrate wrote") from None
    if calibration is None:
        raise UnusableFile(f"{path}: of another release (format {version}). Calibrate again")
    if calibration.mode != classifier.mode:
        raise UnusableFile(
            f"{path}: made for labels of mode {calibration.mode}, and {classifier.name} has the mode "
            f"{classifier.mode}. Calibrate again"
        )
    if calibration.classifier_digest != classifier.digest:
        raise UnusableFile(
            f"{path}: made for {calibration.classifier}, and {classifier.name} has other labels or prompts. "
            "Calibrate again"
        )
    if strange := sorted(set(calibration.findings or ()) - set(classifier.labels)):
        raise UnusableFile(
            f"{path}: has labels that {classifier.name} has not: {', '.join(strange)}. Calibrate again"
        )
    if not _is_sound(calibration):
        raise UnusableFile(f"{path}: damaged. Calibrate again")
    require_same_embeddings(
        path, calibration.encoder, calibration.weights_digest, calibration.spec == meta.spec, meta
    )
    return calibration


def _is_sound(calibration: Calibration) -> bool:
    """Tell whether it holds what its mode needs, and cuts that a probability can be compared with."""
    if calibration.mode == "exclusive":
        by, keep_from = calibration.temperature, calibration.keep_from
        return by is not None and by > 0 and (keep_from is None or keep_from >= 0)
    cuts = [
        cut
        for one in (calibration.findings or {}).values()
        for cut in (one.threshold, one.present_from, one.absent_below)
        if cut is not None
    ]
    return calibration.findings is not None and all(0 <= cut <= 1 for cut in cuts)


def require_same_embeddings(
    path: Path, encoder: str, weights_digest: str, is_same_spec: bool, meta: GalleryMeta
) -> None:
    """Raise GalleryMismatch unless what was fitted on one encoder's embeddings fits those of a gallery."""
    if weights_digest != meta.weights_digest:
        raise GalleryMismatch(
            f"{path}: fitted on embeddings of {encoder} (weights {weights_digest[:12]}), and the gallery has "
            f"those of {meta.encoder} (weights {meta.weights_digest[:12]}). Fit it on this gallery"
        )
    if not is_same_spec:
        raise GalleryMismatch(
            f"{path}: fitted on pictures that were prepared in another way than the gallery's. Fit it on "
            "this gallery"
        )
