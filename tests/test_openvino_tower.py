"""OpenVINO runs the vision tower: the numbers of torch, files that are kept whole, int8 only if faithful."""

import contextlib
import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import make_checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file

from medsiglip_search.encoders import DEMO_FOLDER, image_towers
from medsiglip_search.encoders.calibration import PROVING, SAMPLED, Sample, least_cosine
from medsiglip_search.encoders.image_towers import openvino as openvino_tower
from medsiglip_search.encoders.image_towers import openvino_convert, openvino_files, openvino_library
from medsiglip_search.encoders.image_towers.openvino import OpenVinoTower, Way
from medsiglip_search.encoders.image_towers.openvino_convert import convert
from medsiglip_search.encoders.siglip import SiglipEncoder, load_siglip
from medsiglip_search.encoders.siglip.checkpoint import read_checkpoint
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.gallery import Gallery
from medsiglip_search.records import PreprocessSpec

pytestmark = pytest.mark.skipif(not openvino_library.is_installed(), reason="the extra openvino is not there")

needs_bf16 = pytest.mark.skipif(
    not openvino_library.is_installed() or not openvino_tower.multiplies_bf16(),
    reason="OpenVINO does not multiply bf16 on this processor",
)


@pytest.fixture(autouse=True)
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny checkpoints here are large ones."""
    monkeypatch.setattr(image_towers, "LARGE", 0)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that OpenVINO's file lies beside."""
    folder = make_checkpoint(tmp_path_factory.mktemp("openvino") / "checkpoint")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_towers, "LARGE", 0)
        by_openvino(folder)
    return folder


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive, its gallery in int8, and the checkpoint that int8 lies beside now."""
    folder = tmp_path_factory.mktemp("int8")
    checkpoint = make_checkpoint(folder / "checkpoint")
    # What random layers add is random; with less of it a tiny tower bears eight bits as a trained one does.
    tensors = load_file(checkpoint / "model.safetensors")
    for key in tensors:
        if key.startswith("vision_model.encoder.") and key.endswith(("out_proj.weight", "fc2.weight")):
            tensors[key] *= 0.1
    save_file(tensors, checkpoint / "model.safetensors", metadata={"format": "pt"})
    (folder / "archive").mkdir()
    for number, picture in enumerate(archive_pictures(SAMPLED + 5)):
        Image.fromarray(picture).save(folder / "archive" / f"{number:02}.png")
    (folder / "archive" / "notes.txt").write_text("no picture")
    program = (
        "import sys; from medsiglip_search.encoders import image_towers; image_towers.LARGE = 0; "
        "from medsiglip_search.cli import main; main(sys.argv[1:])"
    )
    options = ["--encoder", str(checkpoint), "--precision", "int8", "--device", "cpu", "--workers", "1"]
    command = [
        sys.executable,
        "-c",
        program,
        "index",
        str(folder / "gallery"),
        str(folder / "archive"),
        *options,
    ]
    subprocess.run(command, check=True)
    return folder


@pytest.fixture
def quantised(indexed: Path) -> Path:
    """A checkpoint with an int8 model beside it."""
    return indexed / "checkpoint"


@pytest.fixture
def own_copy(converted: Path, tmp_path: Path) -> Path:
    """A copy that the test may damage."""
    return shutil.copytree(converted, tmp_path / "copy", ignore=shutil.ignore_patterns("way-*"))


def load(folder: Path, precision: str = "fp32", sample: Sample | None = None) -> SiglipEncoder:
    return load_siglip(
        folder, name="tiny", revision="local", device="cpu", precision=precision, sample=sample
    )


def by_openvino(folder: Path, precision: str = "fp32") -> SiglipEncoder:
    """Return an encoder whose image tower is OpenVINO's."""
    encoder = load(folder, precision)
    assert isinstance(encoder._towers.images, OpenVinoTower)
    return encoder


def by_torch(folder: Path) -> SiglipEncoder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image_towers, "LARGE", 10**9)
        encoder = load(folder)
        assert not isinstance(encoder._towers.images, OpenVinoTower)
    return encoder


