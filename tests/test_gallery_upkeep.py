"""What keeps a gallery small and right: touch, delete, compact, purge, and the reports of runs."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest
from galleries import ARCHIVE, gallery_of, instance, meta, rejected, unit

from medsiglip_search import gallery_folder
from medsiglip_search.backup import back_up
from medsiglip_search.errors import GalleryDamaged, GalleryError, GalleryOutdated, InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_table import Table
from medsiglip_search.gallery_writer import _TIDY_AFTER, Deletion
from medsiglip_search.index import open_index
from medsiglip_search.records import Run
from medsiglip_search.transfer.exporting import export
from medsiglip_search.transfer.merging import merge
from medsiglip_search.verify import PURGE_DUE, verify

NO_TIME = timedelta(0)


def several_commits(path, count=4, rows=5):
    """Make a gallery of files 0/0, 0/1, ..., a commit for each first number; no embedding is there twice."""
    gallery = Gallery.create(path, meta())
    with gallery.writer() as writer:
        for number in range(count):
            instances = [
                instance(f"{number}/{row}", modality=("CR", "CT")[row % 2], year=2000 + number)
                for row in range(rows)
            ]
            thumbnails = [f"jpeg of {one.uri}".encode() for one in instances]
            angles = np.arange(rows) + number * rows
            embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1)
            writer.commit(instances, thumbnails, embeddings, [rejected(f"{number}/bad")])
    return gallery


def contents(gallery):
    """Return all that the gallery's rows hold, in their order, and its rejections."""
    ids, embeddings = gallery.embeddings()
    rows = zip(gallery.instances(ids), gallery.thumbnails(ids), embeddings.tolist(), strict=True)
    return list(rows), gallery.rejected()


def data_files(gallery):
    return {path.name for path in (gallery.path / "images.lance" / "data").iterdir()}


# Touch


def test_touched_files_keep_all_but_their_size_and_time(tmp_path):
    gallery = several_commits(tmp_path / "g")
    with gallery.writer() as writer:
        writer.delete("uri IN ('1/0', '2/3', '2/4')")
        before, rejections = contents(gallery)
        touched = {(ARCHIVE, uri): (77, 1_700_000_000_123_456_789) for uri in ("0/1", "2/2", "2/4", "2/bad")}
        writer.touch({**touched, (ARCHIVE, "never there"): (1, 1), ("/other", "0/0"): (1, 1)})

    def now(one):
        size, mtime_ns = touched.get((one.archive, one.uri), (one.size, one.mtime_ns))
        return replace(one, size=size, mtime_ns=mtime_ns)

    expected = [(now(one), *rest) for one, *rest in before], [now(one) for one in rejections]
    assert [one.uri for one, *_ in expected[0] if one.size == 77] == ["0/1", "2/2"]
    assert contents(gallery) == contents(Gallery.open(gallery.path)) == expected
    with gallery.writer() as writer:
        writer.compact(NO_TIME)
    assert contents(Gallery.open(gallery.path)) == expected


def test_a_touched_file_can_be_touched_and_replaced_again(tmp_path):
    gallery = several_commits(tmp_path / "g")
    with gallery.writer() as writer:
        for mtime_ns in (5, 6):
            writer.touch({(ARCHIVE, f"{number}/1"): (9, mtime_ns) for number in range(3)})
        writer.commit([instance("1/1", mtime_ns=7)], [b"new"], unit([[0, 1]]), [])
    rows = {one.uri: (one.image_id, one.mtime_ns) for one, *_ in contents(gallery)[0]}
    assert (rows["0/1"], rows["1/1"], rows["2/1"], rows["2/2"]) == ((2, 6), (21, 7), (12, 6), (13, 1))


# Delete


def test_deleted_images_are_out_of_search_at_once_and_nothing_else_is(tmp_path):
    gallery = several_commits(tmp_path / "g")
    reader = Gallery.open(gallery.path)
    before, rejections = contents(gallery)
    with gallery.writer() as writer:
        assert writer.delete("\"modality\" = 'CT' AND year <> 2001") == Deletion(6, 0)
        assert writer.delete("modality = 'MR'") == Deletion(0, 0)
    left = [row for row in before if row[0].attributes.modality == "CR" or row[0].attributes.year == 2001]
    assert contents(gallery) == contents(Gallery.open(gallery.path)) == (left, rejections)
    assert contents(reader) == (before, rejections)
    ids = open_index(gallery).search(unit([[1, 1]]), 100)[1]
    assert sorted(ids[0]) == [one.image_id for one, *_ in left]


