"""What can be asked, and what is made of it."""

from fractions import Fraction

import numpy as np
import pytest
from by_hand import ByHand, picture, png
from galleries import gallery_of, instance, unit

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.index import open_index
from medsiglip_search.queries import Image, Like, Query, Study, Text
from medsiglip_search.search import Searcher

ROWS = [[1, 0, 0.1], [1, 1, 0], [0, 1, 0], [0, 0, 1], [0.1, 0.1, 1]]
NAMES = ["a", "ab", "b", "c", "c2"]
SIDECARS = [
    {"age": 61, "normal": True},
    {"age": 0.5, "normal": False},
    {"age": 1e-5, "normal": True},
    {"age": -1, "normal": False},
    {},
]


@pytest.fixture(scope="module")
def searcher(tmp_path_factory):
    instances = [
        instance(
            name, modality="CT" if name[0] == "c" else "CR", study=name, year=2020 + number, sidecar=sidecar
        )
        for number, (name, sidecar) in enumerate(zip(NAMES, SIDECARS, strict=True))
    ]
    gallery = gallery_of(tmp_path_factory.mktemp("queries") / "g", ROWS, instances)
    return Searcher(gallery, ByHand(), open_index(gallery))


def uris(hits):
    return [hit.instance.uri for hit in hits]


def test_a_result_is_a_sequence_of_its_hits(searcher):
    result = searcher.search("1 0 0", top_k=3)
    assert len(result) == 3
    assert list(result) == [result[0], result[1], result[-1]]
    assert result[:2] == result.hits[:2]
    assert result[1] in result


def test_what_is_negated_is_scored_as_absent(searcher):
    assert uris(searcher.search("1 0.9 0", top_k=1)) == ["ab"]
    for query in (
        {"text": "1 0 0 without 0 1 0"},
        {"text": "1 0 0, no 0 1 0"},
        {"text": "1 0 0", "without": ["0 1 0"]},
        {"like": [1], "without": ["0 1 0"], "other_patients": False, "parts": [Text("1 0 0")]},
    ):
        hits = searcher.search(**query)
        assert uris(hits)[-2:] in (["ab", "b"], ["c2", "b"], ["c", "b"]), query
        assert hits.notes == ("taken as absent: 0 1 0",)
    scores = {hit.instance.uri: hit.score for hit in searcher.search("1 0 0 without 0 1 0")}
    plain = {hit.instance.uri: hit.score for hit in searcher.search("1 0 0")}
    assert scores["a"] - scores["ab"] > plain["a"] - plain["ab"] + 0.2


@pytest.mark.parametrize(
    "query",
    [
        {"text": "0 1 0", "without": ["0 1 0"]},
        {"text": "0 1 0", "without": ["1 0 0", " 0  1 0 "]},
        {"text": "0 1 0, no 0 1 0"},
        {"like": [1], "parts": [Text("0 1 0")], "without": ["0 1 0"]},
    ],
)
def test_what_is_to_be_there_and_to_be_absent_is_a_contradiction(searcher, query):
    with pytest.raises(InvalidQuery, match="'0 1 0' is to be there, and to be absent; leave one"):
        searcher.search(**query)


def test_negation_can_be_switched_off(searcher):
    with pytest.raises(ValueError, match="without"):  # the encoder gets the words, and knows only numbers
        searcher.search("1 0 0 without 0 1 0", negation=False)


def test_a_query_of_what_is_absent_alone_asks_for_pictures_of_its_modality(searcher):
    result = searcher.search("no 0 1 0")
    assert uris(result)[0] == "a"
    assert uris(result)[-1] != "a"
    assert result.matches
    assert result.notes[1] == "nothing is said to be present: CR pictures are looked for"
    assert uris(searcher.search(without=["0 0 1"]))[:2] == ["c2", "c"]


