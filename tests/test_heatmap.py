"""Heatmaps: the hottest place is the finding's, whatever the picture's shape; colour is where it is hot."""

from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checkpoints import make_checkpoint
from transformers import SiglipConfig, SiglipModel

from medsiglip_search.demo.cases import Study, draw_study, render
from medsiglip_search.demo.findings import MODALITIES, Sign
from medsiglip_search.encoders import Encoder, load_encoder
from medsiglip_search.encoders.patches import attended, read_out
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.encoders.siglip import SiglipEncoder, load_siglip
from medsiglip_search.encoders.siglip.vision import VisionTower
from medsiglip_search.errors import ExplainerUnavailable
from medsiglip_search.explain.heatmap import (
    Box,
    Heatmap,
    half_patch_views,
    heatmap,
    heatmaps,
    joined,
    layer,
    overlay,
    smoothed,
    spread,
)
from medsiglip_search.records import PreprocessSpec

BOTH_SIDES = (
    Sign("pleural effusion", "left", 0.8, (0.5, 0.5)),
    Sign("pneumothorax", "right", 0.8, (0.5, 0.5)),
)


@cache
def demo() -> Encoder:
    return load_encoder("demo", "cpu")


def drawn(modality: int, *signs: Sign, seed: int = 5) -> tuple[np.ndarray, tuple[Box | None, ...]]:
    """Return one (H, W, 3) uint8 picture of signs, and their boxes."""
    drawing = next(draw_study(Study(1, 1, MODALITIES[modality], signs, 1, seed, seed)))
    return render(MODALITIES[modality].code, drawing.values), drawing.boxes


def inside(point: tuple[int, int], box: Box | None) -> bool:
    assert box
    return box[0] <= point[0] < box[2] and box[1] <= point[1] < box[3]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(
    ("modality", "finding"),
    [
        (0, "pleural effusion"),
        (0, "pneumothorax"),
        (0, "consolidation"),
        (1, "infarct"),
        (1, "subdural hematoma"),
    ],
)
def test_the_hottest_point_is_in_the_box_of_the_finding(modality: int, finding: str, side: str) -> None:
    sign = Sign(finding, "left" if side == "left" else "right", 0.6, (0.5, 0.5))
    image, (box,) = drawn(modality, sign)
    assert inside(heatmap(demo(), image, sign.label).hottest, box)


def test_texts_of_two_sides_point_to_two_halves() -> None:
    image, boxes = drawn(0, *BOTH_SIDES)
    effusion, pneumothorax = heatmaps(demo(), image, [sign.label for sign in BOTH_SIDES])
    # The patient's left is on the right of a radiograph.
    assert pneumothorax.hottest[0] < image.shape[1] / 2 < effusion.hottest[0]
    assert inside(effusion.hottest, boxes[0])
    assert inside(pneumothorax.hottest, boxes[1])


def test_values_are_of_the_pictures_size_from_0_to_1_and_the_same_each_time() -> None:
    image, _ = drawn(0, *BOTH_SIDES)
    found = heatmap(demo(), image, "left pleural effusion")
    assert found.values.dtype == np.float32
    assert found.values.shape == image.shape[:2]
    assert (found.values.min(), found.values.max()) == (0, 1)
    again = heatmaps(demo(), image, ["right pneumothorax", "left pleural effusion"])[1]
    np.testing.assert_allclose(again.values, found.values, atol=1e-5)
    np.testing.assert_array_equal(heatmap(demo(), image, "left pleural effusion").values, found.values)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("before", [0, 60, 120])
def test_black_borders_move_the_hottest_point_along(axis: int, before: int) -> None:
    image, (box, _) = drawn(0, *BOTH_SIDES)
    widths = [(0, 0)] * 3
    widths[axis] = (before, 120 - before)
    found = heatmap(demo(), np.pad(image, widths), "left pleural effusion")
    x, y = found.hottest
    assert inside((x - before, y) if axis else (x, y - before), box)


