"""Groups, duplicates, the patient asked about, cases and pages, against NumPy on galleries made at random."""

import io
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pydicom.data
import pytest
from by_hand import ByHand, picture, png
from galleries import gallery_of, instance, unit
from hypothesis import given, settings
from hypothesis import strategies as st
from work import at_most

from medsiglip_search.errors import CursorExpired, InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.identifiers import identifiers_for
from medsiglip_search.images import open_image, pixel_digest
from medsiglip_search.index import open_index
from medsiglip_search.queries import Query
from medsiglip_search.querying.grouping import Groups
from medsiglip_search.querying.ranking import Asked, pictures
from medsiglip_search.records import Attributes
from medsiglip_search.search import Searcher


def searcher_of(path: Path, rows, instances) -> Searcher:
    gallery = gallery_of(path, rows, instances)
    return Searcher(gallery, ByHand(), open_index(gallery))


def of(patient, study, uri, pixels="", **attributes):
    one = instance(uri, patient=patient, study=study, series=study and f"{study}1", **attributes)
    return replace(one, pixel_digest=pixels or one.pixel_digest)


ROWS = [[9, 1, 0], [9, 2, 0], [9, 3, 0], [9, 4, 0], [0, 0, 9], [9, 4, 0], [0, 9, 0]]
INSTANCES = [
    of("p1", "s1", "a1"),
    of("p1", "s1", "a2"),
    of("p1", "s2", "b1"),
    of("p2", "s3", "c1", "same"),
    of("p2", "s3", "c2"),
    of("p3", "s4", "d1", "same"),
    of(None, None, "e1"),
]


@pytest.fixture(scope="module")
def searcher(tmp_path_factory):
    return searcher_of(tmp_path_factory.mktemp("groups") / "g", ROWS, INSTANCES)


def uris(hits):
    return [hit.instance.uri for hit in hits]


def test_each_group_has_one_hit_its_best_image(searcher):
    assert uris(searcher.search("1 0 0", group_by="patient")) == ["a1", "c1", "d1", "e1"]
    assert uris(searcher.search("1 0 0", group_by="study")) == ["a1", "b1", "c1", "d1", "e1"]
    assert uris(searcher.search("1 0 0", group_by="series", top_k=2)) == ["a1", "b1"]
    assert uris(searcher.search("0 0 1", group_by="patient", top_k=1)) == ["c2"]


def test_images_of_equal_pixels_are_shown_once_and_counted(searcher):
    hits = searcher.search("1 0 0")
    assert uris(hits) == ["a1", "a2", "b1", "c1", "c2", "e1"]
    assert [hit.count for hit in hits] == [1, 1, 1, 2, 1, 1]
    (hit,) = searcher.search("1 0 0", where="patient = 'p3'")
    assert (hit.instance.uri, hit.count) == ("d1", 1)


def test_of_equal_pixels_the_lowest_id_is_the_hit_also_where_their_embeddings_differ(tmp_path):
    rows = [[9, 1, 0], [9, 0, 0], [9, 5, 0], [0, 0, 9]]
    instances = [of(f"p{n}", f"s{n}", f"{n}", pixels) for n, pixels in enumerate(["a", "a", "b", "c"])]
    searcher = searcher_of(tmp_path / "g", rows, instances)
    hits = searcher.search("1 0 0")
    assert [(hit.instance.uri, hit.count) for hit in hits] == [("0", 2), ("2", 1), ("3", 1)]
    assert hits[0].score == pytest.approx(9 / 82**0.5, abs=1e-3)
    # Where the lower one may be no hit, the other is.
    assert uris(searcher.search("1 0 0", where={"patient": ["p1", "p2"]})) == ["1", "2"]


def test_a_patient_with_nothing_but_a_copy_is_a_hit_as_well(tmp_path):
    rows = [[9, 1, 0], [9, 0, 0], [9, 0, 0], [0, 9, 0]]
    owners, pixels = ["p0", "p1", "p1", "p2"], ["a", "a", "a", "c"]
    instances = [of(who, f"s{who}", f"{n}", pixels[n]) for n, who in enumerate(owners)]
    searcher = searcher_of(tmp_path / "g", rows, instances)
    for group_by in ("patient", "study", "series"):
        hits = searcher.search("1 0 0", group_by=group_by)
        # p1 has the picture twice, and it counts once.
        assert [(hit.instance.uri, hit.count) for hit in hits] == [("1", 1), ("0", 1), ("3", 1)]
    files = [png(picture(200, 0, 0)), png(picture(200, 0, 0))]
    assert uris(searcher.search(images=files, as_case=True)) == ["1", "0", "3"]