def test_hits_are_not_like_an_image_that_they_are_not_to_be_like(searcher):
    plain, unlike_b = searcher.search("1 0.6 0"), searcher.search("1 0.6 0", unlike=[3])
    assert uris(plain)[:3] == ["ab", "a", "b"]
    assert uris(unlike_b)[:2] == ["a", "ab"]
    assert "b" not in uris(unlike_b)
    assert unlike_b.notes == ()
    # As the same embedding, named as a text that must not be there.
    without_b = {hit.instance.uri: hit.score for hit in searcher.search("1 0.6 0", without=["0 1 0"])}
    assert {hit.instance.uri: hit.score for hit in unlike_b} == pytest.approx(
        {uri: score for uri, score in without_b.items() if uri != "b"}, abs=1e-3
    )


def test_what_is_like_no_image_of_a_kind_is_asked_for_by_that_image_alone(searcher):
    result = searcher.search(unlike=[3])
    assert uris(result)[0] == "a"
    assert result.matches


def test_an_image_that_hits_are_not_to_be_like_leaves_its_patient_in(tmp_path):
    instances = [instance(name, patient="1") for name in "abc"]
    gallery = gallery_of(tmp_path / "g", [[1, 0, 0], [1, 1, 0], [0, 1, 0]], instances)
    searcher = Searcher(gallery, ByHand(), open_index(gallery))
    assert sorted(uris(searcher.search("1 1 0", unlike=[3]))) == ["a", "b"]
    assert uris(searcher.search("1 1 0", like=[1], unlike=[3])) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"like": [1], "unlike": [1]}, "image 1 is in like and in unlike; leave it out of one of them"),
        ({"text": "1 0 0", "unlike": [99]}, "99"),
        ({"text": "1 0 0", "unlike": ["a"]}, "an image id is 'a'; give a whole number"),
        ({"text": "1 0 0", "unlike": 3}, r"unlike is of type int; give a list, such as unlike=\[181\]"),
    ],
)
def test_images_that_hits_cannot_be_unlike_are_refused(searcher, query, problem):
    with pytest.raises(InvalidQuery, match=problem):
        searcher.search(**query)


def test_a_cursor_is_of_one_list_of_unlike_images(searcher):
    cursor = searcher.search("1 0 0", unlike=[3, 4], top_k=1).cursor
    assert len(searcher.search("1 0 0", unlike=[4, 3], top_k=1, cursor=cursor)) == 1
    with pytest.raises(InvalidQuery, match="cursor: it is of another query"):
        searcher.search("1 0 0", unlike=[3], top_k=1, cursor=cursor)


def test_so_many_absent_things_are_heeded_and_no_more(searcher):
    text = "1 0 0" + "".join(f", no 0 1 {number}" for number in range(20))
    assert searcher.search(text).notes[1] == "more things that must be absent, left out: 4"


def test_weights_say_how_much_a_part_counts(searcher):
    parts = [Text("1 0 0", 3), Image(picture(0, 200, 0), weight=1), Like(4, 0.5)]
    query = 3 * np.array([1, 0, 0]) + [0, 1, 0] + 0.5 * unit([ROWS[3]])[0]
    expected = unit(ROWS) @ (query / np.linalg.norm(query))
    for hit in searcher.search(parts=parts):
        assert hit.score == pytest.approx(expected[hit.instance.image_id - 1], abs=1e-3)


def test_a_study_can_be_asked_about_together_with_a_text(searcher):
    assert uris(searcher.search(parts=[Study("b"), Text("0 0 1", 9)], top_k=1)) == ["c2"]
    assert uris(searcher.search(parts=[Study("b", 9), Text("0 0 1", 1)], top_k=1)) == ["ab"]


def test_a_region_of_a_picture_is_asked_about(searcher):
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :6, 2] = 200
    pixels[1:3, 6:, 1] = 200
    assert uris(searcher.search(images=[pixels], top_k=1)) == ["c2"]
    for image in (pixels, png(pixels)):
        assert uris(searcher.search(images=[Image(image, (6, 1, 8, 3))], top_k=1)) == ["b"]


