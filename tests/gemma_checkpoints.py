"""Small checkpoints of the published Gemma 3 layout, made in place: random weights, a real tokenizer."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    Gemma3TextConfig,
    GenerationConfig,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

PICTURE_SIZE, PICTURE_TOKENS = 56, 4

SPECIAL_TOKENS = (
    "<pad>",
    "<eos>",
    "<bos>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)

CHAT_TEMPLATE = """{{ bos_token }}
{%- for message in messages -%}
    {%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
    {{ '<start_of_turn>' + role + '\\n' }}
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

SENTENCES = [
    "Describe this medical image. What does this picture from an archive show?",
    "chest radiograph of a patient with left pleural effusion, heart size is normal",
    "head ct with a right subdural hematoma and midline shift; no acute hemorrhage",
    "fundus photograph with severe diabetic retinopathy, dermoscopy of a melanoma",
    "user model the quick brown fox jumps over the lazy dog 0 1 2 3 4 5 6 7 8 9",
]


def make_gemma(folder: Path, text_only: bool = False, *, seed: int = 0) -> Path:
    """Write a whole checkpoint that takes pictures, or texts alone; return its folder.

    The weights are random (from the seed): its answers mean nothing, and are always the same.
    """
    tokenizer = _tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "max_position_embeddings": 4096,
        "sliding_window": 64,
        "layer_types": ["sliding_attention", "full_attention"],
        "initializer_range": 0.05,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Gemma3ForCausalLM(Gemma3TextConfig(**text)) if text_only else _seeing(text, tokenizer)
        _make_wordy(model)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<end_of_turn>")],
        pad_token_id=tokenizer.pad_token_id,
        do_sample=True,
        top_k=64,
        top_p=0.95,
    )
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    model.save_pretrained(folder)
    if bars:
        transformers_logging.enable_progress_bar()
    (tokenizer if text_only else _processor(tokenizer)).save_pretrained(folder)
    return folder


def _seeing(text: dict[str, object], tokenizer: PreTrainedTokenizerFast) -> Gemma3ForConditionalGeneration:
    start, end, picture = tokenizer.convert_tokens_to_ids(
        ["<start_of_image>", "<end_of_image>", "<image_soft_token>"]
    )
    config = Gemma3Config(
        text_config=text,
        vision_config={
            "model_type": "siglip_vision_model",
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "image_size": PICTURE_SIZE,
            "patch_size": 14,
            "vision_use_head": False,
        },
        mm_tokens_per_image=PICTURE_TOKENS,
        boi_token_index=start,
        eoi_token_index=end,
        image_token_index=picture,
    )
    model = Gemma3ForConditionalGeneration(config)
    # transformers begins with zeros here, and pictures would say nothing.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.3)
    return model


def _make_wordy(model: torch.nn.Module) -> None:
    """Let the layers outweigh the token that was read: a model as it is made says that one again for ever."""
    for name, weight in model.named_parameters():
        if "post_" in name and name.endswith("layernorm.weight"):
            torch.nn.init.normal_(weight, mean=3.0, std=1.0)


def _processor(tokenizer: PreTrainedTokenizerFast) -> Gemma3Processor:
    image_processor = Gemma3ImageProcessor(
        size={"height": PICTURE_SIZE, "width": PICTURE_SIZE}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return Gemma3Processor(
        image_processor, tokenizer, chat_template=CHAT_TEMPLATE, image_seq_length=PICTURE_TOKENS
    )


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        extra_special_tokens={
            "boi_token": "<start_of_image>",
            "eoi_token": "<end_of_image>",
            "image_token": "<image_soft_token>",
        },
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
