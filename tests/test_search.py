"""Search with an encoder made by hand: a text is its own coordinates, a picture the mean of its channels."""

import numpy as np
import pytest
from by_hand import ByHand, picture, png
from galleries import gallery_of, instance, meta, unit
from PIL import Image

from medsiglip_search.errors import GalleryMismatch, InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.index import open_index
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.search import Searcher

ROWS = [[1, 0, 0], [0, 1, 0], [0, 0, 1], [3, 4, 0], [0, 3, 4]]
NAMES = ["red", "green", "blue", "redgreen", "greenblue"]


@pytest.fixture(scope="module")
def searcher(tmp_path_factory):
    instances = [
        instance(name, modality="CR" if name[0] == "r" else "CT", year=2020 + number)
        for number, name in enumerate(NAMES)
    ]
    gallery = gallery_of(tmp_path_factory.mktemp("search") / "g", ROWS, instances)
    return Searcher(gallery, ByHand(), open_index(gallery))


def uris(hits):
    return [hit.instance.uri for hit in hits]


def test_a_text_finds_the_images_in_the_order_of_their_cosine(searcher):
    hits = searcher.search(text="1 0 0", top_k=3)
    assert uris(hits) == ["red", "redgreen", "green"]
    assert [hit.score for hit in hits] == pytest.approx([1, 0.6, 0], abs=1e-3)
    assert [hit.rank for hit in hits] == [1, 2, 3]
    assert hits[0].instance == searcher.gallery.instances([1])[0]


def test_equal_scores_are_ordered_by_image_id(searcher):
    assert uris(searcher.search(text="1 0 0", top_k=5)) == ["red", "redgreen", "green", "blue", "greenblue"]


def test_a_picture_is_a_query_as_array_file_and_bytes(searcher, tmp_path):
    green = picture(0, 200, 0)
    (tmp_path / "query").write_bytes(png(green))
    for query in (green, png(green), tmp_path / "query", str(tmp_path / "query")):
        hits = searcher.search(images=[query], top_k=2)
        assert uris(hits) == ["green", "redgreen"]
        assert hits[0].score == pytest.approx(1, abs=1e-3)


def test_of_a_file_with_several_frames_the_middle_one_is_asked(searcher, tmp_path):
    frames = [Image.fromarray(picture(*color)) for color in ((200, 0, 0), (0, 0, 200), (0, 200, 0))]
    frames[0].save(tmp_path / "q.tiff", save_all=True, append_images=frames[1:])
    assert uris(searcher.search(images=[tmp_path / "q.tiff"], top_k=1)) == ["blue"]


def test_the_parts_of_a_query_count_equally_whatever_their_length(searcher):
    hits = searcher.search(text="0 9 0", images=[picture(0, 0, 90)], top_k=2)
    assert uris(hits) == ["greenblue", "green"]
    assert [hit.score for hit in hits] == pytest.approx([0.7 * 2**0.5, 0.5**0.5], abs=1e-3)


def test_an_image_asked_about_is_not_its_own_answer(searcher):
    assert uris(searcher.search(like=[1], top_k=2)) == ["redgreen", "green"]
    assert uris(searcher.search(like=[1, 2, 1], top_k=9)) == ["redgreen", "greenblue", "blue"]
    assert uris(searcher.search(like=[2], where="modality = 'CT'", top_k=9)) == ["greenblue", "blue"]


def test_every_hit_fits_the_filter(searcher):
    hits = searcher.search(text="1 0 0", where="modality = 'CT' AND year >= 2022", top_k=9)
    assert uris(hits) == ["blue", "greenblue"]
    assert list(searcher.search(text="1 0 0", where="year > 3000")) == []


def test_more_hits_than_images_are_all_images(searcher):
    assert len(searcher.search(text="1 0 0", top_k=10**12)) == 5