def test_the_padding_of_the_encoder_is_not_in_the_map() -> None:
    square = np.arange(64, dtype=np.float32).reshape(8, 8)
    spec = PreprocessSpec(size=112)
    # 8 cells over 80 pixels; 40 rows in the middle are cells 2 to 5 of the square.
    wide = spread(square, (40, 80), spec)
    assert wide.shape == (40, 80)
    assert wide[0].argmin() == 0
    np.testing.assert_allclose(
        wide[5::10, 5::10], (square[2:6] - wide_low(square)) / wide_range(square), atol=0.02
    )
    stretched = spread(square, (40, 80), PreprocessSpec(size=112, fit="stretch"))
    assert (stretched[0, 0], stretched[-1, -1]) == (0, 1)
    whole = spread(np.where(np.arange(8)[:, None] < 2, 9.0, square), (40, 80), spec)
    assert whole[10:].argmax() // 80 == 29  # not the hotter rows of the padding


def test_what_the_encoder_crops_away_is_cold() -> None:
    square = np.arange(64, dtype=np.float32).reshape(8, 8)
    spec = PreprocessSpec(size=112, fit="crop")

    wide = spread(square, (40, 80), spec)

    assert wide.shape == (40, 80)
    assert not wide[:, :20].any()
    assert not wide[:, 60:].any()
    np.testing.assert_allclose(wide[:, 20:60], spread(square, (40, 40), spec))
    np.testing.assert_allclose(spread(square.T, (80, 40), spec), wide.T, atol=1e-6)


def wide_low(square: np.ndarray) -> float:
    """Return what bilinear sampling gives at the top left pixel of rows 2 to 5: between rows 1 and 2."""
    return float(square[1, 0] + (square[2, 0] - square[1, 0]) * 0.55)


def wide_range(square: np.ndarray) -> float:
    high = square[5, 7] + (square[6, 7] - square[5, 7]) * 0.45
    return float(high - wide_low(square))


def test_views_are_joined_where_they_were_looking() -> None:
    square = np.zeros((112, 112, 3), np.uint8)
    square[49:63, 35:49] = 255  # on the border of patches both ways: rows 3 and 4, columns 2 and 3
    views = half_patch_views(square, 8)
    brightness = np.stack([v[..., 0].reshape(8, 14, 8, 14).mean(axis=(1, 3)) for v in views])
    assert brightness[3, 3, 2] == 255  # the last view has it whole
    cells = joined(brightness)
    assert cells.shape == (16, 16)
    assert set(zip(*np.nonzero(cells == cells.max()), strict=True)) == {(7, 5), (7, 6), (8, 5), (8, 6)}


def test_smoothing_keeps_what_is_even_and_spreads_a_peak_evenly() -> None:
    np.testing.assert_allclose(smoothed(np.full((6, 6), 3.0)), 3, rtol=1e-5)
    peak = np.zeros((9, 9))
    peak[4, 4] = 1
    cells = smoothed(peak)
    assert cells.argmax() == 40
    np.testing.assert_allclose(cells, cells.T)
    np.testing.assert_allclose(cells, cells[::-1], rtol=1e-4)


def test_box_and_share_are_of_the_region_around_the_hottest_point() -> None:
    values = np.zeros((20, 30), np.float32)
    values[2:5, 3:9] = 0.7
    values[3, 4] = 1
    values[10:12, 20:22] = 0.8  # hot, and elsewhere
    found = Heatmap("text", values)
    assert found.hottest == (4, 3)
    assert found.box() == (3, 2, 9, 5)
    assert found.box(0.9) == (4, 3, 5, 4)
    assert found.share == pytest.approx((3 * 6 + 4) / 600)
    assert Heatmap("text", np.zeros((5, 6), np.float32)).box() == (0, 0, 6, 5)