class Fetching:
    """An index that notes how many rows are asked of it, and among how many."""

    def __init__(self, gallery):
        self.index, self.asked = open_index(gallery), []

    def search(self, queries, top_k, allowed=None):
        self.asked.append((top_k, None if allowed is None else len(allowed)))
        return self.index.search(queries, top_k, allowed)


def test_no_more_rows_are_fetched_once_every_group_is_met(tmp_path):
    rows = unit(np.random.default_rng(0).standard_normal((3000, 3)) + 1)
    instances = [of(f"p{n // 1500}", f"s{n // 3}", f"{n}", year=2000 + n // 1500) for n in range(3000)]
    gallery = gallery_of(tmp_path / "g", rows, instances)
    searcher = Searcher(gallery, ByHand(), Fetching(gallery))
    fetched = searcher.index.asked
    assert len(searcher.search("1 0 0", group_by="patient", where={"year": 2000})) == 1
    assert len(searcher.search("1 0 0", group_by="patient")) == 2
    files = [png(picture(200, 0, 0)), png(picture(0, 200, 0))]
    assert len(searcher.search(images=files, as_case=True, group_by="patient")) == 2
    assert max(count for count, _ in fetched) <= 200
    # The patient of image 1 has half of the gallery.
    fetched.clear()
    hits = searcher.search(like=[1], group_by="patient")
    assert [hit.instance.attributes.patient for hit in hits] == ["p1"]
    assert len(searcher.search(like=[1], where={"year": 2000})) == 0
    assert [among for _, among in fetched] == [1500, 0]
    assert fetched[0][0] <= 200


def test_a_million_equal_pixels_are_not_gone_through_one_by_one():
    # Each compared with each would take minutes, or more memory than there is.
    image_ids = np.arange(1, 1_000_001)
    one = Groups(image_ids, np.zeros(len(image_ids), np.int64))
    asked = Asked(np.ones((1, 3), np.float32), image_ids[:0], one, one, 1)
    with at_most(calls=10_000):
        assert pictures(asked, 0, None).tolist() == [1]


def test_threads_share_a_searcher(tmp_path):
    searcher, *_ = random_searcher(tmp_path / "g", 3)
    queries = [
        Query("1 0 0", group_by=group_by, where={"year": year}, top_k=3)
        for group_by in ("image", "patient", "study", "series")
        for year in range(2000, 2003)
    ] + [Query(study="s0", top_k=3), Query(like=[1], top_k=3)]
    expected = [searcher.search_all([query])[0] for query in queries]
    read = []
    again = Searcher(searcher.gallery, ByHand(), searcher.index)
    row_batches = again.gallery.row_batches

    def slowly(columns):
        read.append(tuple(columns))
        time.sleep(0.05)
        return row_batches(columns)

    again.gallery.row_batches = slowly
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda query: again.search_all([query])[0], queries)) == expected
    assert len(read) == len(set(read)) == 4


def test_a_writer_on_the_gallery_that_was_handed_over_does_not_move_the_searcher(tmp_path):
    gallery = gallery_of(tmp_path / "g", ROWS, INSTANCES)
    searcher = Searcher(gallery, ByHand(), open_index(gallery))
    before = searcher.search("1 0 0")
    with gallery.writer() as writer:
        writer.delete("image_id = 1")
    assert searcher.search("1 0 0") == before
    assert uris(searcher.refreshed().search("1 0 0"))[0] == "a2"


def test_images_without_an_identifier_are_groups_of_their_own(tmp_path):
    rows = [[1, 0, 0], [1, 1, 0], [0, 1, 0]]
    lone = [of(None, None, "a"), of("", "", "b"), of(None, None, "c")]
    assert uris(searcher_of(tmp_path / "g", rows, lone).search("1 0 0", group_by="patient")) == [
        "a",
        "b",
        "c",
    ]