def archive_pictures(count: int) -> list[np.ndarray]:
    """Return pictures that differ as those of an archive do: smooth, light and dark."""
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 256, (4, 4, 3), dtype=np.uint8) for _ in range(count)]
    return [
        np.array(Image.fromarray(each).resize((40 + number, 60), Image.Resampling.BICUBIC))
        for number, each in enumerate(coarse)
    ]


def archive_sample(_: PreprocessSpec) -> list[np.ndarray]:
    return archive_pictures(SAMPLED)


def refuse(*_: object) -> None:
    raise AssertionError("this was not to be called")


def test_embeddings_are_those_of_torch(converted: Path) -> None:
    pictures = archive_pictures(7)

    rows = by_openvino(converted).embed_images(pictures)

    np.testing.assert_allclose(rows, by_torch(converted).embed_images(pictures), atol=1e-5)
    assert by_openvino(converted).embed_images([]).shape == (0, 32)


@needs_bf16
def test_bf16_embeddings_stay_close_to_fp32(own_copy: Path) -> None:
    pictures = archive_pictures(7)

    rows = by_openvino(own_copy, "bf16").embed_images(pictures)

    exact = by_openvino(own_copy).embed_images(pictures)
    assert 0.999 <= least_cosine(rows, exact) < 1
    assert not np.array_equal(rows, exact)


