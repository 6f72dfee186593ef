"""A SigLIP checkpoint as an encoder: the numbers of transformers' own forward pass, or an error."""

import json
import logging
import random
import shutil
import string
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
import torch
from checkpoints import SENTENCES, make_checkpoint
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast, SiglipModel

from medsiglip_search.encoders import image_towers, load_encoder, precision, weights
from medsiglip_search.encoders.preprocess import preprocess
from medsiglip_search.encoders.siglip import SiglipEncoder, load_siglip
from medsiglip_search.errors import EncoderUnavailable, Reason, Unreadable
from medsiglip_search.records import PreprocessSpec

PUBLISHED = Path(__file__).parents[1].parent / "shared" / "medsiglip-448"

TEXTS = ["left pleural effusion", "no pneumothorax", "fundus photograph", "melanoma on the back"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("siglip") / "checkpoint")


@pytest.fixture
def own_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may damage."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


def load(folder: Path) -> SiglipEncoder:
    return load_siglip(folder, name="tiny", revision="local", device="cpu")


def pictures(count: int) -> list[np.ndarray]:
    """Return random pictures of different sizes and aspects."""
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20 + 7 * i, 50 - 3 * i, 3), dtype=np.uint8) for i in range(count)]


def change_tensor(folder: Path, key: str, change: float) -> None:
    """Add to every number of one tensor, and write the file again."""
    tensors = load_file(folder / "model.safetensors")
    tensors[key] = tensors[key] + change
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def test_embeddings_and_logits_equal_transformers_forward_pass(checkpoint: Path) -> None:
    encoder = load(checkpoint)
    model = SiglipModel.from_pretrained(checkpoint).eval()
    with torch.inference_mode():
        expected = model(
            input_ids=encoder.tokenize(TEXTS), pixel_values=preprocess(pictures(5), encoder.spec)
        )

    images, texts = encoder.embed_images(pictures(5)), encoder.embed_texts(TEXTS)

    assert images.dtype == texts.dtype == np.float32
    assert images == pytest.approx(expected.image_embeds.numpy(), abs=1e-5)
    assert texts == pytest.approx(expected.text_embeds.numpy(), abs=1e-5)
    logits = encoder.scale * images @ texts.T + encoder.bias
    assert logits == pytest.approx(expected.logits_per_image.numpy(), abs=1e-4)


def test_a_remainder_beside_the_patches_is_left_out_as_transformers_does(own_copy: Path) -> None:
    path = own_copy / "config.json"  # as 384 pixels are 27 patches of 14 and 6 more
    config = json.loads(path.read_text())
    config["vision_config"]["image_size"] = 30
    path.write_text(json.dumps(config))
    encoder = load(own_copy)
    model = SiglipModel.from_pretrained(own_copy).eval()

    with torch.inference_mode():
        pixels = preprocess(pictures(3), encoder.spec)
        expected = model.get_image_features(pixel_values=pixels).pooler_output.numpy()

    assert encoder.spec.size == 30
    expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert encoder.embed_images(pictures(3)) == pytest.approx(expected, abs=1e-5)
    assert encoder.patch_scores(pictures(1), encoder.embed_texts(TEXTS))[0].shape == (1, 4, 2, 2)


def test_every_embedding_has_norm_one(checkpoint: Path) -> None:
    encoder = load(checkpoint)

    for rows in (encoder.embed_images(pictures(5)), encoder.embed_texts(TEXTS)):
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1, abs=1e-6)


def test_an_embedding_does_not_depend_on_its_batch(checkpoint: Path) -> None:
    encoder = load(checkpoint)
    alone = np.concatenate([encoder.embed_images([picture]) for picture in pictures(5)])

    encoder._towers.images.batch_size = 2

    assert encoder.embed_images(pictures(5)) == pytest.approx(alone, abs=1e-5)
    assert encoder.embed_texts(TEXTS[:3])[2] == pytest.approx(encoder.embed_texts(TEXTS[2:3])[0], abs=1e-5)


def test_texts_of_any_length_can_be_embedded_by_several_threads() -> None:
    encoder = load_encoder("demo", device="cpu")
    assert isinstance(encoder, SiglipEncoder)
    texts = ["effusion " * 100, "effusion", "left pleural effusion " * 3, "x"] * 50
    alone = [encoder.tokenize([text]).tolist() for text in texts]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # so that threads meet inside the tokenizer, not once in hours
    try:
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda text: encoder.tokenize([text]).tolist(), texts * 10))
    finally:
        sys.setswitchinterval(interval)
    assert together == alone * 10


def test_nothing_in_gives_no_rows(checkpoint: Path) -> None:
    encoder = load(checkpoint)

    assert encoder.embed_images([]).shape == encoder.embed_texts([]).shape == (0, 32)


def test_text_is_lower_cased_without_punctuation_and_padded_with_id_1(checkpoint: Path) -> None:
    encoder = load(checkpoint)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint / "spiece.model"))
    expected = [*pieces.encode("left pleural effusion of patient 1"), 1]

    ids = encoder.tokenize(["Left,  pleural EFFUSION (of patient 1)."]).tolist()

    assert ids == [expected + [1] * (64 - len(expected))]