@pytest.mark.parametrize("where", ["modalty = 'CR'", "year", "year = 2000 LIMIT 1", "1=1; DROP TABLE images"])
def test_a_condition_that_is_none_deletes_nothing(tmp_path, where):
    gallery = several_commits(tmp_path / "g", count=1)
    with gallery.writer() as writer, pytest.raises(InvalidQuery):
        writer.delete(where)
    assert len(Gallery.open(gallery.path)) == 5


def test_the_ids_of_deleted_images_are_never_used_again(tmp_path):
    gallery = several_commits(tmp_path / "g", count=2)
    with gallery.writer() as writer:
        writer.delete("image_id >= 9")
        writer.purge()
    with Gallery.open(gallery.path).writer() as writer:
        assert writer.commit([instance("new")], [b""], unit([[1, 0]]), []).tolist() == [11]
        writer.delete("1 = 1")
        writer.purge()
    with Gallery.open(gallery.path).writer() as writer:
        assert writer.commit([instance("new")], [b""], unit([[1, 0]]), []).tolist() == [12]


def test_the_rejections_of_files_whose_last_image_goes_go_too(tmp_path):
    gallery = several_commits(tmp_path / "g", count=1, rows=1)
    with gallery.writer() as writer:
        instances = [
            instance("emptied"),
            instance("kept"),
            instance("kept", 1),
            instance("other", archive="/b"),
        ]
        refused = [rejected("emptied", 7), rejected("kept", 7), rejected("emptied", 8, archive="/b")]
        writer.commit(instances, [b""] * 4, unit([[1, 0]] * 4), refused)
        assert writer.delete("image_id IN (2, 3)") == Deletion(2, 1)
        assert [(one.uri, one.frame) for one in gallery.rejected()] == [
            ("0/bad", None),
            ("kept", 7),
            ("emptied", 8),
        ]
        assert writer.delete("image_id = 4") == Deletion(1, 1)
    assert [one.uri for one in Gallery.open(gallery.path).rejected()] == ["0/bad", "emptied"]


@pytest.mark.parametrize(
    ("where", "deletion"),
    [
        ("uri LIKE '%bad'", Deletion(0, 2)),
        (f"archive = '{ARCHIVE}' AND uri < '1'", Deletion(5, 1)),
        ("size = 5 OR \"source_digest\" = 'source of 0/0 at 1'", Deletion(1, 2)),
        ("modality = 'CT' OR uri LIKE '%bad'", Deletion(4, 0)),
        ("1 = 1", Deletion(10, 2)),
        ("reason = 'truncated'", None),
    ],
)
def test_rejections_that_fit_a_condition_on_what_they_have_go_too(tmp_path, where, deletion):
    gallery = several_commits(tmp_path / "g", count=2)
    with gallery.writer() as writer:
        if deletion is None:
            with pytest.raises(InvalidQuery, match="no column"):
                writer.delete(where)
        else:
            assert writer.delete(where) == deletion
            assert (10 - len(gallery), 2 - len(gallery.rejected())) == (deletion.images, deletion.rejected)


# Damage is not carried on


def flip_embedding(gallery, image_id):
    """Change the sign of an embedding in its file: its norm stays, and Lance reads it without a word."""
    row = gallery.embeddings_of([image_id]).astype(np.float16).tobytes()
    for file in (gallery.path / "images.lance" / "data").iterdir():
        content = file.read_bytes()
        if (place := content.find(row)) >= 0:
            flipped = bytearray(content)
            flipped[place + 1] ^= 0x80
            file.write_bytes(flipped)
            return file
    raise AssertionError("not found")


CARRY_ON = {
    "compact": lambda gallery, writer, _: writer.compact(),
    "purge": lambda gallery, writer, _: writer.purge(),
    "merge": lambda gallery, writer, path: merge(path / "merged", [gallery.path]),
    "export": lambda gallery, writer, path: export(gallery, path / "exported.npz"),
    "backup": lambda gallery, writer, path: back_up(gallery, path / "copy"),
}


