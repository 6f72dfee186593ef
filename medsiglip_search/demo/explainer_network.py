"""The demo explainer before training: a small Gemma 3 with the demo encoder's eyes."""

import copy
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GenerationConfig,
    PreTrainedTokenizerFast,
    SiglipModel,
)

from medsiglip_search.demo.network import GRID, SIZE
from medsiglip_search.explain import prompts

PIECES, WIDTH, LAYERS = 1100, 192, 4
PICTURE_TOKENS = GRID * GRID

# In the order of Gemma's own.
_SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>")
_TURN_START, _TURN_END = "<start_of_turn>", "<end_of_turn>"
_PICTURE_START, _PICTURE_END, _PICTURE = "<start_of_image>", "<end_of_image>", "<image_soft_token>"
SPECIAL_TOKENS = (*_SPECIAL, _TURN_START, _TURN_END, _PICTURE_START, _PICTURE_END, _PICTURE)

JSON_PIECES = (
    '{"modality": "',
    '", "findings": [{"finding": "',
    '", "findings": [], "normal": ["',
    '"}, {"finding": "',
    '", "side": "',
    '", "place": "',
    '"}], "normal": ["',
    '"}], "normal": []}',
    '", "',
    '"]}',
)
"""The parts of an answer that never change, a token each."""

CHAT_TEMPLATE = """{{ bos_token }}
{%- for message in messages -%}
    {{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\\n' }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- else -%}
        {%- for part in message['content'] -%}
            {%- if part['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif part['type'] == 'text' -%}
                {{ part['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {{ '<end_of_turn>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<start_of_turn>model\\n' }}
{%- endif -%}
"""


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer with Gemma 3's special tokens, learned from `texts`.

    Each sentence of the questions is one token, as the model knows no others and reads them at every step of
    its training.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=PIECES,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    sentences = (*prompts.DESCRIBE, *prompts.DESCRIBE_AGAIN, *JSON_PIECES)
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in dict.fromkeys(sentences)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={
            "boi_token": _PICTURE_START,
            "eoi_token": _PICTURE_END,
            "image_token": _PICTURE,
        },
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def make_model(tokenizer: PreTrainedTokenizerFast, encoder: SiglipModel) -> Gemma3ForConditionalGeneration:
    """Return a Gemma 3 that sees as the encoder does and has not learned to speak."""
    vision = copy.deepcopy(encoder.vision_model.config)
    vision.vision_use_head = False
    ids = {name: tokenizer.get_vocab()[name] for name in SPECIAL_TOKENS}
    config = Gemma3Config(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": WIDTH,
            "intermediate_size": 3 * WIDTH,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": WIDTH // 4,
            "query_pre_attn_scalar": WIDTH // 4,
            "max_position_embeddings": 2048,
            "sliding_window": 512,
            "layer_types": ["full_attention"] * LAYERS,
            "pad_token_id": ids["<pad>"],
            "bos_token_id": ids["<bos>"],
            "eos_token_id": ids["<eos>"],
        },
        vision_config=vision.to_dict(),
        mm_tokens_per_image=PICTURE_TOKENS,
        boi_token_index=ids[_PICTURE_START],
        eoi_token_index=ids[_PICTURE_END],
        image_token_index=ids[_PICTURE],
    )
    model = Gemma3ForConditionalGeneration(config)
    # Gemma 3 has no use for the pooling head.
    weights = {
        name: w for name, w in encoder.vision_model.state_dict().items() if not name.startswith("head.")
    }
    model.model.vision_tower.load_state_dict(weights)
    return model


def make_processor(tokenizer: PreTrainedTokenizerFast) -> Gemma3Processor:
    """Return what prepares pictures and questions for the model."""
    image_processor = Gemma3ImageProcessor(
        size={"height": SIZE, "width": SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3, do_pan_and_scan=False
    )
    return Gemma3Processor(
        image_processor, tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=PICTURE_TOKENS
    )


def save(model: Gemma3ForConditionalGeneration, processor: Gemma3Processor, folder: Path) -> None:
    """Write the checkpoint in the layout of google/medgemma-4b-it, fp16 on disk."""
    shutil.rmtree(folder, ignore_errors=True)
    stored = copy.deepcopy(model).half()
    ids = [processor.tokenizer.convert_tokens_to_ids(name) for name in ("<eos>", _TURN_END)]
    stored.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ids, bos_token_id=2, pad_token_id=0, max_new_tokens=256
    )
    stored.save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)  # transformers leaves it readable to its owner alone
    processor.save_pretrained(folder)


def parameters(model: torch.nn.Module) -> int:
    """Return how many numbers a model has, each counted once."""
    return sum(p.numel() for p in model.parameters())
