"""Equal pixels are embedded once; one SOP instance has one set of pixels in a gallery."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from archives import (
    UNFIT,
    ColourEncoder,
    after_listing,
    colour_picture,
    counts,
    images,
    make_gallery,
    rejected,
    save,
    save_pages,
)
from dicom_files import image_dataset, lossless, written
from galleries import instance as instance_by_hand
from galleries import meta, unit
from pydicom import uid

from indexer import batch as batch_module
from indexer import known
from indexer.known import KnownFrames
from indexer.pipeline import index_archives
from medsiglip_search.errors import EncoderFailed
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import Identifiers, Instance

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


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


@pytest.fixture(params=["one commit", "a commit per file"])
def commits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "a commit per file":
        monkeypatch.setattr(batch_module, "COMMIT_ROWS", 1)
    return request.param


def save_dicom(path: Path, colour: tuple[int, int, int], instance: str) -> Path:
    """Write one picture of this colour as the SOP instance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = image_dataset(np.array(colour_picture(colour)), SOPInstanceUID=instance)
    path.write_bytes(written(dataset))
    return path


def save_frames(path: Path, seeds: Sequence[int], instance: str) -> Path:
    """Write a grey picture of noise per seed as the frames of the SOP instance."""
    frames = np.stack([np.random.default_rng(seed).integers(0, 256, (6, 8)) for seed in seeds])
    dataset = image_dataset(
        frames.astype(np.uint8),
        NumberOfFrames=len(seeds),
        SOPInstanceUID=instance,
        sop_class=uid.UltrasoundMultiFrameImageStorage,
    )
    path.write_bytes(written(dataset))
    return path


def stored(gallery: Gallery) -> dict[str, Instance]:
    return {one.uri: one for one in gallery.instances(gallery.select(None))}


def message(gallery: Gallery, uri: str) -> str:
    (one,) = [one for one in gallery.rejected() if one.uri == uri]
    return one.message


# Equal pixels


@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_picture_under_several_names_is_embedded_once(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, commits: str, batch_size: int
) -> None:
    shutil.copy(save(archive / "a.png", (200, 100, 50)), archive / "b")
    colour_picture((200, 100, 50)).save(archive / "c.bmp")
    save(archive / "d.png", GREEN)
    report = index_archives(gallery, [str(archive)], encoder, batch_size=batch_size)
    assert sum(encoder.calls) == 2
    assert report.embedded == 4
    found = images(gallery)
    assert found["a.png", 0] == found["b", 0] == found["c.bmp", 0] != found["d.png", 0]
    rows = stored(gallery)
    assert len({rows[uri].pixel_digest for uri in ("a.png", "b", "c.bmp")}) == 1
    assert len(set(gallery.thumbnails(gallery.select("uri != 'd.png'")))) == 1


def test_a_picture_in_two_lossless_syntaxes_is_embedded_once(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless):
        dataset = image_dataset(pixels, bits=12, SOPInstanceUID="2.25.7")
        (archive / f"{syntax}.dcm").write_bytes(lossless(dataset, pixels, syntax))
    index_archives(gallery, [str(archive)], encoder)
    assert encoder.calls == [1]
    rows = stored(gallery).values()
    assert len(rows) == 3
    assert len({row.pixel_digest for row in rows}) == 1
    assert rejected(gallery) == {}


def test_a_picture_that_an_earlier_run_or_another_archive_brought_is_not_embedded_again(
    tmp_path: Path, archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "a.png", (200, 100, 50))
    index_archives(gallery, [str(archive)], encoder)
    save(archive / "b.bmp", (200, 100, 50))
    save(tmp_path / "other" / "c.tif", (200, 100, 50))
    report = index_archives(Gallery.open(gallery.path), [str(archive), str(tmp_path / "other")], encoder)
    assert counts(report) == {"embedded": 2, "unchanged": 1, "replaced": 0, "rejected": {}}
    assert encoder.calls == [1]
    gallery.refresh()
    assert images(gallery)["a.png", 0] == images(gallery)["b.bmp", 0] == images(gallery)["c.tif", 0]


def test_a_file_joined_anew_to_its_table_keeps_its_embedding(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "a.png")
    index_archives(gallery, [str(archive)], encoder)
    before = images(gallery)
    table = archive / "table.csv"
    table.write_text("path,report\na.png,normal\n")
    assert index_archives(gallery, [str(archive)], encoder, metadata=table).replaced == 1
    assert stored(gallery)["a.png"].sidecar == {"report": "normal"}
    assert (encoder.calls, images(gallery)) == ([1], before)


