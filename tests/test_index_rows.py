"""The rows of a gallery as the index sees them: what is saved, what came later, what has gone."""

import json
import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
from galleries import gallery_of, instance, unit

from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index
from medsiglip_search.index.rows import Rows

QUERY = np.array([[1, 0]], np.float32)


@pytest.fixture
def saved(tmp_path):
    """A gallery whose rows have been saved, and a query that finds them in the order 3, 1, 2."""
    gallery = gallery_of(tmp_path / "g", [[1, 1], [0, 1], [1, 0]])
    open_index(gallery)
    return gallery


def found(gallery, top_k=9):
    return open_index(gallery).search(QUERY, top_k)[1].tolist()


def refuse_to_write(gallery, known):
    raise AssertionError("written anew")


def test_saved_rows_are_mapped_and_not_written_anew(saved, monkeypatch):
    names = {path.name for path in (saved.path / "index").iterdir()}
    assert {"rows.f16", "rows.ids", "rows.json", "files.sha256"} <= names
    monkeypatch.setattr("medsiglip_search.index.rows._write", refuse_to_write)
    assert found(Gallery.open(saved.path)) == [[3, 1, 2]]
    assert isinstance(Rows.open(saved).base, np.memmap)


@pytest.mark.parametrize("name", ["rows.f16", "rows.ids", "rows.json", "files.sha256"])
def test_a_flipped_byte_anywhere_in_the_index_files_is_noticed(saved, caplog, name):
    file = saved.path / "index" / name
    for place in range(0, file.stat().st_size, 3):
        sound = file.read_bytes()
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 0x04]) + sound[place + 1 :])
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert found(saved) == [[3, 1, 2]]
            assert "damaged" in caplog.text
            caplog.clear()
            assert found(saved) == [[3, 1, 2]]
            assert caplog.text == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"sha256": 5}'])
@pytest.mark.parametrize("name", ["rows.json", "rows.f16", "rows.ids", "files.sha256"])
def test_an_index_cut_short_or_overwritten_is_built_anew(saved, name, content):
    (saved.path / "index" / name).write_bytes(content)
    assert found(saved) == [[3, 1, 2]]


def test_a_save_that_was_killed_half_way_is_no_damage(saved, caplog, monkeypatch):
    monkeypatch.setattr("medsiglip_search.index.rows.REWRITE_FROM", 0)
    with saved.writer() as writer:
        writer.delete("image_id = 3")
    kill_before_the_list = """
import os, sys
from medsiglip_search import checksums
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index, rows

rows.REWRITE_FROM = 0
checksums.write_list = lambda *_: os._exit(9)
open_index(Gallery.open(sys.argv[1]))
"""
    assert subprocess.run([sys.executable, "-c", kill_before_the_list, saved.path]).returncode == 9
    with caplog.at_level(logging.WARNING):
        assert found(saved) == [[1, 2]]
    assert caplog.text == ""


def test_new_rows_are_found_at_once_and_those_that_went_are_not(saved, monkeypatch):
    older = open_index(saved)
    with saved.writer() as writer:
        writer.commit([instance("1.png", mtime_ns=2)], [b""], unit([[1, 0.1]]), [])
    monkeypatch.setattr("medsiglip_search.index.rows._write", refuse_to_write)
    assert found(saved) == [[3, 4, 1]]
    assert older.search(QUERY, 9)[1].tolist() == [[3, 1, 2]]
    assert older.refreshed(saved).search(QUERY, 9)[1].tolist() == [[3, 4, 1]]
    assert older.search(QUERY, 9)[1].tolist() == [[3, 1, 2]]
    with saved.writer() as writer:
        writer.delete("image_id in (1, 4)")
    assert found(saved) == [[3]]


def test_a_filter_holds_for_saved_new_and_gone_rows_alike(saved):
    with saved.writer() as writer:
        writer.commit([instance(f"new {n}") for n in range(3)], [b""] * 3, unit([[1, 2], [1, 3], [1, 4]]), [])
        writer.delete("image_id = 5")
    index = open_index(saved)
    assert index.search(QUERY, 9, np.array([2, 5, 6, 4]))[1].tolist() == [[4, 6, 2]]
    assert index.search(QUERY, 1, np.array([6, 5]))[1].tolist() == [[6]]
    assert index.search(QUERY, 3, np.array([5]))[1].shape == (1, 0)


