"""An OpenCLIP model as an encoder: the numbers of OpenCLIP's own forward pass and preprocessing."""

import json
import logging
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from checkpoints import SENTENCES
from command_line import gradient
from open_clip_checkpoints import LAYOUTS, change_config, make_open_clip, own_way
from PIL import Image
from safetensors.torch import load_file, save_file

from medsiglip_search.cli import main
from medsiglip_search.encoders import precision
from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.encoders.open_clip import load_open_clip
from medsiglip_search.encoders.open_clip.encoder import OpenClipEncoder
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.errors import EncoderUnavailable, GalleryMismatch, Reason, Unreadable
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import Fit, PreprocessSpec, Resample

SHORT = ["left pleural effusion", "no pneumothorax", "fundus photograph", "melanoma on the back"]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module", params=["clip", "biomedclip"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OpenCLIP's own towers with its own tokenizer, and BiomedCLIP's: of timm and of transformers."""
    return make_open_clip(tmp_path_factory.mktemp("open_clip") / "checkpoint", request.param)


@pytest.fixture
def own_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may damage."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


def load(folder: Path, precision: str = "fp32") -> OpenClipEncoder:
    return load_open_clip(str(folder), device="cpu", precision=precision)


def pictures(count: int) -> list[np.ndarray]:
    """Return random pictures of different sizes and aspects."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 37 * i, 150 - 13 * i, 3), dtype=np.uint8) for i in range(count)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_embeddings_and_logits_equal_openclips_own(layout: str, tmp_path: Path) -> None:
    folder = make_open_clip(tmp_path / "checkpoint", layout)
    encoder = load(folder)
    texts = [*SHORT, *SENTENCES]
    counts = encoder._tokens.counts(texts)
    fitting = [text for text, count in zip(texts, counts, strict=True) if count <= encoder.text_length]
    assert len(fitting) >= 3  # longer ones are averaged, where OpenCLIP cuts
    images, text_rows, logits = own_way(folder, tmp_path / "own").answers(pictures(5), fitting)

    ours, our_texts = encoder.embed_images(pictures(5)), encoder.embed_texts(fitting)

    assert ours.dtype == our_texts.dtype == np.float32
    assert ours.shape == (5, encoder.dim) == (5, 16)
    assert ours == pytest.approx(images, abs=1e-5)
    assert our_texts == pytest.approx(text_rows, abs=1e-5)
    assert encoder.scale * ours @ our_texts.T + encoder.bias == pytest.approx(logits, abs=1e-4)
    assert (encoder.scale, encoder.bias) == (pytest.approx(20), -10 if layout == "siglip" else 0)


def test_what_is_compared_differs_between_pictures_and_between_texts(checkpoint: Path) -> None:
    encoder = load(checkpoint)

    for rows in (encoder.embed_images(pictures(4)), encoder.embed_texts(SHORT)):
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)
        assert (rows @ rows.T)[np.triu_indices(4, 1)].max() < 0.99


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("mode", "fit"), [("shortest", "crop"), ("squash", "stretch")])
@pytest.mark.parametrize(
    "shape", [(64, 64), (301, 200), (97, 313), (31, 50), (1000, 700), (5, 200), (33, 32)]
)
def test_pictures_are_prepared_as_openclip_does(
    shape: tuple[int, int], mode: str, fit: Fit, interpolation: Resample
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    mean, std = (0.48, 0.45, 0.4), (0.26, 0.25, 0.27)
    own = open_clip.image_transform(
        32, is_train=False, mean=mean, std=std, resize_mode=mode, interpolation=interpolation
    )

    ours = preprocess([image], PreprocessSpec(32, fit, interpolation, mean, std))[0]

    assert torch.allclose(ours, own(Image.fromarray(image)), atol=1e-6)


def test_pictures_that_openclip_pads_are_prepared_nearly_as_it_does() -> None:
    image = np.asarray(gradient(30).resize((150, 90)))
    black, white = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    own = open_clip.image_transform(50, is_train=False, mean=black, std=white, resize_mode="longest")
    expected = own(Image.fromarray(image)).permute(1, 2, 0).numpy() * 255

    ours = fitted(image, PreprocessSpec(50, "pad", "bicubic")).astype(float)

    difference = np.abs(ours - expected).max(axis=(1, 2))
    assert difference[12:38].max() <= 1
    assert difference[:8].max() == difference[42:].max() == 0  # the padding; between them is its border


@pytest.mark.parametrize(
    ("said", "fit", "resample"),
    [
        ({}, "crop", "bicubic"),
        ({"resize_mode": "squash", "interpolation": "bilinear"}, "stretch", "bilinear"),
        ({"resize_mode": "longest", "interpolation": "random"}, "pad", "bicubic"),
    ],
)
def test_the_spec_is_what_the_configuration_says(
    tmp_path: Path, said: dict[str, str], fit: Fit, resample: Resample
) -> None:
    folder = make_open_clip(tmp_path / "checkpoint", preprocess=said)
    mean, std = open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD

    assert load(folder).spec == PreprocessSpec(32, fit, resample, mean, std)
    change_config(folder, lambda content: content["preprocess_cfg"].update(mean=[0.1, 0.2, 0.3], std=0.5))
    assert load(folder).spec == PreprocessSpec(32, fit, resample, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5))


def test_without_a_word_on_preprocessing_it_is_openclips_default(own_copy: Path) -> None:
    before = load(own_copy).spec
    change_config(own_copy, lambda content: content.pop("preprocess_cfg"))

    assert load(own_copy).spec == before


def test_an_embedding_does_not_depend_on_its_batch(checkpoint: Path) -> None:
    encoder = load(checkpoint)
    alone = np.concatenate([encoder.embed_images([picture]) for picture in pictures(5)])

    assert np.abs(encoder.embed_images(pictures(5)) - alone).max() < 1e-6
    encoder.batch_size = 2
    assert encoder.embed_images(pictures(5)) == pytest.approx(alone, abs=1e-5)
    assert encoder.embed_texts(SHORT[:3])[2] == pytest.approx(encoder.embed_texts(SHORT[2:3])[0], abs=1e-5)


def test_few_pictures_are_multiplied_by_the_routines_for_many(checkpoint: Path) -> None:
    # These towers are too small for torch to choose other routines: what would be chosen by is looked at.
    encoder = load(checkpoint)
    sizes: list[int] = []
    encoder._model.visual.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))

    rows = [len(encoder.embed_images(pictures(count))) for count in (1, 3, 5)]

    assert (rows, sizes) == ([1, 3, 5], [4, 4, 5])


def test_nothing_in_gives_no_rows(checkpoint: Path) -> None:
    encoder = load(checkpoint)

    assert encoder.embed_images([]).shape == encoder.embed_texts([]).shape == (0, 16)
    assert encoder._tokens.counts([]) == []


def test_tokens_are_counted_before_anything_is_cut(checkpoint: Path, tmp_path: Path) -> None:
    encoder = load(checkpoint)
    own = own_way(checkpoint, tmp_path / "own")
    texts = ["", "x", "left effusion", "effusion " * 100, *SENTENCES]

    counts = encoder._tokens.counts(texts)

    assert encoder.text_length == 24
    assert counts[:2] == [2, 3]  # the begin and the end alone; one token between them
    assert counts[3] > 100
    ids = own.tokenize(texts)
    padding = (ids == 0).sum(dim=1).tolist()
    assert [min(count, 24) for count in counts] == [24 - rest for rest in padding]
    assert torch.equal(encoder._tokens.ids(texts), ids)


def test_text_that_is_too_long_is_averaged_over_its_sentences_and_said_so_without_quoting_it(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = load(checkpoint)
    longest = max(n for n in range(1, 24) if encoder._tokens.counts([f"left{' back' * n}."])[0] <= 24)
    sentences = [f"left{' back' * longest}.", "no melanoma."]
    assert max(encoder._tokens.counts(sentences)) <= 24 < encoder._tokens.counts([" ".join(sentences)])[0]

    with caplog.at_level(logging.WARNING):
        whole, short = encoder.embed_texts([" ".join(sentences), "effusion"])

    assert "1 of 2 texts have more than 24 tokens" in caplog.text
    assert "melanoma" not in caplog.text
    mean = np.average(encoder.embed_texts(sentences), axis=0, weights=encoder._tokens.counts(sentences))
    assert whole == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    np.testing.assert_array_equal(short, encoder.embed_texts(["effusion"])[0])


def test_texts_of_any_length_can_be_embedded_by_several_threads(checkpoint: Path) -> None:
    encoder = load(checkpoint)
    texts = ["effusion " * 100, "effusion", "left pleural effusion " * 3, "x"] * 20
    alone = [encoder._tokens.ids([text]).tolist() for text in texts]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads meet inside the tokenizer, not once in hours
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda text: encoder._tokens.ids([text]).tolist(), texts * 5))
            counts = list(pool.map(lambda text: encoder._tokens.counts([text])[0], texts * 5))
    finally:
        sys.setswitchinterval(interval)
    assert together == alone * 5
    assert counts == encoder._tokens.counts(texts) * 5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_bf16_embeddings_stay_close_to_fp32(layout: str, tmp_path: Path) -> None:
    folder = make_open_clip(tmp_path / "checkpoint", layout)
    exact, rounded = load(folder), load(folder, "bf16")

    assert {parameter.dtype for parameter in rounded._model.parameters()} == {torch.bfloat16}
    cosines = (rounded.embed_images(pictures(3)) * exact.embed_images(pictures(3))).sum(axis=1)
    assert cosines.min() >= 0.999
    cosines = (rounded.embed_texts(SENTENCES) * exact.embed_texts(SENTENCES)).sum(axis=1)
    assert cosines.min() >= 0.998
    assert rounded.embed_texts(SHORT).dtype == np.float32
    assert (rounded.scale, rounded.bias) == (exact.scale, exact.bias)


@pytest.mark.parametrize(
    ("capability", "smallest", "dtype"),
    [
        ("avx512_bf16", 0, torch.bfloat16),
        ("amx_bf16", 0, torch.bfloat16),
        ("avx2", 0, torch.float32),
        ("avx512_bf16", 10**9, torch.float32),
    ],
)
def test_bf16_is_chosen_for_all_but_the_smallest_models_on_processors_that_have_it(
    checkpoint: Path, capability: str, smallest: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})
    monkeypatch.setattr(precision, "BF16_FROM", smallest)

    assert next(load(checkpoint, "auto")._model.parameters()).dtype is dtype
    assert next(load(checkpoint, "fp32")._model.parameters()).dtype is torch.float32


def test_half_precision_weights_give_nearly_the_same_embeddings(checkpoint: Path, own_copy: Path) -> None:
    path = own_copy / "open_clip_model.safetensors"
    save_file({key: value.half() for key, value in load_file(path).items()}, path)

    encoder = load(own_copy)

    assert {parameter.dtype for parameter in encoder._model.parameters()} == {torch.float32}
    cosines = (encoder.embed_images(pictures(3)) * load(checkpoint).embed_images(pictures(3))).sum(axis=1)
    assert cosines == pytest.approx(1, abs=1e-4)


def test_the_digest_belongs_to_the_weights_and_not_to_the_folder(checkpoint: Path, own_copy: Path) -> None:
    before = load(checkpoint).weights_digest

    assert load(own_copy).weights_digest == before
    change_tensor(own_copy, "logit_scale", 0.001)
    assert load(own_copy).weights_digest != before


def change_tensor(folder: Path, key: str, change: float) -> None:
    """Add to every number of one tensor, and write the file again."""
    path = folder / "open_clip_model.safetensors"
    tensors = load_file(path)
    tensors[key] = tensors[key] + change
    save_file(tensors, path)


def test_pictures_without_a_finite_embedding_are_refused(tmp_path: Path) -> None:
    folder = make_open_clip(tmp_path / "checkpoint")
    change_tensor(folder, "visual.ln_post.weight", float("nan"))
    encoder = load(folder)

    with pytest.raises(Unreadable, match="no finite embedding for 3 of 3 pictures") as caught:
        encoder.embed_images(pictures(3))
    assert caught.value.reason is Reason.MALFORMED
    assert np.isfinite(encoder.embed_texts(SHORT)).all()


def test_a_text_embedding_of_zeros_is_refused(tmp_path: Path) -> None:
    folder = make_open_clip(tmp_path / "checkpoint")
    path = folder / "open_clip_model.safetensors"
    tensors = load_file(path)
    save_file(tensors | {"text_projection": torch.zeros_like(tensors["text_projection"])}, path)

    with pytest.raises(EncoderUnavailable, match="no finite embedding"):
        load(folder).embed_texts(SHORT)


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce fail] DefaultCPUAllocator: not")],
)
def test_want_of_memory_is_a_memory_error(
    checkpoint: Path, error: RuntimeError, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(checkpoint)

    def starve(*_: object) -> None:
        raise error

    encoder._model.visual.register_forward_pre_hook(starve)
    monkeypatch.setattr(encoder._model, "encode_text", lambda *_, **__: starve())
    with pytest.raises(MemoryError, match="not the memory for so many pictures"):
        encoder.embed_images(pictures(3))
    with pytest.raises(MemoryError, match="not the memory for so many texts"):
        encoder.embed_texts(["effusion"])


def test_another_way_to_prepare_pictures_shares_the_weights(checkpoint: Path) -> None:
    encoder = load(checkpoint)
    own = encoder.spec

    padded = encoder.with_spec(PreprocessSpec(own.size, "pad", "tf_bilinear", own.mean, own.std))

    assert padded._model is encoder._model
    assert not np.allclose(padded.embed_images(pictures(2)), encoder.embed_images(pictures(2)), atol=1e-3)
    with pytest.raises(GalleryMismatch, match="takes pictures of"):
        encoder.with_spec(PreprocessSpec(448))


def test_an_archive_is_indexed_and_searched_without_a_network(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "archive").mkdir()
    for number in range(4):
        picture = gradient(64 * number).resize((90 + 20 * number, 60))
        picture.save(tmp_path / "archive" / f"{number}.png")
    name = f"open_clip:{checkpoint}"

    indexed = command(capsys, "index", tmp_path / "gallery", tmp_path / "archive", "--encoder", name)
    like = command(capsys, "search", tmp_path / "gallery", "--image", tmp_path / "archive" / "2.png")
    text = command(capsys, "search", tmp_path / "gallery", SHORT[0])

    assert indexed[-1]["embedded"] == 4
    meta, encoder = Gallery.open(tmp_path / "gallery").meta, load(checkpoint)
    assert (meta.encoder, meta.revision, meta.dim) == (name, "local", 16)
    assert meta.spec == encoder.spec
    assert meta.weights_digest == encoder.weights_digest
    assert like[0]["uri"] == "2.png"
    assert like[0]["score"] == pytest.approx(1, abs=1e-3)
    images = [np.asarray(Image.open(tmp_path / "archive" / f"{number}.png")) for number in range(4)]
    cosines = encoder.embed_images(images) @ encoder.embed_texts(SHORT[:1])[0]
    assert [hit["uri"] for hit in text] == [f"{number}.png" for number in np.argsort(-cosines)]
    assert [hit["score"] for hit in text] == pytest.approx(sorted(cosines, reverse=True), abs=2e-3)


def command(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[dict[str, object]]:
    """Return what a command prints as JSON."""
    with pytest.raises(SystemExit, match="0"):
        main([*(str(argument) for argument in arguments), "--json"])
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]
