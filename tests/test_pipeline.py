"""From archives to a gallery: what a run stores, and what the next one finds."""

import importlib.metadata
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom.data
import pytest
from archives import (
    UNFIT,
    ColourEncoder,
    after_listing,
    colours,
    counts,
    images,
    make_gallery,
    rejected,
    save,
    save_pages,
)
from packing import tar, zipped
from PIL import Image

from indexer import batch as batch_module
from indexer.pipeline import Interrupted, Progress, check_inputs, index_archives
from indexer.sources.folder import FolderSource
from medsiglip_search.errors import (
    ArchiveNotFound,
    EncoderFailed,
    GalleryError,
    GalleryMismatch,
    InvalidMetadata,
)
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_writer import GalleryWriter
from medsiglip_search.identifiers import Pseudonymizer
from medsiglip_search.images import open_image, pixel_digest
from medsiglip_search.images.guard import Limits

SHARED = Path(__file__).parents[1].parent / "shared"


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
        assert instance.pixel_digest == pixel_digest(image.read().pixels)
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
    # It is noted: the next run need not open it.
    assert gallery.instances(ids)[0].mtime_ns == 1
    with after_listing(lambda: make_pipe(path)):
        assert index_archives(gallery, [str(archive)], encoder).unchanged == 1


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
    save_pages(archive / "b.tif", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 1)
    committed = []
    commit = GalleryWriter.commit

    def noted_commit(self: GalleryWriter, *batch: Any) -> np.ndarray:
        committed.append([(one.uri, one.frame) for one in batch[0]])
        return commit(self, *batch)

    monkeypatch.setattr(GalleryWriter, "commit", noted_commit)
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
    assert [(run.state, run.embedded) for run in reopened.runs()] == [("interrupted", kept)]

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

    def struck_commit(self: GalleryWriter, *batch: Any) -> np.ndarray:
        os.kill(os.getpid(), signal.SIGINT)
        return commit(self, *batch)

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
    with pytest.raises(EncoderFailed, match=r"colour: .* RuntimeError: the device is gone"):
        index_archives(gallery, [str(archive)], encoder, batch_size=2)
    assert sorted(images(Gallery.open(gallery.path))) == [(f"{number}.png", 0) for number in range(4)]
    assert [(run.state, run.embedded) for run in gallery.runs()] == [("failed", 4)]
    encoder.before_call = lambda call: None
    assert index_archives(gallery, [str(archive)], encoder).embedded == 5
    assert len(images(gallery)) == 9


