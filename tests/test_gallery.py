import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import ARCHIVE, gallery_of, instance, meta, rejected, unit

from medsiglip_search.errors import (
    GalleryDamaged,
    GalleryError,
    GalleryLocked,
    GalleryMismatch,
    GalleryNotFound,
    InvalidMetadata,
    InvalidQuery,
)
from medsiglip_search.filters import FUNCTIONS
from medsiglip_search.gallery import Gallery
from medsiglip_search.gallery_schema import check_sidecar_name
from medsiglip_search.gallery_table import Table
from medsiglip_search.locks import Held, exclusive
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.windows import CT_WINDOWS, RenderSpec, Window

REPOSITORY = Path(__file__).parents[1]
EAST, NORTH = (1.0, 0.0), (0.0, 1.0)


def commit(gallery, instances=(), rows=(), rejections=()):
    with gallery.writer() as writer:
        writer.commit(instances, [b"jpeg"] * len(instances), np.reshape(rows, (-1, 2)), rejections)


def stored(gallery):
    """Return what the gallery holds, without ids and times: what two runs must agree on."""
    ids, embeddings = gallery.embeddings()
    rows = [(one.uri, one.frame, one.mtime_ns) for one in gallery.instances(ids)]
    return sorted(zip(rows, embeddings.tolist(), strict=True)), sorted(
        (one.uri, -1 if one.frame is None else one.frame, one.mtime_ns) for one in gallery.rejected()
    )


def damage(path, places=1, seed=0):
    """Flip bits in a file."""
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(seed).integers(0, len(content), places):
        content[place] ^= 0x10
    path.write_bytes(bytes(content))


def test_a_row_comes_back_as_it_was_stored(tmp_path):
    sidecar = {"report": "No finding; it's clear.", "age": 63, "weight_kg": 70.5, "Finding Labels": None}
    first = instance(
        "a/b.dcm",
        modality="CR",
        laterality="L",
        year=2021,
        position_mm=-112.50000000000001,
        patient="p1",
        flags=("window_fallback", "burned_in_suspected"),
        sidecar=sidecar | {"Finding Labels": "Mass"},
    )
    second = instance("c.dcm", frame=3, sidecar=sidecar)
    gallery = gallery_of(tmp_path / "g", [EAST, (0.6, 0.8)], [first, second])
    assert gallery.instances([1, 2]) == [replace(first, image_id=1), replace(second, image_id=2)]
    assert gallery.thumbnails([2, 1]) == [b"jpeg of c.dcm", b"jpeg of a/b.dcm"]
    assert [type(gallery.instances([1])[0].sidecar[name]) for name in ("age", "weight_kg")] == [int, float]


def test_embeddings_are_kept_to_float16(tmp_path):
    rows = unit(np.random.default_rng(0).standard_normal((50, 33)))
    gallery = gallery_of(tmp_path / "g", rows)
    ids, embeddings = Gallery.open(tmp_path / "g").embeddings()
    assert ids.tolist() == list(range(1, 51))
    assert embeddings.dtype == np.float16
    assert np.array_equal(embeddings, rows.astype(np.float16))
    asked = gallery.embeddings_of([7, 50, 7])
    assert asked.dtype == np.float32
    assert np.array_equal(asked, rows[[6, 49, 6]].astype(np.float16).astype(np.float32))