def test_the_count_of_a_group_is_of_its_images_that_fit_the_filter_and_stand_out(tmp_path):
    # Many images about nothing, and two patients with three images each of what is asked for.
    rng = np.random.default_rng(0)
    noise = unit(np.c_[np.zeros(400), rng.standard_normal((400, 2)) + 9])
    rows = [*noise, *[[9, 0, 0]] * 3, [0, 5, 5], *[[9, 0, 0]] * 3]
    who = [*[f"q{n}" for n in range(400)], *["p1"] * 4, *["p2"] * 3]
    instances = [of(patient, patient, f"{n}", year=2000 + n % 2) for n, patient in enumerate(who)]
    searcher = searcher_of(tmp_path / "g", rows, instances)
    hits = searcher.search("1 0 0", group_by="patient", top_k=3)
    assert [(hit.instance.attributes.patient, hit.count) for hit in hits[:2]] == [("p1", 3), ("p2", 3)]
    assert hits[2].count == 1
    fitting = searcher.search("1 0 0", group_by="patient", where={"year": 2000}, top_k=2)
    assert [(hit.instance.attributes.patient, hit.count) for hit in fitting] == [("p1", 2), ("p2", 2)]


def test_a_stored_image_answers_with_other_patients_unless_told_otherwise(searcher):
    found = searcher.search(like=[1])
    assert uris(found) == ["c1", "e1", "c2"]
    assert found.notes == ("more images of the same patient, left out: 2",)
    assert uris(searcher.search(like=[1], other_patients=False)) == ["a2", "b1", "c1", "e1", "c2"]
    # d1 has the same pixels, and another patient.
    assert "d1" not in uris(searcher.search(like=[4], other_patients=False))
    assert uris(searcher.search(like=[7], top_k=2)) == ["c1", "b1"]


def test_a_stored_study_is_not_its_own_answer(searcher):
    assert uris(searcher.search(study="s1")) == ["c1", "d1", "e1"]
    assert uris(searcher.search(study="s1", other_patients=False)) == ["b1", "c1", "d1", "e1"]
    with pytest.raises(InvalidQuery, match="no study 'nowhere'"):
        searcher.search(study="nowhere")


def test_a_query_file_leaves_its_patient_out_on_request(tmp_path):
    file = pydicom.data.get_testdata_file("CT_small.dcm")
    with open_image(file) as opened:
        read = opened.read()
    gallery = Gallery.create(tmp_path / "g", gallery_of(tmp_path / "other", [[1, 0, 0]]).meta)
    patient = identifiers_for(gallery).attributes(Attributes(patient=read.attributes.patient)).patient
    rows = unit([[1, 1, 1], [1, 1, 0.9], [1, 1, 0.8], [1, 1, 0.7]])
    instances = [
        of(patient, "s1", "own"),
        of("other", "s2", "copy", pixel_digest(read.pixels)),
        of("other", "s3", "other"),
        of(None, None, "unknown"),
    ]
    with gallery.writer() as writer:
        writer.commit(instances, [b""] * 4, rows, [])
    searcher = Searcher(gallery, ByHand(), open_index(gallery))
    assert len(searcher.search(images=[file])) == 4
    # The copy is in the gallery, and so is the patient that the gallery gave it.
    assert uris(searcher.search(images=[file], other_patients=True)) == ["unknown"]
    bare = io.BytesIO()
    nameless = pydicom.dcmread(file)
    nameless.PatientID = ""
    nameless.PixelData = (nameless.pixel_array[::-1].copy()).tobytes()
    nameless.save_as(bare)
    result = searcher.search(images=[bare.getvalue()], other_patients=True)
    assert len(result) == 4
    assert result.notes == ("the query's files name no patient: nothing is left out",)


def test_a_gallery_without_patients_says_that_it_cannot_leave_one_out(tmp_path):
    meta = replace(gallery_of(tmp_path / "other", [[1, 0, 0]]).meta, identifiers="drop")
    gallery = Gallery.create(tmp_path / "g", meta)
    with gallery.writer() as writer:
        writer.commit([of(None, None, "a"), of(None, None, "b")], [b""] * 2, unit([[1, 0, 0], [0, 1, 0]]), [])
    result = Searcher(gallery, ByHand(), open_index(gallery)).search(like=[1])
    assert uris(result) == ["b"]
    assert result.notes == (
        "the gallery stores no patients: only pictures with the same pixels are left out",
    )


