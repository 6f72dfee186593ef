"""A process that makes a file for OpenVINO of a checkpoint's vision tower.

By itself, since what it takes (some times the size of the weights) goes back to the machine when it ends.

    python -m medsiglip_search.encoders.image_towers.openvino_convert CHECKPOINT MODEL.xml fp32|fp16
    python -m medsiglip_search.encoders.image_towers.openvino_convert FP32.xml MODEL.xml int8 PICTURES.npy
"""

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from medsiglip_search.devices import adds_in_32_bits
from medsiglip_search.encoders.image_towers.openvino_library import nncf, openvino
from medsiglip_search.encoders.siglip.checkpoint import read_checkpoint
from medsiglip_search.encoders.siglip.vision import VisionTower

PATCHES = ["medsiglip_search", "patches"]
"""Where a model's file says how many patches a picture has."""

SMOOTHING = 0.5
"""How much of the spread of the numbers between layers goes into the weights, from 0 to 1.

Half, as SmoothQuant (Xiao et al., 2023) has it for most models. NNCF's own 0.95 widens the range of some
weights so much that single pictures lose a hundredth of their cosine, by random weights as by trained ones.
"""


def convert(checkpoint: Path, out: Path, *, halved: bool) -> None:
    """Write the vision tower as `out` (.xml, with a .bin beside it); halved: its weights as float16."""
    read = read_checkpoint(checkpoint)
    tower = VisionTower(read.load_vision(torch.float32, torch.device("cpu")), read.spec).eval()
    size = read.spec.size
    example = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    # Two pictures and a free first dimension: of one, its size would become a part of the program.
    pictures = torch.export.Dim("pictures", min=1, max=1024)
    with torch.no_grad():
        program = torch.export.export(tower, (example,), dynamic_shapes=({0: pictures},))
    ov = openvino()
    model = ov.convert_model(program)
    model.set_rt_info(tower.rows**2, PATCHES)
    ov.save_model(model, out, compress_to_fp16=halved)


def quantise(full: Path, out: Path, pictures: Path) -> None:
    """Write the model at `full` with int8 products as `out`.

    pictures: (N, size, size, 3) uint8, fitted; on which NNCF sees how large the numbers between layers are.
    """
    ov, quantiser = openvino(), nncf()
    # The mean of the pictures' ranges, NNCF's own, is too narrow for the one that stands out.
    ranges = quantiser.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX
    logging.getLogger("nncf").setLevel(logging.ERROR)
    levels = np.load(pictures)
    model = ov.Core().read_model(full)
    exact = _begin_and_end(model)
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
    products = [node for node in model.get_ordered_ops() if node.get_type_name() == "MatMul"]
    first = next(node for node in products if node.get_friendly_name() not in names)
    return sorted(names | {first.get_friendly_name()})


def _overflow_fix(quantiser: Any) -> Any:
    """Return half the range of weights for processors that would clamp the sums of whole ones."""
    fix = quantiser.OverflowFix
    return fix.DISABLE if adds_in_32_bits() else fix.ENABLE


def main(source: str, out: str, kind: str, pictures: str = "") -> None:
    if kind == "int8":
        quantise(Path(source), Path(out), Path(pictures))
    else:
        convert(Path(source), Path(out), halved=kind == "fp16")


if __name__ == "__main__":
    main(*sys.argv[1:])
