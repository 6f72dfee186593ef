import subprocess
import sys

import numpy as np
import pytest
import torch
from galleries import gallery_of, meta, unit
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import exact, faiss, open_index, scan
from medsiglip_search.index.exact import ExactIndex
from medsiglip_search.index.faiss import FaissScan
from medsiglip_search.index.rows import Rows
from medsiglip_search.index.scan import TorchScan

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


@pytest.mark.parametrize("few", [0, exact.FEW_ROWS])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_exact_search_is_what_numpy_says(gallery, few, data):
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

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "FEW_ROWS", few)
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


# The arithmetic of each device


SCANS = {
    "FAISS": FaissScan,
    "bfloat16": lambda: scan_with(scan.in_blocks(torch.bfloat16), 3 * scan.BFLOAT16 + scan.SUMMATION),
    "float32": lambda: scan_with(scan.in_blocks(torch.float32), scan.SUMMATION),
    "as on a GPU": lambda: scan_with(*scan.scores_on(torch.device("cuda"))),
}


def scan_with(score, error):
    made = TorchScan(torch.device("cpu"))
    made._score, made.error = score, error
    return made


@pytest.mark.parametrize("way", SCANS)
def test_a_score_is_never_further_off_than_is_said(way):
    """The answer is exact because of that bound."""
    rng = np.random.default_rng(0)
    rows = unit(rng.standard_normal((3000, 1152)) * rng.choice([0.1, 3], 1152)).astype(np.float16)
    queries = unit(rows[:40] + 0.01 * rng.standard_normal((40, 1152)))
    made = SCANS[way]()
    made.add(0, rows)
    scores, places = made.near(queries, 3000, None)
    exact_scores = queries.astype(np.float64) @ rows.astype(np.float64).T
    off = np.abs(scores - np.take_along_axis(exact_scores, places, 1)).max()
    assert 0 < off <= made.error
    assert (np.sort(places, axis=1) == np.arange(3000)).all()


@pytest.mark.parametrize("way", SCANS)
def test_every_scan_gives_the_same_answer(gallery, monkeypatch, way):
    monkeypatch.setattr(exact, "FEW_ROWS", 0)
    rows = Rows.open(gallery)
    index = ExactIndex(rows, torch.device("cpu"))
    index._few, index._many = None, SCANS[way]()
    index._many.add(0, rows.base[:100])
    index._many.add(100, rows.base[100:])
    image_ids, embeddings = gallery.embeddings()
    queries = unit(embeddings[::7].astype(np.float32) + 0.01)
    for allowed in (None, image_ids[::2], image_ids[::40]):
        found = index.search(queries, 15, allowed)[1]
        np.testing.assert_array_equal(found, reference(image_ids, embeddings, queries, 15, allowed)[1])


def test_faiss_without_views_of_memory_copies_the_rows(gallery, monkeypatch):
    monkeypatch.setattr(exact, "FEW_ROWS", 0)
    image_ids, embeddings = gallery.embeddings()
    queries = unit(embeddings[:2])
    expected = reference(image_ids, embeddings, queries, 9, None)[1]
    np.testing.assert_array_equal(open_index(gallery).search(queries, 9)[1], expected)
    monkeypatch.setattr(faiss, "_can_see_memory", lambda: False)
    np.testing.assert_array_equal(open_index(gallery).search(queries, 9)[1], expected)


def test_this_build_of_faiss_sees_the_rows_where_they_are():
    assert faiss._can_see_memory()


def test_chunks_of_rows_are_joined(gallery, monkeypatch):
    monkeypatch.setattr(scan, "CHUNK_ROWS", 37)
    monkeypatch.setattr(exact, "FEW_ROWS", 0)
    image_ids, embeddings = gallery.embeddings()
    queries = unit(embeddings[:80].astype(np.float32) + 0.05)
    for allowed in (None, image_ids[image_ids > 130], image_ids[::19]):
        scores, found = open_index(gallery).search(queries, 12, allowed)
        expected = reference(image_ids, embeddings, queries, 12, allowed)
        np.testing.assert_array_equal(found, expected[1])
        np.testing.assert_allclose(scores, expected[0], rtol=0, atol=1e-7)


def test_an_unknown_kind_or_recall_names_what_there_is(gallery):
    with pytest.raises(InvalidQuery, match="no such kind; use auto, exact, int8, ivf, hnsw, graph"):
        open_index(gallery, "flat")
    for recall in (0, 1.5, float("nan")):
        with pytest.raises(InvalidQuery, match="recall"):
            open_index(gallery, "ivf", recall)


