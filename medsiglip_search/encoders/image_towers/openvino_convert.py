"""A process that makes a file for OpenVINO of a checkpoint's vision tower.

By itself, since what it takes (some times the size of the weights) goes back to the machine when it ends.
It ends with its standard input, which whoever wants the file holds open.

    python -m medsiglip_search.encoders.image_towers.openvino_convert ...
        CHECKPOINT MODEL.xml fp32|fp16
        FP32.xml MODEL.xml int8 PICTURES.npy [exact-attention]
"""

import logging
import os
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medsiglip_search.devices import adds_in_32_bits
from medsiglip_search.encoders.calibration import least_cosine
from medsiglip_search.encoders.image_towers.openvino_files import EXACT_ATTENTION
from medsiglip_search.encoders.image_towers.openvino_library import core, fold_constants, nncf, openvino
from medsiglip_search.encoders.siglip.checkpoint import read_checkpoint
from medsiglip_search.encoders.siglip.vision import VisionTower

PATCHES = ["medsiglip_search", "patches"]
"""Where a model's file says how many patches a picture has."""

COMPARED = 4
"""Pictures that a converted model is compared with torch on, one after the other and two at once."""

SAME = {"f32": 0.9999, "bf16": 0.99}
"""The least cosine of what is computed right. The pictures are noise, of which bf16 keeps less."""

REPEATING = {"Broadcast", "Reshape", "Tile", "Transpose"}
"""Operations between the learned query of one picture and its product with weights."""

SMOOTHING = 0.5
"""How much of the spread of the numbers between layers goes into the weights, from 0 to 1.

Half, as SmoothQuant (Xiao et al., 2023) has it for most models. NNCF's own 0.95 widens the range of some
weights so much that single pictures lose a hundredth of their cosine, by random weights as by trained ones.
"""


def convert(checkpoint: Path, out: Path, *, halved: bool) -> None:
    """Write the vision tower as `out` (.xml, with a .bin beside it); halved: its weights as float16.

    Ends with a message where OpenVINO computes other embeddings of it than torch does.
    """
    read = read_checkpoint(checkpoint)
    model = read.load_vision(torch.float32, torch.device("cpu"))
    # Attention as its products: as the one operation that torch has, NNCF would leave it in full precision.
    model.set_attn_implementation("eager")
    tower = VisionTower(model, read.spec).eval()
    size = read.spec.size
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    # Two pictures and a free first dimension: of one, its size would become a part of the program.
    pictures = torch.export.Dim("pictures", min=1, max=1024)
    with torch.no_grad():
        program = torch.export.export(tower, (example,), dynamic_shapes=({0: pictures},))
    ov = openvino()
    converted = ov.convert_model(program)
    converted.set_rt_info(tower.rows**2, PATCHES)
    # Or rows and columns were unknown, too, which takes a tenth longer and twice the memory.
    converted.reshape([-1, size, size, 3])
    _compute_query(converted)
    ov.save_model(converted, out, compress_to_fp16=halved)
    del program, converted  # each holds the weights, too
    _compare(out, tower, "bf16" if halved else "f32")


def _compute_query(model: Any) -> None:
    """Put the pooling head's query, the same for all pictures, in the place of what it is computed from.

    Of float16 weights OpenVINO 2026.4 computes it for the first picture only, and finds other numbers in its
    place for the next.
    """
    fold_constants(model)
    for product in _products(model):
        reader = product.input(0)
        while (source := reader.get_source_output().get_node()).get_type_name() in REPEATING:
            reader = source.input(0)
        weights = product.input_value(1).get_node()
        if source.get_type_name() == weights.get_type_name() == "Constant":
            turned = weights.data.T if product.get_attributes()["transpose_b"] else weights.data
            reader.replace_source_output(openvino().opset13.constant(source.data @ turned).output(0))
            product.output(0).replace(product.input_value(0))


