"""MedGemma, and every Gemma 3 of the published file layout, as a language model on this machine."""

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import GenerationConfig, PreTrainedTokenizerBase
from transformers.generation import BaseStreamer, StoppingCriteria, StoppingCriteriaList

from medsiglip_search.checkpoints import Checkpoint
from medsiglip_search.encoders.fitting import fitted
from medsiglip_search.errors import ExplainerFailed
from medsiglip_search.explain.chat import Abilities, Answer, Ended, Prompt, Tell
from medsiglip_search.explain.gemma_loading import Parts, load
from medsiglip_search.explain.kinds import EXPLAINERS, kind_of
from medsiglip_search.explain.repetition import kept
from medsiglip_search.records import PreprocessSpec
from medsiglip_search.transformers_notices import first_line, quiet
from medsiglip_search.windows import RenderSpec

WAIT_S = 0.1
"""How often a question that waits for another's answer looks whether it is still wanted."""

MOST_HELD = 16
"""Tokens at the end of an answer that may wait for the rest of a letter."""


_BRACKETED = re.compile(r"<\S+>|\[\S+\]")
"""How special tokens are written, also those that a tokenizer does not call special."""


class _Stopped(Exception):
    """The answer is no longer wanted; leaves the model from between two of its layers."""


class LocalGemma:
    """A Gemma 3 checkpoint as a `ChatModel`; one answer at a time, each token the likeliest."""

    def __init__(
        self, parts: Parts, *, name: str, revision: str, abilities: Abilities, rendering: RenderSpec
    ) -> None:
        self.name = name
        self.revision = revision
        self.abilities = abilities
        self.rendering = rendering
        self._model = parts.model
        self._processor = parts.processor
        self._tokenizer: PreTrainedTokenizerBase = parts.tokenizer
        self._spec = PreprocessSpec(size=parts.picture_size) if parts.picture_size else None
        self._tokens = _written_tokens(parts.tokenizer)
        self._ends = _end_tokens(parts.model, parts.tokenizer)
        # The checkpoint's own settings draw tokens by chance.
        self._model.generation_config = GenerationConfig(
            do_sample=False,
            use_cache=True,
            bos_token_id=parts.tokenizer.bos_token_id,
            eos_token_id=sorted(self._ends),
            pad_token_id=parts.tokenizer.pad_token_id or 0,
        )
        self._generating = threading.Lock()
        self._stop = threading.Event()
        # Reading a long prompt on a CPU takes minutes, and generate asks only between tokens.
        for module in parts.model.modules():
            if not any(module.children()):
                module.register_forward_pre_hook(self._leave_if_stopped)

    def generate(self, prompt: Prompt, tell: Tell, stop: threading.Event) -> Answer:
        """Answer, and `tell` each piece of text meanwhile; see `ChatModel`. For any thread.

        An answer that ends in a repetition is cut where that begins, so more was told than it holds.
        Raises ValueError for more pictures than the model takes, and for what is no picture.
        """
        if prompt.pictures > self.abilities.pictures:
            raise ValueError(
                f"{self.name} takes {self.abilities.pictures} pictures in one prompt, not {prompt.pictures}"
            )
        start = time.perf_counter()
        while not self._generating.acquire(timeout=WAIT_S):
            if stop.is_set():
                return Answer("", "cancelled", 0, time.perf_counter() - start, 0.0)
        try:
            return self._answer(prompt, tell, stop, start)
        finally:
            self._stop = threading.Event()
            self._generating.release()

    def _answer(self, prompt: Prompt, tell: Tell, stop: threading.Event, start: float) -> Answer:
        self._stop = stop
        reply = _Reply(self._tokenizer, self._ends, tell)
        ended: Ended | None = None
        try:
            turn = self._turn(prompt)
            with self._translated(reply):
                self._generate(turn, prompt.most_tokens, reply)
        except _Stopped:
            ended = "cancelled"
        text = reply.finish()
        if ended is None:
            ended = "loop" if reply.kept is not None else "whole" if reply.is_whole else "length"
        first = reply.first_at - start if reply.first_at else 0.0
        return Answer(text, ended, len(reply.tokens), time.perf_counter() - start, first)

    def _turn(self, prompt: Prompt) -> dict[str, Any]:
        """Return the question as a chat template takes it, without a system prompt."""
        content: list[dict[str, Any]] = []
        for is_text, group in groupby(prompt.parts, lambda part: isinstance(part, str)):
            if is_text:
                # The template writes texts one after the other; together they must form no special token.
                text = "".join(str(part).strip() for part in group)
                content.append({"type": "text", "text": self._harmless(text)})
                continue
            for picture in group:
                self._leave_if_stopped()
                content.append({"type": "image", "image": self._fitted(picture)})
        return {"role": "user", "content": content}

    def _fitted(self, picture: Any) -> Image.Image:
        if self._spec is None:
            raise ValueError(f"{self.name} takes no pictures")
        return Image.fromarray(fitted(np.asarray(picture), self._spec))

    def _harmless(self, text: str) -> str:
        """Return a text in which no special token is written: a space parts each from its beginning."""
        return self._tokens.sub(lambda match: f"{match[0][0]} {match[0][1:]}", text)

    def _inputs(self, turn: dict[str, Any]) -> Any:
        inputs = self._processor.apply_chat_template(
            [turn], add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
        )
        if "pixel_values" in inputs:
            inputs["pixel_values"] = inputs["pixel_values"].to(self._model.dtype)
        return inputs.to(self._model.device)

    @torch.inference_mode()
    def _generate(self, turn: dict[str, Any], most_tokens: int, reply: "_Reply") -> None:
        inputs = self._inputs(turn)
        self._leave_if_stopped()
        self._model.generate(
            **inputs,
            max_new_tokens=most_tokens,
            streamer=reply,
            stopping_criteria=StoppingCriteriaList([_Repeats(reply)]),
        )

    def _leave_if_stopped(self, *_: object) -> None:
        if self._stop.is_set():
            raise _Stopped

    @contextmanager
    def _translated(self, reply: "_Reply") -> Iterator[None]:
        """Raise ExplainerFailed for what the model raises; not for the exceptions of who is told."""
        try:
            yield
        except _Stopped:
            raise
        except Exception as error:
            if error is reply.refusal:
                raise
            is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
            if is_memory or "DefaultCPUAllocator" in str(error):
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                message = (
                    f"{self.name}: {self._model.device} has not the memory for this prompt; send fewer "
                    "pictures, use 4-bit weights, or run the model behind a server and pass its URL"
                )
            else:
                message = f"{self.name}: broke down while answering ({first_line(error)})"
            raise ExplainerFailed(message, reply.finish(is_told=False)) from error


