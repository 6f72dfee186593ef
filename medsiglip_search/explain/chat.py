"""Language models as the explainers see them: a prompt of pictures and text in, an answer piece by piece."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from medsiglip_search.windows import RenderSpec

Tell = Callable[[str], None]
"""Takes each piece of an answer as it is made."""

Ended = Literal["whole", "length", "loop", "cancelled"]
"""How an answer came to its end: by itself, at the most that was allowed, in a repetition, or because it was
no longer wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """What a model is asked in one turn, pictures and texts in their order, the question after the pictures.

    parts: texts, and (H, W, 3) uint8 pictures. most_tokens: of the answer.
    """

    parts: tuple[str | np.ndarray, ...]
    most_tokens: int = 512

    @property
    def pictures(self) -> int:
        return sum(isinstance(part, np.ndarray) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model said. seconds: from the question to the end; first_token_s: to the first token."""

    text: str
    ended: Ended
    tokens: int
    seconds: float
    first_token_s: float


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a model can be asked. pictures: at most in one prompt. writes: texts beside what it sees."""

    pictures: int
    writes: bool = True


class ChatModel(Protocol):
    """A language model, here or behind a server.

    rendering: how its pictures show values that are no colours.
    """

    name: str
    revision: str
    abilities: Abilities
    rendering: RenderSpec

    def generate(self, prompt: Prompt, tell: Tell, stop: threading.Event) -> Answer:
        """Answer, and `tell` each piece of text meanwhile; end within a second after `stop` is set.

        Raises ExplainerFailed, with what was said until then, where the model breaks down.
        """
        ...
