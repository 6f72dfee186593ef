"""Text -> the token ids that an OpenCLIP model was trained on."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

from medsiglip_search.encoders.open_clip.layout import tokenizer_folder
from medsiglip_search.errors import EncoderUnavailable
from medsiglip_search.transformers_notices import first_line, quiet


class Tokens:
    """One of OpenCLIP's tokenizers, for any thread.

    length: how many ids a text has, padded or cut. size: how many there are to choose from.
    """

    def __init__(self, tokenizer: SimpleTokenizer | HFTokenizer) -> None:
        self.length = int(tokenizer.context_length)
        simple = isinstance(tokenizer, SimpleTokenizer)
        self.size = tokenizer.vocab_size if simple else len(tokenizer.tokenizer)
        self._tokenizer = tokenizer
        # Padding and truncation are settings of transformers' tokenizers, which each of their calls changes.
        self._tokenizing = threading.Lock()

    def ids(self, texts: Sequence[str]) -> torch.Tensor:
        """Return (N, length) int64."""
        if not texts:
            return torch.empty((0, self.length), dtype=torch.int64)
        with self._tokenizing:
            ids: torch.Tensor = self._tokenizer(list(texts))
        return ids

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Return how many ids each text has before it is cut, with those that mark its begin and end."""
        tokenizer = self._tokenizer
        if isinstance(tokenizer, SimpleTokenizer):
            return [len(tokenizer.encode(text)) + 2 for text in texts]
        if not texts:
            return []
        # In this mode OpenCLIP itself puts three special ids around what the tokenizer gives.
        own = 3 if tokenizer.tokenizer_mode == "clips" else 0
        clean = [tokenizer.clean_fn(text) for text in texts]
        with self._tokenizing:
            encoded = tokenizer.tokenizer(clean, add_special_tokens=own == 0, verbose=False)
        return [len(ids) + own for ids in encoded["input_ids"]]


def load_tokens(folder: Path, text_cfg: Mapping[str, Any]) -> Tokens:
    """Return the tokenizer that a configuration names.

    Raises EncoderUnavailable if its files are not at hand or damaged.
    """
    length = text_cfg.get("context_length") or DEFAULT_CONTEXT_LENGTH
    arguments = dict(text_cfg.get("tokenizer_kwargs") or {})
    if arguments.get("reduction_mask"):
        raise EncoderUnavailable(f"{folder}: its tokenizer drops words at random, which no search can use")
    name = text_cfg.get("hf_tokenizer_name")
    source = tokenizer_folder(folder, name) if name else folder
    try:
        with quiet():
            if not name:
                return _tried(SimpleTokenizer(context_length=length, **arguments))
            # A configuration may ask for more, such as to run the code of a repository.
            arguments |= {"trust_remote_code": False, "local_files_only": True}
            mode = text_cfg.get("tokenizer_mode")
            return _tried(HFTokenizer(str(source), length, tokenizer_mode=mode, **arguments))
    except Exception as error:  # transformers raises what its backends raise
        message = f"{source}: the tokenizer cannot be loaded ({first_line(error)})"
        raise EncoderUnavailable(message) from error


def _tried(tokenizer: SimpleTokenizer | HFTokenizer) -> Tokens:
    """Return the tokenizer; raises what it raises where it lacks a token that it pads or ends with."""
    tokens = Tokens(tokenizer)
    tokens.ids(["", "a longer text"])
    return tokens