def test_a_filter_selects_by_metadata_and_by_sidecar(tmp_path):
    gallery = gallery_of(
        tmp_path / "g",
        [EAST, NORTH, EAST],
        [
            instance("1.dcm", modality="CR", year=2019, sidecar={"age": 40, "Finding Labels": "Mass"}),
            instance("2.dcm", modality="CT", year=2020, flags=("window_fallback",)),
            instance("3.dcm", modality="CR", year=2021, sidecar={"age": 71}),
        ],
    )
    assert gallery.select(None).tolist() == [1, 2, 3]
    assert gallery.select("modality = 'CR' AND year > 2020").tolist() == [3]
    assert gallery.select("age >= 40").tolist() == [1, 3]
    assert gallery.select("\"Finding Labels\" = 'Mass'").tolist() == [1]
    assert gallery.select("array_has(flags, 'window_fallback')").tolist() == [2]
    assert gallery.select("modality = 'MR'").tolist() == []
    ids, embeddings = gallery.embeddings("year < 2021")
    assert ids.tolist() == [1, 2]
    assert embeddings.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ("modalty = 'CR'", "no column modalty"),
        ("year", "not a condition"),
        ("year =", "cannot be read"),
        ("year = 'twenty'", "cannot be read"),
        ("year = 2020 LIMIT 0", "cannot be read"),
        ("explode(year)", "no function explode"),
        ("CAST(uri AS INT) = 1", "cannot be read"),
        ("image_id IN (SELECT 1)", "cannot be read"),
        ("COUNT(*) > 1", "no function count"),
    ],
)
def test_a_bad_filter_is_one_line_that_names_the_columns(tmp_path, where, problem):
    gallery = gallery_of(tmp_path / "g", [EAST], [instance("1.dcm", year=2020, sidecar={"findings": "mass"})])
    with pytest.raises(InvalidQuery) as refused:
        gallery.select(where)
    message = str(refused.value)
    assert problem in message
    assert "modality, " in message
    assert message.endswith("flags, findings")
    assert "\n" not in message
    assert ".rs:" not in message


CALLS = {
    "abs": "abs(year) = 2020",
    "array_has": "NOT array_has(flags, 'burned_in_suspected')",
    "array_length": "coalesce(array_length(flags), 0) = 0",
    "coalesce": "coalesce(laterality, 'none') = 'none'",
    "contains": "contains(findings, 'as')",
    "ends_with": "ends_with(uri, '.dcm')",
    "length": "length(uri) = 5",
    "lower": "lower(findings) = 'mass'",
    "nullif": "nullif(year, 2019) = 2020",
    "regexp_like": "regexp_like(findings, '^m.*s$')",
    "round": "round(year) = 2020",
    "starts_with": "starts_with(findings, 'ma')",
    "upper": "upper(findings) = 'MASS'",
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_function_that_is_named_can_be_called(tmp_path, function):
    gallery = gallery_of(tmp_path / "g", [EAST], [instance("1.dcm", year=2020, sidecar={"findings": "mass"})])
    assert function in CALLS[function]
    assert len(gallery.select(CALLS[function])) == 1
    assert len(gallery.select(f"NOT ({CALLS[function]})")) == 0


@pytest.mark.parametrize(
    "statement", ["DELETE FROM images", "1=1; DROP TABLE images", "UPDATE t SET year = 1"]
)
def test_a_filter_cannot_change_the_gallery(tmp_path, statement):
    gallery = gallery_of(tmp_path / "g", [EAST, NORTH])
    before = stored(gallery), gallery.state
    with pytest.raises(InvalidQuery):
        gallery.select(statement)
    assert (stored(Gallery.open(tmp_path / "g")), Gallery.open(tmp_path / "g").state) == before


@pytest.mark.parametrize("unknown", [0, 3, -1, 2**70])
def test_an_unknown_image_is_named(tmp_path, unknown):
    gallery = gallery_of(tmp_path / "g", [EAST, NORTH])
    for read in (gallery.instances, gallery.embeddings_of, gallery.thumbnails):
        with pytest.raises(InvalidQuery, match="no image"):
            read([1, unknown])


def test_an_empty_gallery_answers_with_nothing(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta())
    assert len(gallery) == 0
    assert gallery.select("year > 2000").tolist() == []
    assert gallery.embeddings()[1].shape == (0, 2)
    assert gallery.embeddings_of([]).shape == (0, 2)
    assert gallery.instances([]) == gallery.thumbnails([]) == gallery.rejected() == []


# Replacing


def test_a_file_indexed_again_replaces_all_its_rows_in_both_tables(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta())
    commit(
        gallery,
        [instance("a"), instance("b", 0), instance("b", 1)],
        [EAST] * 3,
        [rejected("b", 2), rejected("c")],
    )
    commit(gallery, [instance("b", 1, mtime_ns=2)], [NORTH], [rejected("b", 0, mtime_ns=2)])
    commit(gallery, [instance("c", mtime_ns=2)], [NORTH])
    assert stored(gallery) == (
        [(("a", 0, 1), [1, 0]), (("b", 1, 2), [0, 1]), (("c", 0, 2), [0, 1])],
        [("b", 0, 2)],
    )
    assert stored(Gallery.open(tmp_path / "g")) == stored(gallery)


def test_a_writer_replaces_what_it_has_itself_committed(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta())
    with gallery.writer() as writer:
        for mtime_ns, row in ((1, EAST), (2, NORTH)):
            writer.commit([instance("a", mtime_ns=mtime_ns)], [b"jpeg"], unit([row]), [])
    assert stored(gallery) == ([(("a", 0, 2), [0, 1])], [])


def test_the_same_name_in_another_archive_is_another_file(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST, NORTH], [instance("a"), instance("a", archive="/other")])
    commit(gallery, [instance("a", archive="/other", mtime_ns=2)], [EAST])
    assert [(one.archive, one.mtime_ns) for one in gallery.instances(gallery.select(None))] == [
        (ARCHIVE, 1),
        ("/other", 2),
    ]


