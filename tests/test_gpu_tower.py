"""The vision tower as a GPU runs it, tried on the processor: the rows of the plain tower, or an error."""

import itertools
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import make_checkpoint
from torch import nn

from medsiglip_search.encoders.calibration import least_cosine
from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.encoders.image_towers import gpu
from medsiglip_search.encoders.image_towers.attention import Attention, attend, candidates, measured
from medsiglip_search.encoders.image_towers.device import SIZES, DeviceTower
from medsiglip_search.encoders.image_towers.device_fitting import DeviceFitter, fits_on_device
from medsiglip_search.encoders.image_towers.eager import TorchTower
from medsiglip_search.encoders.image_towers.fp8 import Fp8Linear, in_fp8
from medsiglip_search.encoders.image_towers.gpu import gpu_tower
from medsiglip_search.encoders.image_towers.measuring import fastest
from medsiglip_search.encoders.image_towers.prepared import Prepared, batches
from medsiglip_search.encoders.image_towers.sharing import sharing_weights
from medsiglip_search.encoders.siglip.checkpoint import SiglipCheckpoint, read_checkpoint
from medsiglip_search.encoders.siglip.text import TextTower
from medsiglip_search.encoders.siglip.vision import VisionTower
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.records import PreprocessSpec

CPU = torch.device("cpu")
CLOSE = 0.99
on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> SiglipCheckpoint:
    return read_checkpoint(make_checkpoint(tmp_path_factory.mktemp("gpu") / "checkpoint"))


@pytest.fixture
def tower(checkpoint: SiglipCheckpoint) -> VisionTower:
    return VisionTower(checkpoint.load_vision(torch.float32, CPU), checkpoint.spec)


def pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return random pictures of different sizes and aspects, each third of which is fitted already."""
    rng = np.random.default_rng(seed)
    shapes = [(28, 28) if i % 3 == 0 else (20 + i % 30, 60 - i % 25) for i in range(count)]
    return [rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def plain(tower: VisionTower, images: Sequence[np.ndarray], spec: PreprocessSpec | None = None) -> np.ndarray:
    return TorchTower(tower, 16).pooled(images, spec or tower.spec)


def out_of_memory(*_: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def said(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged by the project, not by torch."""
    return [record for record in caplog.records if record.name.startswith("medsiglip_search")]


# Fitting