def load_gemma(
    checkpoint: str | os.PathLike[str],
    device: str = "auto",
    four_bit: bool = False,
    *,
    dtype: torch.dtype | None = None,
    abilities: Abilities | None = None,
) -> LocalGemma:
    """Return the model of a short name ("demo", "medgemma"), a checkpoint folder, or a hub id ("org/name").

    device: "auto" (a GPU where there is one), or what torch calls it. four_bit: NF4 weights, on a GPU only.
    dtype: of the computing; by default bf16, and fp32 for the smallest models where bf16 is not faster.
    abilities: what the model can be asked, where that is not what its kind was made for.
    Raises ExplainerUnavailable for a name that is unknown, and for a checkpoint that is gated, not at hand,
    incomplete, of another architecture, or too large for this machine.
    """
    found = EXPLAINERS.locate(os.fspath(checkpoint))
    with quiet():
        parts = load(found.folder, device, four_bit, dtype)
    # The folder of a hub checkpoint is that of a commit, below one of the checkpoint's name.
    kind = kind_of(str(found.folder.resolve()))
    own = Abilities(pictures=kind.pictures if parts.picture_size else 0)
    return LocalGemma(
        parts,
        name=found.name,
        revision=_revision(found, parts, four_bit),
        abilities=abilities or own,
        rendering=kind.rendering,
    )


def _revision(found: Checkpoint, parts: Parts, four_bit: bool) -> str:
    """Return what tells two models apart that answer differently: commit or contents, and 4 bits."""
    revision = found.revision
    if revision is None:
        digest = hashlib.sha256(parts.weights.digest.encode())
        for path in sorted(found.folder.iterdir()):  # tokenizer, chat template, settings
            if path.suffix in (".json", ".jinja", ".model"):
                digest.update(path.name.encode() + path.read_bytes())
        revision = f"local-{digest.hexdigest()[:16]}"
    return f"{revision}-4bit" if four_bit else revision


def _written_tokens(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Return what finds the tokens that a text must not hold.

    Gemma's tokenizer also has line breaks among its added tokens; those are text.
    """
    added = tokenizer.added_tokens_decoder.values()
    written = {str(token) for token in added if token.special or _BRACKETED.fullmatch(str(token))}
    written |= set(tokenizer.all_special_tokens)
    longest_first = sorted(filter(None, written), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    listed = model.generation_config.eos_token_id
    ends = set(listed if isinstance(listed, list) else [listed]) | {tokenizer.eos_token_id}
    ends.add(tokenizer.get_vocab().get("<end_of_turn>"))
    return frozenset(int(end) for end in ends if end is not None)


class _Reply(BaseStreamer):
    """An answer as it is made.

    tokens: without the one that ends it. kept: how many of them are no repetition, None before one is seen.
    first_at: time.perf_counter() at the first token. refusal: what `tell` raised.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, ends: frozenset[int], tell: Tell) -> None:
        self.tokens: list[int] = []
        self.kept: int | None = None
        self.is_whole = False
        self.first_at: float | None = None
        self.refusal: Exception | None = None
        self._tokenizer = tokenizer
        self._ends = ends
        self._tell = tell
        self._said: list[str] = []
        self._held: list[int] = []
        self._has_seen_prompt = False

    def put(self, value: torch.Tensor) -> None:
        """Take the prompt's tokens first, then one token at a time."""
        if not self._has_seen_prompt:
            self._has_seen_prompt = True
            return
        token = int(value.reshape(-1)[0])
        self.first_at = self.first_at or time.perf_counter()
        if self.kept is not None:
            return
        if token in self._ends:
            self.is_whole = True
            return
        self.tokens.append(token)
        self._held.append(token)
        text = self._decode(self._held)
        # A letter of several bytes can come in several tokens.
        if not text.endswith("\ufffd") or len(self._held) >= MOST_HELD:
            self._say(text)
        self.kept = kept(self.tokens)

    def end(self) -> None:
        """Do nothing: `finish` also comes after an answer that was broken off."""

    def finish(self, is_told: bool = True) -> str:
        """Say what is still held back, and return the whole text, without its repetition."""
        if self._held:
            self._say(self._decode(self._held), is_told)
        return "".join(self._said) if self.kept is None else self._decode(self.tokens[: self.kept])

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True))

    def _say(self, text: str, is_told: bool = True) -> None:
        self._held.clear()
        if not text:
            return
        self._said.append(text)
        if not is_told:
            return
        try:
            self._tell(text)
        except Exception as error:
            self.refusal = error
            raise


class _Repeats(StoppingCriteria):
    """Ends an answer in which a repetition was seen."""

    def __init__(self, reply: _Reply) -> None:
        self._reply = reply

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        repeats = self._reply.kept is not None
        return torch.full((input_ids.shape[0],), repeats, device=input_ids.device, dtype=torch.bool)
