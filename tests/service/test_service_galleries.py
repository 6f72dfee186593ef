"""Galleries of a service: what is wrong with one is said, and tried again."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from medsiglip_search.encoders import Encoder, load_encoder, load_encoder_of
from medsiglip_search.service import galleries as service_galleries
from medsiglip_search.service.galleries import Galleries, OpenGallery


def no_memory(*_: Any, **__: Any) -> Encoder:
    raise torch.OutOfMemoryError("CUDA out of memory")


def test_an_encoder_that_cannot_be_loaded_is_not_blamed_on_the_gallery(
    demo_gallery: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = OpenGallery("demo", demo_gallery)

    gallery.open(no_memory)

    assert gallery.problem is not None
    assert gallery.problem.startswith("its encoder cannot be loaded (OutOfMemoryError)")
    assert "CUDA out of memory" in caplog.text
    gallery.open(lambda _: load_encoder("demo", "cpu"))
    assert (gallery.problem, gallery.is_ready) == (None, True)
    gallery.close()


def test_a_gallery_that_cannot_be_read_says_so_without_its_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gallery = OpenGallery("demo", tmp_path / "nowhere")

    gallery.open(no_memory)

    assert gallery.problem is not None
    assert gallery.problem.startswith("it cannot be read (")
    assert str(tmp_path) not in gallery.problem + caplog.text
    gallery.close()


def test_galleries_are_tried_again_whatever_went_wrong(
    demo_gallery: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = [no_memory, no_memory]

    def load(*given: Any, **options: Any) -> Encoder:
        return failures.pop()() if failures else load_encoder_of(*given, **options)

    monkeypatch.setattr(service_galleries, "load_encoder_of", load)
    monkeypatch.setattr(service_galleries, "REFRESH_S", 0.01)
    galleries = Galleries({"one": demo_gallery, "other": demo_gallery}, "cpu")

    with caplog.at_level(logging.WARNING):
        galleries.start()
        for gallery in galleries.values():
            assert gallery.loaded.wait(60)
            assert gallery.problem is None
    assert failures == []
    galleries.close()