@pytest.mark.parametrize("task", CARRY_ON)
def test_damage_is_not_carried_on_into_files_that_look_sound(tmp_path, task):
    gallery = several_commits(tmp_path / "g", count=3)
    damaged = flip_embedding(gallery, 7)
    content = damaged.read_bytes()
    reader = Gallery.open(gallery.path)
    with gallery.writer() as writer:
        writer.delete("image_id = 6")
        with pytest.raises(GalleryDamaged, match=f"{damaged.name}: not as it was written"):
            CARRY_ON[task](reader, writer, tmp_path)
    assert damaged.read_bytes() == content
    assert [one.place for one in verify(gallery.path).problems] == [f"images.lance/data/{damaged.name}"]
    assert {path.name for path in tmp_path.iterdir()} == {"g"}


def test_a_run_that_tidies_stops_at_damage(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta())
    with gallery.writer() as writer:
        for number in range(_TIDY_AFTER):
            writer.commit([instance(str(number))], [b""], unit([[number, 1]]), [])
        flip_embedding(gallery, 4)
        with pytest.raises(GalleryDamaged, match="not as it was written"):
            writer.commit([instance("last")], [b""], unit([[1, 1]]), [])
    assert len(Gallery.open(gallery.path)) == _TIDY_AFTER + 1
    assert len(verify(gallery.path).problems) == 1


@pytest.mark.parametrize(
    "name", ["secret.key", "images.lance/_versions/*{newest}*", "rejected.lance/_deletions/*"]
)
def test_a_writer_adds_nothing_to_what_a_damaged_file_says(tmp_path, name):
    gallery = several_commits(tmp_path / "g", count=1, rows=10)
    with gallery.writer() as writer:
        writer.commit([], [], np.empty((0, 2)), [rejected("x")])
        writer.commit([], [], np.empty((0, 2)), [rejected("a"), rejected("b"), rejected("c")])
        writer.remove(ARCHIVE, ["b"])
    (file,) = gallery.path.glob(name.format(newest=2**64 - 1 - gallery.version))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for _ in range(2):
        with pytest.raises(GalleryDamaged), gallery.writer():
            pass
    assert file.read_bytes() == content


# Compact and purge


def test_a_compacted_gallery_holds_the_same_in_fewer_files(tmp_path):
    gallery = several_commits(tmp_path / "g", count=6)
    with gallery.writer() as writer:
        writer.commit([instance("0/0", mtime_ns=2)], [b"new"], unit([[3, 4]]), [rejected("1/1")])
        before = contents(gallery)
        kept = writer.compact()
        assert contents(gallery) == before
        compaction = writer.compact(NO_TIME)
        files = [path.stat().st_size for path in gallery.path.rglob("*") if path.is_file()]
        assert (compaction.files_after, compaction.bytes_after) == (len(files), sum(files))
    assert contents(gallery) == contents(Gallery.open(gallery.path)) == before
    assert len(data_files(gallery)) == 1
    assert kept.files_after > kept.files_before > compaction.files_after
    assert verify(gallery.path).problems == ()


def test_a_reader_keeps_its_version_through_compact_until_that_is_removed(tmp_path):
    gallery = several_commits(tmp_path / "g")
    staying, leaving = Gallery.open(gallery.path), Gallery.open(gallery.path)
    before = contents(staying)
    with gallery.writer() as writer:
        writer.delete("year = 2001")
        writer.compact()
        assert contents(staying) == before
        writer.compact(NO_TIME)
    for read in (leaving.embeddings, leaving.rejected, leaving.files, lambda: leaving.select("year = 2000")):
        with pytest.raises(GalleryOutdated, match=r"removed meanwhile\. Open the gallery again"):
            read()
    leaving.refresh()
    assert contents(leaving) == contents(gallery)


def test_damage_of_the_newest_version_is_not_taken_for_its_removal(tmp_path):
    gallery = several_commits(tmp_path / "g")
    for name in data_files(gallery):
        (gallery.path / "images.lance" / "data" / name).unlink()
    with pytest.raises(GalleryDamaged):
        Gallery.open(gallery.path).embeddings()