def test_a_case_is_scored_by_the_best_match_of_each_of_its_images(tmp_path):
    rows = [[1, 0, 0], [0, 1, 0], [9, 8, 0], [9, 7, 0], [1, 0, 0.5], [0, 1, 0.5]]
    studies = ["asked", "asked", "blur", "blur", "both", "both"]
    instances = [of(study, study, f"{study}{n}") for n, study in enumerate(studies)]
    searcher = searcher_of(tmp_path / "g", rows, instances)
    hits = searcher.search(study="asked")
    # Each image of "both" is as near to one image asked about as cos 26.6; those of "blur" lie between them.
    assert [hit.instance.attributes.study for hit in hits] == ["both", "blur"]
    cosines = unit(rows[:2]) @ unit(rows[2:]).T
    expected = [cosines[:, 2:].max(axis=1).mean(), cosines[:, :2].max(axis=1).mean()]
    assert [hit.score for hit in hits] == pytest.approx(expected, abs=1e-3)
    # The mean of the two would find the blur.
    assert searcher.search(like=[1, 2], top_k=1)[0].instance.attributes.study == "blur"
    files = [png(picture(200, 0, 0)), png(picture(0, 200, 0))]
    hits = searcher.search(images=files, as_case=True, where="study <> 'asked'")
    assert [hit.instance.attributes.study for hit in hits] == ["both", "blur"]
    assert searcher.search(images=files, where="study <> 'asked'")[0].instance.attributes.study == "blur"


def test_a_case_finds_a_study_that_is_far_down_the_list_of_each_of_its_images(tmp_path):
    # Sixty studies are nearer to one of the two images asked about, and far from the other.
    near = [[9, -1, number] for number in np.linspace(0, 1, 30)] + [[-1, 9, n] for n in np.linspace(0, 1, 30)]
    rows = [[1, 0, 0], [0, 1, 0], *near, [6, 5, 0]]
    studies = ["asked", "asked", *[f"near{n}" for n in range(60)], "between"]
    instances = [of(study, study, f"{n}") for n, study in enumerate(studies)]
    hits = searcher_of(tmp_path / "g", rows, instances).search(study="asked", top_k=1)
    assert [hit.instance.attributes.study for hit in hits] == ["between"]


