"""An OpenCLIP model by name: the right checkpoint, or one line that says what to do."""

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import torch
from checkpoints import SENTENCES, make_checkpoint
from hub import COMMIT, Hub, load_from
from open_clip import factory, pretrained
from open_clip_checkpoints import CLIP, TEXT_TOWER, change_config, make_open_clip, read_config
from PIL import Image
from safetensors.torch import load_file, save_file

from medsiglip_search.encoders import load_encoder
from medsiglip_search.encoders.open_clip import load_open_clip
from medsiglip_search.errors import EncoderUnavailable

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_open_clip(tmp_path_factory.mktemp("clip") / "checkpoint")


@pytest.fixture(scope="module")
def biomedclip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_open_clip(tmp_path_factory.mktemp("biomedclip") / "checkpoint", "biomedclip")


@pytest.fixture
def own_clip(clip: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may damage."""
    return shutil.copytree(clip, tmp_path / "clip")


@pytest.fixture
def own_biomedclip(biomedclip: Path, tmp_path: Path) -> Path:
    """A checkpoint in BiomedCLIP's layout that the test may damage."""
    return shutil.copytree(biomedclip, tmp_path / "biomedclip")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the hub's cache, which is empty; the hub itself is out of reach."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return folder


def put_into(cache: Path, hub_id: str, *files: Path) -> None:
    """Put files into the hub's cache, as a download leaves them."""
    repository = cache / f"models--{hub_id.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "snapshots" / COMMIT).mkdir(parents=True)
    for file in files:
        shutil.copy(file, repository / "snapshots" / COMMIT)


def refusal(name: str | Path, device: str = "cpu") -> str:
    """Return the one line that `load_encoder` refuses an OpenCLIP model with."""
    with pytest.raises(EncoderUnavailable) as caught:
        load_encoder(f"open_clip:{name}", device=device)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Names


def test_a_folders_name_finds_it_from_any_directory(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(clip.parent)
    encoder = load_encoder("open_clip:checkpoint", device="cpu")
    monkeypatch.chdir(tmp_path)

    again = load_encoder(encoder.name, device="cpu")

    assert encoder.name == f"open_clip:{clip}"
    assert encoder.revision == "local"
    assert np.array_equal(again.embed_texts(SENTENCES), encoder.embed_texts(SENTENCES))


def test_a_hub_id_is_looked_for_in_the_cache(clip: Path, cache: Path) -> None:
    put_into(cache, "org/some-clip", *clip.iterdir())

    encoder = load_encoder("open_clip:org/some-clip", device="cpu")

    assert (encoder.name, encoder.revision) == ("open_clip:org/some-clip", COMMIT)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """An architecture that OpenCLIP lists with two tags, the second of which was trained with QuickGELU."""
    monkeypatch.setattr(factory, "_MODEL_CONFIGS", {**factory._MODEL_CONFIGS, "Tiny-16": CLIP})
    prepared = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "resize_mode": "squash"}
    tags = {
        "some_data": {"hf_hub": "org/tiny-16/", **prepared},
        "quick": {"hf_hub": "org/tiny-16/", "quick_gelu": True},
        "pickled": {"hf_hub": "org/pickled/model.bin"},
    }
    monkeypatch.setitem(pretrained._PRETRAINED, "Tiny-16", tags)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize(("tag", "quick_gelu"), [("some_data", False), ("quick", True)])
def test_a_name_that_openclip_lists_is_the_model_that_openclip_loads(
    clip: Path, cache: Path, tag: str, quick_gelu: bool
) -> None:
    put_into(cache, "org/tiny-16", clip / WEIGHTS)
    model, _, preprocess = open_clip.create_model_and_transforms(
        "Tiny-16", pretrained=tag, force_quick_gelu=quick_gelu
    )
    image = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    with torch.inference_mode():
        expected = model.eval().encode_image(preprocess(Image.fromarray(image))[None], normalize=True)

    encoder = load_encoder(f"open_clip:Tiny-16/{tag}", device="cpu")

    assert encoder.embed_images([image]) == pytest.approx(expected.numpy(), abs=1e-5)
    assert (encoder.name, encoder.revision) == (f"open_clip:Tiny-16/{tag}", COMMIT)
    assert encoder.spec.fit == ("crop" if quick_gelu else "stretch")


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("name", ["Tiny-16", "Tiny-16/", "Tiny-16/other"])
def test_an_architecture_without_known_weights_lists_the_known_ones(name: str) -> None:
    message = refusal(name)

    assert message.startswith(f"open_clip:{name}: no such weights of Tiny-16")
    assert message.endswith("Tiny-16/TAG with one of some_data, quick, pickled")


def test_openclips_own_table_is_read() -> None:
    assert refusal("ViT-B-32/laion2b_s34b_b79k").startswith(
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K: not in the"
    )
    assert "laion2b_s34b_b79k" in refusal("ViT-B-32")


@pytest.mark.parametrize("name", ["clip", "", "/no/such/folder", "a/b/c"])
def test_an_unknown_name_is_answered_with_what_there_is(name: str) -> None:
    message = refusal(name)

    assert message.startswith(f"{name!r}: no such OpenCLIP model")
    for known in ("folder", "hub id", "ViT-B-32/openai"):
        assert known in message


def test_a_file_instead_of_a_folder_points_to_its_folder(clip: Path) -> None:
    assert refusal(clip / WEIGHTS).endswith(f"this is a file; pass the folder {clip}")


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(clip: Path, device: str) -> None:
    assert refusal(clip, device) == f"device {device!r}: not on this machine; use auto, cpu or cuda"


@pytest.mark.parametrize("precision", ["int8", "fp16", ""])
def test_a_precision_that_is_not_to_be_had_is_refused_before_anything_is_loaded(precision: str) -> None:
    with pytest.raises(EncoderUnavailable, match=f"precision '{precision}': .* use auto, fp32, bf16"):
        load_open_clip("/no/such/folder", device="cpu", precision=precision)


# Layouts that are taken for each other


def test_a_folder_of_transformers_says_to_leave_out_the_prefix(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "siglip")

    message = refusal(folder)

    assert message.startswith(f"{folder}: no open_clip_config.json, but a checkpoint of transformers")
    assert message.endswith("architecture 'siglip'; pass it without open_clip:")
    (folder / "config.json").write_text('{"model_type": "clip"}')
    assert refusal(folder).endswith("architecture 'clip'; OpenCLIP's own layout is needed")


def test_a_folder_of_openclip_says_to_write_the_prefix(clip: Path, biomedclip: Path) -> None:
    for folder in (clip, biomedclip):
        with pytest.raises(EncoderUnavailable) as caught:
            load_encoder(folder, device="cpu")
        assert str(caught.value) == f"{folder}: a checkpoint of OpenCLIP; pass open_clip:{folder}"


def test_a_config_nested_beyond_reason_beside_it_is_not_taken_for_a_siglip(own_clip: Path) -> None:
    (own_clip / "config.json").write_text("[" * 100_000)

    with pytest.raises(EncoderUnavailable, match="a checkpoint of OpenCLIP; pass open_clip:"):
        load_encoder(own_clip, device="cpu")


def test_a_folder_of_both_layouts_is_taken_as_it_is_named(clip: Path, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "both")
    for file in clip.iterdir():
        shutil.copy(file, folder)

    assert load_encoder(folder, device="cpu").dim == 32
    assert load_encoder(f"open_clip:{folder}", device="cpu").dim == 16


def test_an_empty_folder_has_no_configuration(tmp_path: Path) -> None:
    assert "no open_clip_config.json; pass the folder of a whole" in refusal(tmp_path)


# Configuration


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff", "[" * 100_000])
def test_a_damaged_configuration_is_named(own_clip: Path, text: str) -> None:
    (own_clip / "open_clip_config.json").write_text(text, "latin-1")

    assert refusal(own_clip).startswith(f"{own_clip / 'open_clip_config.json'}: ")


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no model": (lambda content: content.pop("model_cfg"), "no model_cfg"),
    "no dimension": (lambda content: content["model_cfg"].pop("embed_dim"), "no usable embed_dim"),
    "no text tower": (lambda content: content["model_cfg"].update(text_cfg=3), "no usable text_cfg"),
    "unknown argument": (lambda content: content["model_cfg"].update(new=3), "the model cannot be built"),
    "wrong type": (
        lambda content: content["model_cfg"]["vision_cfg"].update(layers="two"),
        "the model cannot be built",
    ),
    "unknown tower": (
        lambda content: content["model_cfg"]["vision_cfg"].update(timm_model_name="vit_unknown"),
        "the model cannot be built (RuntimeError: Unknown model (vit_unknown))",
    ),
    "a tower of the hub": (
        lambda content: content["model_cfg"]["vision_cfg"].update(timm_model_name="hf-hub:org/tower"),
        "'hf-hub:org/tower' names no vision tower of timm's own",
    ),
    "another width": (
        lambda content: content["model_cfg"]["vision_cfg"].update(width=96),
        f"{WEIGHTS}: does not fit",
    ),
    "more layers": (
        lambda content: content["model_cfg"]["vision_cfg"].update(layers=3),
        "lacks 12 of the tensors",
    ),
    "fewer layers": (lambda content: content["model_cfg"]["text_cfg"].update(layers=1), "has 12 tensors"),
    "fewer tokens": (
        lambda content: content["model_cfg"]["text_cfg"].update(vocab_size=1000),
        f"{WEIGHTS}: does not fit",
    ),
    "random words": (
        lambda content: content["model_cfg"]["text_cfg"].update(
            tokenizer_kwargs={"reduction_mask": "random"}
        ),
        "drops words at random",
    ),
    "unknown resize": (
        lambda content: content["preprocess_cfg"].update(resize_mode="wide"),
        "resize_mode 'wide'",
    ),
    "grey padding": (
        lambda content: content["preprocess_cfg"].update(resize_mode="longest", fill_color=128),
        "fill_color 128",
    ),
    "two means": (lambda content: content["preprocess_cfg"].update(mean=[0.5, 0.5]), "must be three numbers"),
    "no deviation": (lambda content: content["preprocess_cfg"].update(std=[0.5, 0, 0.5]), "a positive std"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_a_configuration_that_cannot_be_followed_is_refused(
    own_clip: Path, change: Callable[[dict[str, Any]], object], said: str
) -> None:
    change_config(own_clip, change)

    message = refusal(own_clip)

    assert message.startswith(str(own_clip))
    assert said in message


# Weights


def test_weights_are_found_by_the_names_that_openclip_knows(clip: Path, own_clip: Path) -> None:
    expected = load_encoder(f"open_clip:{clip}", device="cpu").embed_texts(SENTENCES)
    for name in ("open_clip_pytorch_model.safetensors", "model.safetensors"):
        shutil.copy(clip / WEIGHTS, own_clip / name)
        (own_clip / WEIGHTS).unlink(missing_ok=True)
        (own_clip / "open_clip_pytorch_model.bin").write_bytes(b"never opened")
        assert np.array_equal(
            load_encoder(f"open_clip:{own_clip}", device="cpu").embed_texts(SENTENCES), expected
        )


def test_no_weights_at_all(own_clip: Path) -> None:
    (own_clip / WEIGHTS).unlink()

    assert refusal(own_clip) == f"{own_clip}: no weights ({WEIGHTS}); fetch the whole checkpoint"


def test_pickled_weights_are_never_opened(own_clip: Path) -> None:
    (own_clip / WEIGHTS).unlink()
    (own_clip / "open_clip_pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")

    message = refusal(own_clip)

    assert "holds pickled weights only, which can run code" in message
    assert message.endswith(f"convert them to {WEIGHTS}, as docs/encoders.md tells")


def test_the_documented_conversion_of_pickled_weights_gives_the_same_model(
    biomedclip: Path, own_biomedclip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "encoders.md").read_text("utf-8")
    recipe = page.split("```python\n")[1].split("```")[0]
    torch.save(load_file(own_biomedclip / WEIGHTS), own_biomedclip / "open_clip_pytorch_model.bin")
    (own_biomedclip / WEIGHTS).unlink()
    monkeypatch.chdir(own_biomedclip.parent)
    assert "pickled weights only" in refusal(own_biomedclip)

    exec(recipe, {})

    encoder = load_encoder("open_clip:biomedclip", device="cpu")
    whole = load_encoder(f"open_clip:{biomedclip}", device="cpu")
    assert np.array_equal(encoder.embed_texts(SENTENCES), whole.embed_texts(SENTENCES))


@pytest.mark.parametrize("keep", [0, 7, 100, 5000, -1])
def test_truncated_weights_are_refused(own_clip: Path, keep: int) -> None:
    path = own_clip / WEIGHTS
    path.write_bytes(path.read_bytes()[:keep])

    assert refusal(own_clip).startswith(f"{path}: not a whole safetensors file")


def test_a_missing_tensor_is_named(own_biomedclip: Path) -> None:
    tensors = load_file(own_biomedclip / WEIGHTS)
    del tensors["text.proj.0.weight"]
    save_file(tensors, own_biomedclip / WEIGHTS)

    assert "lacks 1 of the tensors" in refusal(own_biomedclip)
    assert "(first text.proj.0.weight)" in refusal(own_biomedclip)


def test_weights_in_several_files_are_refused(own_clip: Path) -> None:
    (own_clip / WEIGHTS).unlink()
    half = {name: {"a": torch.zeros(1)} for name in ("model-1.safetensors", "model-2.safetensors")}
    for name, tensors in half.items():
        save_file(tensors, own_clip / name)
    index = {"weight_map": {name: name for name in half}}
    (own_clip / "model.safetensors.index.json").write_text(json.dumps(index))

    assert "the weights are in several files" in refusal(own_clip)


# The text tower of transformers


def test_the_text_towers_configuration_and_tokenizer_may_be_in_the_cache(
    biomedclip: Path, own_biomedclip: Path, cache: Path
) -> None:
    there = [own_biomedclip / name for name in ("config.json", "tokenizer.json", "tokenizer_config.json")]
    put_into(cache, TEXT_TOWER, *there)
    for name in (*there, own_biomedclip / "vocab.txt"):
        name.unlink()

    encoder = load_encoder(f"open_clip:{own_biomedclip}", device="cpu")

    whole = load_encoder(f"open_clip:{biomedclip}", device="cpu")
    assert np.array_equal(encoder.embed_texts(SENTENCES), whole.embed_texts(SENTENCES))


def test_a_config_of_transformers_clip_beside_it_is_not_taken_for_the_text_towers(
    own_biomedclip: Path, cache: Path
) -> None:
    put_into(cache, TEXT_TOWER, own_biomedclip / "config.json")
    (own_biomedclip / "config.json").write_text('{"model_type": "clip"}')

    assert load_encoder(f"open_clip:{own_biomedclip}", device="cpu").dim == 16


def test_weights_are_not_rounded_to_what_the_text_towers_configuration_says(
    biomedclip: Path, own_biomedclip: Path
) -> None:
    path = own_biomedclip / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {"dtype": "float16"}))

    encoder = load_encoder(f"open_clip:{own_biomedclip}", device="cpu")

    whole = load_encoder(f"open_clip:{biomedclip}", device="cpu")
    assert np.array_equal(encoder.embed_texts(SENTENCES), whole.embed_texts(SENTENCES))


@pytest.mark.parametrize(
    ("gone", "what"),
    [
        (["config.json"], "config.json of the text tower"),
        (["tokenizer.json", "tokenizer_config.json", "vocab.txt"], "the tokenizer"),
    ],
)
def test_what_the_text_tower_lacks_is_named_with_where_it_was_looked_for(
    own_biomedclip: Path, gone: list[str], what: str
) -> None:
    for name in gone:
        (own_biomedclip / name).unlink()

    message = refusal(own_biomedclip)

    expected = f"{own_biomedclip}: {what} is not in the folder, nor to be had from {TEXT_TOWER}; put it there"
    assert message.startswith(expected)
    assert "not in the local cache, and the hub cannot be reached" in message


def test_a_text_tower_that_openclip_cannot_use_is_refused(own_biomedclip: Path, cache: Path) -> None:
    config = own_biomedclip / "config.json"
    config.write_text('{"model_type": "gpt2", "auto_map": {"AutoModel": "evil.Model"}}')
    put_into(cache, TEXT_TOWER, config)

    assert "is of the architecture 'gpt2'; OpenCLIP takes roberta" in refusal(own_biomedclip)


def test_a_tokenizer_may_be_a_vocabulary_alone(biomedclip: Path, own_biomedclip: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (own_biomedclip / name).unlink()

    encoder = load_encoder(f"open_clip:{own_biomedclip}", device="cpu")

    whole = load_encoder(f"open_clip:{biomedclip}", device="cpu")
    assert np.array_equal(encoder.embed_texts(SENTENCES), whole.embed_texts(SENTENCES))


def test_a_damaged_tokenizer_is_said(own_biomedclip: Path) -> None:
    (own_biomedclip / "tokenizer.json").write_text("{")

    assert "the tokenizer cannot be loaded" in refusal(own_biomedclip)


def test_a_tokenizer_of_another_model_is_refused(own_biomedclip: Path) -> None:
    path = own_biomedclip / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    vocabulary |= {f"word{number}": len(vocabulary) + number for number in range(50)}
    path.write_text(json.dumps(content))

    size = len(vocabulary)
    assert f"the tokenizer ({size} tokens) does not fit the text tower ({size - 50}" in refusal(
        own_biomedclip
    )


def test_texts_longer_than_the_text_tower_are_refused(own_biomedclip: Path) -> None:
    change_config(own_biomedclip, lambda content: content["model_cfg"]["text_cfg"].update(context_length=65))

    assert "texts of 65 tokens, and a text tower for 64" in refusal(own_biomedclip)


def test_a_configuration_cannot_have_code_run(own_biomedclip: Path) -> None:
    trap = own_biomedclip / "trap"
    (own_biomedclip / "evil.py").write_text(f"open({str(trap)!r}, 'w')\nclass Evil: pass\n")
    tokenizer = json.loads((own_biomedclip / "tokenizer_config.json").read_text("utf-8"))
    tokenizer |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}}
    (own_biomedclip / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    asked = {"trust_remote_code": True}
    change_config(
        own_biomedclip, lambda content: content["model_cfg"]["text_cfg"].update(tokenizer_kwargs=asked)
    )

    assert load_encoder(f"open_clip:{own_biomedclip}", device="cpu").dim == 16
    assert not trap.exists()


# The hub


@pytest.fixture(scope="module")
def hub(biomedclip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """BiomedCLIP's layout as it is published: with the same weights in other forms, and with pictures."""
    folder = shutil.copytree(biomedclip, tmp_path_factory.mktemp("hub") / "published")
    for name in ("model.safetensors", "open_clip_pytorch_model.bin", "evil.py", "README.md"):
        (folder / name).write_bytes(b"not needed")
    with Hub(folder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_hub_checkpoint_is_fetched_once_and_then_used_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    hub.fetched.clear()
    fetched = load_from(hub.address, "open_clip:org/open", tmp_path)
    cached = load_from("http://127.0.0.1:9", "open_clip:org/open", tmp_path)

    assert fetched == cached == [f"open_clip:org/open {COMMIT} 16"]
    needed = ["config.json", "open_clip_config.json", WEIGHTS, "tokenizer.json", "tokenizer_config.json"]
    assert sorted(hub.fetched) == sorted([*needed, "vocab.txt"])


def test_pickled_weights_of_the_hub_are_not_even_fetched(clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    shutil.copy(clip / "open_clip_config.json", folder)
    (folder / "open_clip_pytorch_model.bin").write_bytes(b"never opened")
    with Hub(folder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        message, _ = load_from(server.address, "open_clip:org/open", tmp_path / "home")
        server.shutdown()

    assert message.startswith("org/open: no safetensors weights on the hub; pickled ones")
    assert "docs/encoders.md" in message
    assert server.fetched == ["open_clip_config.json"]


def test_weights_that_a_repository_has_as_model_safetensors_only_are_fetched(
    clip: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    shutil.copy(clip / "open_clip_config.json", folder)
    shutil.copy(clip / WEIGHTS, folder / "model.safetensors")
    with Hub(folder) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        fetched = load_from(server.address, "open_clip:org/open", tmp_path / "home")
        server.shutdown()

    assert fetched == [f"open_clip:org/open {COMMIT} 16"]


def test_openclips_registry_is_left_as_it_was(clip: Path) -> None:
    before = copy.deepcopy(factory._MODEL_CONFIGS)

    load_encoder(f"open_clip:{clip}", device="cpu")

    assert before == factory._MODEL_CONFIGS
    assert read_config(clip)["model_cfg"] == CLIP