def test_a_clock_that_was_set_back_removes_nothing_that_is_needed(tmp_path, monkeypatch):
    gallery = several_commits(tmp_path / "g")
    before = contents(gallery)
    with gallery.writer() as writer:
        writer.compact(timedelta(days=-1))  # every version is older than tomorrow
        assert contents(Gallery.open(gallery.path)) == before
        writer.delete("year = 2000")
        writer.purge()
    assert len(Gallery.open(gallery.path)) == 15


def test_purge_leaves_no_byte_of_what_was_deleted(tmp_path):
    rows = np.random.default_rng(0).standard_normal((200, 2))
    instances = [
        instance(f"{number}.dcm", patient=f"patient-{number:04}-{'secret' if number == 7 else 'known'}")
        for number in range(200)
    ]
    gallery = gallery_of(tmp_path / "g", rows, instances)
    with gallery.writer() as writer:
        writer.commit([instance("other.dcm")], [b"jpeg of other.dcm"], unit([[1, 2]]), [])
    open_index(gallery)
    embedding = gallery.embeddings_of([8]).astype(np.float16).tobytes()
    traces = (b"jpeg of 7.dcm", b"patient-0007-secret", embedding)

    def found():
        files = [path.read_bytes() for path in gallery.path.rglob("*") if path.is_file()]
        return [any(trace in content for content in files) for trace in traces]

    old = data_files(gallery)
    with gallery.writer() as writer:
        assert writer.delete("image_id = 8") == Deletion(1, 0)
        before = contents(gallery)
        assert found() == [True, True, True]
        writer.purge()
    assert found() == [False, False, False]
    assert data_files(gallery).isdisjoint(old)
    assert [path.name for path in (gallery.path / "index").iterdir()] == ["lock"]
    assert len(list(gallery.path.glob("*/_versions/*.manifest"))) == 2
    assert contents(gallery) == contents(Gallery.open(gallery.path)) == before
    assert verify(gallery.path).problems == ()


@pytest.mark.parametrize("finish", ["compact", "purge"])
@pytest.mark.parametrize("fails", ["with_note", "compacted", "forget", "remove_index"])
def test_a_purge_that_failed_is_due_until_it_is_done(tmp_path, monkeypatch, fails, finish):
    gallery = several_commits(tmp_path / "g")
    open_index(gallery)
    trace = gallery.embeddings_of([7]).astype(np.float16).tobytes()

    def found():
        return any(trace in path.read_bytes() for path in gallery.path.rglob("*") if path.is_file())

    def no_room(*_):
        raise GalleryError("No space left on device")

    with gallery.writer() as writer:
        assert writer.delete("image_id = 7", for_good=True) == Deletion(1, 0)
        monkeypatch.setattr(gallery_folder if fails == "remove_index" else Table, fails, no_room)
        with pytest.raises(GalleryError, match="No space"):
            writer.purge()
        monkeypatch.undo()
    assert Gallery.open(gallery.path).is_purge_due
    assert PURGE_DUE in verify(gallery.path).notices
    assert PURGE_DUE in verify(back_up(gallery, tmp_path / "copy").path).notices
    with gallery.writer() as writer:
        writer.commit([instance("new")], [b""], unit([[1, 0]]), [])
        getattr(writer, finish)()
    assert not Gallery.open(gallery.path).is_purge_due
    assert not found()
    verification = verify(gallery.path)
    assert (verification.problems, verification.notices) == ((), ())
    with gallery.writer() as writer:
        writer.delete("image_id = 8")
        writer.compact()
    assert len(list((gallery.path / "images.lance" / "_versions").glob("*.manifest"))) > 1


def test_a_purge_is_due_before_the_first_row_is_gone(tmp_path, monkeypatch):
    gallery = several_commits(tmp_path / "g")
    without = Table.without

    def look_and_take_out(table, addresses):
        assert Gallery.open(gallery.path).is_purge_due
        return without(table, addresses)

    monkeypatch.setattr(Table, "without", look_and_take_out)
    with gallery.writer() as writer:
        assert writer.delete("year = 2000 AND frame = 0", for_good=True) == Deletion(5, 0)


