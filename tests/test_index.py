import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from galleries import gallery_of, instance, meta, unit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index
from medsiglip_search.index.faiss import ExactIndex

DIM = 24
EQUAL = (100, 140)


def reference(image_ids, embeddings, queries, top_k, allowed):
    """Return what `Index.search` must: every score, best first, then by image_id."""
    chosen = np.ones(len(image_ids), bool) if allowed is None else np.isin(image_ids, allowed)
    scores = (queries.astype(np.float64) @ embeddings[chosen].astype(np.float64).T).astype(np.float32)
    ids = np.broadcast_to(image_ids[chosen], scores.shape)
    order = np.lexsort((ids, -scores))[:, :top_k]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """300 embeddings; ids with gaps and rows that are equal, as a gallery of real use has them."""
    rows = unit(np.random.default_rng(3).standard_normal((330, DIM)))
    rows[slice(*EQUAL)] = rows[5]
    gallery = gallery_of(tmp_path_factory.mktemp("index") / "g", rows)
    with gallery.writer() as writer:
        writer.remove("/data/archive", [f"{number}.png" for number in range(0, 330, 11)])
    return gallery


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_exact_search_is_what_numpy_says(gallery, data):
    image_ids, embeddings = gallery.embeddings()
    number = data.draw(st.integers(1, 5), "queries")
    place = st.integers(0, len(image_ids) - 1) | st.just(int(np.flatnonzero(image_ids == EQUAL[0] + 1)[0]))
    near = st.lists(place, min_size=number, max_size=number)
    rows = data.draw(near, "rows near the queries")
    noise = data.draw(st.sampled_from([0.0, 0.1, 1.0]), "noise")
    seed = data.draw(st.integers(0, 2**32 - 1), "seed")
    rng = np.random.default_rng(seed)
    queries = unit(embeddings[rows].astype(np.float32) + noise * rng.standard_normal((number, DIM)))
    top_k = data.draw(st.integers(1, 400), "top_k")
    share = data.draw(st.sampled_from([None, 0.0, 0.005, 0.05, 0.5, 1.0]), "share allowed")
    allowed = None if share is None else rng.permutation(image_ids[rng.random(len(image_ids)) < share])

    scores, found = open_index(gallery).search(queries, top_k, allowed)

    expected_scores, expected = reference(image_ids, embeddings, queries, top_k, allowed)
    assert (scores.dtype, found.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-7)


def test_equal_scores_are_ordered_by_image_id_on_both_sides_of_the_cut(tmp_path):
    rows = [[0.5, 1], [0.5, 1], [1, 0], [0.5, 1], [1, 0], [0.25, 1], [0.5, 1]]
    index = open_index(gallery_of(tmp_path / "g", rows))
    query = np.array([[1, 0]], np.float32)
    best_first = [3, 5, 1, 2, 4, 7, 6]
    for top_k in range(1, 9):
        assert index.search(query, top_k)[1].tolist() == [best_first[:top_k]]
    allowed = np.array([7, 6, 4, 2])
    for top_k in range(1, 6):
        assert index.search(query, top_k, allowed)[1].tolist() == [[2, 4, 7, 6][:top_k]]


def test_better_images_do_not_push_out_the_first_of_many_equal_ones(tmp_path):
    row, other = unit(np.random.default_rng(0).standard_normal((2, 50)))
    index = open_index(gallery_of(tmp_path / "g", [other] * 150 + [row] * 2))
    query = unit([row + 0.2 * other])
    assert index.search(query, 5)[1].tolist() == [[151, 152, 1, 2, 3]]
    assert index.search(query, 4, np.arange(152, 100, -1))[1].tolist() == [[151, 152, 101, 102]]


def test_each_query_of_several_gets_its_own_cut(tmp_path):
    index = open_index(gallery_of(tmp_path / "g", [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]]))
    scores, image_ids = index.search(np.eye(2, dtype=np.float32), 1)
    assert image_ids.tolist() == [[1], [3]]
    assert scores.tolist() == [[1], [1]]


def test_scores_of_float16_stay_within_a_thousandth_of_float32(tmp_path):
    rows = unit(np.random.default_rng(0).standard_normal((200, 1152)))
    queries = unit(np.random.default_rng(1).standard_normal((4, 1152)))
    scores, image_ids = open_index(gallery_of(tmp_path / "g", rows)).search(queries, 200)
    ordered = np.take_along_axis(queries @ rows.T, image_ids - 1, 1)
    np.testing.assert_allclose(scores, ordered, atol=1e-3)


def test_nothing_allowed_and_nothing_there_find_nothing(gallery, tmp_path):
    query = np.zeros((2, DIM), np.float32)
    for allowed in (np.array([], np.int64), np.array([0, 10**12])):
        scores, image_ids = open_index(gallery).search(query, 5, allowed)
        assert scores.shape == image_ids.shape == (2, 0)
    empty = open_index(Gallery.create(tmp_path / "g", meta()))
    assert empty.search(np.zeros((1, 2), np.float32), 5)[1].shape == (1, 0)