def test_many_changes_are_worth_a_new_file(saved, monkeypatch):
    monkeypatch.setattr("medsiglip_search.index.rows.REWRITE_FROM", 3)
    with saved.writer() as writer:
        writer.commit([instance(f"{n}.jpg") for n in range(3)], [b""] * 3, unit([[1, 2], [1, 3], [1, 4]]), [])
    assert (len(Rows.open(saved).base), len(Rows.open(saved).tail)) == (3, 3)
    with saved.writer() as writer:
        writer.delete("image_id = 2")
    rows = Rows.open(saved)
    assert rows.image_ids.tolist() == [1, 3, 4, 5, 6]
    assert (len(rows.tail), rows.alive) == (0, None)
    note = json.loads((saved.path / "index" / "rows.json").read_text())
    assert (note["gallery"], note["images"], note["dim"]) == (saved.state, 5, 2)


def test_rows_of_another_gallery_under_the_same_ids_are_not_taken(saved, tmp_path):
    other = gallery_of(tmp_path / "other", [[0, 1], [1, 0], [1, 1]])
    assert other.version == saved.version
    (saved.path / "index").rename(other.path / "index")
    assert found(other) == [[2, 3, 1]]


def test_a_reader_of_an_older_version_finds_what_that_version_holds(saved, monkeypatch):
    monkeypatch.setattr("medsiglip_search.index.rows.REWRITE_FROM", 0)
    reader = Gallery.open(saved.path)
    with saved.writer() as writer:
        writer.remove("/data/archive", ["2.png"])
        writer.commit([instance("3.png")], [b""], unit([[1, 0.1]]), [])
    assert found(saved) == [[4, 1, 2]]
    saved_file = (saved.path / "index" / "rows.f16").read_bytes()
    assert found(reader) == [[3, 1, 2]]
    assert (saved.path / "index" / "rows.f16").read_bytes() == saved_file


def test_a_flipped_bit_in_any_chunk_of_a_large_file_is_noticed(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("medsiglip_search.index.files._CHUNK", 1000)
    monkeypatch.setattr("medsiglip_search.index.files._READ", 500)
    gallery = gallery_of(tmp_path / "g", np.random.default_rng(0).standard_normal((700, 2)))
    expected = found(gallery)
    file = gallery.path / "index" / "rows.f16"
    note = json.loads((gallery.path / "index" / "rows.json").read_text())
    assert len(note["files"]["f16"]["chunks"]) == 3
    for place in (0, 999, 1000, 2500, 2799):
        content = bytearray(file.read_bytes())
        content[place] ^= 1
        file.write_bytes(content)
        caplog.clear()
        assert found(gallery) == expected
        assert "damaged" in caplog.text
    for content in (file.read_bytes() + b"\0", file.read_bytes()[:-1], file.read_bytes()[:2000]):
        file.write_bytes(content)
        caplog.clear()
        assert found(gallery) == expected
        assert "damaged" in caplog.text


def test_a_folder_that_cannot_be_written_leaves_the_index_in_memory(tmp_path):
    gallery = gallery_of(tmp_path / "g", [[1, 1], [0, 1], [1, 0]])
    (gallery.path / "index").write_text("a file where the folder would go")
    assert found(gallery) == [[3, 1, 2]]


@pytest.mark.parametrize("dim", [4, 6, 12])
def test_an_index_of_embeddings_of_another_length_is_not_taken(tmp_path, dim):
    rng = np.random.default_rng(0)
    made = gallery_of(tmp_path / "made", rng.standard_normal((12, 8)))
    open_index(made)
    other = gallery_of(tmp_path / "other", rng.standard_normal((12, dim)))
    expected = open_index(other).search(other.embeddings_of([3]), 5)[1].tolist()
    shutil.rmtree(other.path / "index")
    shutil.copytree(made.path / "index", other.path / "index")
    assert open_index(other).search(other.embeddings_of([3]), 5)[1].tolist() == expected


def test_a_foreign_folder_in_the_index_keeps_nothing_alive(saved):
    """Such as a network drive makes of its own accord."""
    (saved.path / "index" / "@eaDir").mkdir()
    (saved.path / "index" / "@eaDir" / "thumb").write_text("x")
    with saved.writer() as writer:
        writer.delete("image_id = 2", for_good=True)
        writer.purge()
    assert [path.name for path in (saved.path / "index").iterdir()] == ["lock"]
    (saved.path / "index" / "@eaDir").mkdir()
    assert found(saved) == [[3, 1]]
    assert (saved.path / "index" / "rows.f16").exists()


def test_compact_takes_away_an_index_that_has_gone_rows_and_leaves_another(saved):
    with saved.writer() as writer:
        writer.compact()
    assert (saved.path / "index" / "rows.f16").exists()
    with saved.writer() as writer:
        writer.delete("image_id = 2")
        writer.compact()
    assert not (saved.path / "index" / "rows.f16").exists()
