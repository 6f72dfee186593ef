"""How fast a local Gemma 3 answers, beside `generate` of transformers as it comes.

    python -m benchmarks.explain_speed                     # the size of MedGemma 4B, random weights, on a GPU
    python -m benchmarks.explain_speed --size demo         # the demo explainer, on whatever there is

One picture and the question about it, so many tokens of answer. The time to the first token and the tokens a
second of `LocalGemma`, streaming and asked between tokens whether it is still wanted, over those of the same
model's plain `generate` on the same inputs; in turn, the fastest of each. Prints ratios.
"""

import argparse
import json
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoProcessor, Gemma3Config, Gemma3ForConditionalGeneration, Gemma3ImageProcessor

from medsiglip_search.explain import DEMO_EXPLAINER_FOLDER, prompts
from medsiglip_search.explain.chat import Prompt
from medsiglip_search.explain.gemma import LocalGemma, load_gemma

# google/gemma-3-4b-it, config.json.
TEXT_4B = {
    "hidden_size": 2560,
    "intermediate_size": 10240,
    "num_hidden_layers": 34,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "sliding_window": 1024,
    "max_position_embeddings": 131_072,
}
VISION_4B = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_hidden_layers": 27,
    "num_attention_heads": 16,
    "image_size": 896,
    "patch_size": 14,
    "vision_use_head": False,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", choices=("4b", "demo"), default="4b")
    parser.add_argument("--folder", type=Path, help="Where the random checkpoint goes, 8.6 GB.")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = DEMO_EXPLAINER_FOLDER if args.size == "demo" else make_4b(args.folder or Path(scratch))
        results = measure(load_gemma(folder), args.tokens, args.rounds)
    print(json.dumps(results, indent=2))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")


def make_4b(folder: Path) -> Path:
    """Write a checkpoint of MedGemma 4B's size with random weights, and the demo explainer's tokenizer."""
    processor = AutoProcessor.from_pretrained(DEMO_EXPLAINER_FOLDER)
    side = VISION_4B["image_size"]
    processor.image_processor = Gemma3ImageProcessor(
        size={"height": side, "width": side}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    processor.image_seq_length = 256
    picture = processor.tokenizer.image_token
    processor.full_image_sequence = (
        f"\n\n{processor.tokenizer.boi_token}{picture * 256}{processor.tokenizer.eoi_token}\n\n"
    )
    ids = processor.tokenizer.convert_tokens_to_ids
    config = Gemma3Config(
        text_config={**TEXT_4B, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2},
        vision_config={**VISION_4B, "model_type": "siglip_vision_model"},
        mm_tokens_per_image=256,
        boi_token_index=ids("<start_of_image>"),
        eoi_token_index=ids("<end_of_image>"),
        image_token_index=ids("<image_soft_token>"),
    )
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Gemma3ForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def measure(model: LocalGemma, tokens: int, rounds: int) -> dict[str, Any]:
    """Return the fastest of both ways, and their ratios."""
    picture = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    prompt = Prompt(prompts.describe([picture], prompts.known_of("CR", "CHEST")).parts, tokens)
    # A random model says anything, also that it has ended or the same for ever.
    model._ends = frozenset()
    model._model.generation_config.eos_token_id = None
    _ours(model, prompt), _plain(model, prompt)  # warm
    ours, plain = zip(*((_ours(model, prompt), _plain(model, prompt)) for _ in range(rounds)), strict=True)
    first = min(one[0] for one in ours), min(one[0] for one in plain)
    rate = max(one[1] for one in ours), max(one[1] for one in plain)
    device = model._model.device
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "dtype": str(model._model.dtype),
        "parameters": sum(p.numel() for p in model._model.parameters()),
        "first token, s": first,
        "tokens a second": rate,
        "first token, ours over plain": first[0] / first[1],
        "tokens a second, ours over plain": rate[0] / rate[1],
    }


def _ours(model: LocalGemma, prompt: Prompt) -> tuple[float, float]:
    """Return the seconds to the first token, and tokens a second after it."""
    answer = model.generate(prompt, lambda _: None, threading.Event())
    return answer.first_token_s, _rate(answer.tokens, answer.seconds - answer.first_token_s)


@torch.inference_mode()
def _plain(model: LocalGemma, prompt: Prompt) -> tuple[float, float]:
    started = time.perf_counter()
    inputs = model._inputs(model._turn(prompt))
    model._model.generate(**inputs, max_new_tokens=1)
    first = time.perf_counter() - started
    started = time.perf_counter()
    inputs = model._inputs(model._turn(prompt))
    length = inputs["input_ids"].shape[1]
    made = model._model.generate(**inputs, max_new_tokens=prompt.most_tokens).shape[1] - length
    return first, _rate(made, time.perf_counter() - started - first)


def _rate(tokens: int, seconds: float) -> float:
    return (tokens - 1) / max(seconds, 1e-9)


if __name__ == "__main__":
    main()
