"""Blocks of labelled images and groups: what NumPy says of all rows at once."""

import itertools

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labelled import calibration, classifier, expected, random_gallery, random_labeller
from scipy.special import expit, softmax

from medsiglip_search.errors import InvalidQuery
from medsiglip_search.gallery import Gallery
from medsiglip_search.labelling import studies
from medsiglip_search.labelling.run import in_blocks, labelled_blocks
from medsiglip_search.labelling.studies import count_groups, labelled_groups
from medsiglip_search.labelling.task import Task
from medsiglip_search.labels.calibration import FindingCalibration
from medsiglip_search.labels.labeller import Labeller


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    years = [2000 + number % 3 for number in range(5000)]
    return random_gallery(tmp_path_factory.mktemp("g") / "g", 5000, year=years)


def together(blocks):
    blocks = list(blocks)
    return (
        np.concatenate([block.image_ids for block in blocks]),
        *(
            np.concatenate([getattr(block.labelled, name) for block in blocks])
            for name in ("scores", "probabilities", "decisions")
        ),
    )


@pytest.mark.parametrize("where", [None, "year = 2001", "image_id > 4990"])
@pytest.mark.parametrize("mode", ["findings", "exclusive"])
def test_every_image_gets_the_scores_that_numpy_computes(gallery, where, mode):
    labeller = random_labeller(mode=mode)
    ids, scores = expected(gallery, labeller, where)
    found = together(labelled_blocks(gallery, labeller, where=where))
    assert np.array_equal(found[0], ids)
    assert found[1] == pytest.approx(scores, abs=2e-6)
    logits = 4 * scores
    assert found[2] == pytest.approx(
        expit(logits) if mode == "findings" else softmax(logits, axis=1), abs=1e-5
    )
    assert [array.dtype for array in found[1:]] == [np.float32, np.float32, np.int8]
    if mode == "findings":
        sure = np.abs(scores) > 1e-5
        assert np.array_equal(found[3][sure], (scores > 0)[sure])
    else:
        assert np.array_equal(found[3].argmax(axis=1), scores.argmax(axis=1))
        assert (found[3].sum(axis=1) == 1).all()


def test_what_comes_after_whole_blocks_is_the_same_to_the_last_bit(gallery):
    labeller = random_labeller()
    everything, rest = (together(labelled_blocks(gallery, labeller, start=start)) for start in (0, 2048))
    assert all(np.array_equal(all_[2048:], some) for all_, some in zip(everything, rest, strict=True))


def test_keys_name_each_image(gallery):
    block = next(labelled_blocks(gallery, random_labeller(), where="year = 2002"))
    assert block.keys.slice(0, 2).to_pylist() == [
        {"image_id": 3, "archive": "/data/archive", "uri": '2 "a", b.png', "frame": 0},
        {"image_id": 6, "archive": "/data/archive", "uri": '5 "a", b.png', "frame": 0},
    ]


@given(sizes=st.lists(st.integers(0, 9), max_size=12), rows=st.integers(1, 7))
def test_blocks_are_of_one_size_and_keep_all_rows(sizes, rows):
    ends = np.cumsum([0, *sizes])
    batches = [pa.record_batch({"n": np.arange(start, end)}) for start, end in itertools.pairwise(ends)]
    blocks = list(in_blocks(batches, rows))
    assert [n for block in blocks for n in block["n"].to_pylist()] == list(range(ends[-1]))
    assert all(len(block) == rows for block in blocks[:-1])
    assert all(0 < len(block) <= rows for block in blocks)


