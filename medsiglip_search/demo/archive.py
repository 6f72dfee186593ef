"""The synthetic archive on disk, written the way real archives look.

    ARCHIVE/
      metadata.csv          path, patient, study, modality, findings, boxes, report
      P0001/S0001/IM001.dcm ...

Radiographs and CT are DICOM in several transfer syntaxes, the rest JPEG, PNG and 16-bit TIFF; a few files are
broken or no pictures at all. Deterministic: the same seed writes the same bytes.
"""

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from medsiglip_search.demo.cases import Drawing, Study, draw_study, labels_of, plan
from medsiglip_search.demo.dicom import encode_ct_slice, encode_ct_volume, encode_radiograph, encode_report
from medsiglip_search.demo.drawing.canvas import Box, Rng
from medsiglip_search.demo.wording import report
from medsiglip_search.demo.workers import worker_pool

COLUMNS = ("path", "patient", "study", "modality", "findings", "boxes", "report")
METADATA = "metadata.csv"


@dataclass(frozen=True, slots=True)
class _File:
    """One file of a study: its name, its bytes and the boxes of its signs."""

    name: str
    content: bytes
    boxes: tuple[Box | None, ...]


def write_archive(
    folder: Path, seed: int, images: int, progress: Callable[[int], None] = lambda count: None
) -> Path:
    """Write an archive of `images` pictures into the folder and return the path of its metadata.csv.

    progress is told the number of pictures that each finished study adds.
    """
    studies = plan(seed, images)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, str]] = []
    with worker_pool() as workers:  # drawing takes most of the time
        for study, written in zip(
            studies, workers.map(partial(_write_study, folder), studies, chunksize=8), strict=True
        ):
            rows += written
            progress(study.images)
    _write_clutter(folder, studies, np.random.default_rng((seed, 2)))
    with open(folder / METADATA, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)
    return folder / METADATA


def _write_study(archive: Path, study: Study) -> list[dict[str, str]]:
    """Write the files of one study and return their rows of metadata.csv."""
    rng = np.random.default_rng((study.seed, 2))
    folder = Path(f"P{study.patient:04d}") / f"S{study.study:04d}"
    (archive / folder).mkdir(parents=True, exist_ok=True)
    text = report(rng, study.modality, study.signs).text
    rows = []
    for file in _files(rng, study, list(draw_study(study))):
        (archive / folder / file.name).write_bytes(file.content)
        rows.append(
            {
                "path": (folder / file.name).as_posix(),
                "patient": f"P{study.patient:04d}",
                "study": f"S{study.study:04d}",
                "modality": study.modality.code,
                "findings": ";".join(labels_of(study.signs)),
                "boxes": ";".join(" ".join(map(str, box)) if box else "" for box in file.boxes),
                "report": text,
            }
        )
    return rows


def _files(rng: Rng, study: Study, drawings: Sequence[Drawing]) -> list[_File]:
    code = study.modality.code
    if code == "CT" and len(drawings) > 1 and rng.random() < 0.5:
        content = encode_ct_volume(rng, study, [drawing.values for drawing in drawings])
        return [_File("volume.dcm", content, _around(drawings))]
    files = []
    for number, drawing in enumerate(drawings, start=1):
        if code == "CR":
            name, content = f"IM{number:03d}.dcm", encode_radiograph(rng, study, number, drawing.values)
        elif code == "CT":
            name, content = f"IM{number:03d}.dcm", encode_ct_slice(rng, study, number, drawing.values)
        elif code == "OP" and rng.random() < 0.25:
            # A red-free photograph: the green channel alone, 16 bits deep.
            name, content = (
                f"redfree_{number}.tif",
                _encode(drawing.values[..., 1].astype(np.uint16) * 257, "TIFF"),
            )
        elif code == "SM" or rng.random() < 0.3:
            name, content = f"image_{number}.png", _encode(drawing.values, "PNG")
        else:
            name, content = f"image_{number}.jpg", _encode(drawing.values, "JPEG", quality=92)
        files.append(_File(name, content, drawing.boxes))
    return files


def _around(drawings: Sequence[Drawing]) -> tuple[Box | None, ...]:
    """Return for each sign the box around its boxes in all frames."""
    around: list[Box | None] = []
    for boxes in zip(*(drawing.boxes for drawing in drawings), strict=True):
        shown = [box for box in boxes if box]
        around.append(
            (
                min(box[0] for box in shown),
                min(box[1] for box in shown),
                max(box[2] for box in shown),
                max(box[3] for box in shown),
            )
            if shown
            else None
        )
    return tuple(around)


def _encode(values: np.ndarray, format: str, quality: int = 75) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, format, quality=quality)
    return file.getvalue()


def _write_clutter(archive: Path, studies: Sequence[Study], rng: Rng) -> None:
    """Add what stands beside the pictures of a real archive: broken files, documents, leftovers."""
    patients = sorted({study.patient for study in studies})

    def folder() -> Path:
        return archive / f"P{patients[rng.integers(len(patients))]:04d}"

    # Noise does not compress, so two thirds of the file end within its pixels.
    noise = rng.integers(0, 4096, (64, 64), dtype=np.uint16)
    radiograph = encode_radiograph(rng, studies[0], 900, noise)
    photograph = _encode(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8), "JPEG")
    (folder() / "interrupted_copy.dcm").write_bytes(radiograph[: len(radiograph) * 2 // 3])
    (folder() / "interrupted_copy.jpg").write_bytes(photograph[: len(photograph) // 2])
    (folder() / "empty.png").write_bytes(b"")
    (folder() / "structured_report.dcm").write_bytes(encode_report(studies[0]))
    (folder() / "notes.txt").write_text("Invented patients. Any likeness to real ones is chance.\n")
    (folder() / "blank.png").write_bytes(_encode(np.zeros((64, 64), np.uint8), "PNG"))
