"""Texts of label sets are embedded once for a gallery, and what is kept is what they were."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from galleries import gallery_of, instance

from medsiglip_search.encoders import Encoder
from medsiglip_search.gallery import Gallery
from medsiglip_search.labels import kept_texts
from medsiglip_search.labels.kept_texts import KeptTexts
from medsiglip_search.verify import verify


class Asked:
    """An encoder that counts how often it is asked."""

    scale = 12.5

    def __init__(self) -> None:
        self.texts: list[list[str]] = []

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        self.texts.append(list(texts))
        rows = np.array([[len(text), 1] for text in texts], np.float32)
        unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit


EAST, NORTH = (1.0, 0.0), (0.0, 1.0)
TEXTS = ["effusion", "no effusion"]


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    return gallery_of(tmp_path / "g", [EAST, NORTH], [instance("a"), instance("b")])


def asking(gallery: Gallery, encoder: Asked) -> KeptTexts:
    def load() -> Encoder:
        return encoder  # type: ignore[return-value]

    return KeptTexts(gallery, load)


def must_not_load() -> Encoder:
    raise AssertionError("no encoder was to be loaded")


def test_texts_are_embedded_once_and_need_no_encoder_from_then_on(gallery: Gallery) -> None:
    encoder = Asked()
    first = asking(gallery, encoder)
    rows = first.embed_texts(TEXTS)

    again = KeptTexts(Gallery.open(gallery.path), must_not_load)

    np.testing.assert_array_equal(again.embed_texts(TEXTS), rows)
    np.testing.assert_array_equal(rows, Asked().embed_texts(TEXTS))
    assert again.scale == first.scale == 12.5
    assert encoder.texts == [TEXTS]


def test_other_texts_another_order_and_another_gallerys_weights_are_not_taken_for_these(
    gallery: Gallery, tmp_path: Path
) -> None:
    encoder = Asked()
    asking(gallery, encoder).embed_texts(TEXTS)
    for texts in (TEXTS[::-1], TEXTS[:1], ["effusion', 'no effusion"]):
        rows = asking(gallery, encoder).embed_texts(texts)
        np.testing.assert_array_equal(rows, Asked().embed_texts(texts))
    assert len(encoder.texts) == 4


@pytest.mark.parametrize("place", [0, 40, -30, None])
def test_a_damaged_file_is_not_believed(gallery: Gallery, place: int | None) -> None:
    rows = asking(gallery, Asked()).embed_texts(TEXTS)
    (file,) = (gallery.path / "texts").iterdir()
    content = bytearray(file.read_bytes())
    if place is None:
        content[content.index(rows.tobytes()) + 2] ^= 1
    else:
        content[place] ^= 0xFF
    file.write_bytes(content)
    encoder = Asked()

    np.testing.assert_array_equal(asking(gallery, encoder).embed_texts(TEXTS), rows)

    np.testing.assert_array_equal(KeptTexts(gallery, must_not_load).embed_texts(TEXTS), rows)


def test_the_one_longest_not_asked_for_goes_first(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_texts, "MOST", 2)
    for text in ("a", "b", "a", "c"):
        asking(gallery, Asked()).embed_texts([text])
        time.sleep(0.02)  # a file system's clock ticks a hundred times a second

    KeptTexts(gallery, must_not_load).embed_texts(["a"])
    KeptTexts(gallery, must_not_load).embed_texts(["c"])
    with pytest.raises(AssertionError, match="no encoder"):
        KeptTexts(gallery, must_not_load).embed_texts(["b"])


def test_where_nothing_can_be_written_the_encoder_is_asked_each_time(gallery: Gallery) -> None:
    (gallery.path / "texts").write_text("in the way")
    encoder = Asked()

    for _ in range(2):
        np.testing.assert_array_equal(asking(gallery, encoder).embed_texts(TEXTS), Asked().embed_texts(TEXTS))

    assert len(encoder.texts) == 2


def test_who_may_only_read_needs_no_encoder_either(gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = asking(gallery, Asked()).embed_texts(TEXTS)

    def forbidden(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "touch", forbidden)

    np.testing.assert_array_equal(KeptTexts(gallery, must_not_load).embed_texts(TEXTS), rows)


def test_a_gallery_with_kept_texts_is_sound(gallery: Gallery) -> None:
    asking(gallery, Asked()).embed_texts(TEXTS)

    assert not verify(gallery.path).problems