def test_overlay_colours_only_what_is_hot() -> None:
    image = np.full((4, 4, 3), 100, np.uint8)
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = 1
    found = Heatmap("text", values)
    np.testing.assert_array_equal(overlay(image, found, 0), image)
    full = overlay(image, found, 1)
    assert full.dtype == np.uint8
    assert full[1, 2].tolist() == [255, 250, 120]
    assert (np.delete(full.reshape(16, 3), 6, axis=0) == 100).all()
    assert overlay(image, found, 0.5)[1, 2].tolist() == [178, 175, 110]
    with pytest.raises(ValueError, match="a heatmap of"):
        overlay(image[:3], found, 0.5)
    with pytest.raises(ValueError, match="opacity must be"):
        overlay(image, found, 1.5)


def test_a_layer_over_the_picture_looks_as_the_overlay() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    found = Heatmap("text", np.linspace(0, 1, 35, dtype=np.float32).reshape(5, 7))
    over = layer(found).astype(np.float32)
    assert over.shape == (5, 7, 4)
    assert (over[0, 0, 3], over[-1, -1, 3]) == (0, 255)
    weight = 0.6 * over[..., 3:] / 255
    laid = image * (1 - weight) + over[..., :3] * weight
    np.testing.assert_allclose(laid, overlay(image, found, 0.6), atol=1)


def test_an_even_picture_has_no_nan() -> None:
    found = heatmap(demo(), np.zeros((30, 50, 3), np.uint8), "pacemaker")
    assert np.isfinite(found.values).all()


def test_an_encoder_without_patches_is_named() -> None:
    class Other:
        name = "other"

    with pytest.raises(ExplainerUnavailable, match="other: this encoder cannot score"):
        heatmap(Other(), np.zeros((8, 8, 3), np.uint8), "text")  # type: ignore[arg-type]


def test_the_head_by_hand_is_the_head_of_transformers(tmp_path: Path) -> None:
    encoder = load_siglip(make_checkpoint(tmp_path / "c"), name="tiny", revision="local", device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)
    tower = encoder._towers.vision.model
    with torch.inference_mode():
        output = tower(pixel_values=preprocess([image], encoder.spec))
        weights, values = attended(tower.head, output.last_hidden_state)
        pooled = read_out(tower.head, (weights[:, :, None] @ values)[:, :, 0]).numpy()
        alone = [tower.head(output.last_hidden_state[:, n : n + 1])[0] for n in range(4)]
    np.testing.assert_allclose(pooled, encoder.embed_images([image]), atol=1e-5)
    texts = encoder.embed_texts(["left effusion", "melanoma"])
    cosines, attention = encoder.patch_scores([image], texts)
    expected = [[float(text @ (said / said.norm()).numpy()) for said in alone] for text in texts]
    np.testing.assert_allclose(cosines[0].reshape(2, 4), expected, atol=1e-5)
    np.testing.assert_allclose(attention[0].sum(), 1, rtol=1e-5)
    assert encoder.patch_scores([], texts)[0].shape == (0, 2, 2, 2)


def test_medsiglips_grid_in_bf16() -> None:
    tower = {"hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = SiglipConfig(
        text_config={**tower, "vocab_size": 50}, vision_config={**tower, "image_size": 448, "patch_size": 14}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = SiglipModel(config).eval().to(torch.bfloat16)
    encoder = SiglipEncoder.__new__(SiglipEncoder)
    encoder.spec = PreprocessSpec()
    encoder._towers = SimpleNamespace(vision=VisionTower(model.vision_model, encoder.spec), torch_together=1)
    assert encoder.patch_rows == 32
    image = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    texts = np.eye(3, 128, dtype=np.float32)
    cosines, attention = encoder.patch_scores([image, image[:200]], texts)
    assert (cosines.shape, attention.shape) == ((2, 3, 32, 32), (2, 32, 32))
    assert cosines.dtype == attention.dtype == np.float32
    np.testing.assert_allclose(attention.sum(axis=(1, 2)), 1, rtol=1e-3)
    assert np.abs(cosines).max() <= 1