def test_names_with_quotes_and_other_scripts_are_replaced_too(tmp_path):
    names = ["it's.dcm", "a''b", "胸部 1.dcm", "back\\slash'", "100%.dcm"]
    gallery = gallery_of(tmp_path / "g", [EAST] * 5, [instance(name) for name in names])
    commit(gallery, [instance(name, mtime_ns=2) for name in names], [NORTH] * 5)
    assert [one.mtime_ns for one in gallery.instances(gallery.select(None))] == [2] * 5


def test_an_image_id_is_never_used_twice(tmp_path):
    path = tmp_path / "g"
    gallery = gallery_of(path, [EAST, NORTH], [instance("a"), instance("b")])
    commit(gallery, rejections=[rejected("b", mtime_ns=2)])
    commit(Gallery.open(path), [instance("c")], [EAST])
    gallery.refresh()
    assert gallery.select(None).tolist() == [1, 3]
    with gallery.writer() as writer:
        writer.remove(ARCHIVE, ["a", "c", "never there"])
    commit(Gallery.open(path), [instance("d")], [EAST])
    assert Gallery.open(path).select(None).tolist() == [4]


def test_a_batch_with_an_unusable_embedding_is_refused_as_a_whole(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST])
    before = stored(gallery)
    for bad in ((2.0, 0.0), (0.0, 0.0), (np.nan, 0.0), (np.inf, 0.0)):
        with pytest.raises(GalleryError, match="1 of 2 embeddings do not have norm 1"):
            commit(gallery, [instance("a"), instance("b")], [NORTH, bad])
    with pytest.raises(GalleryError, match="dimension 2"), gallery.writer() as writer:
        writer.commit([instance("a")], [b""], unit([[1, 0, 0]]), [])
    assert stored(Gallery.open(tmp_path / "g")) == before


# Sidecar columns


def test_a_later_table_adds_columns_that_older_rows_lack(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST], [instance("old")])
    commit(gallery, [instance("new", sidecar={"report": "clear", "age": 5})], [NORTH])
    assert gallery.columns()[-2:] == ("report", "age")
    assert [one.sidecar for one in gallery.instances([1, 2])] == [
        {"report": None, "age": None},
        {"report": "clear", "age": 5},
    ]
    assert gallery.select("age < 6").tolist() == [2]


def test_a_number_in_a_text_column_becomes_text_and_text_among_numbers_is_refused(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST], [instance("a", sidecar={"code": "A1", "age": 5})])
    commit(gallery, [instance("b", sidecar={"code": 17, "age": None})], [NORTH])
    assert gallery.instances([2])[0].sidecar == {"code": "17", "age": None}
    with pytest.raises(InvalidMetadata, match="'age'"):
        commit(gallery, [instance("c", sidecar={"age": "five"})], [NORTH])


