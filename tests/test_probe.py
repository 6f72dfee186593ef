"""Probes: trained on few images, measured on other patients, kept without any code in the file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import meta, unit
from safetensors.numpy import load_file, save_file
from sklearn.linear_model import LogisticRegression
from truths import truth as truth_by_hand

from medsiglip_search.errors import GalleryMismatch, TooFewExamples, UnusableFile
from medsiglip_search.labels.labeller import PRESENT, Labeller
from medsiglip_search.labels.probe import Probe, load_probe, write_probe
from medsiglip_search.labels.probing import STRENGTHS, train_probe
from medsiglip_search.truth import Truth

LABELS = ("a", "b")


@pytest.fixture(scope="module")
def examples() -> tuple[np.ndarray, Truth]:
    """Embeddings in 8 dimensions: `a` lies along the first, `b` along the second; three images a patient."""
    rng = np.random.default_rng(0)
    embeddings = unit(rng.normal(size=(600, 8)))
    noise = 0.1 * rng.normal(size=(600, 2))
    return embeddings, truth_by_hand(embeddings[:, :2] + noise > 0.2, LABELS, patients=np.arange(600) // 3)


@pytest.fixture(scope="module")
def probe(examples: tuple[np.ndarray, Truth]) -> Probe:
    return train_probe("own", "findings", meta(8), *examples)


def test_a_probe_is_a_balanced_logistic_regression(probe, examples):
    embeddings, truth = examples
    classifier = probe.classifier
    assert probe.info.strength in STRENGTHS
    for column in range(2):
        expected = LogisticRegression(C=probe.info.strength, class_weight="balanced", max_iter=1000)
        expected.fit(embeddings, truth.present[:, column])
        assert classifier.scores(embeddings)[:, column] == pytest.approx(
            expected.decision_function(embeddings), abs=0.05
        )
    assert (classifier.labels, classifier.mode, classifier.kind, classifier.scale) == (
        LABELS,
        "findings",
        "probe",
        1,
    )
    decisions = Labeller(classifier).label(embeddings).decisions
    assert ((decisions == PRESENT) == (truth.present == 1)).mean() > 0.85


def test_how_good_it_is_was_measured_on_patients_it_was_not_shown(examples):
    embeddings, truth = examples
    # Each patient's three images are alike, and what they show is chance: nothing can be learnt of others.
    rng = np.random.default_rng(1)
    alike = unit(np.repeat(rng.normal(size=(200, 8)), 3, axis=0) + 0.01 * rng.normal(size=(600, 8)))
    chance = truth_by_hand(
        np.repeat(rng.random((200, 2)) > 0.5, 3, axis=0), LABELS, patients=np.arange(600) // 3
    )
    of_chance = train_probe("own", "findings", meta(8), alike, chance).info.auc
    assert all(0.3 < auc < 0.65 for auc in of_chance.values() if auc is not None)
    assert all(
        auc > 0.9 for auc in train_probe("own", "findings", meta(8), embeddings, truth).info.auc.values()
    )


def test_few_shots_are_of_different_patients(examples):
    embeddings, truth = examples
    info = train_probe("own", "findings", meta(8), embeddings, truth, shots=16).info
    assert info.shots == 16
    assert info.fitted_on.images <= 48
    assert info.fitted_on.patients >= info.fitted_on.images - 6
    assert all(14 <= count <= 16 for count in info.fitted_on.present.values())
    other = train_probe("own", "findings", meta(8), embeddings, truth, shots=16, seed=1)
    again = train_probe("own", "findings", meta(8), embeddings, truth, shots=16, seed=1)
    assert np.array_equal(other.weights, again.weights)
    assert not np.array_equal(
        other.weights, train_probe("own", "findings", meta(8), embeddings, truth, shots=16).weights
    )


def test_labels_take_turns_where_images_show_several(examples):
    embeddings, _ = examples
    # `rare` and `mid` are only ever seen with `wide`, of which no more than 16 images may be taken.
    place = np.random.default_rng(0).random(600)
    present = np.column_stack([place < 0.06, (place >= 0.06) & (place < 0.16), place < 0.3])
    truth = truth_by_hand(present, ("rare", "mid", "wide"), patients=np.arange(600) // 3)
    probe = train_probe("own", "findings", meta(8), embeddings, truth, shots=16)
    counts = probe.info.fitted_on.present
    assert counts["wide"] == 16
    assert all(counts[label] >= 5 for label in ("rare", "mid"))
    assert np.isfinite(probe.weights).all()


def test_few_shots_are_of_images_that_something_is_known_of(examples):
    embeddings, truth = examples
    # Fewer than 16 images are known to lack both: those of which nothing is known must not stand in.
    present = truth.present.copy()
    present[20:] = -1
    lacking = int((present[:20] == 0).all(axis=1).sum())
    shown = int((present[:20] == 1).any(axis=1).sum())
    assert (lacking, shown) < (16, 16)
    info = train_probe("own", "findings", meta(8), embeddings, replace(truth, present=present), shots=16).info
    assert info.fitted_on.images == lacking + shown


def test_labels_that_no_image_to_train_on_shows_are_refused_or_left_out(examples):
    embeddings, _ = examples
    # A single shot of `wide` is taken by the first image of `rare`, so that `mid` has none left.
    place = np.arange(600)
    present = np.column_stack([place < 30, (place >= 30) & (place < 90), place < 200])
    truth = truth_by_hand(present, ("rare", "mid", "wide"), patients=place // 3)
    with pytest.raises(
        TooFewExamples, match=r"images to train on of 1 of 3 labels.*mid 0 with and 2 without.*more --shots"
    ):
        train_probe("own", "findings", meta(8), embeddings, truth, shots=1)
    left = train_probe("own", "findings", meta(8), embeddings, truth, shots=1, skip_scarce=True)
    assert left.info.labels == ("rare", "wide")
    assert left.weights.shape == (2, 8)


def test_images_of_one_patient_alone_leave_the_area_undefined(examples):
    embeddings, truth = examples
    two = replace(truth, labels=("a",), present=truth.present[:, :1], patients=np.arange(600) // 300)
    probes = [
        train_probe("own", "findings", meta(8), embeddings, two, shots=1, seed=seed) for seed in range(6)
    ]
    assert {probe.info.fitted_on.patients for probe in probes} == {1, 2}
    assert all(probe.info.auc == {"a": None} for probe in probes)


def test_a_patient_with_most_images_leaves_room_for_others():
    embeddings = unit(np.random.default_rng(0).normal(size=(6000, 8)))
    truth = truth_by_hand(embeddings[:, :1] > 0.2, ("a",), patients=np.arange(6000) // 3500)
    for seed in range(3):
        (auc,) = train_probe("own", "findings", meta(8), embeddings, truth, seed=seed).info.auc.values()
        assert auc is not None
        assert auc > 0.99


def test_unknown_cells_are_left_out_of_their_label_alone(examples):
    embeddings, truth = examples
    present = truth.present.copy()
    present[:300, 0] = -1
    partly = replace(truth, present=present)
    some = train_probe("own", "findings", meta(8), embeddings, partly)
    half = LogisticRegression(C=some.info.strength, class_weight="balanced").fit(
        embeddings[300:], truth.present[300:, 0]
    )
    assert some.weights[0] == pytest.approx(half.coef_[0], abs=0.05)


@pytest.mark.parametrize("count", [2, 3])
def test_exclusive_labels_are_one_multinomial_regression(examples, count):
    embeddings, _ = examples
    true = embeddings[:, :count].argmax(axis=1)
    names = ("x", "y", "z")[:count]
    truth = truth_by_hand(np.eye(count, dtype=np.int8)[true], names, patients=np.arange(600) // 3)
    probe = train_probe("own", "exclusive", meta(8), embeddings, truth)
    expected = LogisticRegression(C=probe.info.strength, class_weight="balanced", max_iter=1000).fit(
        embeddings, true
    )
    classifier = probe.classifier
    assert classifier.probabilities(classifier.scores(embeddings)) == pytest.approx(
        expected.predict_proba(embeddings), abs=0.03
    )
    assert all(auc > 0.95 for auc in probe.info.auc.values() if auc is not None)


def test_labels_that_too_few_patients_have_are_refused_with_the_number_needed(examples):
    embeddings, truth = examples
    present = truth.present.copy()
    present[:, 1] = 0
    present[:3, 1] = 1  # one patient's three images
    scarce = replace(truth, present=present)
    with pytest.raises(
        TooFewExamples, match=r"of 1 of 2 labels; needed are 2 with and 2 without.*b 1 with and 199"
    ):
        train_probe("own", "findings", meta(8), embeddings, scarce)
    assert train_probe("own", "findings", meta(8), embeddings, scarce, skip_scarce=True).info.labels == ("a",)


def test_a_probe_is_read_as_it_was_written(probe, tmp_path, examples):
    write_probe(probe, tmp_path / "own.safetensors")
    found = load_probe(tmp_path / "own.safetensors", meta(8))
    assert found.info == probe.info
    assert np.array_equal(found.weights, probe.weights)
    assert np.array_equal(found.bias, probe.bias)
    assert found.classifier.digest == probe.classifier.digest
    assert replace(probe, bias=probe.bias + 1).classifier.digest != probe.classifier.digest


def test_a_probe_of_other_embeddings_is_refused(probe, tmp_path):
    path = tmp_path / "own.safetensors"
    write_probe(probe, path)
    with pytest.raises(GalleryMismatch, match="fitted on embeddings of by-hand"):
        load_probe(path, replace(meta(8), weights_digest="ef" * 32))
    with pytest.raises(GalleryMismatch, match="prepared in another way"):
        load_probe(path, replace(meta(8), spec=replace(meta().spec, resample="bicubic")))


def damaged(path: Path, probe: Probe, kind: str) -> None:
    write_probe(probe, path)
    tensors, content = load_file(path), path.read_bytes()
    if kind == "cut":
        path.write_bytes(content[:-40])
    elif kind == "text":
        path.write_text("no probe")
    elif kind == "other weights":
        save_file({"model.weight": tensors["weights"]}, path)
    elif kind == "no words":
        save_file(tensors, path)
    elif kind == "words":
        path.write_bytes(content.replace(b'"findings', b'"feelings'))


@pytest.mark.parametrize("kind", ["cut", "text", "other weights", "no words", "words"])
def test_files_that_hold_no_probe_are_refused(probe, tmp_path, kind):
    path = tmp_path / "own.safetensors"
    damaged(path, probe, kind)
    with pytest.raises(
        UnusableFile, match=r"own.safetensors: holds no probe\. Name the file that probe wrote"
    ):
        load_probe(path, meta(8))


def test_numbers_that_do_not_fit_are_refused(probe, tmp_path):
    for wrong in (
        replace(probe, weights=probe.weights[:1]),
        replace(probe, bias=np.full(2, np.nan, np.float32)),
    ):
        write_probe(wrong, tmp_path / "own.safetensors")
        with pytest.raises(UnusableFile, match="damaged"):
            load_probe(tmp_path / "own.safetensors", meta(8))


def test_a_flipped_bit_anywhere_is_refused(probe, tmp_path):
    path = tmp_path / "own.safetensors"
    write_probe(probe, path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place, bit in enumerate(rng.integers(0, 8, len(content)).tolist()):
        flipped = bytearray(content)
        flipped[place] ^= 1 << bit
        path.write_bytes(flipped)
        with pytest.raises((UnusableFile, GalleryMismatch)):
            load_probe(path, meta(8))


def test_a_missing_file_is_told_of(tmp_path):
    with pytest.raises(UnusableFile, match="cannot be read"):
        load_probe(tmp_path / "none.safetensors", meta(8))