def test_a_changed_file_is_embedded_anew_unless_its_pixels_are_known(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save(archive / "a.png", RED)
    save(archive / "b.png", GREEN)
    index_archives(gallery, [str(archive)], encoder)
    save(archive / "a.png", BLUE)
    save(archive / "b.png", RED)
    index_archives(gallery, [str(archive)], encoder)
    assert encoder.calls == [2, 1]
    assert np.argmax(images(gallery)["a.png", 0]) == 2
    assert np.argmax(images(gallery)["b.png", 0]) == 0


def test_an_embedding_that_was_replaced_in_the_meantime_confuses_nothing(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(archive / "a.png", RED)
    index_archives(gallery, [str(archive)], encoder)
    save(archive / "a.png", BLUE)
    save(archive / "b.png", RED)
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 1)
    index_archives(gallery, [str(archive)], encoder, batch_size=1)
    # While a.png is being replaced, the embedding of its old row is still good for b.png.
    assert encoder.calls in ([1, 1], [1, 1, 1])
    assert np.argmax(images(gallery)["b.png", 0]) == 0


def test_a_picture_without_embedding_is_rejected_under_each_of_its_names(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    for name in ("a.png", "b.png"):
        save(archive / name, UNFIT)
    index_archives(gallery, [str(archive)], encoder)
    assert encoder.calls == [1]
    assert rejected(gallery) == {("a.png", None): "malformed", ("b.png", None): "malformed"}


@pytest.mark.parametrize("kind", [str, tuple], ids=["pixels", "instances"])
def test_equal_hashes_of_unlike_pictures_and_instances_confuse_nothing(
    archive: Path,
    gallery: Gallery,
    encoder: ColourEncoder,
    commits: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: type,
) -> None:
    monkeypatch.setattr(known, "hash", lambda of: 7 if isinstance(of, kind) else hash(of), raising=False)
    for number, colour in enumerate([RED, GREEN, BLUE]):
        save_dicom(archive / f"{number}.dcm", colour, f"2.25.{number}")
    index_archives(gallery, [str(archive)], encoder, batch_size=1)
    assert [np.argmax(images(gallery)[f"{number}.dcm", 0]) for number in range(3)] == [0, 1, 2]
    assert rejected(gallery) == {}


def test_what_is_learned_of_commits_is_what_the_gallery_holds(tmp_path: Path) -> None:
    gallery = Gallery.create(tmp_path / "by-hand", meta())
    learned, random = KnownFrames(gallery), np.random.default_rng(0)
    assert learned.embeddings(["pixels 0"]) == {}
    with gallery.writer() as writer:
        for count in random.integers(1, 30, 20).tolist():
            files, pixels, sops = random.integers(0, [[400], [60], [25]], (3, count)).tolist()
            rows = [
                replace(
                    instance_by_hand(f"{file}.dcm", instance=f"sop {sop}"), pixel_digest=f"pixels {picture}"
                )
                for file, picture, sop in zip(files, pixels, sops, strict=True)
            ]
            embeddings = unit([(1, picture) for picture in pixels])
            learned.add(rows, writer.commit(rows, [b""] * count, embeddings, []))
    rows = gallery.instances(gallery.select(None))
    digests = {row.pixel_digest for row in rows}
    found = learned.embeddings([*sorted(digests), "pixels 60"])
    assert found.keys() == digests
    for digest, embedding in found.items():
        assert embedding == pytest.approx(unit([(1, int(digest.split()[1]))])[0], abs=1e-3)
    for row in [*rows, replace(rows[0], pixel_digest="new"), replace(rows[0], frame=9, pixel_digest="new")]:
        assert learned.contradicting(row) == [
            one
            for one in rows
            if (one.attributes.instance, one.frame) == (row.attributes.instance, row.frame)
            and one.pixel_digest != row.pixel_digest
        ]


# One SOP instance, other pixels


def test_of_one_instance_with_two_sets_of_pixels_the_first_listed_stays(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, commits: str
) -> None:
    save_dicom(archive / "x" / "a.dcm", RED, "2.25.5")
    save_dicom(archive / "y" / "b.dcm", GREEN, "2.25.5")
    save_dicom(archive / "y" / "c.dcm", GREEN, "2.25.6")
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {
        "embedded": 2,
        "unchanged": 0,
        "replaced": 0,
        "rejected": {"duplicate_instance": 1},
    }
    assert sorted(images(gallery)) == [("x/a.dcm", 0), ("y/c.dcm", 0)]
    assert rejected(gallery) == {("y/b.dcm", None): "duplicate_instance"}
    assert message(gallery, "y/b.dcm") == (
        "y/b.dcm: has the SOP Instance UID of x/a.dcm, which came first, but other pixels. "
        "Give it a UID of its own, or index it into another gallery; when the other one is gone, "
        "index --retry-rejected tries it again"
    )


def test_of_one_instance_with_two_sets_of_pixels_the_first_indexed_stays(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save_dicom(archive / "b.dcm", GREEN, "2.25.5")
    index_archives(gallery, [str(archive)], encoder)
    save_dicom(archive / "a.dcm", RED, "2.25.5")
    index_archives(gallery, [str(archive)], encoder)
    assert list(images(gallery)) == [("b.dcm", 0)]
    assert rejected(gallery) == {("a.dcm", None): "duplicate_instance"}


def test_a_file_that_is_gone_contradicts_nothing(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save_dicom(archive / "a.dcm", RED, "2.25.5")
    index_archives(gallery, [str(archive)], encoder)
    (archive / "a.dcm").unlink()
    save_dicom(archive / "z.dcm", GREEN, "2.25.5")
    save_dicom(archive / "zz.dcm", BLUE, "2.25.5")
    index_archives(gallery, [str(archive)], encoder)
    assert sorted(images(gallery)) == [("a.dcm", 0), ("z.dcm", 0)]
    assert "of z.dcm, which came first" in message(gallery, "zz.dcm")


def test_a_duplicate_instance_is_tried_again_by_the_option_that_its_message_names(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save_dicom(archive / "a.dcm", RED, "2.25.5")
    save_dicom(archive / "b.dcm", GREEN, "2.25.5")
    save_dicom(archive / "c.dcm", BLUE, "2.25.6")
    index_archives(gallery, [str(archive)], encoder)
    (archive / "a.dcm").unlink()
    assert index_archives(gallery, [str(archive)], encoder, prune=True).rejected == {"duplicate_instance": 1}
    assert "when the other one is gone, index --retry-rejected tries it again" in message(gallery, "b.dcm")
    index_archives(gallery, [str(archive)], encoder, retry_rejected=True)
    assert sorted(images(gallery)) == [("b.dcm", 0), ("c.dcm", 0)]


def test_the_message_names_the_other_archive(
    tmp_path: Path, gallery: Gallery, encoder: ColourEncoder, commits: str
) -> None:
    save_dicom(tmp_path / "one" / "a.dcm", RED, "2.25.5")
    save_dicom(tmp_path / "two" / "a.dcm", GREEN, "2.25.5")
    index_archives(gallery, [str(tmp_path / "one"), str(tmp_path / "two")], encoder)
    assert [one.archive for one in gallery.instances(gallery.select(None))] == [str(tmp_path / "one")]
    assert f"of a.dcm of {tmp_path / 'one'}, which came first" in message(gallery, "a.dcm")


def test_one_contradicting_frame_rejects_the_file_and_what_is_rejected_contradicts_nothing(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, commits: str
) -> None:
    save_frames(archive / "a.dcm", [1, 2], "2.25.5")
    save_frames(archive / "b.dcm", [1, 3, 4], "2.25.5")
    save_frames(archive / "c.dcm", [1, 2, 5], "2.25.5")
    index_archives(gallery, [str(archive)], encoder)
    assert sorted(images(gallery)) == [
        *(("a.dcm", frame) for frame in (0, 1)),
        *(("c.dcm", n) for n in range(3)),
    ]
    assert rejected(gallery) == {("b.dcm", None): "duplicate_instance"}


def test_a_file_that_is_rejected_at_its_end_contradicts_nothing(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    first = save_dicom(archive / "a.dcm", RED, "2.25.5")
    save_dicom(archive / "b.dcm", GREEN, "2.25.5")

    with after_listing(lambda: os.utime(first, ns=(5, 5))):
        index_archives(gallery, [str(archive)], encoder)
    assert list(images(gallery)) == [("b.dcm", 0)]
    assert rejected(gallery) == {("a.dcm", None): "unreadable"}
    index_archives(gallery, [str(archive)], encoder)
    assert rejected(gallery) == {("a.dcm", None): "duplicate_instance"}


def test_what_a_file_held_before_does_not_contradict_what_it_holds_now(
    archive: Path, gallery: Gallery, encoder: ColourEncoder, commits: str
) -> None:
    save_dicom(archive / "a.dcm", RED, "2.25.5")
    index_archives(gallery, [str(archive)], encoder)
    save_dicom(archive / "a.dcm", GREEN, "2.25.5")
    save_dicom(archive / "b.dcm", GREEN, "2.25.5")
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {"embedded": 2, "unchanged": 0, "replaced": 1, "rejected": {}}
    assert [np.argmax(row) for row in images(gallery).values()] == [1, 1]


def test_a_duplicate_instance_is_tried_again_when_it_changes_and_no_sooner(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save_dicom(archive / "a.dcm", RED, "2.25.5")
    save_dicom(archive / "b.dcm", GREEN, "2.25.5")
    index_archives(gallery, [str(archive)], encoder)
    save_dicom(archive / "a.dcm", BLUE, "2.25.6")
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {
        "embedded": 1,
        "unchanged": 0,
        "replaced": 1,
        "rejected": {"duplicate_instance": 1},
    }
    save_dicom(archive / "b.dcm", (0, 250, 0), "2.25.5")
    report = index_archives(gallery, [str(archive)], encoder)
    assert counts(report) == {"embedded": 1, "unchanged": 1, "replaced": 1, "rejected": {}}


def test_instances_that_a_table_names_are_not_compared(
    archive: Path, gallery: Gallery, encoder: ColourEncoder
) -> None:
    save_pages(archive / "a.tif", [RED])
    save_pages(archive / "b.tif", [GREEN])
    save_dicom(archive / "c.dcm", BLUE, "2.25.5")
    (archive / "table.csv").write_text("path,instance\na.tif,1\nb.tif,1\nc.dcm,1\n")
    report = index_archives(gallery, [str(archive)], encoder, metadata=archive / "table.csv")
    assert counts(report) == {"embedded": 3, "unchanged": 0, "replaced": 0, "rejected": {}}


@pytest.mark.parametrize(
    ("identifiers", "instance", "second"),
    [("keep", "2.25.5", "duplicate_instance"), ("drop", None, None)],
)
def test_a_gallery_that_keeps_identifiers_finds_duplicates_and_one_that_drops_them_does_not(
    tmp_path: Path,
    archive: Path,
    encoder: ColourEncoder,
    identifiers: Identifiers,
    instance: str | None,
    second: str | None,
) -> None:
    gallery = make_gallery(tmp_path / "other", encoder, identifiers)
    save_dicom(archive / "a.dcm", RED, "2.25.5")
    save_dicom(archive / "b.dcm", GREEN, "2.25.5")
    (archive / "table.csv").write_text("path,patient\na.dcm,P 7\n")
    index_archives(gallery, [str(archive)], encoder, metadata=archive / "table.csv")
    attributes = stored(gallery)["a.dcm"].attributes
    assert attributes.instance == instance
    assert attributes.patient == ("P 7" if identifiers == "keep" else None)
    assert rejected(gallery).get(("b.dcm", None)) == second
    (archive / "table.csv").write_text("path,patient\na.dcm,P 7\n")
    again = index_archives(gallery, [str(archive)], encoder, metadata=archive / "table.csv")
    assert (again.embedded, again.replaced) == (0, 0)


@pytest.mark.parametrize("call", [1, 2, 3, 4, 5])
def test_a_run_that_was_stopped_and_gone_on_with_ends_as_one_that_was_not(
    tmp_path: Path, archive: Path, encoder: ColourEncoder, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    save_dicom(archive / "1.dcm", RED, "2.25.5")
    save_dicom(archive / "2.dcm", GREEN, "2.25.5")
    save_dicom(archive / "3.dcm", GREEN, "2.25.6")
    save_dicom(archive / "4.dcm", RED, "2.25.5")
    save_dicom(archive / "5.dcm", BLUE, "2.25.6")
    save_dicom(archive / "6.dcm", (9, 8, 7), "2.25.7")
    save_dicom(archive / "7.dcm", (7, 8, 9), "2.25.7")
    monkeypatch.setattr(batch_module, "COMMIT_ROWS", 1)

    def fail(number: int) -> None:
        if number == call:
            raise RuntimeError("the device is gone")

    stopped, whole = (make_gallery(tmp_path / name, encoder) for name in ("stopped", "whole"))
    index_archives(whole, [str(archive)], encoder)
    encoder.calls.clear()
    encoder.before_call = fail
    with pytest.raises(EncoderFailed):
        index_archives(stopped, [str(archive)], encoder)
    index_archives(Gallery.open(stopped.path), [str(archive)], ColourEncoder())
    stopped.refresh()
    assert images(stopped) == images(whole)
    assert list(images(whole)) == [("1.dcm", 0), ("3.dcm", 0), ("4.dcm", 0), ("6.dcm", 0)]
    assert {(one.uri, one.reason, one.message) for one in stopped.rejected()} == {
        (one.uri, one.reason, one.message) for one in whole.rejected()
    }