def test_relevance_counts_spreads_of_any_direction_above_the_background(searcher):
    scores = np.array([1, 0, 0, 0.6, 0])
    spread = np.sqrt(unit(ROWS).var(axis=0).mean())
    hits = searcher.search(text="1 0 0", top_k=2)
    expected = (scores[[0, 3]] - scores.mean()) / spread
    assert [hit.relevance for hit in hits] == pytest.approx(expected, abs=5e-3)
    # The background is the whole gallery's, whatever the filter leaves.
    (hit,) = searcher.search(text="1 0 0", where="image_id = 4")
    assert hit.relevance == pytest.approx(expected[1], abs=5e-3)


def test_relevance_of_a_large_gallery_rests_on_a_thousand_images_the_same_every_time(tmp_path):
    rows = unit(np.random.default_rng(0).standard_normal((3000, 3)))
    gallery = gallery_of(tmp_path / "g", rows)
    first, second = (Searcher(gallery, ByHand(), open_index(gallery)) for _ in range(2))
    hits = first.search(text="0 0 1")
    assert hits == second.search(text="0 0 1")
    spread = np.sqrt(rows.var(axis=0).mean())
    assert hits[0].relevance == pytest.approx((hits[0].score - rows[:, 2].mean()) / spread, rel=0.1)


def test_a_gallery_of_one_image_has_no_background(tmp_path):
    gallery = gallery_of(tmp_path / "g", [[0, 1, 0]])
    (hit,) = Searcher(gallery, ByHand(), open_index(gallery)).search(text="0 1 0")
    assert (hit.score, hit.relevance) == (1, 0)


def test_an_empty_gallery_has_no_hits(tmp_path):
    gallery = Gallery.create(tmp_path / "g", meta(3))
    result = Searcher.open(gallery.path, ByHand()).search(text="1 0 0", where="year > 1")
    assert (list(result), result.matches, result.cursor) == ([], False, None)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({}, "nothing to look for"),
        ({"text": ""}, "text is empty"),
        ({"text": " \n"}, "text is empty"),
        ({"text": "effusion \udcff"}, "not UTF-8"),
        ({"text": "1 0 0", "top_k": 0}, "top_k is 0"),
        ({"text": "1 0 0", "top_k": -3}, "top_k is -3"),
        ({"like": [17]}, "no image 17"),
        ({"like": [10**30]}, "no image"),
        ({"text": "1 0 0", "where": "sex = 'F'"}, "no column sex"),
        ({"images": [b"not a picture"]}, "query image: not_an_image"),
        ({"images": [png(picture(9, 9, 9))[:60]]}, "query image: (truncated|malformed)"),
        ({"images": [png(np.full((4, 4, 3), 7, np.uint8))]}, "query image: blank_image"),
        ({"images": ["/no/such/file.dcm"]}, "query image: unreadable"),
        ({"images": [np.zeros((4, 4), np.uint8)]}, r"\(4, 4\)"),
        ({"images": [np.zeros((4, 4, 3))]}, "float64"),
        ({"images": [np.zeros((0, 4, 3), np.uint8)]}, r"\(0, 4, 3\)"),
        ({"text": "-1 0 0", "like": [1]}, "cancel out"),
        ({"text": "nan 0 0"}, "encoder failed"),
    ],
)
def test_a_query_that_cannot_be_answered_says_why(searcher, query, problem):
    with pytest.raises(InvalidQuery, match=problem) as refused:
        searcher.search(**query)
    assert "\n" not in str(refused.value)


def test_the_message_about_a_query_file_holds_no_path(searcher, tmp_path):
    path = tmp_path / "Doe_Jane.dcm"
    path.write_bytes(b"")
    with pytest.raises(InvalidQuery) as refused:
        searcher.search(images=[path])
    assert "Doe" not in str(refused.value)


def test_an_encoder_of_other_weights_size_or_preprocessing_is_refused(searcher):
    for field, value in (("weights_digest", "cd" * 32), ("dim", 4), ("spec", PreprocessSpec(size=3))):
        other = ByHand()
        setattr(other, field, value)
        with pytest.raises(GalleryMismatch, match="uild a new gallery"):
            Searcher.open(searcher.gallery.path, other)


def test_opened_again_it_answers_the_same(searcher):
    again = Searcher.open(searcher.gallery.path, ByHand())
    assert again.search(text="1 2 3") == searcher.search(text="1 2 3")
