"""What a name of a model is found to be, before anything is fetched."""

from dataclasses import replace
from pathlib import Path

import pytest
from checkpoints import make_checkpoint

from medsiglip_search.checkpoints import Catalogue, Checkpoint, Shipped, is_whole
from medsiglip_search.errors import ExplainerUnavailable
from medsiglip_search.explain.kinds import EXPLAINERS


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    shipped = tmp_path / "package"
    shipped.mkdir()
    return replace(EXPLAINERS, shipped={"demo": Shipped(shipped, "some.training")})


def test_each_kind_of_name_finds_its_checkpoint(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetched(hub_id: str, **_: object) -> str:
        asked.append(hub_id)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            (tmp_path / "0123abcd").mkdir(exist_ok=True)
            (tmp_path / "0123abcd" / name).touch()
        return str(tmp_path / "0123abcd")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "org" / "own"
    own.mkdir(parents=True)
    commit = tmp_path / "0123abcd"

    assert catalogue.locate("demo") == Checkpoint(tmp_path / "package", "demo", None)
    assert catalogue.locate("org/own") == Checkpoint(Path("org/own"), str(own), None)
    assert asked == []
    assert catalogue.locate("medgemma-4b-it") == Checkpoint(commit, "medgemma-4b-it", "0123abcd")
    assert catalogue.locate("org/other") == Checkpoint(commit, "org/other", "0123abcd")
    assert asked == ["google/medgemma-4b-it", "org/other"]


def test_a_folder_of_a_short_name_does_not_hide_the_hubs(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("demo", "medgemma"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda hub_id, **_: str(tmp_path / "0123abcd"))

    assert catalogue.locate("demo").folder == tmp_path / "package"
    assert catalogue.locate("medgemma").folder == tmp_path / "0123abcd"


def test_a_package_without_its_checkpoint_says_how_to_get_it(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "package").rmdir()

    with pytest.raises(ExplainerUnavailable, match=r"without this explainer; .* `python -m some\.training`"):
        catalogue.require_known("demo")


def test_a_file_is_refused_before_anything_is_searched(catalogue: Catalogue, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()

    with pytest.raises(ExplainerUnavailable, match=f"this is a file; pass the folder {tmp_path}"):
        catalogue.require_known(str(tmp_path / "model.safetensors"))


def test_a_checkpoint_is_whole_with_every_file_that_its_index_names(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "sharded", shard_bytes=100_000)
    assert is_whole(folder)
    shard = sorted(folder.glob("model-*.safetensors"))[1]

    shard.unlink()

    assert not is_whole(folder)
    (folder / "model.safetensors.index.json").write_text("{")  # told by who reads it
    assert is_whole(folder)