@pytest.mark.parametrize(
    "name", ["", " age", "_rowid", "a.b", "a`b", 'a"b', "a\nb", "uri", "Modality", "embedding", "score"]
)
def test_a_column_name_that_would_break_the_store_is_refused(tmp_path, name):
    with pytest.raises(InvalidMetadata, match="rename"):
        check_sidecar_name(name)
    gallery = Gallery.create(tmp_path / "g", meta())
    with pytest.raises(InvalidMetadata):
        commit(gallery, [instance("a", sidecar={name: "x"})], [EAST])
    assert len(Gallery.open(tmp_path / "g")) == 0


def test_two_columns_that_differ_in_case_alone_are_refused(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST], [instance("a", sidecar={"age": 1})])
    with pytest.raises(InvalidMetadata, match="'age'"):
        commit(gallery, [instance("b", sidecar={"Age": 1})], [NORTH])


# Versions, writers and kills


def test_a_reader_stays_on_its_version_until_it_refreshes(tmp_path):
    reader = gallery_of(tmp_path / "g", [EAST], [instance("a")])
    state = reader.state
    commit(Gallery.open(tmp_path / "g"), [instance("a", mtime_ns=2), instance("b")], [NORTH] * 2)
    assert stored(reader) == ([(("a", 0, 1), [1, 0])], [])
    assert reader.state == state
    reader.refresh()
    assert [row[0] for row in stored(reader)[0]] == [("a", 0, 2), ("b", 0, 1)]
    assert reader.state != state


def test_a_writer_sees_the_commits_of_the_one_before(tmp_path):
    late = gallery_of(tmp_path / "g", [EAST], [instance("a")])
    commit(Gallery.open(tmp_path / "g"), [instance("b")], [EAST])
    commit(late, [instance("b", mtime_ns=2)], [NORTH])
    assert stored(late) == ([(("a", 0, 1), [1, 0]), (("b", 0, 2), [0, 1])], [])


def test_a_second_writer_is_refused_at_once_with_the_first_ones_process(tmp_path, monkeypatch):
    gallery = gallery_of(tmp_path / "g", [EAST])
    tries, flock = [], fcntl.flock

    def noted(file, operation):
        tries.append(operation)
        flock(file, operation)

    with gallery.writer(), monkeypatch.context() as patched:
        second = Gallery.open(tmp_path / "g")
        patched.setattr(fcntl, "flock", noted)
        with pytest.raises(GalleryLocked, match=f"process {os.getpid()} is writing"):
            commit(second, [instance("b")], [EAST])
    # Once, and without a wait for the lock.
    assert tries == [fcntl.LOCK_EX | fcntl.LOCK_NB]
    commit(gallery, [instance("b")], [EAST])
    assert len(gallery) == 2


def run_python(code, *arguments):
    """Start a process that runs `code` with the tests' and the project's modules at hand."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{Path(__file__).parent}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    gallery_of(tmp_path / "g", [EAST])
    code = """
import sys, time
from medsiglip_search.gallery import Gallery
with Gallery.open(sys.argv[1]).writer():
    print("locked", flush=True)
    time.sleep(600)