@pytest.mark.parametrize(
    "region", [(0, 0, 9, 4), (0, 0, 8, 5), (-1, 0, 4, 4), (4, 0, 4, 4), (5, 0, 4, 4), (0, 3, 4, 3), (0, 0, 4)]
)
def test_a_region_that_is_not_in_the_picture_is_refused(searcher, region):
    with pytest.raises(InvalidQuery, match=r"give x0, ?y0, ?x1, ?y1"):
        searcher.search(images=[Image(np.ones((4, 8, 3), np.uint8), region)])


def test_ten_thousand_words_are_one_query(tmp_path):
    class Counting(ByHand):
        def embed_texts(self, texts):
            assert max(map(len, texts)) > 10_000
            return super().embed_texts(["1 0 0"] * len(texts))

    gallery = gallery_of(tmp_path / "g", ROWS)
    hits = Searcher(gallery, Counting(), open_index(gallery)).search("word " * 10_000, top_k=1)
    assert uris(hits) == ["0.png"]


def test_values_of_columns_are_a_filter(searcher):
    for where, expected in (
        ({"modality": "CT"}, ["c", "c2"]),
        ({"modality": "CR", "year": [2020, 2022, 1999]}, ["a", "b"]),
        ({"year": np.int64(2021)}, ["ab"]),
        ({"patient": None, "modality": "CT"}, ["c", "c2"]),
        ({"year": 2021.0}, ["ab"]),
        ({"year": {2020, 2021}}, ["a", "ab"]),
        ({"year": (2020, 2021)}, ["a", "ab"]),
        ({"year": range(2020, 2022)}, ["a", "ab"]),
        ({"year": np.array([2020.0, 2021.0])}, ["a", "ab"]),
        ({"modality": np.array(["CT", "MR"])}, ["c", "c2"]),
        ({"modality": frozenset({"CT"})}, ["c", "c2"]),
        ({"modality": np.str_("CT")}, ["c", "c2"]),
        ({"normal": True}, ["a", "b"]),
        ({"normal": np.bool_(False)}, ["ab", "c"]),
        ({"normal": [True, None]}, ["a", "b", "c2"]),
        ({"age": 61}, ["a"]),
        ({"age": np.float32(0.5)}, ["ab"]),
        ({"age": 1e-5}, ["b"]),
        ({"age": -1}, ["c"]),
        ({"modality": ["CT", None]}, ["c", "c2"]),
        ({"modality": []}, []),
        ({"uri": "a' OR '1' = '1"}, []),
        ({"uri": ["x", "b') OR (1 = 1"]}, []),
    ):
        assert sorted(uris(searcher.search("1 0 0", where=where))) == expected, where


def test_a_filter_of_values_belongs_to_the_question_whatever_holds_them(searcher):
    years = list(range(2000, 2023))
    first = searcher.search("1 0 0", where={"year": set(years)}, top_k=1)
    second = searcher.search("1 0 0", where={"year": {*reversed(years)}}, cursor=first.cursor)
    assert uris(first) + uris(second) == ["a", "ab", "b"]
    # An array of so many numbers is not told in full.
    many = np.arange(5000)
    other = np.where(many == 2021, 9999, many)
    cursor = searcher.search("1 0 0", where={"year": many}, top_k=1).cursor
    with pytest.raises(InvalidQuery, match="of another query"):
        searcher.search("1 0 0", where={"year": other}, cursor=cursor)


def test_an_entry_of_a_list_column_is_a_filter(tmp_path):
    flagged = [instance("a", flags=("window_fallback", "x")), instance("b", flags=("x",)), instance("c")]
    gallery = gallery_of(tmp_path / "g", ROWS[:3], flagged)
    searcher = Searcher(gallery, ByHand(), open_index(gallery))
    assert uris(searcher.search("1 0 0", where={"flags": "window_fallback"})) == ["a"]
    assert uris(searcher.search("1 0 0", where={"flags": ["window_fallback", "x"]})) == ["a", "b"]