def with_published_tokenizer(tmp_path: Path) -> SiglipEncoder:
    folder = make_checkpoint(tmp_path / "checkpoint", vocabulary=32_000)
    for file in ("spiece.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(PUBLISHED / file, folder / file)
    return load(folder)


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published tokenizer is not here")
def test_token_ids_are_those_of_the_published_tokenizer(tmp_path: Path) -> None:
    encoder = with_published_tokenizer(tmp_path)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(PUBLISHED / "spiece.model"))
    texts = [*TEXTS, "T2/FLAIR, left > right.", "12 mm (±0.5)", "Größe 3µm", "", "...", "\tline\nbreak "]

    ids = encoder.tokenize(["No pneumothorax, left.", *texts]).tolist()

    assert ids[0] == [379, 262, 388, 23072, 298, 278, 22157, 497, 698] + [1] * 55
    for text, row in zip(texts, ids[1:], strict=True):
        plain = " ".join(text.lower().translate(str.maketrans("", "", string.punctuation)).split())
        expected = pieces.encode(plain)
        assert row == expected + [1] * (64 - len(expected))


def varied_strings(count: int) -> list[str]:
    """Return strings of words, numbers, signs and letters of several scripts, in any case and spacing."""
    rng = random.Random(0)
    words = f"{' '.join(SENTENCES)} T2/FLAIR Größe Ödem naïve 肺炎 λ ﬁbrosis µm ½ ①".split()
    signs = [*string.punctuation, *"±≥°“…\u2013\u00a0\u200b\t\n", "  "]
    strings = []
    for _ in range(count):
        parts = [rng.choice(words if rng.random() < 0.7 else signs) for _ in range(rng.randint(1, 14))]
        parts = [rng.choice([part, part.upper(), part.title(), str(rng.randint(0, 10**6))]) for part in parts]
        strings.append(rng.choice(["", " "]).join(parts))
    return strings


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published tokenizer is not here")
def test_token_ids_of_a_thousand_varied_strings_are_those_of_the_published_tokenizer(tmp_path: Path) -> None:
    encoder = with_published_tokenizer(tmp_path)
    published = AutoTokenizer.from_pretrained(PUBLISHED)
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(PUBLISHED / "spiece.model"))
    strings = varied_strings(1000)

    ids = encoder.tokenize(strings).tolist()

    assert ids == published(strings, padding="max_length", truncation=True, max_length=64)["input_ids"]
    plain = [text.lower().translate(str.maketrans("", "", string.punctuation)) for text in strings]
    for text, row, count in zip(plain, ids, encoder.count_tokens(strings), strict=True):
        expected = pieces.encode(" ".join(text.split()))
        assert count == len(expected) + 1
        assert row == [*expected[:63], *[1] * (64 - len(expected[:63]))]
    assert len({tuple(row) for row in ids}) > 800


def test_text_that_is_too_long_is_averaged_over_its_sentences_and_said_so_without_quoting_it(
    checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = load(checkpoint)
    sentences = [f"Severe diabetic retinopathy, effusion {n}, heart size is normal." for n in range(6)]
    two, three = encoder.count_tokens([" ".join(sentences[:2]), " ".join(sentences[:3])])
    assert two <= 64 < three

    with caplog.at_level(logging.WARNING):
        whole, short = encoder.embed_texts([" ".join(sentences), "effusion"])

    assert "1 of 2 texts have more than 64 tokens" in caplog.text
    assert "retinopathy" not in caplog.text
    parts = [" ".join(sentences[start : start + 2]) for start in (0, 2, 4)]
    mean = np.average(encoder.embed_texts(parts), axis=0, weights=encoder.count_tokens(parts))
    assert whole == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)
    assert short == pytest.approx(encoder.embed_texts(["effusion"])[0])


def test_a_tokenizer_of_the_tokenizers_library_alone_will_do(own_copy: Path) -> None:
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, "left": 3, "effusion": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    for file in ("spiece.model", "tokenizer_config.json"):
        (own_copy / file).unlink()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    ).save_pretrained(own_copy)

    ids = load(own_copy).tokenize(["Left effusion", "left " * 100]).tolist()

    assert ids == [[3, 4] + [1] * 62, [3] * 63 + [1]]