@pytest.mark.parametrize("way", [Way(), Way(batch=2), Way(together=2)])
def test_every_way_gives_the_same_rows_in_order(
    converted: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = archive_pictures(7)
    expected = by_torch(converted).embed_images(pictures)
    monkeypatch.setattr(openvino_tower, "_ways", lambda: [way])

    encoder = by_openvino(converted)
    rows = encoder.embed_images(pictures)

    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert encoder._towers.images._way == way  # type: ignore[attr-defined]


def test_files_that_are_deleted_meanwhile_are_not_missed(own_copy: Path) -> None:
    encoder = by_openvino(own_copy)
    pictures = archive_pictures(5)
    first = encoder.embed_images(pictures[:1])
    shutil.rmtree(own_copy / "openvino")

    rows = encoder.embed_images(pictures)  # so many that the ways to compute are measured

    np.testing.assert_allclose(rows[:1], first, atol=1e-5)
    np.testing.assert_allclose(rows, by_torch(own_copy).embed_images(pictures), atol=1e-5)


def test_bf16_that_a_processor_does_not_multiply_is_slow_and_said_so(
    converted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(openvino_tower, "multiplies_bf16", lambda: False)

    rows = load(converted, "bf16").embed_images(archive_pictures(2))

    assert "does not multiply bf16, which is slow; pass --precision fp32" in caplog.text
    assert least_cosine(rows, by_torch(converted).embed_images(archive_pictures(2))) >= 0.999


def test_several_threads_may_embed_at_once(converted: Path) -> None:
    encoder = by_openvino(converted)
    pictures = archive_pictures(12)
    expected = encoder.embed_images(pictures)

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(lambda picture: encoder.embed_images([picture])[0], pictures * 5))

    np.testing.assert_allclose(rows, np.tile(expected, (5, 1)), atol=1e-6)


def test_a_signal_is_heard_after_the_older_of_two_towers_has_gone_first(converted: Path) -> None:
    program = (
        "import gc, os, signal, sys; "
        "from medsiglip_search.encoders import image_towers; image_towers.LARGE = 0; "
        "from test_openvino_tower import Path, by_openvino; "
        "first, second = (by_openvino(Path(sys.argv[1])) for _ in range(2)); "
        "del first; gc.collect(); del second; gc.collect(); "
        "signal.signal(signal.SIGINT, lambda *_: print('heard')); os.kill(os.getpid(), signal.SIGINT)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}

    done = subprocess.run(
        [sys.executable, "-c", program, str(converted)], env=environment, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_the_model_is_converted_once(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_files, "_converted", refuse)

    by_openvino(converted)

    folder, lock = sorted((converted / "openvino").iterdir())
    assert (folder.name[:5], lock.name) == ("fp32-", "lock")
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("halved", [False, True])
def test_what_is_converted_computes_one_picture_after_the_other(
    converted: Path, tmp_path: Path, halved: bool
) -> None:
    convert(converted, tmp_path / "model.xml", halved=halved)

    tower = OpenVinoTower(tmp_path / "model.xml", "fp32", 32)
    spec = PreprocessSpec(size=28)
    rows = np.concatenate([tower.pooled([picture], spec) for picture in archive_pictures(5)])
    exact = by_torch(converted).embed_images(archive_pictures(5))
    assert least_cosine(rows, exact) >= 0.9999


def test_a_model_that_computes_something_else_is_not_taken(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_convert, "_compute_query", spoil)

    with pytest.raises(
        SystemExit, match=r"OpenVINO computes other embeddings: a cosine of 0\.\d+ with torch's"
    ):
        convert(converted, tmp_path / "model.xml", halved=False)


def spoil(model: Any) -> None:
    """Take a layer's weights out of a model."""
    product = next(
        node for node in model.get_ordered_ops() if node.get_friendly_name().startswith("linear_4/")
    )
    weights = product.input_value(1).get_node()
    product.input(1).replace_source_output(
        openvino_library.openvino().opset13.constant(0 * weights.data).output(0)
    )


def test_a_damaged_file_is_made_again(own_copy: Path, caplog: pytest.LogCaptureFixture) -> None:
    (file,) = own_copy.glob("openvino/fp32-*/model.bin")
    before = file.read_bytes()
    file.write_bytes(before[:100] + bytes([before[100] ^ 1]) + before[101:])

    by_openvino(own_copy)

    assert "damaged; it is made again" in caplog.text
    assert file.read_bytes() == before


def test_other_weights_make_another_file(own_copy: Path) -> None:
    pictures = archive_pictures(2)
    before = by_openvino(own_copy).embed_images(pictures)
    tensors = load_file(own_copy / "model.safetensors")
    tensors["vision_model.head.mlp.fc2.bias"] += 1
    save_file(tensors, own_copy / "model.safetensors", metadata={"format": "pt"})

    after = by_openvino(own_copy).embed_images(pictures)

    assert least_cosine(before, after) < 0.99
    np.testing.assert_allclose(after, by_torch(own_copy).embed_images(pictures), atol=1e-5)
    assert len(list(own_copy.glob("openvino/fp32-*"))) == 1


def test_another_network_over_the_same_weights_is_converted_anew(own_copy: Path) -> None:
    pictures = archive_pictures(2)
    before = by_openvino(own_copy).embed_images(pictures)
    path = own_copy / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"]["num_attention_heads"] = 4
    path.write_text(json.dumps(config))

    after = by_openvino(own_copy).embed_images(pictures)

    assert least_cosine(before, after) < 0.999
    np.testing.assert_allclose(after, by_torch(own_copy).embed_images(pictures), atol=1e-5)


def test_a_way_for_which_there_is_no_memory_is_passed_over(
    own_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = by_openvino(own_copy)
    compiled = OpenVinoTower._compiled

    def starving(self: OpenVinoTower, way: Way) -> Any:
        if way == Way(batch=2):
            raise RuntimeError("std::bad_alloc")
        return compiled(self, way)

    monkeypatch.setattr(OpenVinoTower, "_compiled", starving)
    rows = encoder.embed_images(archive_pictures(5))

    np.testing.assert_allclose(rows, by_torch(own_copy).embed_images(archive_pictures(5)), atol=1e-5)
    assert encoder._towers.images._way != Way(batch=2)  # type: ignore[attr-defined]


def test_want_of_memory_is_a_memory_error_and_the_next_call_goes_on(
    own_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = by_openvino(own_copy)
    expected = encoder.embed_images(archive_pictures(1))
    encoder._towers.images._queue = None  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(OpenVinoTower, "_compiled", lambda self, way: refuse_memory())
        with pytest.raises(MemoryError, match="not the memory for so many pictures"):
            encoder.embed_images(archive_pictures(1))

    np.testing.assert_array_equal(encoder.embed_images(archive_pictures(1)), expected)


def refuse_memory() -> None:
    raise RuntimeError("Check failed: std::bad_alloc")


def test_a_picture_that_is_none_spoils_no_other_call(converted: Path) -> None:
    encoder = by_openvino(converted)
    good = archive_pictures(10)
    expected = encoder.embed_images(good)

    for _ in range(20):
        with pytest.raises(ValueError, match="uint8"):
            encoder.embed_images([*good, np.zeros((5, 5), np.uint8)])
        np.testing.assert_allclose(encoder.embed_images(good), expected, atol=1e-6)


def test_no_code_of_the_working_folder_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    (tmp_path / "torch.py").write_text("open('was_run', 'w')\nraise SystemExit(3)")
    monkeypatch.chdir(tmp_path)

    by_openvino(folder)

    assert not (tmp_path / "was_run").exists()


def test_what_openvino_itself_raises_leads_back_to_torch(
    converted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ImportError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr(openvino_tower, "openvino", broken)
    rows = load(converted).embed_images(archive_pictures(2))

    np.testing.assert_allclose(rows, by_torch(converted).embed_images(archive_pictures(2)), atol=1e-6)
    assert "OpenVINO does not run here (ImportError: libtbb.so.12" in caplog.text


def test_what_lies_beside_weights_that_nobody_may_write_is_taken(
    converted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(openvino_files, "_converted", refuse)

    by_openvino(converted)


def test_a_conversion_that_fails_leaves_nothing_and_torch_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "openvino.py").write_text("raise RuntimeError('no space for the model')")
    monkeypatch.setattr(openvino_library, "is_installed", lambda: True)
    encoder = load(folder)

    rows = encoder.embed_images(archive_pictures(2))

    np.testing.assert_allclose(rows, by_torch(folder).embed_images(archive_pictures(2)), atol=1e-6)
    assert "no space for the model" in caplog.text
    assert "torch embeds the pictures instead" in caplog.text
    assert [path.name for path in (folder / "openvino").iterdir()] == ["lock"]


CONVERTING = (
    "import sys, logging; logging.basicConfig(); from pathlib import Path; "
    "from medsiglip_search.encoders.image_towers.openvino_files import OpenVinoFiles; "
    "from medsiglip_search.encoders.siglip.checkpoint import read_checkpoint; "
    "print(OpenVinoFiles(read_checkpoint(Path(sys.argv[1]))).full('fp32'))"
)
"""A program that wants the model of the checkpoint in the folder that it is called with."""


def test_two_processes_convert_once_and_what_a_killed_one_left_goes(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    (folder / "openvino" / "unfinished-x").mkdir(parents=True)
    (folder / "openvino" / "unfinished-x" / "model.bin").write_bytes(b"half")
    command = [sys.executable, "-c", CONVERTING, str(folder)]
    both = [subprocess.Popen(command, stdout=-1, stderr=-1, text=True) for _ in range(2)]
    told = [process.communicate() for process in both]

    (made,) = folder.glob("openvino/fp32-*/model.xml")
    assert [out.strip() for out, _ in told] == [str(made)] * 2
    assert sum("converting the encoder" in err for _, err in told) == 1
    assert sorted(path.name for path in made.parents[1].iterdir()) == [made.parent.name, "lock"]


def children_of(process: int, program: str) -> list[Path]:
    """Return the folders in /proc of the processes that a process has started this program in."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    folders = [Path("/proc", child) for child in children]
    return [folder for folder in folders if program in (folder / "cmdline").read_text()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_a_conversion_ends_with_the_process_that_wants_it(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    with subprocess.Popen([sys.executable, "-c", CONVERTING, str(folder)]) as wanting:
        while not (converting := children_of(wanting.pid, "openvino_convert")):
            assert wanting.poll() is None
            time.sleep(0.05)
        wanting.kill()

    state = converting[0] / "stat"
    while state.exists() and "Z" not in state.read_text().split():
        time.sleep(0.05)

    assert list(folder.glob("openvino/unfinished-*"))
    assert list(folder.rglob("model.xml")) == []  # it did not go on to its own end


def test_what_the_package_came_with_stays_as_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    folder = openvino_files.OpenVinoFiles(read_checkpoint(DEMO_FOLDER)).folder

    assert folder.is_relative_to(tmp_path / "medsiglip-search")


def test_beside_weights_that_nobody_may_write_the_users_cache_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere

    by_openvino(folder)

    assert not (folder / "openvino").exists()
    assert len(list(tmp_path.glob("cache/medsiglip-search/openvino/*/fp32-*/model.xml"))) == 1


def test_the_fastest_way_is_measured_once(own_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = by_openvino(own_copy)
    encoder.embed_images(archive_pictures(3))
    assert list(own_copy.glob("openvino/*/way-*.json")) == []

    encoder.embed_images(archive_pictures(4))

    (choice,) = own_copy.glob("openvino/*/way-*.json")
    assert Way(**json.loads(choice.read_bytes())) in openvino_tower._ways()
    monkeypatch.setattr(OpenVinoTower, "_measured", refuse)
    choice.write_text('{"together": 1, "batch": 2}')
    again = by_openvino(own_copy)
    assert again._towers.images._way == Way(batch=2)  # type: ignore[attr-defined]
    again.embed_images(archive_pictures(5))


@pytest.mark.parametrize(
    "content", ["", "[]", '{"together": 99}', '{"threads": 1}', '{"together": 1.0, "batch": 2}']
)
def test_a_choice_that_makes_no_sense_is_made_anew(own_copy: Path, content: str) -> None:
    by_openvino(own_copy).embed_images(archive_pictures(4))
    (choice,) = own_copy.glob("openvino/*/way-*.json")
    choice.write_text(content)

    by_openvino(own_copy).embed_images(archive_pictures(4))

    assert Way(**json.loads(choice.read_bytes())) in openvino_tower._ways()


def test_int8_is_smaller_and_faithful(quantised: Path) -> None:
    pictures = archive_pictures(SAMPLED + 20)[SAMPLED:]  # others than it was calibrated on

    rows = load(quantised, "int8", archive_sample).embed_images(pictures)

    exact = by_torch(quantised).embed_images(pictures)
    assert 0.998 <= least_cosine(rows, exact) < 0.9999999
    (full,), (reduced,) = (list(quantised.glob(f"openvino/{kind}-*/model.bin")) for kind in ("fp32", "int8"))
    assert reduced.stat().st_size < 0.8 * full.stat().st_size  # its first and last products are exact
    texts = ["left effusion"]
    np.testing.assert_array_equal(
        load(quantised, "int8", archive_sample).embed_texts(texts), load(quantised).embed_texts(texts)
    )


def test_int8_is_calibrated_once_and_proves_itself_on_every_archive(
    quantised: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_files, "_converted", refuse)
    asked: list[PreprocessSpec] = []

    def sample(spec: PreprocessSpec) -> Sequence[np.ndarray]:
        asked.append(spec)
        return archive_pictures(5)

    assert load(quantised, "int8", sample).embed_images(archive_pictures(1)).shape == (1, 32)
    assert asked == [PreprocessSpec(size=28)]


def test_an_archive_that_cannot_be_read_is_no_fault_of_openvino(quantised: Path) -> None:
    def sample(spec: PreprocessSpec) -> Sequence[np.ndarray]:
        raise OSError("Stale file handle")

    with pytest.raises(OSError, match=r"^Stale file handle$"):
        load(quantised, "int8", sample)


def test_int8_bears_channels_that_stand_out(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = 200
    # As in trained transformers: one channel between layers is far wider; the next weights make up for it.
    folder = shutil.copytree(quantised, tmp_path / "copy", ignore=shutil.ignore_patterns("openvino"))
    tensors = load_file(folder / "model.safetensors")
    for key, tensor in tensors.items():
        if key.startswith("vision_model.encoder."):
            if "layer_norm" in key:
                tensor[0] *= times
            elif key.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc1.weight")):
                tensor[:, 0] /= times
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    pictures = archive_pictures(SAMPLED)
    np.testing.assert_allclose(
        by_torch(folder).embed_images(pictures), by_torch(quantised).embed_images(pictures), atol=1e-5
    )

    reduced = load(folder, "int8", lambda spec: pictures)

    assert list(folder.glob("openvino/int8-*"))
    assert reduced.embed_images(pictures).shape == (SAMPLED, 32)


def test_attention_that_does_not_bear_eight_bits_is_spared(
    quantised: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Logits so large that what eight bits lose of them decides which patches are looked at.
    larger = {"self_attn.q_proj.weight": 25, "self_attn.k_proj.weight": 25, "self_attn.out_proj.weight": 3}
    folder = shutil.copytree(quantised, tmp_path / "copy", ignore=shutil.ignore_patterns("openvino"))
    tensors = load_file(folder / "model.safetensors")
    for key in tensors:
        if key.startswith("vision_model.encoder."):
            tensors[key] *= larger.get(key.split(".", 4)[-1], 1)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    pictures = archive_pictures(SAMPLED)

    rows = load(folder, "int8", lambda spec: pictures).embed_images(pictures)

    told = [record.message for record in caplog.records if "calibrating" in record.message]
    assert ["attention in full precision" in message for message in told] == [False, True]
    exact = by_torch(folder).embed_images(pictures)
    assert least_cosine(rows[:PROVING], exact[:PROVING]) >= 0.998


def test_a_second_calibration_that_fails_leaves_no_int8_that_was_refused(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(quantised, tmp_path / "copy")
    files = openvino_files.OpenVinoFiles(read_checkpoint(folder))
    assert files.found("int8") is not None
    monkeypatch.setattr(openvino_tower, "FAITHFUL", 1.01)
    monkeypatch.setattr(openvino_files, "_converted", killed)

    with pytest.raises(EncoderUnavailable, match=r"ended with -9; leave --precision out"):
        load(folder, "int8", archive_sample)

    assert files.found("int8") is None


def killed(arguments: Sequence[str]) -> None:
    raise EncoderUnavailable("ended with -9")


def test_pictures_to_calibrate_on_lie_with_what_is_cleared_after_a_kill(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(quantised, tmp_path / "copy")
    seen: list[Path] = []

    def look(arguments: Sequence[str]) -> None:
        pictures = Path(arguments[3])
        assert np.load(pictures).shape == (2, 28, 28, 3)
        seen.append(pictures)
        killed(arguments)

    monkeypatch.setattr(openvino_files, "_converted", look)
    with pytest.raises(EncoderUnavailable):
        openvino_files.OpenVinoFiles(read_checkpoint(folder)).quantised(
            np.zeros((2, 28, 28, 3), np.uint8), exact_attention=False
        )

    (pictures,) = seen
    assert pictures.parents[1] == folder / "openvino"
    assert pictures.parent.name.startswith("unfinished-")
    assert not pictures.parent.exists()


def test_a_refused_int8_that_nobody_may_remove_hides_no_other(
    quantised: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, cache = shutil.copytree(quantised, tmp_path / "copy"), tmp_path / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(openvino_files.OpenVinoFiles, "discard", lambda *_: None)

    for _ in range(2):
        cosines = iter([0.9])  # of the one beside the weights
        monkeypatch.setattr(
            openvino_tower,
            "least_cosine",
            lambda *rows, cosines=cosines: next(cosines, None) or least_cosine(*rows),
        )
        load(folder, "int8", archive_sample)
        assert next(cosines, None) is None
        monkeypatch.setattr(openvino_files, "_converted", refuse)  # once is enough

    assert len(list(cache.rglob("int8-*"))) == 1


def test_attention_of_one_head_is_spared_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"]["num_attention_heads"] = 1
    path.write_text(json.dumps(config))

    with contextlib.suppress(EncoderUnavailable):  # random layers may not bear eight bits
        load(folder, "int8", archive_sample)

    told = [record.message for record in caplog.records if "calibrating" in record.message]
    assert ["attention in full precision" in message for message in told] == [True]


def test_int8_of_processors_that_clamp_is_another(converted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = openvino_files.OpenVinoFiles(read_checkpoint(converted))
    names = {}
    for adds in (False, True):
        monkeypatch.setattr(openvino_files, "adds_in_32_bits", lambda adds=adds: adds)
        names[adds] = [files._name("fp32"), files._name("int8")]

    assert names[False][0] == names[True][0]
    assert names[False][1] != names[True][1]


def test_int8_refuses_itself_when_it_is_not_faithful(own_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # One direction of the pictures' space is blown up: what eight bits keep of the others is too little.
    tensors = load_file(own_copy / "model.safetensors")
    tensors["vision_model.encoder.layers.0.mlp.fc1.weight"][0] *= 3e4
    tensors["vision_model.encoder.layers.1.layer_norm1.weight"][0] *= 3e3
    save_file(tensors, own_copy / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(
        EncoderUnavailable, match=r"in int8 .* cosine of -?0\.\d+ .* below 0.998; leave"
    ) as caught:
        load(own_copy, "int8", archive_sample)

    assert "\n" not in str(caught.value)
    assert list(own_copy.glob("openvino/int8-*")) == []


def test_int8_needs_an_archive_with_pictures(converted: Path) -> None:
    with pytest.raises(EncoderUnavailable, match="pass --precision int8 to index, and leave it out to ask"):
        load(converted, "int8")
    with pytest.raises(EncoderUnavailable, match="no picture of the archive could be read"):
        load(converted, "int8", lambda spec: [])


def test_without_the_extra_torch_embeds_and_says_what_it_would_bring(
    converted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (openvino_tower, openvino_library):
        monkeypatch.setattr(module, "is_installed", lambda: False)

    rows = load(converted).embed_images(archive_pictures(2))

    np.testing.assert_allclose(rows, by_torch(converted).embed_images(archive_pictures(2)), atol=1e-6)
    assert "pip install 'medsiglip-search[openvino]'" in caplog.text
    with pytest.raises(EncoderUnavailable, match=r"pip install 'medsiglip-search\[openvino\]'"):
        load(converted, "int8", lambda spec: archive_pictures(3))


def test_small_models_are_left_to_torch(
    converted: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(image_towers, "LARGE", 100_000_000)
    monkeypatch.setattr(openvino_tower, "load", refuse)

    with caplog.at_level(logging.INFO):
        load(converted).embed_images(archive_pictures(2))

    assert caplog.text == ""


def test_nobody_is_told_that_openvino_is_used(tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint")
    program = f"""
import socket, sys
def refuse(*arguments): raise SystemExit(f"a connection to {{arguments}}")
socket.socket.connect = socket.getaddrinfo = refuse
from pathlib import Path
from medsiglip_search.encoders.image_towers.openvino_convert import convert
convert(Path({str(folder)!r}), Path({str(tmp_path / "model.xml")!r}), halved=False)
from medsiglip_search.encoders.image_towers.openvino_library import nncf
nncf()
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"HOME": str(home)}

    subprocess.run([sys.executable, "-c", program], env=environment, check=True)

    assert not (home / "intel").exists()  # where it notes that it was allowed to


def test_an_archive_is_indexed_in_int8(indexed: Path) -> None:
    gallery = Gallery.open(indexed / "gallery")
    image_ids = gallery.select(None)
    rows = gallery.embeddings_of(image_ids).astype(np.float32)
    pictures = {f"{number:02}.png": each for number, each in enumerate(archive_pictures(SAMPLED + 5))}
    in_order = [pictures[stored.uri] for stored in gallery.instances(image_ids)]

    exact = by_torch(indexed / "checkpoint").embed_images(in_order)

    assert len(rows) == SAMPLED + 5
    assert least_cosine(rows, exact) >= 0.998
    assert not np.allclose(rows, exact, atol=1e-4)
    in_int8 = load(indexed / "checkpoint", "int8", archive_sample).embed_images(in_order)
    np.testing.assert_allclose(rows, in_int8, atol=1e-3)  # float16 in the gallery
