"""Decisions in the gallery: columns that can be filtered, in one commit that moves no row."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from checkpoints import make_checkpoint
from command_line import gradient
from galleries import gallery_of, instance, unit
from labelled import calibration, classifier, random_gallery, random_labeller

from indexer.pipeline import index_archives
from medsiglip_search.backup import back_up
from medsiglip_search.encoders import load_encoder
from medsiglip_search.errors import GalleryDamaged, InvalidLabelSet, InvalidMetadata
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index
from medsiglip_search.labelling.storing import columns_of, store_decisions
from medsiglip_search.labels.labeller import DECISIONS, PRESENT, Labeller
from medsiglip_search.records import GalleryMeta
from medsiglip_search.transfer.exporting import export
from medsiglip_search.transfer.importing import import_embeddings
from medsiglip_search.transfer.merging import merge
from medsiglip_search.verify import verify

LABELS = ("demo_findings_label_0", "demo_findings_label_1", "demo_findings_label_2")


def store(gallery: Gallery, labeller: Labeller, **how: object) -> list[str]:
    with gallery.writer() as writer:
        return store_decisions(writer, labeller, **how)  # type: ignore[arg-type]


def decided(gallery: Gallery, labeller: Labeller) -> list[dict[str, str]]:
    """Return by image what the labeller decides, as the columns must have it."""
    decisions = labeller.label(gallery.embeddings()[1]).decisions
    return [dict(zip(LABELS, (DECISIONS[one] for one in row), strict=True)) for row in decisions]


def stored(gallery: Gallery, *columns: str) -> list[dict[str, object]]:
    rows = gallery.instances(gallery.select(None))
    return [{name: row.sidecar.get(name) for name in columns or LABELS} for row in rows]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return random_gallery(tmp_path / "gallery", 5000)


def test_decisions_are_columns_that_filters_name_without_quotes(gallery):
    labeller = random_labeller()
    assert store(gallery, labeller) == list(LABELS)
    opened = Gallery.open(gallery.path)
    assert stored(opened) == decided(opened, labeller)
    present = labeller.label(opened.embeddings()[1]).decisions[:, 1] == PRESENT
    assert 0 < present.sum() < 5000
    assert (
        opened.select("demo_findings_label_1 = 'present'").tolist() == opened.select(None)[present].tolist()
    )
    assert not verify(gallery.path).problems


def test_rows_and_their_embeddings_stay_what_they_are(gallery):
    ids, times = gallery.row_times()
    embeddings = gallery.embeddings()[1]
    before = open_index(gallery)
    store(gallery, random_labeller())
    opened = Gallery.open(gallery.path)
    assert np.array_equal(opened.row_times()[0], ids)
    assert np.array_equal(opened.row_times()[1], times)
    assert np.array_equal(opened.embeddings()[1], embeddings)
    query = unit(np.ones((1, 8)))
    found = [index.search(query, 5, None) for index in (before, before.refreshed(opened), open_index(opened))]
    for other in found[1:]:
        assert all(np.array_equal(one, same) for one, same in zip(found[0], other, strict=True))


def test_storing_again_replaces_what_was_stored(gallery):
    store(gallery, random_labeller())
    other = random_labeller()
    other = Labeller(replace(other.classifier, thresholds=np.full(3, 0.9)))
    assert decided(gallery, other) != stored(gallery)
    store(gallery, other)
    assert stored(Gallery.open(gallery.path)) == decided(gallery, other)
    assert not verify(gallery.path).problems


def test_with_a_filter_other_images_keep_what_they_had(gallery):
    labeller = random_labeller()
    store(gallery, labeller, where="image_id <= 100")
    rows = stored(Gallery.open(gallery.path))
    assert rows[:100] == decided(gallery, labeller)[:100]
    assert rows[100:] == [dict.fromkeys(LABELS)] * 4900
    other = Labeller(replace(labeller.classifier, thresholds=np.full(3, 0.9)))
    store(gallery, other, where="image_id > 4950")
    rows = stored(Gallery.open(gallery.path))
    assert rows[:100] == decided(gallery, labeller)[:100]
    assert rows[4950:] == decided(gallery, other)[4950:]


def test_the_chosen_one_of_exclusive_labels_is_one_column(tmp_path):
    gallery = gallery_of(tmp_path / "gallery", [[1, 0], [0, 1], [1, 1]])
    kinds = classifier(np.eye(2), ["Head CT", "X-ray"], "exclusive", 10.0, name="Kind of picture")
    kinds = replace(kinds, thresholds=np.array([0.6, 0.6]))
    assert store(gallery, Labeller(kinds)) == ["kind_of_picture"]
    told = [row["kind_of_picture"] for row in stored(Gallery.open(gallery.path), "kind_of_picture")]
    assert told == ["Head CT", "X-ray", "abstain"]


def test_names_of_columns_need_no_quotes(tmp_path):
    chest = classifier(np.eye(3), ["Pleural Effusion", "O/E - ecchymoses", "3 Ödeme"], name="CheXpert 13")
    names = columns_of(Labeller(chest))
    assert list(names) == [
        "chexpert_13_pleural_effusion",
        "chexpert_13_o_e_ecchymoses",
        "chexpert_13_label_3_odeme",
    ]
    assert list(columns_of(Labeller(classifier(np.eye(1), ["a"])), prefix="Mine!")) == ["mine_a"]
    with pytest.raises(InvalidLabelSet, match="would both be stored as column demo_findings_a_b"):
        columns_of(Labeller(classifier(np.eye(2), ["a b", "a/b"])))


def test_a_set_named_as_a_column_of_every_gallery_or_a_word_of_sql_gets_another_name():
    for name in ("modality", "select", "score"):
        named = classifier(np.eye(2), ["a", "b"], "exclusive", name=name)
        assert list(columns_of(Labeller(named))) == [f"{name}_label"]


def test_columns_of_another_set_are_left_alone(gallery):
    store(gallery, random_labeller())
    expected = stored(gallery)
    other = Labeller(classifier(np.eye(2, 8), ["a", "b"], "exclusive", name="demo findings label 0"))
    with pytest.raises(InvalidMetadata, match=r"holds what the label set 'demo findings' decided about"):
        store(gallery, other)
    assert stored(Gallery.open(gallery.path)) == expected


def test_a_column_does_not_hold_decisions_of_two_kinds(gallery):
    store(gallery, random_labeller())
    fitted = Labeller(random_labeller().classifier, calibration({}))
    reworded = random_labeller(digest="ee" * 32)
    for other in (fitted, reworded):
        with pytest.raises(InvalidMetadata, match=r"would hold both\. Leave --where out"):
            store(gallery, other, where="image_id < 10")
    assert store(gallery, reworded) == list(LABELS)
    assert store(gallery, reworded, where="image_id < 10") == list(LABELS)


def test_columns_that_a_table_made_are_left_alone(tmp_path):
    rows = [instance("0.png", sidecar={"Demo_findings_label_0": "mine"}), instance("1.png")]
    gallery = gallery_of(tmp_path / "gallery", np.eye(2, 8), rows)
    with pytest.raises(InvalidMetadata, match=r"a table gave the gallery.*Pass --prefix with another name"):
        store(gallery, random_labeller())
    assert store(gallery, random_labeller(), prefix="own")[0] == "own_label_0"
    assert stored(Gallery.open(gallery.path), "Demo_findings_label_0")[0] == {"Demo_findings_label_0": "mine"}


def test_rows_in_many_parts_and_those_taken_out_are_no_matter(tmp_path):
    gallery = gallery_of(tmp_path / "gallery", np.random.default_rng(3).normal(size=(40, 8)))
    with gallery.writer() as writer:
        for start in range(3):
            rows = [instance(f"more-{start}-{n}.png") for n in range(20)]
            writer.commit(rows, [b""] * 20, unit(np.random.default_rng(start).normal(size=(20, 8))), [])
        writer.delete("image_id IN (1, 7, 40, 41, 60, 100)")
        store_decisions(writer, random_labeller())
    assert stored(gallery) == decided(gallery, random_labeller())
    with gallery.writer() as writer:
        writer.delete("image_id = 50")
        writer.compact(timedelta(0))
    assert stored(gallery) == decided(gallery, random_labeller())
    assert len(gallery) == 93
    assert not verify(gallery.path).problems


def test_decisions_go_along_with_export_merge_and_backup(tmp_path, gallery):
    store(gallery, random_labeller())
    expected = stored(gallery)
    assert stored(back_up(gallery, tmp_path / "backup")) == expected
    merge(tmp_path / "merged", [gallery.path])
    merged = Gallery.open(tmp_path / "merged")
    assert stored(merged) == expected
    store(merged, random_labeller())  # its columns are known as ones of decisions there, too
    export(gallery, tmp_path / "rows.parquet")
    import_embeddings(tmp_path / "imported", tmp_path / "rows.parquet")
    assert stored(Gallery.open(tmp_path / "imported")) == expected


def test_a_damaged_gallery_is_not_stored_over(tmp_path, gallery):
    store(gallery, random_labeller())
    damaged = max(
        (gallery.path / "images.lance" / "data").iterdir(), key=lambda file: file.stat().st_mtime_ns
    )
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(bytes(content))
    with pytest.raises(GalleryDamaged):
        store(Gallery.open(gallery.path), random_labeller(), where="image_id < 10")


CHILD = """
import sys
sys.path[:0] = [{tests!r}]
from labelled import random_labeller
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling.storing import store_decisions
gallery = Gallery.open({path!r})
with gallery.writer() as writer:
    store_decisions(writer, random_labeller(), progress=lambda done, total, word: print(done, flush=True))