def test_the_spec_is_the_checkpoints_size_and_normalisation_with_the_resize_of_the_training(
    own_copy: Path,
) -> None:
    path = own_copy / "preprocessor_config.json"
    path.write_text(json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "resample": 3}))

    assert load(own_copy).spec == PreprocessSpec(28, "pad", "tf_bilinear", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    path.unlink()
    assert load(own_copy).spec == PreprocessSpec(28, "pad", "tf_bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_half_precision_weights_give_nearly_the_same_embeddings(checkpoint: Path, own_copy: Path) -> None:
    path = own_copy / "model.safetensors"
    save_file({key: value.half() for key, value in load_file(path).items()}, path, metadata={"format": "pt"})

    cosines = (load(own_copy).embed_images(pictures(3)) * load(checkpoint).embed_images(pictures(3))).sum(
        axis=1
    )

    assert cosines == pytest.approx(1, abs=1e-4)


def test_weights_in_several_files_are_the_same_model(checkpoint: Path, tmp_path: Path) -> None:
    sharded = make_checkpoint(tmp_path / "sharded", shard_bytes=100_000)

    assert len(list(sharded.glob("*.safetensors"))) > 1
    assert np.array_equal(load(sharded).embed_images(pictures(2)), load(checkpoint).embed_images(pictures(2)))
    assert load(sharded).scale == pytest.approx(10)


def test_scale_and_bias_are_read_in_full_precision(checkpoint: Path) -> None:
    encoder = load(checkpoint)

    assert (encoder.scale, encoder.bias) == (pytest.approx(10, abs=1e-5), -10)


@pytest.mark.parametrize("whole_file_bytes", [weights.WHOLE_FILE_BYTES, 0], ids=["small", "large"])
def test_the_digest_belongs_to_the_weights_and_not_to_the_folder(
    checkpoint: Path, own_copy: Path, whole_file_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "WHOLE_FILE_BYTES", whole_file_bytes)
    before = load(checkpoint).weights_digest

    assert len(before) == 64
    assert load(own_copy).weights_digest == before
    for key in ("logit_bias", "vision_model.head.mlp.fc2.weight", "text_model.head.bias"):
        change_tensor(own_copy, key, 0.001)
        after = load(own_copy).weights_digest
        assert after != before
        before = after


def test_pictures_without_a_finite_embedding_are_refused(own_copy: Path) -> None:
    change_tensor(own_copy, "vision_model.head.layernorm.weight", float("nan"))
    encoder = load(own_copy)

    with pytest.raises(Unreadable, match="no finite embedding for 3 of 3 pictures") as caught:
        encoder.embed_images(pictures(3))
    assert caught.value.reason is Reason.MALFORMED
    assert np.isfinite(encoder.embed_texts(TEXTS)).all()


def test_an_embedding_of_zeros_is_refused(own_copy: Path) -> None:
    for part in ("weight", "bias"):
        key = f"text_model.head.{part}"
        tensors = load_file(own_copy / "model.safetensors")
        tensors[key] = torch.zeros_like(tensors[key])
        save_file(tensors, own_copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(EncoderUnavailable, match="no finite embedding"):
        load(own_copy).embed_texts(TEXTS)


@pytest.mark.parametrize(
    ("parameters", "capability", "dtype"),
    [
        (10**9, "avx512_bf16", torch.bfloat16),
        (10**9, "amx_bf16", torch.bfloat16),
        (10**9, "avx2", torch.float32),
        (3 * 10**6, "avx512_bf16", torch.bfloat16),
        (10**6, "avx512_bf16", torch.float32),
    ],
)
def test_bf16_is_for_all_but_the_smallest_models_on_processors_that_have_it(
    parameters: int, capability: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {capability: True})

    assert precision.DTYPES[precision.chosen("auto", torch.device("cpu"), parameters)] is dtype


def test_bf16_embeddings_stay_close_to_fp32(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact = load(checkpoint)
    monkeypatch.setattr(image_towers, "LARGE", 0)
    monkeypatch.setattr(precision, "BF16_FROM", 0)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})

    rounded = load(checkpoint)

    assert rounded._towers.torch_together == 1
    cosines = (rounded.embed_images(pictures(3)) * exact.embed_images(pictures(3))).sum(axis=1)
    assert cosines.min() >= 0.999
    assert rounded.embed_texts(TEXTS).dtype == np.float32
    assert rounded.scale == exact.scale


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("[enforce fail] DefaultCPUAllocator: not")],
)
def test_want_of_memory_is_a_memory_error(checkpoint: Path, error: RuntimeError) -> None:
    encoder = load(checkpoint)

    def starve(*_: object) -> None:
        raise error

    encoder._towers.vision.register_forward_pre_hook(starve)
    encoder._towers.text._plain.register_forward_pre_hook(starve)
    with pytest.raises(MemoryError, match="not the memory for so many pictures"):
        encoder.embed_images(pictures(3))
    with pytest.raises(MemoryError, match="not the memory for so many texts"):
        encoder.embed_texts(["effusion"])


def test_a_picture_alone_and_among_others_has_one_embedding() -> None:
    # The small checkpoint above is too small for torch to multiply one picture by other routines than many.
    encoder = load_encoder("demo", "cpu")

    alone = np.concatenate([encoder.embed_images([picture]) for picture in pictures(5)])

    together = encoder.embed_images(pictures(5))
    assert np.abs(alone - together).max() < 1e-6
    for count in range(2, 5):
        assert np.abs(encoder.embed_images(pictures(count)) - together[:count]).max() < 1e-6
