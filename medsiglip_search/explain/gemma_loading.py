"""The parts of a Gemma 3 checkpoint through transformers; no code from it is run."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    BitsAndBytesConfig,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
)

from medsiglip_search.devices import device_of, multiplies_bf16
from medsiglip_search.encoders.weights import Weights, read_weights
from medsiglip_search.errors import EncoderUnavailable, ExplainerUnavailable
from medsiglip_search.transformers_notices import first_line

MODELS: dict[str, Any] = {"gemma3": Gemma3ForConditionalGeneration, "gemma3_text": Gemma3ForCausalLM}
"""By the model_type of config.json; the first takes pictures."""

BF16_FROM = 100_000_000
"""Parameters from which on a model runs in bf16 everywhere, for its size; fp16 overflows in Gemma 3."""

SPARE = 1.2
"""What is needed beside the weights, for pictures, the cache and what is in between: a fifth."""

BYTES_4BIT = 0.8
"""A parameter in NF4, on average: half a byte and its scale, and the embeddings of all tokens stay bf16."""


@dataclass(frozen=True, slots=True)
class Parts:
    """A checkpoint in memory. processor: a tokenizer alone where the model takes no pictures.

    picture_size: pixels of a side, None where it takes none.
    """

    model: Any
    processor: Any
    tokenizer: Any
    picture_size: int | None
    weights: Weights


def load(folder: Path, device: str, four_bit: bool, dtype: torch.dtype | None) -> Parts:
    """Return the parts of a checkpoint folder, the model on its device.

    dtype: of the computing, chosen by size and device when None.
    Raises ExplainerUnavailable when a part is missing or damaged, the checkpoint is not a Gemma 3, or this
    machine cannot run it.
    """
    kind = _architecture(folder)
    try:
        weights = read_weights(folder)
    except EncoderUnavailable as error:
        raise ExplainerUnavailable(str(error)) from error
    target = _device(device)
    dtype = dtype or _precision(target, weights.parameters)
    if four_bit:
        _check_four_bit(folder, target)
    processor = _processor(folder, kind)
    tokenizer = processor if kind == "gemma3_text" else processor.tokenizer
    size = None if kind == "gemma3_text" else _picture_size(folder, processor)
    _check_template(folder, processor)
    _check_memory(folder, target, weights.parameters, BYTES_4BIT if four_bit else dtype.itemsize, four_bit)
    model = _model(folder, MODELS[kind], target, dtype, four_bit)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        raise ExplainerUnavailable(
            f"{folder}: the tokenizer ({len(tokenizer)} tokens) does not fit the model "
            f"({model.get_input_embeddings().num_embeddings}); take both from one checkpoint"
        )
    return Parts(model, processor, tokenizer, size, weights)


def free_bytes(device: torch.device) -> int | None:
    """Return how much memory can still be taken on a device, None where that cannot be told."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def _architecture(folder: Path) -> str:
    path = folder / "config.json"
    if not path.is_file():
        raise ExplainerUnavailable(f"{folder}: no config.json; pass the folder of a whole Gemma 3 checkpoint")
    try:
        kind = json.loads(path.read_text("utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise ExplainerUnavailable(f"{path}: cannot be read as a JSON object; fetch it again") from error
    if kind not in MODELS:
        raise ExplainerUnavailable(
            f"{path}: a checkpoint of architecture {kind!r}; this loader takes Gemma 3 only "
            f"({', '.join(MODELS)}); run any other model behind a server and pass its URL"
        )
    return str(kind)


def _device(name: str) -> torch.device:
    try:
        return device_of(name)
    except ValueError as error:
        raise ExplainerUnavailable(str(error)) from error


def _precision(device: torch.device, parameters: int) -> torch.dtype:
    return torch.bfloat16 if parameters > BF16_FROM or multiplies_bf16(device) else torch.float32


def _check_four_bit(folder: Path, device: torch.device) -> None:
    if device.type != "cuda":
        raise ExplainerUnavailable(
            f"{folder}: 4-bit weights need an NVIDIA GPU, and the device is {device.type!r}; run it without "
            "4-bit, or behind a server and pass its URL"
        )
    missing = [name for name in ("bitsandbytes", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise ExplainerUnavailable(
            f"{folder}: 4-bit weights need {' and '.join(missing)}; run `pip install {' '.join(missing)}`"
        )


def _check_memory(folder: Path, device: torch.device, parameters: int, each: float, four_bit: bool) -> None:
    needed = parameters * each * SPARE
    ways = "" if four_bit else "use 4-bit weights on an NVIDIA GPU, "
    # Whole weights go to a GPU through the machine's memory; 4-bit ones tensor by tensor.
    for place in dict.fromkeys((device,) if four_bit else (device, torch.device("cpu"))):
        free = free_bytes(place)
        if free is not None and free < needed:
            raise ExplainerUnavailable(
                f"{folder}: needs {needed / 2**30:.2f} GiB of memory on {place}, and {free / 2**30:.2f} GiB "
                f"are free; {ways}take a smaller model, or run it behind a server and pass its URL"
            )


def _processor(folder: Path, kind: str) -> Any:
    if not any((folder / file).is_file() for file in ("tokenizer.json", "tokenizer.model")):
        raise ExplainerUnavailable(f"{folder}: no tokenizer (tokenizer.json); fetch the whole checkpoint")
    has_processor = any(
        (folder / file).is_file() for file in ("processor_config.json", "preprocessor_config.json")
    )
    if kind == "gemma3" and not has_processor:
        raise ExplainerUnavailable(
            f"{folder}: nothing says how it takes pictures (processor_config.json or "
            "preprocessor_config.json); fetch the whole checkpoint"
        )
    auto = AutoTokenizer if kind == "gemma3_text" else AutoProcessor
    try:
        processor = auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if kind == "gemma3":
            processor.image_processor.do_pan_and_scan = False
    except Exception as error:  # transformers raises what its backends raise
        what = "tokenizer" if kind == "gemma3_text" else "processor"
        raise ExplainerUnavailable(f"{folder}: the {what} cannot be loaded ({first_line(error)})") from error
    return processor


def _picture_size(folder: Path, processor: Any) -> int:
    try:
        height, width = (int(processor.image_processor.size[side]) for side in ("height", "width"))
    except (KeyError, TypeError, ValueError, AttributeError):
        height = width = 0
    if height != width or height <= 0:
        raise ExplainerUnavailable(f"{folder}: needs square pictures; check preprocessor_config.json")
    return height


def _check_template(folder: Path, processor: Any) -> None:
    """Raise ExplainerUnavailable where a checkpoint's chat template is missing or cannot be used."""
    if not processor.chat_template:
        raise ExplainerUnavailable(
            f"{folder}: no chat template (chat_template.jinja); this is a model that was not trained to "
            "answer, or a part of a checkpoint: fetch the whole of one whose name ends in -it"
        )
    try:
        turn = {"role": "user", "content": [{"type": "text", "text": "?"}]}
        processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
    except Exception as error:  # whatever the template raises
        message = f"{folder}: the chat template cannot be used ({first_line(error)}); fetch it again"
        raise ExplainerUnavailable(message) from error


def _model(folder: Path, kind: Any, device: torch.device, dtype: torch.dtype, four_bit: bool) -> Any:
    settings: dict[str, Any] = {}
    if four_bit:
        settings["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
        settings["device_map"] = {"": device}
    try:
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype,
            attn_implementation="sdpa",
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
            **settings,
        )
        model = model.eval() if four_bit else model.eval().to(device)
    except Exception as error:  # a bad config or tensor surfaces in many types, here and in safetensors
        message = f"{folder}: the model cannot be loaded ({first_line(error)})"
        raise ExplainerUnavailable(message) from error
    # transformers fills what is missing with random numbers, and only warns.
    if missing := sorted(report["missing_keys"]):
        raise ExplainerUnavailable(
            f"{folder}: the weights lack {len(missing)} of the model's tensors (first {missing[0]}); "
            "fetch them again"
        )
    return model
