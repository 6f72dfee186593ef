"""From archives to a gallery: what a run stores, and what the next one finds."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.data
import pytest
from PIL import Image

from indexer import batch as batch_module
from indexer import reading
from indexer.pipeline import IndexReport, Interrupted, Progress, check_inputs, index_archives
from indexer.reading import ahead
from medsiglip_search.errors import ArchiveNotFound, GalleryMismatch, InvalidMetadata, Reason, Unreadable
from medsiglip_search.gallery import Gallery, GalleryWriter
from medsiglip_search.identifiers import Pseudonymizer
from medsiglip_search.images import open_image
from medsiglip_search.records import GalleryMeta, PreprocessSpec

SHARED = Path(__file__).parents[1].parent / "shared"
UNFIT = (255, 0, 255)
"""The colour of pictures that the encoder below has no embedding for."""


@dataclass
class ColourEncoder:
    """Embeds a picture as the direction of its mean colour; remembers how many it was given at once."""

    name: str = "colour"
    revision: str = "1"
    weights_digest: str = "ab" * 32
    dim: int = 3
    spec: PreprocessSpec = PreprocessSpec(size=4)
    batch_size: int = 4
    scale: float = 10.0
    bias: float = -10.0
    calls: list[int] = field(default_factory=list)
    before_call: Callable[[int], None] = lambda number: None

    def embed_images(self, images: Sequence[np.ndarray]) -> np.ndarray:
        self.calls.append(len(images))
        self.before_call(len(self.calls))
        means = np.array([image.mean(axis=(0, 1)) for image in images], np.float32)
        if any(image[0, 0].tolist() == list(UNFIT) for image in images):
            raise Unreadable(Reason.MALFORMED, "its embedding is not finite")
        return means / np.linalg.norm(means, axis=1, keepdims=True)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        raise NotImplementedError


def colour_picture(colour: tuple[int, int, int]) -> Image.Image:
    pixels = np.full((6, 8, 3), colour, np.uint8)
    pixels[3, 4] = 0  # a picture of one value is rejected as blank
    return Image.fromarray(pixels)


def save(path: Path, colour: tuple[int, int, int] = (200, 100, 50)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour_picture(colour).save(path)
    return path


def save_pages(path: Path, colours: Sequence[tuple[int, int, int] | None]) -> Path:
    """Write a TIFF of several pages; None is a blank one."""
    pages = [colour_picture(colour) if colour else Image.new("RGB", (8, 6)) for colour in colours]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    return path


def colours(count: int) -> Iterator[tuple[int, int, int]]:
    for number in range(count):
        yield 255 - 9 * number, 9 * number, 40


@pytest.fixture
def encoder() -> ColourEncoder:
    return ColourEncoder()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    return folder


@pytest.fixture
def gallery(tmp_path: Path, encoder: ColourEncoder) -> Gallery:
    return make_gallery(tmp_path / "gallery", encoder)


def make_gallery(path: Path, encoder: ColourEncoder) -> Gallery:
    meta = GalleryMeta(encoder.name, encoder.revision, encoder.weights_digest, encoder.dim, encoder.spec)
    return Gallery.create(path, meta)


def images(gallery: Gallery) -> dict[tuple[str, int], list[float]]:
    """Return what is stored: by uri and frame, the embedding."""
    ids, embeddings = gallery.embeddings()
    instances = gallery.instances(ids)
    stored = {(one.uri, one.frame): row.tolist() for one, row in zip(instances, embeddings, strict=True)}
    assert len(stored) == len(instances)
    return stored


def rejected(gallery: Gallery) -> dict[tuple[str, int | None], str]:
    rows = gallery.rejected()
    stored = {(one.uri, one.frame): one.reason.value for one in rows}
    assert len(stored) == len(rows)
    return stored


def counts(report: IndexReport) -> dict[str, object]:
    return {
        "embedded": report.embedded,
        "unchanged": report.unchanged,
        "replaced": report.replaced,
        "rejected": report.rejected,
    }


def test_every_file_ends_in_images_or_rejected(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "study" / "a.png", (255, 0, 0))
    shutil.copy(save(archive / "b.png", (0, 255, 0)), archive / "b.dcm")  # its content is a PNG
    shutil.copy(pydicom.data.get_testdata_file("CT_small.dcm"), archive / "ct")
    shutil.copy(pydicom.data.get_testdata_file("test-SR.dcm"), archive / "report.dcm")
    (archive / "notes.txt").write_text("left effusion")
    (archive / "empty.png").touch()
    (archive / "cut.png").write_bytes((archive / "b.png").read_bytes()[:60])
    (archive / "broken").symlink_to("nowhere")
    os.mkfifo(archive / "fifo.csv")
    Image.new("L", (9, 9), 7).save(archive / "blank.bmp")

    report = index_archives(gallery, [str(archive)], encoder)

    stored = images(gallery)
    assert sorted(stored) == [("b.dcm", 0), ("b.png", 0), ("ct", 0), ("study/a.png", 0)]
    assert np.argmax(stored["study/a.png", 0]) == 0
    assert stored["b.png", 0] == stored["b.dcm", 0]
    assert rejected(gallery) == {
        ("blank.bmp", None): "blank_image",
        ("broken", None): "unreadable",
        ("cut.png", None): "truncated",
        ("empty.png", None): "not_an_image",
        ("fifo.csv", None): "unreadable",
        ("notes.txt", None): "not_an_image",
        ("report.dcm", None): "non_image_dicom",
    }
    assert report.embedded == 4
    assert sum(report.rejected.values()) == 7
    assert report.images_per_second == pytest.approx(4 / report.seconds)


def test_an_instance_holds_what_is_known_of_its_file(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    path = Path(shutil.copy(pydicom.data.get_testdata_file("CT_small.dcm"), archive / "ct.dcm"))
    index_archives(gallery, [str(archive)], encoder)
    (instance,) = gallery.instances(gallery.select(None))
    header = pydicom.dcmread(path)
    assert (instance.archive, instance.uri, instance.frame) == (str(archive), "ct.dcm", 0)
    assert (instance.size, instance.mtime_ns) == (path.stat().st_size, path.stat().st_mtime_ns)
    assert (instance.rows, instance.columns) == (header.Rows, header.Columns)
    with open_image(path) as image:
        assert instance.pixel_digest == reading.pixel_digest(image.read().pixels)
    assert instance.attributes.modality == "CT"
    pseudonym = Pseudonymizer(gallery.secret_key).pseudonym
    assert instance.attributes.patient == pseudonym("patient", header.PatientID)
    assert instance.attributes.instance == pseudonym("instance", header.SOPInstanceUID)
    (thumbnail,) = gallery.thumbnails([instance.image_id])
    assert thumbnail.startswith(b"\xff\xd8")


def test_a_second_run_reads_and_writes_nothing(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for number, colour in enumerate(colours(3)):
        save(archive / f"{number}.png", colour)
    (archive / "notes.txt").write_text("text")
    (archive / "broken").symlink_to("nowhere")
    index_archives(gallery, [str(archive)], encoder)
    version, calls = gallery.version, len(encoder.calls)
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {
        "embedded": 0,
        "unchanged": 3,
        "replaced": 0,
        "rejected": {"not_an_image": 1, "unreadable": 1},
    }
    assert (gallery.version, len(encoder.calls)) == (version, calls)
    assert len(gallery.rejected()) == 2


def test_a_file_that_was_only_touched_keeps_its_row(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    path = save(archive / "a.png")
    index_archives(gallery, [str(archive)], encoder)
    ids = gallery.select(None)
    os.utime(path, ns=(1, 1))
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {"embedded": 0, "unchanged": 1, "replaced": 0, "rejected": {}}
    assert gallery.select(None).tolist() == ids.tolist()
    assert encoder.calls == [1]


def test_a_changed_file_replaces_its_row(archive: Path, gallery: Gallery, encoder: ColourEncoder) -> None:
    save(archive / "a.png", (255, 0, 0))
    save(archive / "b.png", (0, 255, 0))
    index_archives(gallery, [str(archive)], encoder)
    # Into the other's content: a file is compared with its own past.
    shutil.copy(archive / "b.png", archive / "a.png")
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {"embedded": 1, "unchanged": 1, "replaced": 1, "rejected": {}}
    stored = images(gallery)
    assert stored["a.png", 0] == stored["b.png", 0]
    assert gallery.select(None).tolist() == [2, 3]


def test_files_move_between_images_and_rejected(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    good = save(archive / "good.png").read_bytes()
    (archive / "bad.png").write_bytes(good[:60])
    index_archives(gallery, [str(archive)], encoder)
    (archive / "good.png").write_bytes(b"no picture any more")
    (archive / "bad.png").write_bytes(good)
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {"embedded": 1, "unchanged": 0, "replaced": 2, "rejected": {"not_an_image": 1}}
    assert list(images(gallery)) == [("bad.png", 0)]
    assert list(rejected(gallery)) == [("good.png", None)]


def test_frames_are_sampled_and_files_committed_whole(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pages(archive / "a.tif", list(colours(20)))
    save_pages(archive / "b.tif", list(colours(3)))
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 1)
    committed = []
    monkeypatch.setattr(
        GalleryWriter,
        "commit",
        lambda self, instances, *rest: committed.append([(one.uri, one.frame) for one in instances]),
    )
    index_archives(gallery, [str(archive)], encoder, frames_per_instance=5, batch_size=2)
    assert committed == [
        [("a.tif", frame) for frame in (2, 6, 10, 14, 18)],
        [("b.tif", frame) for frame in (0, 1, 2)],
    ]
    assert encoder.calls == [2, 2, 1, 2, 1]


def test_a_file_of_good_and_blank_frames_stands_in_both(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save_pages(archive / "some.tif", [(255, 0, 0), None, (0, 255, 0)])
    save_pages(archive / "none.tif", [None, None])
    index_archives(gallery, [str(archive)], encoder)
    assert sorted(images(gallery)) == [("some.tif", 0), ("some.tif", 2)]
    assert rejected(gallery) == {("none.tif", None): "blank_image", ("some.tif", 1): "blank_image"}
    assert index_archives(gallery, [str(archive)], encoder).unchanged == 1


def test_a_picture_without_embedding_is_rejected_alone(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for number, colour in enumerate([(255, 0, 0), UNFIT, (0, 255, 0)]):
        save(archive / f"{number}.png", colour)
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {"embedded": 2, "unchanged": 0, "replaced": 0, "rejected": {"malformed": 1}}
    assert sorted(images(gallery)) == [("0.png", 0), ("2.png", 0)]
    assert rejected(gallery) == {("1.png", None): "malformed"}
    assert len(gallery) == 2


def test_large_pictures_go_to_the_encoder_in_smaller_numbers(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, colour in enumerate(colours(5)):
        save(archive / f"{number}.png", colour)
    monkeypatch.setattr(batch_module, "WAITING_BYTES", 2 * 6 * 8 * 3)
    index_archives(gallery, [str(archive)], encoder)
    assert encoder.calls == [2, 2, 1]


@pytest.mark.parametrize(("commit_rows", "kept"), [(1, 2), (5, 4), (1000, 4)])
def test_ctrl_c_commits_what_is_embedded_and_the_next_run_does_the_rest(
    tmp_path: Path,
    archive: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    monkeypatch: pytest.MonkeyPatch,
    commit_rows: int,
    kept: int,
) -> None:
    for number, colour in enumerate(colours(9)):
        save(archive / f"{number}.png", colour)
    save_pages(archive / "3.tif", [*colours(5), None])
    (archive / "notes.txt").write_text("text")
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", commit_rows)

    def interrupt(call: int) -> None:
        if call == 3:
            raise KeyboardInterrupt

    encoder.before_call = interrupt
    with pytest.raises(Interrupted) as interrupted:
        index_archives(gallery, [str(archive)], encoder, batch_size=3)
    reopened = Gallery.open(gallery.path)
    # Two frames of 3.tif may have been embedded as well, but files are stored whole.
    assert list(images(reopened)) == [(f"{number}.png", 0) for number in range(kept)]
    assert interrupted.value.report.embedded == kept

    encoder.before_call = lambda call: None
    index_archives(reopened, [str(archive)], encoder, batch_size=3)
    whole = make_gallery(tmp_path / "whole", encoder)
    index_archives(whole, [str(archive)], encoder)
    assert images(reopened) == images(whole)
    assert len(images(whole)) == 14
    assert (
        rejected(reopened)
        == rejected(whole)
        == {
            ("3.tif", 5): "blank_image",
            ("notes.txt", None): "not_an_image",
        }
    )


def test_ctrl_c_during_a_commit_waits_for_its_end(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, colour in enumerate(colours(4)):
        save(archive / f"{number}.png", colour)
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 4)
    commit = GalleryWriter.commit

    def struck_commit(self: GalleryWriter, *batch: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        commit(self, *batch)

    monkeypatch.setattr(GalleryWriter, "commit", struck_commit)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted) as interrupted:
            index_archives(gallery, [str(archive)], encoder)
    finally:
        signal.signal(signal.SIGINT, before)
    assert interrupted.value.report.embedded == 2
    assert len(Gallery.open(gallery.path)) == 2
    monkeypatch.undo()
    assert index_archives(gallery, [str(archive)], encoder).embedded == 2


def test_an_error_loses_only_what_was_not_committed(
    tmp_path: Path, archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, colour in enumerate(colours(9)):
        save(archive / f"{number}.png", colour)
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 4)

    def fail(call: int) -> None:
        if call == 3:
            raise RuntimeError("the device is gone")

    encoder.before_call = fail
    with pytest.raises(RuntimeError, match="the device is gone"):
        index_archives(gallery, [str(archive)], encoder, batch_size=2)
    assert sorted(images(Gallery.open(gallery.path))) == [(f"{number}.png", 0) for number in range(4)]
    encoder.before_call = lambda call: None
    assert index_archives(gallery, [str(archive)], encoder).embedded == 5
    assert len(images(gallery)) == 9


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("/secret/path"), "malformed"),
        (StopIteration(), "malformed"),
        (RecursionError(), "malformed"),
        (MemoryError(), "too_large"),
        (PermissionError(13, "Permission denied", "/secret/path"), "unreadable"),
    ],
)
def test_no_error_in_reading_stops_the_run_or_names_a_path(
    archive: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    save(archive / "a.png")
    save(archive / "b.png")

    def failing_open(path: Path) -> object:
        if path.name == "a.png":
            raise error
        return open_image(path)

    monkeypatch.setattr(reading, "open_image", failing_open)
    index_archives(gallery, [str(archive)], encoder)
    assert list(images(gallery)) == [("b.png", 0)]
    assert rejected(gallery) == {("a.png", None): reason}
    assert "secret" not in gallery.rejected()[0].message

    # What could not be read may be readable now although it did not change; the rest would fail again.
    monkeypatch.undo()
    index_archives(gallery, [str(archive)], encoder)
    assert rejected(gallery) == ({} if reason == "unreadable" else {("a.png", None): reason})


def test_a_file_that_changes_while_it_is_read_is_read_again_next_time(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(archive / "a.png", (255, 0, 0))

    def changing_open(opened: Path) -> object:
        image = open_image(opened)
        save(path, (0, 0, 255))
        os.utime(path, ns=(5, 5))
        return image

    monkeypatch.setattr(reading, "open_image", changing_open)
    index_archives(gallery, [str(archive)], encoder)
    assert images(gallery) == {}
    assert rejected(gallery) == {("a.png", None): "unreadable"}
    monkeypatch.undo()
    index_archives(gallery, [str(archive)], encoder)
    assert np.argmax(images(gallery)["a.png", 0]) == 2
    assert rejected(gallery) == {}


def test_a_file_that_vanishes_after_listing_is_rejected(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    paths = [save(archive / f"{number}.png", colour) for number, colour in enumerate(colours(8))]
    encoder.before_call = lambda call: paths[-1].unlink(missing_ok=True)
    index_archives(gallery, [str(archive)], encoder, batch_size=1)
    assert rejected(gallery) == {("7.png", None): "unreadable"}
    assert len(images(gallery)) == 7


def test_the_gallery_and_the_tables_inside_an_archive_are_not_indexed(
    archive: Path, encoder: ColourEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    save(archive / "a.png")
    (archive / "metadata.csv").write_text("path,report\na.png,normal\n")
    (archive / "labels.csv").write_text("image,organ\na.png,chest\n")
    gallery = make_gallery(archive / "gallery", encoder)
    caplog.set_level("INFO")
    report = index_archives(gallery, [str(archive)], encoder, metadata=archive / "metadata.csv")
    assert counts(report) == {"embedded": 1, "unchanged": 0, "replaced": 0, "rejected": {}}
    assert [message for message in caplog.messages if "left aside" in message] == [
        "1 table beside the pictures left aside; --metadata joins one to its files"
    ]


def test_a_sidecar_is_joined_and_joined_anew_when_it_changes(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(archive / name)
    table = archive / "table.csv"
    index_archives(gallery, [str(archive)], encoder)

    table.write_text("path,patient,report,age\na.png,P1,normal,61\nb.png,P1,effusion,\n")
    report = index_archives(gallery, [str(archive)], encoder, metadata=table)
    assert counts(report) == {"embedded": 2, "unchanged": 1, "replaced": 2, "rejected": {}}
    stored = {one.uri: one for one in gallery.instances(gallery.select(None))}
    assert stored["a.png"].sidecar == {"report": "normal", "age": 61}
    assert stored["b.png"].sidecar == {"report": "effusion", "age": None}
    assert stored["c.png"].sidecar == {"report": None, "age": None}
    pseudonym = Pseudonymizer(gallery.secret_key).pseudonym("patient", "P1")
    assert [stored[name].attributes.patient for name in ("a.png", "b.png", "c.png")] == [
        pseudonym,
        pseudonym,
        None,
    ]
    assert gallery.select("report = 'effusion' AND age IS NULL").tolist() == [stored["b.png"].image_id]

    assert index_archives(gallery, [str(archive)], encoder, metadata=table).unchanged == 3
    table.write_text("path,patient,report,age\na.png,P1,normal,62\nb.png,P1,effusion,\n")
    assert index_archives(gallery, [str(archive)], encoder, metadata=table).replaced == 1
    assert gallery.select("age = 62").tolist() != []


def test_two_archives_stand_side_by_side_and_one_named_twice_counts_once(
    tmp_path: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(tmp_path / "one" / "a.png", (255, 0, 0))
    save(tmp_path / "two" / "a.png", (0, 0, 255))
    archives = [str(tmp_path / "one"), str(tmp_path / "two"), f"{tmp_path}/two/../one/"]
    assert index_archives(gallery, archives, encoder).embedded == 2
    assert index_archives(gallery, archives[1:2], encoder).unchanged == 1
    stored = {one.archive: one.image_id for one in gallery.instances(gallery.select(None))}
    assert stored == {str(tmp_path / "one"): 1, str(tmp_path / "two"): 2}


def test_the_report_counts_rejections_of_its_own_archives_only(
    tmp_path: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for name in ("one", "two"):
        save(tmp_path / name / "a.png")
        (tmp_path / name / f"{name}.txt").write_text("text")
    index_archives(gallery, [str(tmp_path / "one")], encoder)
    assert index_archives(gallery, [str(tmp_path / "two")], encoder).rejected == {"not_an_image": 1}


def test_progress_counts_files(archive: Path, gallery: Gallery, encoder: ColourEncoder) -> None:
    for number, colour in enumerate(colours(3)):
        save(archive / f"{number}.png", colour)
    told: list[Progress] = []
    index_archives(gallery, [str(archive)], encoder, batch_size=1, progress=told.append)
    assert told == [Progress(files, 3, files) for files in (0, 1, 2, 3)]
    told.clear()
    index_archives(gallery, [str(archive)], encoder, progress=told.append)
    assert told == [Progress(3, 3, 0)]


def test_bad_inputs_are_refused_before_anything_is_stored(
    tmp_path: Path, archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    other = ColourEncoder(weights_digest="cd" * 32)
    (archive / "table.csv").write_text("path\n")
    with pytest.raises(GalleryMismatch):
        index_archives(gallery, [str(archive)], other)
    with pytest.raises(ArchiveNotFound, match="holds no file to index"):
        index_archives(gallery, [str(archive)], encoder)
    save(archive / "a.png")
    with pytest.raises(ArchiveNotFound, match="no such archive"):
        index_archives(gallery, [str(archive), str(tmp_path / "absent")], encoder)
    with pytest.raises(InvalidMetadata, match="no such file"):
        index_archives(gallery, [str(archive)], encoder, metadata=tmp_path / "absent.csv")
    assert len(gallery) == 0


def test_inputs_can_be_checked_beforehand(tmp_path: Path, archive: Path) -> None:
    with pytest.raises(ArchiveNotFound, match="holds no file to index"):
        check_inputs([str(archive)])
    save(archive / "a.png")
    check_inputs([str(archive)])
    with pytest.raises(InvalidMetadata, match="no such file"):
        check_inputs([str(archive)], tmp_path / "absent.csv")


def test_items_are_made_ahead_in_order_and_no_more_than_asked() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number
        raise ValueError("the end")

    stream = ahead(items(), depth=3)
    assert [next(stream) for _ in range(4)] == [0, 1, 2, 3]
    assert len(made) <= 7
    with pytest.raises(ValueError, match="the end"):
        list(stream)
    assert made == list(range(10))


def test_every_file_that_comes_with_pydicom_ends_somewhere(gallery: Gallery, encoder: ColourEncoder) -> None:
    folder = Path(pydicom.data.get_testdata_file("CT_small.dcm")).parent
    report = index_archives(gallery, [str(folder)], encoder)
    embedded = {uri for uri, _ in images(gallery)}
    without = {uri for uri, frame in rejected(gallery) if frame is None}
    assert not embedded & without
    assert embedded | without == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    }
    assert report.embedded == len(gallery)
    assert {"CT_small.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm"} <= embedded
    assert {"test-SR.dcm", "README.txt", "rtplan.dcm"} <= without


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real archives are not at hand")
def test_all_of_a_real_archive_is_embedded_and_its_tables_left_aside(
    gallery: Gallery, encoder: ColourEncoder
) -> None:
    report = index_archives(gallery, [str(SHARED / "archives" / "vqa-rad")], encoder)
    assert counts(report) == {"embedded": 315, "unchanged": 0, "replaced": 0, "rejected": {}}


def test_images_whose_file_is_gone_stay_and_are_told_of(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("goes.png", "stays.png"):
        save(archive / name)
    index_archives(gallery, [str(archive)], encoder)
    (archive / "goes.png").unlink()
    with caplog.at_level("INFO", "indexer"):
        report = index_archives(gallery, [str(archive)], encoder)
    assert sorted(images(gallery)) == [("goes.png", 0), ("stays.png", 0)]
    assert (report.unchanged, report.removed) == (1, 0)
    assert "1 of the gallery's files are gone from their archive; their images stay" in caplog.text