"""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_writer_that_is_killed_leaves_all_values_or_none(gallery, after):
    program = CHILD.format(tests=str(Path(__file__).parent), path=str(gallery.path))
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for _ in range(after + 1):
        child.stdout.readline()
    child.kill()
    child.wait()
    opened = Gallery.open(gallery.path)
    if set(LABELS) <= set(opened.columns()):
        assert stored(opened) in (decided(opened, random_labeller()), [dict.fromkeys(LABELS)] * 5000)
    assert store(opened, random_labeller()) == list(LABELS)
    assert stored(opened) == decided(opened, random_labeller())
    assert not verify(gallery.path).problems


def test_what_was_decided_of_pixels_goes_with_them(tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(3):
        gradient(64 * number).save(archive / f"{number}.png")
    encoder = load_encoder(make_checkpoint(tmp_path / "checkpoint"))
    meta = GalleryMeta(encoder.name, encoder.revision, encoder.weights_digest, encoder.dim, encoder.spec)
    gallery = Gallery.create(tmp_path / "gallery", meta)
    index_archives(gallery, [str(archive)], encoder)
    labeller = random_labeller(encoder.dim)
    store(gallery, labeller)
    before = stored(gallery)
    table = tmp_path / "table.csv"
    table.write_text("path,report\n0.png,normal\n1.png,effusion\n")
    gradient(100).save(archive / "1.png")
    index_archives(gallery, [str(archive)], encoder, metadata=table)
    by_uri = {row.uri: row.sidecar for row in gallery.instances(gallery.select(None))}
    assert [by_uri[f"{n}.png"]["report"] for n in range(3)] == ["normal", "effusion", None]
    assert {name: by_uri["0.png"][name] for name in LABELS} == before[0]
    assert {name: by_uri["1.png"][name] for name in LABELS} == dict.fromkeys(LABELS)
    assert {name: by_uri["2.png"][name] for name in LABELS} == before[2]


def test_a_table_cannot_fill_columns_of_decisions(tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    gradient(0).save(archive / "0.png")
    encoder = load_encoder(make_checkpoint(tmp_path / "checkpoint"))
    meta = GalleryMeta(encoder.name, encoder.revision, encoder.weights_digest, encoder.dim, encoder.spec)
    gallery = Gallery.create(tmp_path / "gallery", meta)
    index_archives(gallery, [str(archive)], encoder)
    store(gallery, random_labeller(encoder.dim))
    (tmp_path / "table.csv").write_text(f"path,{LABELS[0]}\n0.png,present\n")
    with pytest.raises(InvalidMetadata, match="it holds what label --write-back decided"):
        index_archives(gallery, [str(archive)], encoder, metadata=tmp_path / "table.csv")