@pytest.mark.parametrize("size", [28, 448])
@pytest.mark.parametrize("fit", ["pad", "stretch"])
def test_pictures_are_fitted_to_the_grey_level_that_the_processor_fits_them_to(size: int, fit: Any) -> None:
    spec = PreprocessSpec(size, fit)
    fitter = DeviceFitter(CPU)
    rng = np.random.default_rng(size)
    sides = [1, 2, size // 2, size - 1, size, size + 1, 2 * size, 777, 2 * size + 1]
    shapes = [*zip(sides, sides[1:] + sides[:1], strict=True), *zip(sides, reversed(sides), strict=True)]
    for rows, columns in shapes:
        # Few levels make whole numbers of many of the results, whose last bit decides.
        for top in (256, 4):
            picture = rng.integers(0, top, (rows, columns, 3), dtype=np.uint8) * (255 // (top - 1))
            found = fitter.fitted(torch.from_numpy(picture), spec).numpy()
            assert np.array_equal(found, fitted(picture, spec)), (rows, columns)


def test_what_is_fitted_or_bicubic_stays_on_the_processor() -> None:
    spec = PreprocessSpec(28)
    small, large = np.zeros((28, 28, 3), np.uint8), np.zeros((28, 40, 3), np.uint8)

    assert fits_on_device(large, spec)
    assert not fits_on_device(small, spec)
    assert not fits_on_device(large, replace(spec, resample="bicubic"))


# Batches


def test_batches_have_few_sizes_and_are_filled_to_three_quarters() -> None:
    assert list(batches(128, (1, 8, 32))) == [(32, 32)] * 4
    assert list(batches(71, (1, 8, 32))) == [(32, 32), (32, 32), (7, 8)]
    assert list(batches(30, (1, 8, 32))) == [(30, 32)]
    assert list(batches(18, (1, 8, 32))) == [(8, 8), (8, 8), (1, 1), (1, 1)]
    assert list(batches(2, (8, 32))) == [(2, 8)]
    assert list(batches(0, (1, 8))) == []


@pytest.mark.parametrize("resample", ["tf_bilinear", "bicubic"])
def test_many_batches_give_the_rows_of_the_plain_tower_in_their_order(
    tower: VisionTower, resample: Any
) -> None:
    spec = replace(tower.spec, resample=resample)
    device = DeviceTower(tower, sizes=(1, 4, 16))

    for count in (75, 1, 3, 0, 34):
        images = pictures(count, seed=count)
        found = device.pooled(images, spec)
        assert found.shape == (count, 32)
        assert found.dtype == np.float32
        assert found == pytest.approx(plain(tower, images, spec), abs=1e-5)


def test_a_row_depends_on_neither_the_other_pictures_nor_what_fills_the_batch(tower: VisionTower) -> None:
    device = DeviceTower(tower, sizes=(8,))
    images = pictures(8)
    full = device.pooled(images, tower.spec)

    device.pooled([np.full((28, 28, 3), 255, np.uint8)] * 8, tower.spec)
    alone = [device.pooled([image], tower.spec)[0] for image in images]

    assert np.array_equal(device.pooled(images[::-1], tower.spec)[::-1], full)
    assert np.array_equal(np.stack(alone), full)


def test_what_is_no_picture_is_refused_before_anything_is_computed(tower: VisionTower) -> None:
    device = DeviceTower(tower)
    with pytest.raises(ValueError, match=r"must be \(H, W, 3\) uint8"):
        device.pooled([*pictures(3), np.zeros((4, 4), np.uint8)], tower.spec)
    assert device.pooled(pictures(3), tower.spec) == pytest.approx(plain(tower, pictures(3)), abs=1e-5)


def test_threads_get_the_rows_of_their_own_pictures(tower: VisionTower) -> None:
    device = DeviceTower(tower, sizes=(1, 4))
    asked = [pictures(1 + seed % 7, seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda images: device.pooled(images, tower.spec), asked))
    for images, rows in zip(asked, found, strict=True):
        assert rows == pytest.approx(plain(tower, images), abs=1e-5)


class NotedStreams:
    """Streams that note in which order they are told to wait, and what for."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        names = itertools.product((0, 1), ("copied", "computed"))
        note = self.notes.append

        class Event:
            def __init__(self) -> None:
                self.name = "{1} {0}".format(*next(names))

            def record(self, stream: "Stream") -> None:
                note(f"{stream.name} marks {self.name}")

            def synchronize(self) -> None:
                note(f"host waits for {self.name}")

        class Stream:
            def __init__(self, name: str = "copying") -> None:
                self.name = name

            def wait_event(self, event: Event) -> None:
                note(f"{self.name} waits for {event.name}")

        self.Event, self.Stream = Event, Stream
        self._computing = Stream("computing")

    def current_stream(self, _: torch.device) -> Any:
        return self._computing

    def stream(self, _: Any) -> Any:
        return nullcontext()

    def synchronize(self, _: torch.device) -> None:
        self.notes.append("host waits for all")


def test_memory_is_filled_again_only_when_what_was_there_has_been_read(tower: VisionTower) -> None:
    streams = NotedStreams()
    device = DeviceTower(tower, sizes=(2,), streams=streams)
    tower.register_forward_pre_hook(lambda *_: streams.notes.append("computing runs"))

    device.pooled(pictures(6), tower.spec)

    def batch(slot: int) -> list[str]:
        return [
            f"host waits for copied {slot}",
            f"copying waits for computed {slot}",
            f"copying marks copied {slot}",
            f"computing waits for copied {slot}",
            "computing runs",
            f"computing marks computed {slot}",
        ]

    assert streams.notes == ["host waits for all", *batch(0), *batch(1), *batch(0), "host waits for all"]


# Memory


def test_after_a_want_of_memory_batches_are_smaller(tower: VisionTower) -> None:
    sizes = []

    def no_more_than_four(_: nn.Module, args: tuple[torch.Tensor]) -> None:
        sizes.append(len(args[0]))
        if len(args[0]) > 4:
            out_of_memory()

    handle = tower.register_forward_pre_hook(no_more_than_four)
    device = DeviceTower(tower, sizes=(2, 4, 8, 16))
    images = pictures(16)

    for expected in (8, 4):
        with pytest.raises(MemoryError, match="not the memory for so many pictures"):
            device.pooled(images, tower.spec)
        assert device.batch_size == expected
    found = device.pooled(images, tower.spec)

    handle.remove()
    assert sizes == [16, 8, 4, 4, 4, 4]
    assert [len(slot.batch) for slot in device._slots] == [4, 4]
    assert found == pytest.approx(plain(tower, images), abs=1e-5)


def test_a_call_that_failed_half_way_leaves_the_next_one_right(tower: VisionTower) -> None:
    device = DeviceTower(tower, sizes=(2, 4))
    failures: Iterator[bool] = iter([False, False, True])

    def fail(*_: object) -> None:
        if next(failures, False):
            out_of_memory()

    tower.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError):
        device.pooled(pictures(16), tower.spec)

    for images in (pictures(16), pictures(3, seed=3)):
        assert device.pooled(images, tower.spec) == pytest.approx(plain(tower, images), abs=1e-5)


def test_the_smallest_batch_is_tried_again(tower: VisionTower) -> None:
    device = DeviceTower(tower, sizes=(1, 2))
    handle = tower.register_forward_pre_hook(out_of_memory)
    for _ in range(3):
        with pytest.raises(MemoryError):
            device.pooled(pictures(2), tower.spec)
    handle.remove()

    assert device.batch_size == 1
    assert device.pooled(pictures(2), tower.spec) == pytest.approx(plain(tower, pictures(2)), abs=1e-5)


@pytest.mark.parametrize("said", ["CUDA error: out of memory", "cuBLAS: CUBLAS_STATUS_ALLOC_FAILED when"])
def test_want_of_memory_that_torch_has_no_type_for_is_one_too(tower: VisionTower, said: str) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(said)

    tower.register_forward_pre_hook(fail)
    with pytest.raises(MemoryError, match="the device has not the memory"):
        DeviceTower(tower).pooled(pictures(1), tower.spec)


# Compiling


def counting(graphs: list[int]) -> Callable[..., Any]:
    """Return a backend that compiles nothing, and notes of how many inputs each graph is."""

    def backend(module: torch.fx.GraphModule, inputs: Sequence[torch.Tensor]) -> Callable[..., Any]:
        graphs.append(next(len(one) for one in inputs if one.ndim == 3))
        return module.forward

    return backend


def test_all_layers_are_compiled_as_one_and_once_for_each_large_size(tower: VisionTower) -> None:
    graphs: list[int] = []
    device = DeviceTower(tower, sizes=(1, 8, 32, 48), backend=counting(graphs))
    images = pictures(48)

    for count in (1, 8, 5, 32, 24, 48, 32, 1, 40):
        found = device.pooled(images[:count], tower.spec)
        assert found == pytest.approx(plain(tower, images[:count]), abs=1e-5)

    assert graphs == [32, 48]


def test_another_tower_is_compiled_by_itself(checkpoint: SiglipCheckpoint) -> None:
    graphs: list[int] = []
    for _ in range(9):  # torch compiles one function for eight shapes at most, unless they are kept apart
        tower = VisionTower(checkpoint.load_vision(torch.float32, CPU), checkpoint.spec)
        DeviceTower(tower, sizes=(32,), backend=counting(graphs)).pooled(pictures(1), tower.spec)
    assert graphs == [32] * 9


def test_where_the_compiler_fails_the_tower_runs_as_it_is_and_the_reason_is_logged_once(
    tower: VisionTower, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def broken(*_: object) -> Any:
        calls.append(1)
        raise FileNotFoundError("no C compiler\nand a hundred lines more")

    device = DeviceTower(tower, sizes=(1, 32, 48), backend=broken)

    for count in (48, 32, 48, 1):
        found = device.pooled(pictures(count), tower.spec)
        assert found == pytest.approx(plain(tower, pictures(count)), abs=1e-5)

    assert len(calls) == 1
    (record,) = said(caplog)
    assert record.levelno == logging.WARNING
    assert "cannot compile the network" in record.message
    assert record.message.endswith("FileNotFoundError: no C compiler")


def test_want_of_memory_while_compiling_is_no_failure_of_the_compiler(
    tower: VisionTower, caplog: pytest.LogCaptureFixture
) -> None:
    device = DeviceTower(tower, sizes=(1, 32), backend=out_of_memory)

    with pytest.raises(MemoryError):
        device.pooled(pictures(32), tower.spec)

    assert device.batch_size == 1
    assert device._network._compiled is not None
    assert said(caplog) == []


def test_the_tower_that_was_given_is_left_as_it_is(tower: VisionTower) -> None:
    layers = list(tower.model.encoder.layers)
    device = DeviceTower(tower, sizes=(32,), backend=counting([]))
    device.pooled(pictures(1), tower.spec)

    assert list(tower.model.encoder.layers) == layers
    shared = sharing_weights(tower)
    assert all(a is b for a, b in zip(shared.parameters(), tower.parameters(), strict=True))
    assert shared.model.config is not tower.model.config


def test_where_no_cuda_graph_can_be_made_the_network_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    class OnGpu(SimpleNamespace):
        device, shape = torch.device("cuda"), torch.Size([1])

        def __len__(self) -> int:
            return 1

        def clone(self) -> Any:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    network: Any = lambda batch: "rows"  # noqa: E731
    prepared = Prepared(network)

    assert [prepared(OnGpu()), prepared(OnGpu())] == ["rows", "rows"]  # type: ignore[arg-type]
    (record,) = said(caplog)
    assert "no CUDA graph" in record.message
    assert record.message.endswith("not permitted when stream is capturing")


# Attention


def plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    weights = (query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5).softmax(-1)
    return weights @ value


@pytest.mark.parametrize("way", candidates(72), ids=lambda way: f"{way.kernel}-{way.head}")
def test_each_way_to_compute_attention_gives_what_the_formula_says(way: Attention) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 50, 4, 72).transpose(2, 3)

    with way.preferred():
        found = attend(query, key, value, None, scale=72**-0.5, head=way.head)

    assert found.shape == (2, 4, 50, 72)
    assert torch.allclose(found, plain_attention(query, key, value), atol=1e-5)


def test_heads_of_72_are_tried_as_they_are_and_filled_up() -> None:
    assert {way.head for way in candidates(72)} == {72, 80, 96, 128}
    assert {way.kernel for way in candidates(72)} == {"flash", "cudnn", "efficient", "math"}
    assert {way.head for way in candidates(16)} == {16}


def test_the_fastest_way_is_chosen_and_those_that_fail_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    ways = candidates(72)
    taken = {Attention("efficient", 96): 0.002, Attention("cudnn", 80): 0.001, Attention("math", 72): 0.01}

    def seconds(way: Attention) -> float:
        if way not in taken:
            raise RuntimeError("No viable backend")
        return taken[way]

    with caplog.at_level(logging.INFO):
        assert fastest(ways, seconds) == Attention("cudnn", 80)
    assert "cudnn 80 1.00 ms" in caplog.text
    taken[Attention("flash", 72)] = 0.00104  # as fast, and more plain
    assert fastest(ways, seconds) == Attention("flash", 72)
    taken[Attention("flash", 72)] = 0.00106
    assert fastest(ways, seconds) == Attention("cudnn", 80)
    assert fastest(ways, out_of_memory) is None  # type: ignore[arg-type]


def test_measuring_takes_the_towers_shape_and_leaves_torchs_settings() -> None:
    before = torch.nn.attention._cur_sdpa_kernel_backends(with_priority=True)

    chosen = measured(2, 4, 72, torch.zeros(1))

    assert chosen in candidates(72)
    assert torch.nn.attention._cur_sdpa_kernel_backends(with_priority=True) == before


def test_two_that_prefer_at_the_same_time_leave_torchs_settings() -> None:
    before = torch.nn.attention._cur_sdpa_kernel_backends(with_priority=True)
    has_begun, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with Attention("flash", 72).preferred():
            has_begun.set()
            may_end.wait()

    thread = threading.Thread(target=first)
    thread.start()
    has_begun.wait()
    threading.Timer(0.2, may_end.set).start()
    with Attention("efficient", 72).preferred():
        assert may_end.is_set()
    thread.join()

    assert torch.nn.attention._cur_sdpa_kernel_backends(with_priority=True) == before


@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_a_tower_with_filled_heads_gives_the_same_rows(tower: VisionTower, backend: Any) -> None:
    heads_of_24 = sharing_weights(tower)
    heads_of_24.fill_heads(24)
    shapes = []
    attention = torch.nn.functional.scaled_dot_product_attention

    def noted(query: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        shapes.append(query.shape[-1])
        return attention(query, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        if backend is None:
            patch.setattr(torch.nn.functional, "scaled_dot_product_attention", noted)
        device = DeviceTower(heads_of_24, backend=backend, attention=Attention("flash", 24))
        found = device.pooled(pictures(32), tower.spec)

    assert backend or shapes == [24, 24]
    assert found == pytest.approx(plain(tower, pictures(32)), abs=1e-5)
    assert tower.model.config._attn_implementation == "sdpa"


# 8-bit floats


def test_a_layer_in_fp8_is_close_to_the_layer_and_scales_each_row_and_output() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(64, 48, bias=False)
    with torch.no_grad():
        linear.weight[7] *= 1e5  # with one scale for all weights, nothing of the others would be left
    x = torch.randn(2, 50, 64)
    x[0] *= 1e-5  # nor would of these
    x[1, 3] = 0

    with torch.no_grad():
        found, expected = Fp8Linear(linear)(x), linear(x)

    assert found.shape == (2, 50, 48)
    assert found.dtype == torch.float32
    for part in (np.s_[0, :, 7], np.s_[0, :, 8:], np.s_[1, :, 7], np.s_[1, :, 8:]):
        assert (found[part] - expected[part]).norm() < 0.05 * expected[part].norm()
    assert found[1, 3].tolist() == [0] * 48


def test_a_layer_in_fp8_has_its_bias() -> None:
    linear = nn.Linear(64, 48)
    found = Fp8Linear(linear)(torch.zeros(1, 1, 64))
    assert torch.equal(found[0, 0], linear.bias.bfloat16().float())


def test_the_layers_of_all_blocks_are_replaced_and_no_others(tower: VisionTower) -> None:
    reduced = in_fp8(tower)

    kinds = {name: type(each) for name, each in reduced.named_modules() if "Linear" in type(each).__name__}
    in_blocks = {name for name in kinds if ".layers." in name}
    assert len(in_blocks) == 2 * 6
    assert {kinds[name] for name in in_blocks} == {Fp8Linear}
    assert Fp8Linear not in {kind for name, kind in kinds.items() if name not in in_blocks}
    assert not any(isinstance(each, Fp8Linear) for each in tower.modules())


def test_a_layer_of_no_multiple_of_16_stays_as_it_is(tower: VisionTower) -> None:
    layer = tower.model.encoder.layers[0].mlp
    layer.fc1, layer.fc2 = nn.Linear(32, 40), nn.Linear(40, 32)

    reduced = in_fp8(tower).model.encoder.layers

    assert type(reduced[0].mlp.fc1) is type(reduced[0].mlp.fc2) is nn.Linear
    assert type(reduced[1].mlp.fc1) is type(reduced[0].self_attn.q_proj) is Fp8Linear


@pytest.fixture
def lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pass what is as close as fp8 comes in a network that is too narrow to average its errors out."""
    monkeypatch.setattr(gpu, "FAITHFUL", CLOSE)


@pytest.mark.usefixtures("lenient")
def test_fp8_embeds_nearly_as_fp32_does(tower: VisionTower) -> None:
    device = gpu_tower(tower, "fp8", lambda spec: pictures(20, seed=1))
    images = pictures(40)

    cosine = least_cosine(device.pooled(images, tower.spec), plain(tower, images))

    assert CLOSE <= cosine < 1 - 1e-7


def test_fp8_can_be_compiled(tower: VisionTower) -> None:
    device = DeviceTower(in_fp8(tower), sizes=(32,), backend="aot_eager")
    assert device.pooled(pictures(32), tower.spec) == pytest.approx(
        plain(in_fp8(tower), pictures(32)), abs=1e-3
    )


@pytest.mark.usefixtures("lenient")
def test_fp8_that_changes_embeddings_too_much_is_refused(
    tower: VisionTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(tower: VisionTower) -> VisionTower:
        reduced = in_fp8(tower)
        for each in reduced.modules():
            if isinstance(each, Fp8Linear):
                each.scale = each.scale.flip(1) * torch.linspace(0.1, 3, each.scale.shape[1])
        return reduced

    monkeypatch.setattr(gpu, "in_fp8", spoiled)
    with pytest.raises(EncoderUnavailable, match="in fp8 an embedding of this archive's pictures") as caught:
        gpu_tower(tower, "fp8", lambda spec: pictures(20))
    assert str(tower.model.name_or_path) in str(caught.value)


@pytest.mark.usefixtures("lenient")
def test_fp8_is_proved_on_pictures_of_the_archive_in_batches_as_they_will_be(
    tower: VisionTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, proved = [], []

    def sample(spec: PreprocessSpec) -> list[np.ndarray]:
        asked.append(spec)
        return pictures(48)

    pooled = DeviceTower.pooled

    def noted(self: DeviceTower, images: Sequence[np.ndarray], spec: PreprocessSpec) -> np.ndarray:
        proved.append(images)
        return pooled(self, images, spec)

    monkeypatch.setattr(DeviceTower, "pooled", noted)
    gpu_tower(tower, "fp8", sample)

    assert asked == [tower.spec]
    ((*shown,),) = proved
    assert len(shown) == max(SIZES)
    expected = [*pictures(48)[:16], *pictures(48)[:16]]
    assert all(np.array_equal(one, other) for one, other in zip(shown, expected, strict=True))


@pytest.mark.parametrize(
    ("sample", "says"),
    [(None, "pass --precision fp8 to index"), (lambda spec: [], "no picture of the archive could be read")],
)
def test_fp8_without_pictures_says_what_to_do(tower: VisionTower, sample: Any, says: str) -> None:
    with pytest.raises(EncoderUnavailable, match=says):
        gpu_tower(tower, "fp8", sample)


def test_fp8_that_cannot_be_computed_is_refused_with_the_reason(
    tower: VisionTower, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Rowwise scaling is not supported on this device\nmore")

    monkeypatch.setattr(torch.nn.functional, "scaled_mm", fail)
    with pytest.raises(EncoderUnavailable, match=r"cannot be computed here .*on this device\); leave --prec"):
        gpu_tower(tower, "fp8", lambda spec: pictures(4))


# Towers as they are asked for


def test_the_way_of_a_gpu_gives_the_rows_of_the_plain_tower(tower: VisionTower) -> None:
    device = gpu_tower(tower, "fp32", None)

    assert device.batch_size == max(SIZES)
    assert device.pooled(pictures(50), tower.spec) == pytest.approx(plain(tower, pictures(50)), abs=1e-5)


def test_texts_in_filled_batches_have_the_rows_that_they_have_alone(checkpoint: SiglipCheckpoint) -> None:
    model = checkpoint.load_text(torch.float32, CPU)
    ids = torch.randint(0, 150, (14, 64), generator=torch.Generator().manual_seed(0))

    filled = TextTower(model, (2, 8)).pooled(ids)

    with torch.inference_mode():
        expected = model(input_ids=ids).pooler_output
    assert filled.shape == (14, 32)
    assert torch.allclose(filled, expected, atol=1e-5)
    assert torch.allclose(TextTower(model).pooled(ids), expected, atol=1e-5)


# On a GPU


@pytest.fixture
def on_gpu(checkpoint: SiglipCheckpoint) -> VisionTower:
    return VisionTower(checkpoint.load_vision(torch.float32, torch.device("cuda")), checkpoint.spec)


@on_a_gpu
def test_on_a_gpu_pictures_are_fitted_to_the_same_grey_level() -> None:
    fitter = DeviceFitter(torch.device("cuda"))
    for spec in (PreprocessSpec(448), PreprocessSpec(448, "stretch")):
        for rows, columns in [(3000, 2500), (512, 512), (300, 700), (447, 449), (1, 5)]:
            picture = np.random.default_rng(rows).integers(0, 4, (rows, columns, 3), dtype=np.uint8) * 85
            found = fitter.fitted(torch.from_numpy(picture).cuda(), spec).cpu().numpy()
            assert np.array_equal(found, fitted(picture, spec))


@on_a_gpu
@pytest.mark.parametrize("backend", [None, "inductor"])
def test_on_a_gpu_rows_are_those_of_the_processor(
    tower: VisionTower, on_gpu: VisionTower, backend: Any, caplog: pytest.LogCaptureFixture
) -> None:
    device = DeviceTower(on_gpu, backend=backend)
    for count in (1, 8, 75, 128, 1, 3):
        images = pictures(count, seed=count)
        assert device.pooled(images, tower.spec) == pytest.approx(plain(tower, images), abs=1e-3)
    assert said(caplog) == []


@on_a_gpu
def test_on_a_gpu_graphs_serve_all_threads(tower: VisionTower, on_gpu: VisionTower) -> None:
    device = DeviceTower(on_gpu)
    asked = [pictures(1 + seed % 9, seed) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda images: device.pooled(images, tower.spec), asked))
    for images, rows in zip(asked, found, strict=True):
        assert rows == pytest.approx(plain(tower, images), abs=1e-3)


@on_a_gpu
def test_on_a_gpu_texts_are_those_of_the_processor(
    checkpoint: SiglipCheckpoint, caplog: pytest.LogCaptureFixture
) -> None:
    ids = torch.randint(0, 150, (50, 64), generator=torch.Generator().manual_seed(0))
    model = checkpoint.load_text(torch.float32, torch.device("cuda"))
    found = TextTower(model, (1, 8, 32)).pooled(ids)
    expected = TextTower(checkpoint.load_text(torch.float32, CPU)).pooled(ids)
    assert torch.allclose(found, expected, atol=1e-3)
    assert said(caplog) == []


@on_a_gpu
@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="no fp8 on this GPU"
)
@pytest.mark.usefixtures("lenient")
def test_on_a_gpu_fp8_proves_itself(tower: VisionTower, on_gpu: VisionTower) -> None:
    device = gpu_tower(on_gpu, "fp8", lambda spec: pictures(20))
    rows = device.pooled(pictures(70), tower.spec)
    assert least_cosine(rows, plain(tower, pictures(70))) >= CLOSE