def write_other_picture(path: Path) -> None:
    save(path, (0, 0, 255))
    os.utime(path, ns=(5, 5))


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_loop_of_links(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def forbid(path: Path) -> None:
    path.chmod(0)


@pytest.mark.parametrize(
    "happens", [write_other_picture, Path.unlink, make_folder, make_pipe, make_loop_of_links, forbid]
)
def test_what_happens_to_a_file_after_listing_costs_that_file_alone_and_is_made_good_by_the_next_run(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, happens: Callable[[Path], None]
) -> None:
    if happens is forbid and os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = save(archive / "a.png", (255, 0, 0))
    save(archive / "b.png", (0, 255, 0))
    with after_listing(lambda: happens(path)):
        index_archives(gallery, [str(archive)], encoder)
    assert list(images(gallery)) == [("b.png", 0)]
    assert rejected(gallery) == {("a.png", None): "unreadable"}
    assert "a.png" not in gallery.rejected()[0].message

    path.rmdir() if path.is_dir() else path.unlink(missing_ok=True)
    save(path, (0, 0, 255))
    index_archives(gallery, [str(archive)], encoder)
    assert np.argmax(images(gallery)["a.png", 0]) == 2
    assert rejected(gallery) == {}


def test_a_file_that_could_not_be_read_is_tried_again_although_it_did_not_change(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    path, aside = save(archive / "a.png"), archive.parent / "aside.png"
    with after_listing(lambda: path.rename(aside)):
        index_archives(gallery, [str(archive)], encoder)
    assert rejected(gallery) == {("a.png", None): "unreadable"}
    aside.rename(path)
    index_archives(gallery, [str(archive)], encoder)
    assert list(images(gallery)) == [("a.png", 0)]


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
    assert [(now.files, now.embedded) for now in told] == [(0, 0), (1, 1), (2, 2), (3, 3), (3, 3)]
    assert all(now.total >= now.files for now in told)
    assert (told[-1].total, told[-1].listed, told[-1].seconds_left) == (3, True, 0.0)
    told.clear()
    index_archives(gallery, [str(archive)], encoder, progress=told.append)
    assert (told[-1].files, told[-1].total, told[-1].embedded) == (3, 3, 0)


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


def test_a_picture_that_took_too_long_is_tried_again_when_that_is_asked_for(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3000, 3000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(archive / "a.webp", lossless=True, quality=0, method=0)
    index_archives(gallery, [str(archive)], encoder, limits=Limits(timeout_s=0.1))
    index_archives(gallery, [str(archive)], encoder)
    assert rejected(gallery) == {("a.webp", None): "decode_timeout"}
    report = index_archives(gallery, [str(archive)], encoder, retry_rejected=True)
    assert counts(report) == {"embedded": 1, "unchanged": 0, "replaced": 1, "rejected": {}}
    assert (list(images(gallery)), rejected(gallery)) == ([("a.webp", 0)], {})


def test_a_large_file_may_take_its_time_to_be_read(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    with save(archive / "a.png").open("r+b") as file:
        file.truncate(1 << 30)
    report = index_archives(gallery, [str(archive)], encoder, limits=Limits(timeout_s=0.5))
    assert counts(report)["embedded"] == 1


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
    (archive / "goes.txt").write_text("text")
    index_archives(gallery, [str(archive)], encoder)
    (archive / "goes.png").unlink()
    (archive / "goes.txt").unlink()
    with caplog.at_level("INFO", "indexer"):
        report = index_archives(gallery, [str(archive)], encoder)
    assert sorted(images(gallery)) == [("goes.png", 0), ("stays.png", 0)]
    assert (report.unchanged, report.removed, report.rejected) == (1, 0, {})
    assert "2 of the gallery's files are gone; their images stay; --prune drops them" in caplog.text


def test_prune_takes_out_what_is_gone_from_these_archives_and_nothing_else(
    tmp_path: Path, archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for path in (archive / "goes.png", archive / "stays.png", tmp_path / "other" / "goes.png"):
        save(path)
    save_pages(archive / "pages.tif", [(255, 0, 0), None, (0, 255, 0)])
    (archive / "goes.txt").write_text("text")
    index_archives(gallery, [str(archive), str(tmp_path / "other")], encoder)
    for path in (archive / "goes.png", archive / "pages.tif", archive / "goes.txt"):
        path.unlink()
    (tmp_path / "other" / "goes.png").unlink()
    report = index_archives(gallery, [str(archive)], encoder, prune=True)
    assert (report.removed, report.unchanged, report.rejected) == (3, 1, {})
    left = gallery.instances(gallery.select(None))
    assert {(one.archive, one.uri) for one in left} == {
        (str(archive), "stays.png"),
        (str(tmp_path / "other"), "goes.png"),
    }
    assert gallery.rejected() == []
    assert index_archives(gallery, [str(archive)], encoder, prune=True).removed == 0


def test_a_moved_file_keeps_its_embedding_and_prune_drops_its_old_row(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    path = save(archive / "old.png")
    save(archive / "stays.png")
    index_archives(gallery, [str(archive)], encoder)
    before = images(gallery)["old.png", 0]
    path.rename(archive / "new.png")
    report = index_archives(gallery, [str(archive)], encoder, prune=True)
    assert (report.embedded, report.removed, encoder.calls) == (1, 1, [1])
    assert images(gallery) == {("new.png", 0): before, ("stays.png", 0): before}


def test_prune_spares_what_a_folder_that_cannot_be_listed_may_hold(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "a.png")
    save(archive / "sub" / "b.png")
    index_archives(gallery, [str(archive)], encoder)
    shutil.rmtree(archive / "sub")
    (archive / "sub").symlink_to("sub")
    assert index_archives(gallery, [str(archive)], encoder, prune=True).removed == 0
    assert sorted(images(gallery)) == [("a.png", 0), ("sub/b.png", 0)]
    (archive / "sub").unlink()
    report = index_archives(gallery, [str(archive)], encoder, prune=True)
    assert report.removed == 1  # the folder that stood rejected was no file
    assert (sorted(images(gallery)), gallery.rejected()) == ([("a.png", 0)], [])


def test_a_folder_that_can_be_listed_again_is_rejected_no_more_and_is_no_file_that_is_gone(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    save(archive / "a.png")
    path = save(archive / "sub" / "b.png")
    path.rename(archive.parent / "b.png")
    path.parent.rmdir()
    path.parent.symlink_to("sub")
    index_archives(gallery, [str(archive)], encoder)
    assert rejected(gallery) == {("sub", None): "unreadable"}
    path.parent.unlink()
    path.parent.mkdir()
    (archive.parent / "b.png").rename(path)
    with caplog.at_level("INFO", "indexer"):
        report = index_archives(gallery, [str(archive)], encoder)
    assert (report.rejected, rejected(gallery)) == ({}, {})
    assert sorted(images(gallery)) == [("a.png", 0), ("sub/b.png", 0)]
    assert "gone" not in caplog.text


def test_a_tar_that_was_cut_and_is_whole_again_is_rejected_no_more(
    tmp_path: Path, gallery: Gallery, encoder: ColourEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    picture = save(tmp_path / "a.png").read_bytes()
    whole = tar(tmp_path / "a.tar", [(f"{number}.png", picture) for number in range(4)])
    content = whole.read_bytes()
    index_archives(gallery, [str(whole)], encoder)
    whole.write_bytes(content[: len(content) // 4])
    report = index_archives(gallery, [str(whole)], encoder, prune=True)
    assert (report.removed, report.rejected["unreadable"]) == (0, 1)
    assert (".", None) in rejected(gallery)
    whole.write_bytes(content)
    with caplog.at_level("INFO", "indexer"):
        report = index_archives(gallery, [str(whole)], encoder)
    assert (report.rejected, rejected(gallery), len(images(gallery))) == ({}, {}, 4)
    assert "gone" not in caplog.text


def test_a_packed_archive_without_a_file_is_told_so(
    tmp_path: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for path in (tar(tmp_path / "a.tar", []), zipped(tmp_path / "a.zip", [])):
        with pytest.raises(ArchiveNotFound) as error:
            index_archives(gallery, [str(path)], encoder)
        assert str(error.value) == f"{path}: holds no file to index; give an archive that holds the images"


@pytest.mark.parametrize("mtime_ns", [2**63, 2**70, -(2**63) - 1])
def test_a_time_that_no_column_holds_is_stored_as_the_last_that_one_does(
    tmp_path: Path,
    archive: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    monkeypatch: pytest.MonkeyPatch,
    mtime_ns: int,
) -> None:
    save(archive / "a.png")
    stat = os.stat

    def far_off(path: Any, **options: Any) -> Any:
        status = stat(path, **options)
        if not str(path).endswith("a.png"):
            return status
        values = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return SimpleNamespace(**values | {"st_mtime_ns": mtime_ns})

    monkeypatch.setattr(os, "stat", far_off)
    assert index_archives(gallery, [str(archive)], encoder).embedded == 1
    (instance,) = gallery.instances(gallery.select(None))
    assert instance.mtime_ns == (2**63 - 1 if mtime_ns > 0 else -(2**63))
    assert index_archives(gallery, [str(archive)], encoder).unchanged == 1


def test_files_read_anew_without_their_table_are_told_of(
    tmp_path: Path,
    archive: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("a.png", "it's.png", "c.png", "without.png"):
        save(archive / name)
    table = tmp_path / "table.csv"
    table.write_text("path,report,age\na.png,normal,\nit's.png,effusion,61\nc.png,,7\n")
    index_archives(gallery, [str(archive)], encoder, metadata=table)
    caplog.clear()
    for name in ("a.png", "it's.png", "without.png"):
        save(archive / name, (0, 0, 255))
    index_archives(gallery, [str(archive)], encoder)
    assert caplog.messages == [
        "2 files were read anew without --metadata and have lost their columns (report, age); "
        "run again with it to join them"
    ]
    caplog.clear()
    assert index_archives(gallery, [str(archive)], encoder, metadata=table).replaced == 2
    stored = {one.uri: one.sidecar["age"] for one in gallery.instances(gallery.select(None))}
    assert stored == {"a.png": None, "it's.png": 61, "c.png": 7, "without.png": None}
    save(archive / "a.png", (0, 255, 0))
    index_archives(gallery, [str(archive)], encoder, metadata=table)
    assert caplog.messages == []


def test_a_table_of_two_archives_with_the_same_names_is_told_of(
    tmp_path: Path, gallery: Gallery, encoder: ColourEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("one/a.png", "one/b.png", "two/a.png"):
        save(tmp_path / path)
    table = tmp_path / "table.csv"
    table.write_text("path,report\na.png,normal\nb.png,effusion\n")
    archives = [str(tmp_path / "one"), str(tmp_path / "two")]
    index_archives(gallery, archives, encoder, metadata=table)
    assert "1 of 2 rows name a file in more than one of the archives" in caplog.text
    caplog.clear()
    index_archives(gallery, archives[:1], encoder, metadata=table)
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("returned", "told"),
    [
        (lambda rows: rows[1:], r"float32 \(2, 3\) where float \(3, 3\)"),
        (lambda rows: np.concatenate([rows, rows]), r"float32 \(6, 3\)"),
        (lambda rows: rows[:, :2], r"float32 \(3, 2\)"),
        (lambda rows: rows[:0], r"float32 \(0, 3\)"),
        (lambda rows: None, r"object \(\)"),
        (lambda rows: rows.astype(int), r"int64 \(3, 3\)"),
        (lambda rows: [[1.0], [1.0, 2.0]], "ValueError"),
    ],
)
def test_an_encoder_that_returns_something_else_ends_the_run(
    archive: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    monkeypatch: pytest.MonkeyPatch,
    returned: Callable[[np.ndarray], object],
    told: str,
) -> None:
    for number, colour in enumerate(colours(3)):
        save(archive / f"{number}.png", colour)
    embed = ColourEncoder.embed_images
    monkeypatch.setattr(ColourEncoder, "embed_images", lambda self, given: returned(embed(self, given)))
    with pytest.raises(EncoderFailed, match=told):
        index_archives(gallery, [str(archive)], encoder)
    assert (len(Gallery.open(gallery.path)), encoder.calls) == (0, [3])


@pytest.mark.parametrize("row", [(np.nan, 0, 0), (np.inf, 0, 0), (0, 0, 0)])
def test_a_picture_whose_embedding_has_no_direction_is_rejected_alone(
    archive: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    monkeypatch: pytest.MonkeyPatch,
    row: tuple[float, float, float],
) -> None:
    for number, colour in enumerate(colours(3)):
        save(archive / f"{number}.png", colour)
    embed = ColourEncoder.embed_images

    def spoilt(self: ColourEncoder, given: Any) -> np.ndarray:
        rows = embed(self, given)
        rows[1] = row
        return rows

    monkeypatch.setattr(ColourEncoder, "embed_images", spoilt)
    index_archives(gallery, [str(archive)], encoder)
    assert sorted(images(gallery)) == [("0.png", 0), ("2.png", 0)]
    assert rejected(gallery) == {("1.png", None): "malformed"}
    assert encoder.calls == [3]


def test_prune_spares_a_file_that_was_not_listed_and_that_the_archive_holds_all_the_same(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(archive / name)
    index_archives(gallery, [str(archive)], encoder)
    (archive / "b.png").unlink()
    entries = FolderSource.entries
    monkeypatch.setattr(
        FolderSource, "entries", lambda self: (one for one in entries(self) if one.uri != "a.png")
    )
    assert index_archives(gallery, [str(archive)], encoder, prune=True).removed == 1
    assert sorted(images(gallery)) == [("a.png", 0), ("c.png", 0)]


@pytest.mark.parametrize("stray", ["NOT MOUNTED", "other.png"])
def test_nothing_is_pruned_of_an_archive_in_whose_place_something_else_stands(
    tmp_path: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    caplog: pytest.LogCaptureFixture,
    stray: str,
) -> None:
    archive, beside = tmp_path / "it's", tmp_path / "beside"
    for path in (archive / "a.png", archive / "b.png", beside / "c.png", beside / "goes.png"):
        save(path)
    index_archives(gallery, [str(archive), str(beside)], encoder)
    archive.rename(tmp_path / "away")
    archive.mkdir()
    shutil.copy(beside / "c.png", archive / stray) if stray.endswith("png") else (archive / stray).touch()
    (beside / "goes.png").unlink()
    report = index_archives(gallery, [str(archive), str(beside)], encoder, prune=True)
    assert report.removed == 1
    assert {("a.png", 0), ("b.png", 0), ("c.png", 0)} <= set(images(gallery))
    condition = f"archive = '{tmp_path}/it''s'"
    assert caplog.messages[-1] == (
        f"{archive}: none of its 2 files is there any more; --prune left them. "
        f'If they are really gone: delete --where "{condition}"'
    )
    if stray == "NOT MOUNTED":  # nor when the stray file is known
        assert index_archives(gallery, [str(archive), str(beside)], encoder, prune=True).removed == 0
        with gallery.writer() as writer:
            writer.delete(condition)
        assert sorted(images(gallery)) == [("c.png", 0)]
    caplog.clear()
    assert index_archives(gallery, [str(archive), str(beside)], encoder, prune=True).removed == (
        0 if stray == "NOT MOUNTED" else 2
    )
    assert caplog.messages == []


def test_nothing_is_pruned_of_an_archive_that_is_empty_now_nor_after_ctrl_c(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    path = save(archive / "a.png")
    index_archives(gallery, [str(archive)], encoder)
    path.unlink()
    with pytest.raises(ArchiveNotFound, match="holds no file to index"):
        index_archives(gallery, [str(archive)], encoder, prune=True)
    save(archive / "b.png", (255, 0, 0))

    def interrupt(call: int) -> None:
        raise KeyboardInterrupt

    encoder.before_call = interrupt
    with pytest.raises(Interrupted):
        index_archives(gallery, [str(archive)], encoder, prune=True)
    assert list(images(gallery)) == [("a.png", 0)]


def test_an_archive_without_a_file_is_told_when_the_others_are_done(
    tmp_path: Path, archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "a.png")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArchiveNotFound, match="empty: holds no file to index"):
        index_archives(gallery, [str(archive), str(tmp_path / "empty")], encoder)
    assert list(images(gallery)) == [("a.png", 0)]


def test_an_embedded_file_that_cannot_be_read_now_keeps_its_images(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    path, other = save(archive / "a.png", (255, 0, 0)), save(archive / "b.png", (0, 255, 0))
    index_archives(gallery, [str(archive)], encoder)
    make_pipe(path)
    save(other, (0, 0, 255))
    with after_listing(lambda: make_folder(other)):
        report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {"embedded": 0, "unchanged": 2, "replaced": 0, "rejected": {}}
    assert [np.argmax(row) for row in images(gallery).values()] == [0, 1]
    assert "2 files cannot be read now; their images stay as they were" in caplog.text
    other.rmdir()
    save(other, (0, 0, 255))
    assert index_archives(gallery, [str(archive)], encoder).replaced == 1
    assert np.argmax(images(gallery)["b.png", 0]) == 2


def test_rejected_files_and_frames_are_tried_again_when_that_is_asked_for(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "good.png")
    save_pages(archive / "some.tif", [(255, 0, 0), UNFIT])
    (archive / "notes.txt").write_text("text")
    index_archives(gallery, [str(archive)], encoder)
    assert encoder.calls == [3, 1, 1, 1]
    report = index_archives(gallery, [str(archive)], encoder, retry_rejected=True)
    assert (report.unchanged, report.replaced) == (1, 2)
    assert encoder.calls[4:] == [1]  # the page that has no embedding yet
    assert report.rejected == {"malformed": 1, "not_an_image": 1}


def test_a_run_is_kept_in_the_gallery(archive: Path, gallery: Gallery, encoder: ColourEncoder) -> None:
    save(archive / "a.png")
    (archive / "notes.txt").write_text("text")
    during: list[tuple[str, str | None]] = []

    def look(progress: Progress) -> None:
        during.extend((run.state, run.ended) for run in gallery.runs() if progress.files == 0)

    report = index_archives(gallery, [str(archive)], encoder, progress=look)
    (run,) = gallery.runs()
    assert during == [("running", None)]
    assert (run.state, run.archives, run.embedded) == ("done", (str(archive),), 1)
    assert (run.rejected, run.seconds) == ({"not_an_image": 1}, report.seconds)
    assert run.gallery_versions == (1, gallery.version)
    assert run.ended is not None
    assert run.ended > run.started
    assert run.software["pylance"] == importlib.metadata.version("pylance")


def test_a_batch_that_the_encoder_has_no_memory_for_is_halved(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for number, colour in enumerate(colours(9)):
        save(archive / f"{number}.png", colour)

    def starve(call: int) -> None:
        if encoder.calls[-1] > 2:
            raise MemoryError

    encoder.before_call = starve
    assert index_archives(gallery, [str(archive)], encoder, batch_size=8).embedded == 9
    assert encoder.calls == [8, 4, 2, 2, 2, 2, 1]
    encoder.before_call = lambda call: _raise(MemoryError())
    save(archive / "new.png", (9, 8, 7))
    with pytest.raises(EncoderFailed, match="not enough memory for one picture"):
        index_archives(gallery, [str(archive)], encoder)


def test_a_store_that_takes_no_more_ends_the_run_and_keeps_what_it_has(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, colour in enumerate(colours(9)):
        save(archive / f"{number}.png", colour)
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 4)
    commit, begun = GalleryWriter.commit, []

    def full(self: GalleryWriter, *batch: Any) -> np.ndarray:
        begun.append(len(batch[0]))
        if len(begun) == 2:
            raise GalleryError("no space left")
        return commit(self, *batch)

    monkeypatch.setattr(GalleryWriter, "commit", full)
    with pytest.raises(GalleryError, match="no space left"):
        index_archives(gallery, [str(archive)], encoder, batch_size=2)
    assert len(begun) == 2  # nothing more is tried
    assert sorted(images(Gallery.open(gallery.path))) == [("0.png", 0), ("1.png", 0)]
    assert [(run.state, run.embedded) for run in gallery.runs()] == [("failed", 2)]
    monkeypatch.undo()
    assert index_archives(gallery, [str(archive)], encoder).embedded == 7


def test_pictures_are_embedded_while_others_are_stored(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, colour in enumerate(colours(4)):
        save(archive / f"{number}.png", colour)
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 4)
    third_call, commit = threading.Event(), GalleryWriter.commit
    waited: list[bool] = []

    def slow(self: GalleryWriter, *batch: Any) -> np.ndarray:
        waited.append(third_call.wait(60))
        return commit(self, *batch)

    monkeypatch.setattr(GalleryWriter, "commit", slow)
    encoder.before_call = lambda call: third_call.set() if call == 3 else None
    assert index_archives(gallery, [str(archive)], encoder, batch_size=1).embedded == 4
    assert waited == [True, True]


def test_equal_pixels_of_a_file_that_is_being_stored_are_embedded_once(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        save(archive / name)
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 1)
    index_archives(gallery, [str(archive)], encoder, batch_size=1)
    assert encoder.calls == [1]
    assert len(images(gallery)) == 3


def test_a_table_that_names_no_file_is_refused_before_anything_is_stored(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "a.png")
    table = archive / "table.csv"
    table.write_text("path,report\nb.png,normal\n")
    with pytest.raises(InvalidMetadata, match="none of its 1 paths is a file of the archive"):
        index_archives(gallery, [str(archive)], encoder, metadata=table)
    assert (len(gallery), gallery.runs()) == (0, [])


def _raise(error: Exception) -> None:
    raise error