@pytest.mark.parametrize(
    ("where", "problem"),
    [
        ({"sex": "F"}, "no column sex. Columns: image_id, "),
        ({"embedding": 1}, "no column embedding"),
        ({'modality" = "modality': 1}, "no column"),
        ({}, "names no column"),
        ({"year": float("nan")}, "year is to be nan"),
        ({"year": {"a": 1}}, "year is to be"),
        ({"year": True}, "year is to be True, and holds whole numbers; give these"),
        ({"year": "2021"}, "year is to be '2021', and holds whole numbers"),
        ({"year": 2020.5}, "year is to be 2020.5, and holds whole numbers"),
        ({"year": 10**30}, "year is to be 10{30}, and holds whole numbers"),
        ({"modality": 5}, "modality is to be 5, and holds text"),
        ({"modality": b"CT"}, "modality is to be b'CT', and holds text"),
        ({"modality": [["CT"]]}, r"modality is to be \['CT'\], and holds text"),
        ({"flags": 5}, "flags is to be 5, and holds text"),
        ({"age": "61"}, "age is to be '61', and holds numbers"),
        ({"age": float("inf")}, "age is to be inf, and holds numbers"),
    ],
)
def test_values_that_cannot_be_a_filter_are_refused(searcher, where, problem):
    with pytest.raises(InvalidQuery, match=f"filter: .*{problem}"):
        searcher.search("1 0 0", where=where)


def test_a_filter_is_read_once_while_it_is_repeated(searcher, monkeypatch):
    asked = []
    select = searcher.gallery.select
    monkeypatch.setattr(searcher.gallery, "select", lambda where: asked.append(where) or select(where))
    for _ in range(3):
        searcher.search("1 0 0", where="year > 2020")
    assert asked == ["year > 2020"]
    for number in range(9):
        searcher.search("1 0 0", where=f"year > {number}")
    searcher.search("1 0 0", where="year > 2020")
    assert asked.count("year > 2020") == 2


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"text": "1 0 0", "top_k": 2.5}, "top_k is 2.5; give a whole number"),
        ({"text": "1 0 0", "group_by": "sex"}, "group_by is 'sex'; use image, patient, study, series"),
        ({"text": "1 0 0", "min_relevance": float("nan")}, "min_relevance is nan"),
        ({"text": "1 0 0", "without": [" "]}, "text is empty"),
        ({"like": ["a"]}, "an image id is 'a'"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(query, problem):
    with pytest.raises(InvalidQuery, match=problem):
        Query(**query)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ({"text": 5}, "a text is of type int; give a str"),
        ({"text": b"1 0 0"}, "a text is of type bytes"),
        (
            {"text": "1 0 0", "without": "0 1 0"},
            r'without is of type str; give a list, such as without=\["eff',
        ),
        ({"text": "1 0 0", "without": [5]}, "a text is of type int"),
        ({"images": "case.dcm"}, r'images is of type str; give a list, such as images=\["case.dcm"\]'),
        ({"images": b"abc"}, "images is of type bytes; give a list"),
        ({"images": picture(1, 2, 3)}, r"images is an array of shape \(5, 4, 3\); give a list"),
        ({"images": [None]}, "an image is of type NoneType; give a file's path"),
        ({"images": 7}, "images is of type int; give a list"),
        ({"like": 5}, r"like is of type int; give a list, such as like=\[181\]"),
        ({"like": "5"}, "like is of type str; give a list"),
        ({"like": {5}}, "like is of type set; give a list"),
        ({"like": [True]}, "an image id is True; give a whole number"),
        ({"like": [5.0]}, "an image id is 5.0; give a whole number"),
        ({"parts": "1 0 0"}, r'parts is of type str; give a list, such as parts=\[Text\("effusion"\)\]'),
        ({"parts": Text("1 0 0")}, "parts is of type Text; give a list"),
        ({"parts": ["1 0 0"]}, "a part is of type str; give Text, Image, Like or Study"),
        ({"study": ["a"]}, "the study is of type list; give one as text"),
        ({"text": "1 0 0", "min_relevance": "3"}, "min_relevance is '3'; give a number"),
        ({"text": "1 0 0", "top_k": True}, "top_k is True"),
        ({"text": "1 0 0", "cursor": 5}, "cursor is of type int"),
        ({"text": "1 0 0", "where": ["modality"]}, "where is of type list; give a condition"),
        ({"text": "1 0 0", "where": 5}, "where is of type int; give a condition"),
    ],
)
def test_what_is_of_another_type_is_refused_with_what_to_write(searcher, query, problem):
    with pytest.raises(InvalidQuery, match=problem):
        searcher.search(**query)


