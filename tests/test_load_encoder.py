"""An encoder by name: the right checkpoint, or one line that says what to do."""

import json
import shutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from checkpoints import make_checkpoint, ship
from hub import COMMIT, GONE, Hub, load_from
from safetensors.torch import load_file, save_file

from medsiglip_search.checkpoints import Catalogue, Checkpoint
from medsiglip_search.encoders import ENCODERS, MEDSIGLIP, load_encoder, load_encoder_of
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.records import GalleryMeta

PINNED = ENCODERS.commits[MEDSIGLIP]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("load_encoder") / "checkpoint")


@pytest.fixture
def own_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint that the test may damage."""
    return shutil.copytree(checkpoint, tmp_path / "copy")


def refusal(name: str | Path, device: str = "cpu") -> str:
    """Return the one line that `load_encoder` refuses with."""
    with pytest.raises(EncoderUnavailable) as caught:
        load_encoder(name, device=device)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_is_loaded_without_any_connection(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    encoder = load_encoder(str(checkpoint), device="cpu")

    assert (encoder.revision, encoder.dim, encoder.spec.size) == ("local", 32, 28)


def test_a_folders_name_finds_it_from_any_directory(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    encoder = load_encoder("checkpoint", device="cpu")
    monkeypatch.chdir(tmp_path)

    again = load_encoder(encoder.name, device="cpu")

    assert encoder.name == str(checkpoint)
    assert again.weights_digest == encoder.weights_digest
    assert np.array_equal(again.embed_texts(["left effusion"]), encoder.embed_texts(["left effusion"]))


def test_demo_is_the_checkpoint_inside_the_package(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(monkeypatch, checkpoint)

    assert load_encoder("demo", device="cpu").name == "demo"


def test_a_package_without_demo_weights_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ship(monkeypatch, tmp_path / "none")

    assert "medsiglip_search.demo.train" in refusal("demo")


@pytest.mark.parametrize("name", ["clip", "", "/no/such/folder", "a/b/c", "openclip:ViT-B-32"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str) -> None:
    message = refusal(name)

    assert message.startswith(repr(name))
    for known in ("demo", "medsiglip", "folder", "hub id", "open_clip:NAME"):
        assert known in message


def test_a_file_instead_of_a_folder_points_to_its_folder(checkpoint: Path) -> None:
    message = refusal(checkpoint / "model.safetensors")

    assert "this is a file" in message
    assert message.endswith(f"pass the folder {checkpoint}")


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "cuda:x", ""])
def test_a_device_that_is_not_there_is_refused(checkpoint: Path, device: str) -> None:
    assert refusal(checkpoint, device) == f"device {device!r}: not on this machine; use auto, cpu or cuda"


def test_an_empty_folder_has_no_config(tmp_path: Path) -> None:
    assert "no config.json" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_a_damaged_config_is_named(own_copy: Path, text: str) -> None:
    (own_copy / "config.json").write_text(text, "latin-1")

    assert refusal(own_copy).startswith(f"{own_copy / 'config.json'}: ")


def test_another_architecture_is_named(own_copy: Path) -> None:
    (own_copy / "config.json").write_text(json.dumps({"model_type": "clip"}))

    assert "architecture 'clip'" in refusal(own_copy)


def test_sizes_that_the_weights_do_not_have_are_refused(own_copy: Path) -> None:
    config = json.loads((own_copy / "config.json").read_text())
    config["vision_config"]["hidden_size"] = config["text_config"]["hidden_size"] = 64
    (own_copy / "config.json").write_text(json.dumps(config))

    assert "the model cannot be loaded" in refusal(own_copy)


def test_a_config_value_of_the_wrong_type_is_refused(own_copy: Path) -> None:
    config = json.loads((own_copy / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = "two"
    (own_copy / "config.json").write_text(json.dumps(config))

    assert "cannot be loaded" in refusal(own_copy)


def test_no_weights_at_all(own_copy: Path) -> None:
    (own_copy / "model.safetensors").unlink()

    assert "no weights (model.safetensors)" in refusal(own_copy)


def test_pickled_weights_are_never_opened(own_copy: Path) -> None:
    (own_copy / "model.safetensors").rename(own_copy / "pytorch_model.bin")

    message = refusal(own_copy)

    assert "pickled weights only" in message
    assert "convert" in message


@pytest.mark.parametrize("keep", [0, 7, 100, 5000, -1])
def test_truncated_weights_are_refused(own_copy: Path, keep: int) -> None:
    path = own_copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])

    assert refusal(own_copy).startswith(f"{path}: not a whole safetensors file")


def test_a_git_lfs_pointer_is_not_taken_for_weights(own_copy: Path) -> None:
    path = own_copy / "model.safetensors"
    path.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 3513309984\n")

    assert "Git LFS pointer" in refusal(own_copy)


def test_a_missing_tensor_is_not_filled_with_random_numbers(own_copy: Path) -> None:
    path = own_copy / "model.safetensors"
    tensors = load_file(path)
    del tensors["vision_model.head.probe"]
    save_file(tensors, path, metadata={"format": "pt"})

    message = refusal(own_copy)

    assert "lack 1 of the model's tensors (first vision_model.head.probe)" in message


@pytest.mark.parametrize("key", ["logit_scale", "logit_bias"])
def test_a_pair_logit_that_is_no_number_is_refused(own_copy: Path, key: str) -> None:
    path = own_copy / "model.safetensors"
    tensors = load_file(path)
    tensors[key] = tensors[key] * float("nan")
    save_file(tensors, path, metadata={"format": "pt"})

    assert "logit_scale and logit_bias are no numbers" in refusal(own_copy)


def test_a_header_of_unknown_types_is_refused(own_copy: Path) -> None:
    path = own_copy / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F33"'))

    assert "fetch it again" in refusal(own_copy)


@pytest.mark.parametrize("value", ["[NaN, 0.5, 0.5]", "[1e999, 0.5, 0.5]", "[-1, 0.5, 0.5]", "[0, 1, 1]"])
def test_a_std_that_cannot_be_divided_by_is_refused(own_copy: Path, value: str) -> None:
    (own_copy / "preprocessor_config.json").write_text(f'{{"image_std": {value}}}')

    assert "positive image_std" in refusal(own_copy)


def test_json_that_is_nested_beyond_reason_is_refused(own_copy: Path) -> None:
    (own_copy / "config.json").write_text("[" * 100_000)

    assert "cannot be read as JSON" in refusal(own_copy)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "sharded", shard_bytes=100_000)
    shard = sorted(folder.glob("model-*.safetensors"))[1]
    shard.unlink()

    assert f"weight files are missing (first {shard.name})" in refusal(folder)


@pytest.mark.parametrize("text", ["{", "{}", '{"weight_map": {"a": 1}}', '{"weight_map": {"a": "../../x"}}'])
def test_a_damaged_index_of_shards_is_refused(own_copy: Path, text: str) -> None:
    (own_copy / "model.safetensors").unlink()
    (own_copy / "model.safetensors.index.json").write_text(text)

    assert "model.safetensors.index.json: not an index" in refusal(own_copy)


def test_a_missing_tokenizer_is_said(own_copy: Path) -> None:
    (own_copy / "spiece.model").unlink()

    assert "no tokenizer" in refusal(own_copy)


def test_a_damaged_tokenizer_is_said(own_copy: Path) -> None:
    (own_copy / "spiece.model").write_bytes(b"not a model")

    assert "the tokenizer cannot be loaded" in refusal(own_copy)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", vocabulary=100)

    assert "does not fit the text tower (100 tokens)" in refusal(folder)


def test_a_normalisation_that_is_not_three_numbers_is_refused(own_copy: Path) -> None:
    (own_copy / "preprocessor_config.json").write_text(json.dumps({"image_mean": ["a", "b", "c"]}))

    assert "image_mean and image_std must be three numbers" in refusal(own_copy)


@pytest.fixture(scope="module")
def hub(checkpoint: Path) -> Iterator[Hub]:
    with Hub(checkpoint) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_a_hub_checkpoint_is_fetched_once_and_then_used_without_the_hub(hub: Hub, tmp_path: Path) -> None:
    fetched = load_from(hub.address, "org/open", tmp_path)
    cached = load_from("http://127.0.0.1:9", "org/open", tmp_path)

    assert fetched == cached == [f"org/open {COMMIT} 32"]


def test_a_checkpoint_of_a_revision_is_that_one_whatever_is_newer(hub: Hub, tmp_path: Path) -> None:
    newer = "f" * 40
    hub.commit = newer
    try:
        newest = load_from(hub.address, "org/open", tmp_path)
        pinned = load_from(hub.address, "org/open", tmp_path, revision=COMMIT)
    finally:
        hub.commit = COMMIT
    again = load_from("http://127.0.0.1:9", "org/open", tmp_path, revision=COMMIT)

    assert newest == [f"org/open {newer} 32"]
    assert pinned == again == [f"org/open {COMMIT} 32"]


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [("medsiglip", None, PINNED), (MEDSIGLIP, None, PINNED), ("medsiglip", COMMIT, COMMIT)],
)
def test_medsiglip_is_of_the_commit_that_the_package_names_unless_another_is_asked_for(
    hub: Hub, tmp_path: Path, name: str, asked: str | None, found: str
) -> None:
    assert load_from(hub.address, name, tmp_path, revision=asked) == [f"{name} {found} 32"]


def test_a_revision_that_the_hub_does_not_have_is_said(hub: Hub, tmp_path: Path) -> None:
    message, _ = load_from(hub.address, "org/open", tmp_path, revision=GONE)

    assert message == (
        f"org/open: the hub has no revision {GONE}; pass a local folder that holds it, or build a new "
        "gallery if one was made with it"
    )


def test_without_the_hub_the_commit_to_fetch_is_said(tmp_path: Path) -> None:
    message, _ = load_from("http://127.0.0.1:9", "medsiglip", tmp_path, offline=True)

    assert f"(`hf download google/medsiglip-448 --revision {PINNED}`)" in message


def test_a_gallery_is_opened_with_the_revision_that_it_was_made_with(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def locate(self: Catalogue, name: str, revision: str | None = None) -> Checkpoint:
        asked.append((name, revision))
        return Checkpoint(checkpoint, name, revision)

    monkeypatch.setattr(Catalogue, "locate", locate)
    own = load_encoder(checkpoint, "cpu")
    meta = GalleryMeta("medsiglip", COMMIT, own.weights_digest, own.dim, own.spec)
    load_encoder_of(meta, device="cpu")
    load_encoder_of(meta, "org/other", "cpu")
    load_encoder_of(replace(meta, encoder="org/local", revision="local"), device="cpu")

    assert asked[1:] == [("medsiglip", COMMIT), ("org/other", None), ("org/local", None)]


def test_a_gated_model_says_to_accept_the_terms_and_log_in(hub: Hub, tmp_path: Path) -> None:
    message, imported_torch = load_from(hub.address, "org/gated", tmp_path)

    assert message == (
        "org/gated: gated; accept the terms on its page (https://huggingface.co/org/gated), then run "
        "`hf auth login`; or pass a local folder that holds the checkpoint"
    )
    assert imported_torch == "False"


def test_a_model_that_the_hub_does_not_have_is_said(hub: Hub, tmp_path: Path) -> None:
    message, _ = load_from(hub.address, "org/none", tmp_path)

    assert message.startswith("org/none: neither a folder here nor a model on the hub")


@pytest.mark.parametrize("offline", [True, False], ids=["HF_HUB_OFFLINE", "no connection"])
def test_without_the_hub_and_a_cached_copy_the_way_out_is_named(tmp_path: Path, offline: bool) -> None:
    message, _ = load_from("http://127.0.0.1:9", "medsiglip", tmp_path, offline=offline)

    assert message.startswith("google/medsiglip-448: not in the local cache, and the hub cannot be reached")
    assert message.endswith("or pass a local folder that holds the checkpoint")
