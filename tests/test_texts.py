"""Texts to embeddings: none twice, and those that are too long in parts."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medsiglip_search.encoders import texts
from medsiglip_search.encoders.texts import TextEmbedder

MOST = 8


class Tower:
    """A tower that takes texts of at most seven words, and notes what it was given."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.texts = TextEmbedder(self.count, self.embed, MOST, 3)

    def count(self, texts: Sequence[str]) -> list[int]:
        # A long word is several pieces, as a tokenizer has it.
        return [1 + sum(1 + len(word) // 10 for word in text.split()) for text in texts]

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        assert all(count <= MOST for count in self.count(texts))
        self.given += texts
        rows = np.array([[1, len(text), text.count("e")] for text in texts], np.float32).reshape(-1, 3)
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


def test_each_text_is_embedded_once_whatever_the_order() -> None:
    tower = Tower()

    first = tower.texts.embed(["left effusion", "melanoma", "left effusion"])
    second = tower.texts.embed(["melanoma", "edema", "left effusion"])

    assert tower.given == ["left effusion", "melanoma", "edema"]
    np.testing.assert_array_equal(first[[0, 1]], first[[2, 1]])
    np.testing.assert_array_equal(second, Tower().embed(["melanoma", "edema", "left effusion"]))
    assert tower.texts.embed([]).shape == (0, 3)


def test_what_was_returned_can_be_changed_without_changing_what_is_kept() -> None:
    tower = Tower()
    tower.texts.embed(["edema"])[:] = 0

    np.testing.assert_array_equal(tower.texts.embed(["edema"]), tower.embed(["edema"]))


def test_the_texts_last_asked_for_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "KEPT", 2)
    tower = Tower()

    for text in ("a", "b", "a", "c", "a", "b"):
        tower.texts.embed([text])

    assert tower.given == ["a", "b", "c", "b"]
    tower.texts.embed(["d", "e", "f"])  # more than are kept, at once


def test_a_failure_is_not_kept() -> None:
    tower = Tower()
    failing = [RuntimeError("out of memory")]

    def embed(texts: Sequence[str]) -> np.ndarray:
        if failing:
            raise failing.pop()
        return tower.embed(texts)

    embedder = TextEmbedder(tower.count, embed, MOST, 3)
    with pytest.raises(RuntimeError):
        embedder.embed(["edema"])

    np.testing.assert_array_equal(embedder.embed(["edema"]), tower.embed(["edema"]))


def test_a_long_text_is_the_mean_of_its_sentences_by_their_length(caplog: pytest.LogCaptureFixture) -> None:
    tower = Tower()
    sentences = ["No edema.", "The heart is of normal size.", "Left effusion; lungs clear."]

    with caplog.at_level(logging.WARNING):
        row, short = tower.texts.embed([" ".join(sentences), "edema"])

    # As many whole sentences as fit: 3 + 6 words do not, 6 + 4 neither; ";" ends one, too.
    assert tower.given == [
        "No edema.",
        "The heart is of normal size.",
        "Left effusion; lungs clear.",
        "edema",
    ]
    parts = tower.embed(sentences)
    mean = np.average(parts, axis=0, weights=tower.count(sentences))
    np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_array_equal(short, tower.embed(["edema"])[0])
    assert caplog.text.count("1 of 2 texts have more than 8 tokens") == 1
    assert "heart" not in caplog.text


def test_sentences_that_fit_together_stay_together() -> None:
    tower = Tower()

    tower.texts.embed(["No edema. No mass. No scar. Clear lungs here."])

    assert tower.given == ["No edema. No mass. No scar.", "Clear lungs here."]


@pytest.mark.parametrize("text", ["word " * 100, "x" * 500, "a" * 30 + " " + "b " * 40, ". " * 50])
def test_what_has_no_sentences_is_cut_between_words_or_anywhere(text: str) -> None:
    tower = Tower()

    (row,) = tower.texts.embed([text])

    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)
    parts = list(tower.texts._parts(text))
    assert set(tower.given) == set(parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


@given(st.lists(st.text(st.sampled_from("ab .;\n"), max_size=120), max_size=5))
def test_no_letter_is_lost_or_doubled(asked: list[str]) -> None:
    tower = Tower()

    rows = tower.texts.embed(asked)

    assert np.linalg.norm(rows, axis=1) == pytest.approx(np.ones(len(asked)), abs=1e-6)
    for text in asked:
        if tower.count([text])[0] > MOST:
            parts = list(tower.texts._parts(text))
            assert "".join("".join(parts).split()) == "".join(text.split())


def test_many_threads_get_the_same_rows() -> None:
    tower = Tower()
    asked = [f"finding {number % 50}" for number in range(2000)]

    with ThreadPoolExecutor(8) as pool:
        rows = list(pool.map(lambda text: tower.texts.embed([text])[0], asked))

    np.testing.assert_array_equal(rows, Tower().embed(asked))


def test_half_a_surrogate_pair_is_replaced_and_one_text_is_no_list() -> None:
    tower = Tower()

    tower.texts.embed(["a\ud83d b"])

    assert tower.given == ["a? b"]
    with pytest.raises(TypeError, match="a list of texts"):
        tower.texts.embed("edema")


def test_a_row_that_is_kept_keeps_nothing_else() -> None:
    tower = Tower()
    tower.texts.embed([f"finding {number}" for number in range(100)])

    assert all(row.base is None for row in tower.texts._known._rows.values())