"""
    holder = run_python(code, tmp_path / "g")
    assert holder.stdout.readline() == "locked\n"
    with pytest.raises(GalleryLocked, match=f"process {holder.pid} "):
        commit(Gallery.open(tmp_path / "g"), [instance("b")], [EAST])
    holder.kill()
    holder.communicate()
    commit(Gallery.open(tmp_path / "g"), [instance("b")], [EAST])
    assert len(Gallery.open(tmp_path / "g")) == 2


def test_a_writer_whose_lock_file_was_removed_stops_at_its_next_change(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST])
    lock = tmp_path / "g" / "writer.lock"

    def lose_the_lock_and_write():
        with gallery.writer() as writer:
            lock.unlink()
            commit(Gallery.open(tmp_path / "g"), [instance("b")], [EAST])
            writer.delete("1 = 1")

    with pytest.raises(GalleryLocked, match=r"writer\.lock was removed"):
        lose_the_lock_and_write()
    assert [one.uri for one in Gallery.open(tmp_path / "g").instances([1, 2])] == ["0.png", "b"]
    assert lock.read_bytes() == b""
    commit(Gallery.open(tmp_path / "g"), [instance("c")], [EAST])


def test_a_lock_file_that_is_removed_between_opening_and_locking_is_not_held(tmp_path, monkeypatch):
    flock = fcntl.flock

    def lock_late(descriptor, how):
        monkeypatch.undo()
        (tmp_path / "lock").unlink()
        flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", lock_late)
    with exclusive(tmp_path / "lock"), pytest.raises(Held), exclusive(tmp_path / "lock"):
        pass


# Every way in which a file can change its state, in one batch.
BEFORE = (
    [
        instance("kept"),
        instance("changed"),
        instance("now rejected"),
        instance("now partly", 0),
        instance("now partly", 1),
    ],
    [rejected("now embedded"), rejected("still rejected")],
)
AFTER = (
    [
        instance("changed", mtime_ns=2),
        instance("now partly", 0, mtime_ns=2),
        instance("now embedded", mtime_ns=2),
        instance("new"),
        instance("new and partly", 0),
    ],
    [
        rejected("now rejected", mtime_ns=2),
        rejected("now partly", 1, mtime_ns=2),
        rejected("still rejected", mtime_ns=2),
        rejected("new and rejected"),
        rejected("new and partly", 1),
    ],
)


def known_files(gallery):
    """Return when each file was changed that is embedded or rejected as a whole; one in both is torn."""
    embedded = dict(
        row for cells in gallery.cell_batches("uri", "mtime_ns") for row in zip(*cells, strict=True)
    )
    rejected = {one.uri: one.mtime_ns for one in gallery.rejected() if one.frame is None}
    torn = embedded.keys() & rejected.keys()
    return {uri: mtime_ns for uri, mtime_ns in (embedded | rejected).items() if uri not in torn}


def index_again(path):
    """Index what `AFTER` says but for the files that the gallery knows as they are, like an indexer."""
    instances, rejections = AFTER
    now = {one.uri: one.mtime_ns for one in (*instances, *rejections)}
    with Gallery.open(path).writer() as writer:
        done = {uri for uri, mtime_ns in known_files(writer.gallery).items() if mtime_ns == now.get(uri)}
        todo = [one for one in instances if one.uri not in done]
        rejections = [one for one in rejections if one.uri not in done]
        writer.commit(todo, [b"jpeg"] * len(todo), np.reshape([NORTH] * len(todo), (-1, 2)), rejections)
    return done


def test_a_kill_between_the_two_commits_is_made_good_by_the_next_run(tmp_path):
    kill_after_first_commit = """
import os, signal, sys
import test_gallery
from medsiglip_search.gallery_table import Table

commit = Table.with_rows
def commit_and_die(table, rows, instead_of):
    commit(table, rows, instead_of)
    os.kill(os.getpid(), signal.SIGKILL)