def test_a_query_that_is_no_number_is_refused(gallery):
    with pytest.raises(InvalidQuery, match="not finite"):
        open_index(gallery).search(np.full((1, DIM), np.nan, np.float32), 3)


def test_the_steps_of_a_gpu_are_right_on_the_processor(gallery, monkeypatch):
    monkeypatch.setattr(exact, "FEW_ROWS", 0)
    monkeypatch.setattr(scan, "CHUNK_ROWS", 37)
    monkeypatch.setattr(scan, "scores_on", lambda device: (scan.products, 8 * scan.HALF))
    monkeypatch.setattr(ExactIndex, "_scored", ExactIndex._scored_on_device)
    image_ids, embeddings = gallery.embeddings()
    queries = unit(embeddings[::7].astype(np.float32) + 0.01)
    for allowed in (None, image_ids[::2], image_ids[::40]):
        scores, found = open_index(gallery).search(queries, 15, allowed)
        expected_scores, expected = reference(image_ids, embeddings, queries, 15, allowed)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(scores, expected_scores, rtol=0, atol=1e-7)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_answers_what_numpy_does(gallery, monkeypatch):
    monkeypatch.setattr(exact, "FEW_ROWS", 0)
    image_ids, embeddings = gallery.embeddings()
    queries = unit(embeddings[::7].astype(np.float32) + 0.01)
    index = open_index(gallery, "exact", device="cuda")
    for allowed in (None, image_ids[::2], image_ids[::40]):
        found = index.search(queries, 15, allowed)[1]
        np.testing.assert_array_equal(found, reference(image_ids, embeddings, queries, 15, allowed)[1])


def test_a_scan_leaves_other_threads_their_processors():
    """Its own threads use one each; torch would hand that on to every thread that comes later."""
    program = """
import sys, threading, torch
torch.set_num_threads(2)
from medsiglip_search.index import scan
scan.in_blocks(torch.float32)(torch.ones((3000, 4), dtype=torch.half), torch.ones((5, 4)))
seen = []
later = threading.Thread(target=lambda: (torch.ones(4).sum(), seen.append(torch.get_num_threads())))
later.start(), later.join()
print(torch.get_num_threads(), *seen, *scan._workers()[0].map(lambda _: torch.get_num_threads(), range(1)))
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["2", "2", "1"]


@pytest.mark.parametrize("spare", [20, exact.USUAL_RIVALS, 300, 2900])
@pytest.mark.parametrize("queries", [1, 9])
def test_where_most_rows_score_nearly_alike_the_best_are_found_all_the_same(
    tmp_path, monkeypatch, queries, spare
):
    """More rivals than are fetched, and all of them within what the fast arithmetic can be off by."""
    monkeypatch.setattr(exact, "SPARE_ROWS", spare)
    monkeypatch.setattr(exact, "SPARE_ROWS_OF_MANY", spare)
    monkeypatch.setattr(exact, "FEW_ROWS", 0)
    rng = np.random.default_rng(0)
    rows = unit(1 + 0.02 * rng.standard_normal((3000, DIM)))
    gallery = gallery_of(tmp_path / "g", rows)
    image_ids, embeddings = gallery.embeddings()
    asked = unit(1 + 0.02 * rng.standard_normal((queries, DIM)))
    for allowed in (None, image_ids[::2]):
        found = open_index(gallery).search(asked, 15, allowed)[1]
        np.testing.assert_array_equal(found, reference(image_ids, embeddings, asked, 15, allowed)[1])


def test_an_answer_of_all_rows_is_scored_in_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(exact, "_DECODED_ROWS", 100)
    monkeypatch.setattr(exact, "FEW_ROWS", 0)
    gallery = gallery_of(tmp_path / "g", np.random.default_rng(0).standard_normal((730, DIM)))
    image_ids, embeddings = gallery.embeddings()
    taken = []
    take = Rows.take
    monkeypatch.setattr(Rows, "take", lambda self, places: taken.append(len(places)) or take(self, places))
    for count in (1, 5):
        queries = unit(embeddings[:count].astype(np.float32) + 0.1)
        found = open_index(gallery).search(queries, 730)[1]
        np.testing.assert_array_equal(found, reference(image_ids, embeddings, queries, 730, None)[1])
    assert max(taken) <= 100