PATIENTS = st.lists(st.sampled_from(["a", "b", "c", "d", None, ""]), min_size=1, max_size=40)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(patients=PATIENTS, pool=st.sampled_from(["max", "mean"]), block=st.integers(1, 9))
def test_groups_are_pooled_as_numpy_pools_them(tmp_path_factory, monkeypatch, patients, pool, block):
    gallery = random_gallery(tmp_path_factory.mktemp("g") / "g", len(patients), patient=patients)
    labeller = random_labeller()
    with monkeypatch.context() as patch:
        patch.setattr(studies, "BLOCK_ROWS", block)
        patch.setattr("medsiglip_search.labelling.run.in_blocks.__defaults__", (block,))
        blocks = list(labelled_groups(gallery, labeller, "patient", pool=pool))
    keys = [row for one in blocks for row in one.keys.to_pylist()]
    scores = np.concatenate([one.labelled.scores for one in blocks])
    _, of_images = expected(gallery, labeller)
    groups: dict = {}
    for number, patient in enumerate(patients):
        groups.setdefault(patient or number, []).append(number)
    assert len(keys) == len(groups) == count_groups(gallery, "patient")
    for key, row in zip(keys, scores, strict=True):
        members = groups.pop(key["patient"] or key["first_image_id"] - 1)
        assert key["images"] == len(members)
        assert key["first_image_id"] == members[0] + 1
        pooled = of_images[members].max(axis=0) if pool == "max" else of_images[members].mean(axis=0)
        assert row == pytest.approx(pooled, abs=2e-6)


def test_a_finding_in_any_image_is_in_its_study_and_a_modality_is_what_all_images_say(tmp_path):
    studies_of = ["s", "s", "t"]
    gallery = random_gallery(tmp_path / "g", 3, dim=2, study=studies_of)
    _ids, scores = expected(gallery, Labeller(classifier([[1, 0], [0, 1]], ["x", "y"])))
    findings = next(labelled_groups(gallery, Labeller(classifier([[1, 0], [0, 1]], ["x", "y"])), "study"))
    assert findings.labelled.scores[0] == pytest.approx(scores[:2].max(axis=0), abs=1e-6)
    assert findings.labelled.decisions[0].tolist() == (scores[:2].max(axis=0) >= 0).tolist()
    exclusive = Labeller(classifier([[1, 0], [0, 1]], ["x", "y"], "exclusive"))
    means = next(labelled_groups(gallery, exclusive, "study"))
    assert means.labelled.scores[0] == pytest.approx(scores[:2].mean(axis=0), abs=1e-6)
    assert means.labelled.probabilities[1] == pytest.approx(softmax(4 * scores[2]), abs=1e-6)
    assert means.keys.to_pylist() == [
        {"study": "s", "images": 2, "first_image_id": 1},
        {"study": "t", "images": 1, "first_image_id": 3},
    ]


def test_images_outside_the_filter_do_not_count_in_their_study(tmp_path):
    gallery = random_gallery(tmp_path / "g", 4, study=["s", "s", "t", "t"], year=[1, 2, 1, 1])
    (block,) = labelled_groups(gallery, random_labeller(), "study", where="year = 1")
    assert block.keys.to_pylist() == [
        {"study": "s", "images": 1, "first_image_id": 1},
        {"study": "t", "images": 2, "first_image_id": 3},
    ]


def test_a_calibration_counts_for_studies_too(tmp_path):
    gallery = random_gallery(tmp_path / "g", 2, dim=2, study=["s", "s"])
    fitted = calibration({"x": FindingCalibration(slope=2, intercept=-1, threshold=0.9)})
    labeller = Labeller(classifier([[1, 0], [0, 1]], ["x", "y"]), fitted)
    (block,) = labelled_groups(gallery, labeller, "study")
    best = expected(gallery, labeller)[1].max(axis=0)
    assert block.labelled.calibrated[0, 0] == pytest.approx(expit(8 * best[0] - 1), abs=1e-5)
    assert np.isnan(block.labelled.calibrated[0, 1])


@pytest.mark.parametrize("where", [None, "year > 2100"])
def test_nothing_to_label_is_told(tmp_path, where):
    gallery = random_gallery(tmp_path / "g", 0 if where is None else 3)
    told = "holds no image to label" if where is None else "no image fits the filter"
    with pytest.raises(InvalidQuery, match=told):
        _ = Task(gallery, random_labeller(), where).count


def test_groups_that_were_passed_over_are_not_given_again(tmp_path):
    gallery = random_gallery(tmp_path / "g", 6, study=list("aabbcc"))
    task = Task(gallery, random_labeller(), group_by="study")
    assert [row["study"] for block in task.blocks(1) for row in block.keys.to_pylist()] == ["b", "c"]
    assert task.count == 3
    assert isinstance(gallery, Gallery)