Table.with_rows = commit_and_die
test_gallery.index_again(sys.argv[1])
"""
    for name in ("interrupted", "whole"):
        gallery = Gallery.create(tmp_path / name, meta())
        commit(gallery, BEFORE[0], [EAST] * len(BEFORE[0]), BEFORE[1])

    killed = run_python(kill_after_first_commit, tmp_path / "interrupted")
    errors = killed.communicate()[1]
    assert killed.returncode == -signal.SIGKILL, errors
    assert [row[0] for row in stored(Gallery.open(tmp_path / "interrupted"))[0]] == sorted(
        (one.uri, one.frame, 1) for one in BEFORE[0]
    )

    done = index_again(tmp_path / "interrupted")
    index_again(tmp_path / "whole")
    assert stored(Gallery.open(tmp_path / "interrupted")) == stored(Gallery.open(tmp_path / "whole"))
    # These stand in the rejected table as they should, and nowhere else: nothing is left to do for them.
    assert done == {"still rejected", "new and rejected"}
    assert index_again(tmp_path / "whole") == {one.uri for one in (*AFTER[0], *AFTER[1])}


@pytest.mark.parametrize("done", [1, 2])
def test_a_batch_committed_again_after_ctrl_c_is_stored_once(tmp_path, monkeypatch, done):
    gallery = Gallery.create(tmp_path / "g", meta())
    batch = (
        [instance("a"), instance("b", 0)],
        [b"jpeg"] * 2,
        unit([EAST, NORTH]),
        [rejected("b", 1), rejected("c")],
    )
    commit_table = Table.with_rows
    calls = []

    def interrupted(table, rows, instead_of):
        result = commit_table(table, rows, instead_of)
        calls.append(table.path.name)
        if len(calls) == done:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(Table, "with_rows", interrupted)
    with gallery.writer() as writer:
        with pytest.raises(KeyboardInterrupt):
            writer.commit(*batch)
        writer.commit(*batch)
    for one in (gallery, Gallery.open(tmp_path / "g")):
        assert stored(one) == (
            [(("a", 0, 1), [1, 0]), (("b", 0, 1), [0, 1])],
            [("b", 1, 1), ("c", -1, 1)],
        )


def test_an_empty_batch_changes_nothing(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST])
    state = gallery.state
    with gallery.writer() as writer:
        writer.commit([], [], np.empty((0, 2), np.float32), [])
        writer.commit([], [], np.empty(0), [])
    assert gallery.state == state


# What stands at the path


def test_a_new_gallery_has_what_its_folder_promises(tmp_path):
    path = tmp_path / "deep" / "gallery"
    gallery = Gallery.create(path, meta())
    assert Gallery.exists(path)
    assert Gallery.open(path).meta == gallery.meta == meta()
    content = json.loads((path / "gallery.json").read_text())
    assert content["format_version"] == 2
    assert content["encoder"] == "by-hand"
    assert content["spec"]["resample"] == "tf_bilinear"
    assert stat.S_IMODE((path / "secret.key").stat().st_mode) == 0o600
    assert len(gallery.secret_key) == 32
    assert gallery.secret_key != Gallery.create(tmp_path / "other", meta()).secret_key
    assert (
        gallery.size_bytes() == sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) > 500
    )


def test_what_is_no_gallery_says_how_to_make_one(tmp_path):
    (tmp_path / "file").write_text("not a gallery")
    (tmp_path / "empty").mkdir()
    for name in ("file", "empty", "missing", "file/below"):
        assert not Gallery.exists(tmp_path / name)
        with pytest.raises(GalleryNotFound, match="medsiglip-search index"):
            Gallery.open(tmp_path / name)


def test_create_does_not_touch_what_is_there(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    for name in ("file", "full", "file/below"):
        with pytest.raises(GalleryNotFound, match="Name a"):
            Gallery.create(tmp_path / name, meta())
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["notes.txt"]
    gallery_of(tmp_path / "g", [EAST])
    with pytest.raises(GalleryError, match="already"):
        Gallery.create(tmp_path / "g", meta())
    assert len(Gallery.open(tmp_path / "g")) == 1


@pytest.mark.parametrize(
    "left", [(), ("secret.key",), ("secret.key", "rejected.lance"), ("images.lance", "writer.lock")]
)
def test_a_creation_that_was_killed_can_be_begun_again(tmp_path, left):
    whole = tmp_path / "whole"
    Gallery.create(whole, meta())
    (tmp_path / "g").mkdir()
    for name in left:
        (whole / name).rename(tmp_path / "g" / name)
    with pytest.raises(GalleryNotFound):
        Gallery.open(tmp_path / "g")
    commit(Gallery.create(tmp_path / "g", meta()), [instance("a")], [EAST])
    assert len(Gallery.open(tmp_path / "g")) == 1


def test_a_gallery_that_lost_its_head_is_damaged_and_not_begun_again(tmp_path):
    gallery_of(tmp_path / "g", [EAST])
    (tmp_path / "g" / "gallery.json").unlink()
    for open_or_create in (Gallery.open, lambda path: Gallery.create(path, meta())):
        with pytest.raises(GalleryDamaged, match=r"gallery\.json is missing"):
            open_or_create(tmp_path / "g")


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b'{"format_version": 2}', b"\xff\xfe", b'{"format_version": "x"}'],
)
def test_an_unreadable_head_is_damage(tmp_path, content):
    gallery_of(tmp_path / "g", [EAST])
    (tmp_path / "g" / "gallery.json").write_bytes(content)
    with pytest.raises(GalleryDamaged, match=r"gallery\.json does not hold"):
        Gallery.open(tmp_path / "g")


@pytest.mark.parametrize("version", ["2", True, 2.0, None])
def test_a_format_version_that_is_no_whole_number_is_damage(tmp_path, version):
    gallery_of(tmp_path / "g", [EAST])
    head = json.loads((tmp_path / "g" / "gallery.json").read_bytes())
    (tmp_path / "g" / "gallery.json").write_text(json.dumps(head | {"format_version": version}))
    with pytest.raises(GalleryDamaged, match=r"gallery\.json does not hold"):
        Gallery.open(tmp_path / "g")


def test_a_head_of_another_dimension_than_the_table_is_damage(tmp_path):
    gallery_of(tmp_path / "g", [EAST])
    head = tmp_path / "g" / "gallery.json"
    head.write_text(head.read_text().replace('"dim": 2', '"dim": 3'))
    with pytest.raises(GalleryDamaged):
        Gallery.open(tmp_path / "g")


def test_another_format_version_is_refused_even_with_other_fields(tmp_path):
    gallery_of(tmp_path / "g", [EAST])
    (tmp_path / "g" / "gallery.json").write_text('{"format_version": 3, "models": ["a", "b"]}')
    with pytest.raises(GalleryMismatch, match="format version 3, and this release reads 2"):
        Gallery.open(tmp_path / "g")


def test_a_gallery_of_the_first_format_is_refused_with_what_to_do(tmp_path):
    gallery_of(tmp_path / "g", [EAST])
    head = tmp_path / "g" / "gallery.json"
    content = json.loads(head.read_text())
    del content["identifiers"], content["spec"]["rendering"]
    head.write_text(json.dumps(content | {"format_version": 1}))
    with pytest.raises(GalleryMismatch, match=r"format version 1.*index the archives into a new gallery"):
        Gallery.open(tmp_path / "g")


@pytest.mark.parametrize("table", ["images.lance", "rejected.lance"])
def test_a_missing_or_broken_table_is_damage(tmp_path, table):
    path = gallery_of(tmp_path / "g", [EAST]).path
    for manifest in (path / table / "_versions").glob("*.manifest"):
        damage(manifest, places=40)
    with pytest.raises(GalleryDamaged, match=table):
        Gallery.open(path)
    (path / table).rename(tmp_path / "gone")
    with pytest.raises(GalleryDamaged, match=f"{table}: missing"):
        Gallery.open(path)


def test_a_truncated_data_file_is_damage_when_it_is_read(tmp_path):
    gallery_of(tmp_path / "g", np.eye(40))
    for data in (tmp_path / "g" / "images.lance" / "data").iterdir():
        data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(GalleryDamaged, match="Restore the gallery from a copy"):
        Gallery.open(tmp_path / "g").embeddings()


def test_a_lost_key_stops_new_pseudonyms_but_not_reading(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST])
    (gallery.path / "secret.key").unlink()
    assert len(Gallery.open(gallery.path)) == 1
    with pytest.raises(GalleryDamaged, match=r"secret\.key is lost"):
        _ = gallery.secret_key


def test_an_encoder_that_does_not_compare_is_refused(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST])

    class Encoder:
        name, revision, weights_digest, dim, spec = "by-hand", "2", "ab" * 32, 2, meta().spec

    gallery.require(Encoder())
    for field, value in (("weights_digest", "cd" * 32), ("dim", 3), ("spec", PreprocessSpec(fit="stretch"))):
        other = Encoder()
        setattr(other, field, value)
        with pytest.raises(GalleryMismatch, match=r"gallery"):
            gallery.require(other)


def test_the_rendering_is_kept_and_another_one_refused(tmp_path):
    lung = RenderSpec(
        ct=(CT_WINDOWS["lung"], Window(0, 100, "sigmoid"), Window(-1.5, 2.5)), percentiles=(1, 98.5)
    )
    spec = replace(meta().spec, rendering=lung)
    Gallery.create(tmp_path / "g", replace(meta(), spec=spec))
    gallery = Gallery.open(tmp_path / "g")
    assert gallery.meta.spec == spec

    class Encoder:
        name, revision, weights_digest, dim, spec = "by-hand", "2", "ab" * 32, 2, meta().spec

    with pytest.raises(GalleryMismatch, match="Build a new gallery"):
        gallery.require(Encoder())


@pytest.mark.parametrize("choice", ["pseudonym", "keep", "drop"])
def test_a_gallery_has_one_way_with_identifiers(tmp_path, choice):
    Gallery.create(tmp_path / "g", replace(meta(), identifiers=choice))
    gallery = Gallery.open(tmp_path / "g")
    assert gallery.meta.identifiers == choice
    assert len(gallery.secret_key) == 32
    gallery.require_identifiers(choice)
    for other in {"pseudonym", "keep", "drop"} - {choice}:
        with pytest.raises(GalleryMismatch, match=f"identifiers {choice}.*identifiers {other}.*new gallery"):
            gallery.require_identifiers(other)


def test_an_unknown_way_with_identifiers_is_damage(tmp_path):
    gallery_of(tmp_path / "g", [EAST])
    head = tmp_path / "g" / "gallery.json"
    head.write_text(head.read_text().replace('"pseudonym"', '"encrypt"'))
    with pytest.raises(GalleryDamaged):
        Gallery.open(tmp_path / "g")


def test_a_commit_tells_the_image_ids_it_gave(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST])
    with gallery.writer() as writer:
        assert writer.commit([instance("b"), instance("c")], [b""] * 2, unit([EAST] * 2), []).tolist() == [
            2,
            3,
        ]
        assert writer.commit([], [], np.empty((0, 2)), [rejected("d")]).tolist() == []
        assert writer.commit([instance("b", mtime_ns=2)], [b""], unit([NORTH]), []).tolist() == [4]
    assert [one.uri for one in gallery.instances([3, 4])] == ["c", "b"]


def test_cells_are_read_in_the_order_of_the_ids(tmp_path):
    gallery = gallery_of(tmp_path / "g", [EAST, NORTH], [instance("a", 2), instance("b", modality="CT")])
    commit(gallery, [instance("a", 1, mtime_ns=2)], [EAST])
    read = [
        row
        for cells in gallery.cell_batches("image_id", "modality", "frame")
        for row in zip(*cells, strict=True)
    ]
    assert read == [(2, "CT", 0), (3, None, 1)]


def test_nothing_is_printed(tmp_path):
    code = """
import sys
from galleries import gallery_of
from medsiglip_search.errors import InvalidQuery
from medsiglip_search.index import open_index
gallery = gallery_of(sys.argv[1], [[1.0, 0.0], [0.0, 1.0]])
open_index(gallery).search(gallery.embeddings_of([1]), 2)
try:
    gallery.select("year = ")
except InvalidQuery:
    pass
"""
    process = run_python(code, tmp_path / "g")
    assert (process.communicate(), process.returncode) == (("", ""), 0)


def test_damage_met_under_a_filter_is_not_blamed_on_the_filter(tmp_path):
    gallery = gallery_of(tmp_path / "g", np.eye(40))
    for path in (tmp_path / "g" / "images.lance" / "data").glob("*.lance"):
        content = bytearray(path.read_bytes())
        content[::97] = bytes(byte ^ 1 for byte in content[::97])
        path.write_bytes(content)
    with pytest.raises(GalleryDamaged):
        Gallery.open(gallery.path).select("modality = 'CT'")