@torch.no_grad()
def _compare(model: Path, tower: VisionTower, precision: str) -> None:
    """End with a message if pictures get other embeddings than torch's."""
    size = tower.spec.size
    levels = np.random.default_rng(0).integers(0, 256, (COMPARED, size, size, 3), dtype=np.uint8)
    expected = np.concatenate([tower(torch.from_numpy(each[None])).numpy() for each in levels])
    for together in (1, 2):
        read = core().read_model(model)
        read.reshape([together, size, size, 3])
        compiled = core().compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": precision})
        batches = np.split(levels, COMPARED // together)
        cosine = least_cosine(np.concatenate([compiled(batch)[0] for batch in batches]), expected)
        if cosine < SAME[precision]:
            raise SystemExit(f"OpenVINO computes other embeddings: a cosine of {cosine:.4f} with torch's")


def quantise(full: Path, out: Path, pictures: Path, *, exact_attention: bool) -> None:
    """Write the model at `full` with int8 products as `out`.

    pictures: (N, size, size, 3) uint8, fitted; on which NNCF sees how large the numbers between layers are.
    exact_attention: without those of attention, which some models need whole.
    """
    ov, quantiser = openvino(), nncf()
    # The mean of the pictures' ranges, NNCF's own, is too narrow for the one that stands out.
    ranges = quantiser.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    logging.getLogger("nncf").setLevel(logging.ERROR)
    levels = np.load(pictures)
    model = core().read_model(full)
    exact = _begin_and_end(model) + (_attention(model) if exact_attention else [])
    model.reshape([1, *levels.shape[1:]])
    reduced = quantiser.quantize(
        model,
        quantiser.Dataset([each[None] for each in levels]),
        subset_size=len(levels),
        model_type=quantiser.ModelType.TRANSFORMER,
        ignored_scope=quantiser.IgnoredScope(names=exact),
        advanced_parameters=quantiser.AdvancedQuantizationParameters(
            overflow_fix=_overflow_fix(quantiser),
            smooth_quant_alphas=quantiser.AdvancedSmoothQuantParameters(matmul=SMOOTHING),
            activations_range_estimator_params=ranges,
        ),
    )
    reduced.reshape([-1, *levels.shape[1:]])
    ov.save_model(reduced, out, compress_to_fp16=False)


def _begin_and_end(model: Any) -> list[str]:
    """Return the names of the products before the first layer and after the last.

    They stay exact: one in a hundred of all, and eight bits of the pooling head alone can cost more of the
    cosine than those of all layers.
    """
    patches = int(model.get_rt_info(PATCHES).value)
    names, seen, todo = set(), set(), [model.get_result()]
    while todo:  # back from the end to the layer norm of all patches, after the last layer
        node = todo.pop()
        if node.get_friendly_name() in seen:
            continue
        seen.add(node.get_friendly_name())
        shape = node.get_output_partial_shape(0)
        if node.get_type_name() == "MVN" and len(shape) == 3 and shape[1] == patches:
            continue
        if node.get_type_name() == "MatMul":
            names.add(node.get_friendly_name())
        todo += [node.input_value(place).get_node() for place in range(node.get_input_size())]
    first = next(node for node in _products(model) if node.get_friendly_name() not in names)
    return sorted(names | {first.get_friendly_name()})


def _attention(model: Any) -> list[str]:
    """Return the names of the products of attention, whose factors are both computed: others have weights."""
    return [
        node.get_friendly_name()
        for node in _products(model)
        if node.input_value(1).get_node().get_type_name() != "Constant"
    ]


def _products(model: Any) -> list[Any]:
    return [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]


def _overflow_fix(quantiser: Any) -> Any:
    """Return half the range of weights for processors that would clamp the sums of whole ones."""
    fix = quantiser.OverflowFix
    return fix.DISABLE if adds_in_32_bits() else fix.ENABLE


def _end_with_parent() -> None:
    os.read(0, 1)  # returns at its end: nothing is ever written
    os._exit(1)


def main(source: str, out: str, kind: str, pictures: str = "", spared: str = "") -> None:
    if kind == "int8":
        quantise(Path(source), Path(out), Path(pictures), exact_attention=spared == EXACT_ATTENTION)
    else:
        convert(Path(source), Path(out), halved=kind == "fp16")


if __name__ == "__main__":
    # Or it would go on in 10 GB of memory when the run that wants its model is killed.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    main(*sys.argv[1:])