def test_many_commits_are_joined_by_themselves(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta())
    names = [str(number) for number in range(_TIDY_AFTER)]
    with gallery.writer() as writer:
        for number, name in enumerate(names):
            writer.commit([instance(name), instance(name, 1)], [b""] * 2, unit([[number, 1]] * 2), [])
        assert gallery._images.parts_below(1 << 20) == _TIDY_AFTER
    # Whoever commits next: it need not be the writer that made them.
    with gallery.writer() as writer:
        writer.delete("uri = '5' AND frame = 0")
        writer.touch({(ARCHIVE, "7"): (9, 9)})
        before = contents(gallery)[0]
        writer.commit([instance("3", mtime_ns=2)], [b""], unit([[0, 1]]), [])
        writer.commit([instance("last")], [b""], unit([[0, 1]]), [])
    assert gallery._images.parts_below(1 << 20) == 1
    after = contents(gallery)[0]
    assert after[:-2] == [row for row in before if row[0].uri != "3"]
    new_ids = 2 * _TIDY_AFTER + np.array([1, 2])
    assert [(one.uri, one.image_id) for one, *_ in after[-2:]] == [*zip(("3", "last"), new_ids, strict=True)]
    assert verify(gallery.path).problems == ()


# Reading it all


def test_row_batches_give_any_column_of_the_rows_that_fit(tmp_path):
    gallery = several_commits(tmp_path / "g")
    columns = ["uri", "thumbnail", "embedding", "indexed_at"]
    assert set(columns) <= set(gallery.stored_columns()) == set(gallery.schema.names)
    rows = [row for batch in gallery.row_batches(columns, '"year" = 2002') for row in batch.to_pylist()]
    assert [row["uri"] for row in rows] == [f"2/{number}" for number in range(5)]
    assert rows[1]["thumbnail"] == b"jpeg of 2/1"
    assert rows[4]["embedding"] == gallery.embeddings("uri = '2/4'")[1][0].tolist()
    assert sum(batch.num_rows for batch in gallery.row_batches(["frame"])) == 20
    with pytest.raises(InvalidQuery):
        next(gallery.row_batches(columns, "yaer = 2002"))


def test_an_image_without_a_thumbnail_has_an_empty_one(tmp_path):
    gallery = several_commits(tmp_path / "g", count=1, rows=1)
    with gallery.writer():
        (row,) = next(gallery.row_batches(gallery.stored_columns())).to_pylist()
        rows = pa.Table.from_pylist([row | {"image_id": 2, "thumbnail": None}], schema=gallery.schema)
        gallery._advance(images=gallery._images.with_rows(rows, []))
    assert gallery.thumbnails([2, 1]) == [b"", b"jpeg of 0/0"]


def test_rejected_batches_are_in_the_order_of_rejection(tmp_path):
    gallery = several_commits(tmp_path / "g", count=3)
    with gallery.writer() as writer:
        writer.commit([], [], np.empty((0, 2)), [rejected("0/bad", frame=3, mtime_ns=2)])
    cells = [row for batch in gallery.rejected_batches("uri", "frame") for row in zip(*batch, strict=True)]
    assert cells == [("1/bad", None), ("2/bad", None), ("0/bad", 3)]


# Runs


def run_of(started, **changes):
    run = Run(started, None, "running", ("/data",), 0, 0, 0, 0, {}, 0.0, 0.0, (1, 1), {"python": "3"})
    return replace(run, **changes)


def test_the_reports_of_runs_are_kept_the_newest_first(tmp_path):
    gallery = several_commits(tmp_path / "g")
    first = run_of("2026-11-22T09:00:00.000001+02:00")
    ended = replace(first, ended="2026-11-22T09:10:00+02:00", state="done", embedded=7, rejected={"blank": 2})
    killed = run_of("2026-11-22T08:00:00+00:00")
    with gallery.writer() as writer:
        writer.record_run(first)
        assert gallery.runs() == [first]
        writer.record_run(ended)
        writer.record_run(killed)
    assert Gallery.open(gallery.path).runs() == [replace(killed, state="killed"), ended]
    assert [path.name for path in (gallery.path / "runs").iterdir() if ":" in path.name] == []
    assert verify(gallery.path).problems == ()


def test_a_report_that_cannot_be_read_is_damage(tmp_path):
    gallery = several_commits(tmp_path / "g")
    with gallery.writer() as writer:
        writer.record_run(run_of("2026-11-22T08:00:00+00:00"))
    (file,) = (gallery.path / "runs").iterdir()
    file.write_text("{")
    with pytest.raises(GalleryDamaged, match=r"does not hold what it must\. Restore"):
        gallery.runs()