def random_searcher(path: Path, seed: int, images: int = 120) -> tuple[Searcher, np.ndarray, np.ndarray]:
    """Make a gallery of coarse embeddings, so that scores tie; returns its rows and their groups."""
    rng = np.random.default_rng(seed)
    rows = unit(rng.integers(-2, 3, (images, 3)) + np.array([0.5, 0, 0]))
    patients = rng.integers(0, 25, images)
    studies = patients * 3 + rng.integers(0, 3, images)
    pixels = np.arange(images)
    shuffled = rng.permutation(images)
    copies, originals = np.split(shuffled, [images // 5])
    copied = rng.choice(originals, len(copies))
    pixels[copies], rows[copies] = pixels[copied], rows[copied]
    instances = [
        of(f"p{patients[n]}", f"s{studies[n]}", f"{n}", f"x{pixels[n]}", year=2000 + n % 3)
        for n in range(images)
    ]
    return searcher_of(path, rows, instances), unit(rows), np.stack([pixels, patients, studies])


@pytest.fixture(scope="module")
def galleries(tmp_path_factory):
    return [random_searcher(tmp_path_factory.mktemp("random") / "g", seed) for seed in range(3)]


def embedded(rows):
    """Return unit rows, (n, 3) float32, as search has them, to the last bit: many scores tie but for it."""
    rows = rows.astype(np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def ranked(gallery, queries, pixels, codes, allowed):
    """Return the image_ids of the best image of each group by the mean of its best cosines, best first."""
    # Of equal pixels the first one in each group that may be a hit counts.
    places = np.flatnonzero(allowed)
    pairs = np.stack([codes[places], pixels[places]])
    places = places[np.sort(np.unique(pairs, axis=1, return_index=True)[1])]
    stored = gallery.embeddings_of(places + 1).astype(np.float64)
    cosines = queries.astype(np.float64) @ stored.T
    best = []
    for code in np.unique(codes[places]):
        inside = np.flatnonzero(codes[places] == code)
        score = cosines[:, inside].max(axis=1).mean()
        nearest = inside[cosines[:, inside].mean(axis=0).astype(np.float32).argmax()]
        best.append((-np.float32(score), places[nearest] + 1))
    return [int(image_id) for _, image_id in sorted(best)]


@settings(max_examples=60, deadline=None)
@given(
    which=st.integers(0, 2),
    group=st.sampled_from(["image", "patient", "study"]),
    year=st.sampled_from([None, 2001]),
    query=st.tuples(*[st.integers(-3, 3)] * 3).filter(any),
    size=st.integers(1, 40),
)
def test_pages_joined_are_the_one_long_answer_that_numpy_gives(galleries, which, group, year, query, size):
    searcher, rows, columns = galleries[which]
    text = " ".join(map(str, query))
    where = None if year is None else {"year": year}
    allowed = np.ones(len(rows), bool) if year is None else np.arange(len(rows)) % 3 == year - 2000
    codes = columns[["image", "patient", "study"].index(group)]
    expected = ranked(searcher.gallery, embedded(unit([query])), columns[0], codes, allowed)
    whole = searcher.search(text, group_by=group, where=where, top_k=10**9)
    assert [hit.instance.image_id for hit in whole] == expected
    assert whole.cursor is None
    pages, cursor = [], None
    while not pages or cursor:
        page = searcher.search(text, group_by=group, where=where, top_k=size, cursor=cursor)
        pages += page
        cursor = page.cursor
    assert pages == list(whole)


@settings(max_examples=40, deadline=None)
@given(which=st.integers(0, 2), study=st.integers(0, 119), top_k=st.integers(1, 30))
def test_cases_are_ranked_as_numpy_ranks_them(galleries, which, study, top_k):
    searcher, _, (pixels, _, studies) = galleries[which]
    asked = np.flatnonzero(studies == studies[study])
    allowed = ~np.isin(pixels, pixels[asked])
    queries = embedded(searcher.gallery.embeddings_of(asked + 1))
    expected = ranked(searcher.gallery, queries, pixels, studies, allowed)[:top_k]
    hits = searcher.search(study=f"s{studies[study]}", other_patients=False, top_k=top_k)
    scores = {hit.instance.image_id: hit.score for hit in hits}
    assert list(scores) == expected


def test_a_cursor_expires_with_its_version_and_belongs_to_its_query(tmp_path):
    searcher, *_ = random_searcher(tmp_path / "g", 9, 40)
    cursor = searcher.search("1 0 0", top_k=3).cursor
    for other in (
        {"text": "0 1 0"},
        {"text": "1 0 0", "where": "year > 0"},
        {"text": "1 0 0", "without": ["0 1 0"]},
    ):
        with pytest.raises(InvalidQuery, match="of another query"):
            searcher.search(**other, cursor=cursor)
    red, green = png(picture(200, 0, 0)), png(picture(0, 200, 0))
    of_red = searcher.search(images=[red], top_k=3).cursor
    assert searcher.search(images=[red], top_k=3, cursor=of_red)[0].rank == 4
    with pytest.raises(InvalidQuery, match="of another query"):
        searcher.search(images=[green], cursor=of_red)
    with searcher.gallery.writer() as writer:
        writer.commit([of("p", "s", "new")], [b""], unit([[1, 1, 1]]), [])
    with pytest.raises(CursorExpired):
        Searcher.open(searcher.gallery.path, ByHand()).search("1 0 0", cursor=cursor)


def test_hits_below_the_relevance_asked_for_are_left_out(galleries):
    searcher, *_ = galleries[0]
    whole = searcher.search("1 0 0", top_k=999)
    least = whole[20].relevance
    kept = searcher.search("1 0 0", top_k=999, min_relevance=least)
    assert list(kept) == [hit for hit in whole if hit.relevance >= least]
    assert 20 < len(kept) < len(whole)
    assert kept.cursor is None
    assert list(searcher.search("1 0 0", min_relevance=99)) == []


def test_several_queries_are_one_batch_and_answer_as_each_alone(galleries):
    searcher, _, (_, _, studies) = galleries[1]
    study = f"s{studies[0]}"
    queries = [
        Query("1 0 0"),
        Query("0 1 0 without 1 0 0", where={"year": 2001}, top_k=3),
        Query("1 0 0", images=[picture(0, 0, 200)], group_by="patient"),
        Query(study=study),
        Query("1 1 0", where={"year": 2001}),
    ]
    alone = [searcher.search_all([query])[0] for query in queries]
    searcher.encoder.calls.clear()
    searched = []
    search = searcher.index.search

    class Counting:
        def search(self, queries, top_k, allowed=None):
            searched.append(len(queries))
            return search(queries, top_k, allowed)

    counting = Searcher(searcher.gallery, searcher.encoder, Counting())
    assert counting.search_all(queries) == alone
    assert searcher.encoder.calls == [3, 1]
    assert searched[0] == (studies == studies[0]).sum() + 2
    assert counting.search_all([]) == []
    with pytest.raises(InvalidQuery, match="query 2 of 2: no study 'x'"):
        counting.search_all(["1 0 0", Query(study="x")])