def test_parts_of_another_type_are_refused_with_what_to_write(searcher):
    for make, problem in (
        (lambda: Text(5), "a text is of type int"),
        (lambda: Text(""), "the text is empty"),
        (lambda: Like(5.7), "an image id is 5.7; give a whole number"),
        (lambda: Like("x"), "an image id is 'x'"),
        (lambda: Study(5), "the study is of type int"),
        (lambda: Image(None), "an image is of type NoneType"),
        (lambda: Image("x", (0, 0, float("inf"), 2)), r"region .*; give x0, y0, x1, y1 in whole pixels"),
        (lambda: Image("x", (0, 0, float("nan"), 2)), r"region .*; give x0, y0, x1, y1 in whole pixels"),
        (lambda: Image("x", "0,0,2,2"), r"region .*; give x0, y0, x1, y1 in whole pixels"),
        (lambda: Text("x", "2"), "a weight is '2'; give a number"),
        (lambda: Text("x", None), "a weight is None; give a number"),
        (lambda: Text("x", True), "a weight is True; give a number"),
        (lambda: searcher.search_all("1 0 0"), "takes a list of queries"),
        (lambda: searcher.search_all(Query("1 0 0")), "takes a list of queries"),
        (lambda: searcher.search_all([5]), "a text is of type int"),
    ):
        with pytest.raises(InvalidQuery, match=problem):
            make()


def test_ids_and_numbers_of_numpy_are_taken(searcher):
    assert uris(searcher.search(like=np.array([1]))) == uris(searcher.search(like=[1]))
    parts = [Text("1 0 0", np.float32(2)), Text("1 0 0", Fraction(1, 3)), Like(np.int64(3))]
    assert len(searcher.search(parts=parts, top_k=np.int32(2), min_relevance=np.float64(-9))) == 2


def test_weights_may_be_of_any_size_for_only_their_proportion_counts(searcher):
    expected = [(hit.instance.uri, hit.score) for hit in searcher.search("1 0 0")]
    for weight in (1e-7, 1e-300, 1e160, 1e308):
        hits = searcher.search(parts=[Text("1 0 0", weight)])
        assert [(hit.instance.uri, hit.score) for hit in hits] == expected
    expected = [hit.score for hit in searcher.search(parts=[Text("1 0 0", 2), Text("0 1 0", 1)])]
    hits = searcher.search(parts=[Text("1 0 0", 1e308), Text("0 1 0", 0.5e308)])
    assert [hit.score for hit in hits] == pytest.approx(expected)


def test_a_picture_that_a_batch_has_again_is_read_and_embedded_once(searcher, monkeypatch, tmp_path):
    file = tmp_path / "x.png"
    file.write_bytes(png(picture(200, 0, 0)))
    array = picture(0, 200, 0)
    read = []
    read_one = searcher._guard.read
    monkeypatch.setattr(searcher._guard, "read", lambda *asked: read.append(asked) or read_one(*asked))
    queries = [
        Query(f"1 {number} 0", images=[file, str(file), array, Image(file, [0, 0, 2, 2])])
        for number in range(20)
    ]
    alone = [searcher.search_all([query])[0] for query in queries]
    read.clear(), searcher.encoder.calls.clear()
    assert searcher.search_all(queries) == alone
    assert len(read) == 3  # the path as text is another key
    assert searcher.encoder.calls == [20, 4]


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_is_above_zero(weight):
    for part in (Text, Image, Like, Study):
        with pytest.raises(InvalidQuery, match="a weight is"):
            part(1 if part is Like else "x", weight=weight)