# The saved file


@pytest.fixture
def saved(tmp_path):
    """A gallery whose index has been saved, and a query that finds its rows in the order 3, 1, 2."""
    gallery = gallery_of(tmp_path / "g", [[1, 1], [0, 1], [1, 0]])
    open_index(gallery)
    return gallery


QUERY = np.array([[1, 0]], np.float32)


def refuse_to_build(gallery):
    raise AssertionError("built anew")


def test_a_saved_index_is_loaded_and_not_built(saved, monkeypatch):
    names = {path.name for path in (saved.path / "index").iterdir()}
    assert {"exact.faiss", "exact.json", "files.sha256"} <= names
    monkeypatch.setattr("medsiglip_search.index.faiss._build", refuse_to_build)
    assert open_index(Gallery.open(saved.path)).search(QUERY, 3)[1].tolist() == [[3, 1, 2]]


@pytest.mark.parametrize("name", ["exact.faiss", "exact.json", "files.sha256"])
def test_a_flipped_byte_anywhere_in_the_index_files_is_noticed(saved, caplog, name):
    file = saved.path / "index" / name
    sound = file.read_bytes()
    for place in range(0, len(sound), 3):
        file.write_bytes(sound[:place] + bytes([sound[place] ^ 0x04]) + sound[place + 1 :])
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert open_index(saved).search(QUERY, 3)[1].tolist() == [[3, 1, 2]]
            assert "damaged" in caplog.text
        assert file.read_bytes() == sound


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b'{"sha256": 5}'])
@pytest.mark.parametrize("name", ["exact.json", "exact.faiss", "files.sha256"])
def test_an_index_cut_short_or_overwritten_is_built_anew(saved, name, content):
    (saved.path / "index" / name).write_bytes(content)
    assert open_index(saved).search(QUERY, 3)[1].tolist() == [[3, 1, 2]]


def test_a_save_that_was_killed_half_way_is_no_damage(saved, caplog):
    with saved.writer() as writer:
        writer.delete("image_id = 3")
    kill_before_the_list = """
import os, sys
from medsiglip_search import checksums
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index

checksums.write_list = lambda *_: os._exit(9)
open_index(Gallery.open(sys.argv[1]))
"""
    assert subprocess.run([sys.executable, "-c", kill_before_the_list, saved.path]).returncode == 9
    with caplog.at_level(logging.WARNING):
        assert open_index(saved).search(QUERY, 3)[1].tolist() == [[1, 2]]
    assert caplog.text == ""


def test_an_index_of_an_older_version_is_built_anew(saved):
    older = ExactIndex.open(saved)
    with saved.writer() as writer:
        writer.commit([instance("1.png", mtime_ns=2)], [b""], unit([[1, 0.1]]), [])
    assert open_index(saved).search(QUERY, 3)[1].tolist() == [[3, 4, 1]]
    assert older.search(QUERY, 3)[1].tolist() == [[3, 1, 2]]


def test_an_index_of_another_gallery_at_the_same_version_is_built_anew(saved, tmp_path):
    other = gallery_of(tmp_path / "other", [[0, 1], [1, 0], [1, 1]])
    assert other.version == saved.version
    (saved.path / "index").rename(other.path / "index")
    assert open_index(other).search(QUERY, 3)[1].tolist() == [[2, 3, 1]]


def test_a_reader_of_an_older_version_does_not_take_the_newer_index(saved):
    reader = Gallery.open(saved.path)
    with saved.writer() as writer:
        writer.remove("/data/archive", ["2.png"])
    assert open_index(saved).search(QUERY, 3)[1].tolist() == [[1, 2]]
    assert open_index(reader).search(QUERY, 3)[1].tolist() == [[3, 1, 2]]


def test_the_index_of_an_older_version_is_not_saved_over_the_newer(saved, monkeypatch):
    reader = Gallery.open(saved.path)
    with saved.writer() as writer:
        writer.delete("uri = '2.png'")
    open_index(saved)
    open_index(reader)
    monkeypatch.setattr("medsiglip_search.index.faiss._build", refuse_to_build)
    assert open_index(Gallery.open(saved.path)).search(QUERY, 3)[1].tolist() == [[1, 2]]


def test_a_folder_that_cannot_be_written_leaves_the_index_in_memory(tmp_path):
    gallery = gallery_of(tmp_path / "g", [[1, 1], [0, 1], [1, 0]])
    (gallery.path / "index").write_text("a file where the folder would go")
    assert open_index(gallery).search(QUERY, 3)[1].tolist() == [[3, 1, 2]]


def test_the_note_beside_the_file_says_what_it_was_made_from(saved):
    note = json.loads((saved.path / "index" / "exact.json").read_text())
    assert note == {"gallery": saved.state, "images": 3, "dim": 2}
