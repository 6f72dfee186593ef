"""One conversation with a language model: what was asked, what was said, and how it ended."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from medsiglip_search.errors import ExplainerFailed, ExplainerRefused
from medsiglip_search.explain import State, TellPiece, prompts
from medsiglip_search.explain.chat import ChatModel, Prompt
from medsiglip_search.explain.parsing import Sentences
from medsiglip_search.explain.picture_evidence import Caution
from medsiglip_search.explain.plain_text import PlainWords


class Ended(Exception):
    """The model broke down, or nobody wants its answer any more. said: what it said until then."""

    def __init__(self, said: str = "") -> None:
        super().__init__(said)
        self.said = said


class Talk:
    """What was asked and answered so far in one explanation.

    problem: why it ended early, empty if it did not. cautions: about answers that were cut off or refused.
    """

    def __init__(self, tell: TellPiece, stop: threading.Event) -> None:
        self.tokens = 0
        self.problem = ""
        self.is_cancelled = False
        self.cautions: list[Caution] = []
        self._tell = tell
        self._stop = stop
        self._started = time.monotonic()
        self._digest = hashlib.sha256(prompts.templates_digest().encode())

    def ask(self, model: ChatModel, prompt: Prompt, subject: str, *, sentences: bool = False) -> str | None:
        """Return an answer's text, None where the model refuses this question.

        sentences: tell only these while it is made, and not the JSON that comes after.
        Raises Ended.
        """
        if self._stop.is_set():
            self.is_cancelled = True
            raise Ended
        self._note(prompt)
        words = PlainWords(partial(self._tell, subject))
        try:
            answer = model.generate(prompt, Sentences(words) if sentences else words, self._stop)
        except ExplainerRefused as error:
            self.cautions.append(Caution("refused", subject, str(error)))
            return None
        except ExplainerFailed as error:
            self.problem = str(error)
            words.finish()
            raise Ended(error.said) from error
        words.finish()
        self.tokens += answer.tokens
        if answer.ended == "cancelled":
            self.is_cancelled = True
            raise Ended(answer.text)
        if answer.ended == "loop":
            self.cautions.append(
                Caution("loop", subject, "The model began to repeat itself and was cut off.")
            )
        elif answer.ended == "length":
            self.cautions.append(Caution("length", subject, "The answer was cut off at its longest."))
        return answer.text

    @contextmanager
    def until_it_ends(self) -> Iterator[None]:
        """Keep what was said until the model broke down or was stopped."""
        try:
            yield
        except Ended:
            return

    def state(self, described: int, wanted: int, summarised: bool) -> State:
        """Return how the explanation ended. described: of the pictures that were to be."""
        if self.is_cancelled:
            self.problem = "cancelled"
            return "cancelled"
        if not self.problem and described < wanted:
            self.problem = f"{wanted - described} of {wanted} pictures are not described; see the warnings"
        if not self.problem:
            return "done"
        return "partial" if described or summarised else "failed"

    def digest(self) -> str:
        """Return the digest of all that was asked, pictures included."""
        return self._digest.hexdigest()

    def seconds(self) -> float:
        """Return how long it has taken so far."""
        return time.monotonic() - self._started

    def _note(self, prompt: Prompt) -> None:
        for part in prompt.parts:
            what = ("text", len(part)) if isinstance(part, str) else ("picture", part.shape)
            self._digest.update(repr(what).encode())
            self._digest.update(part.encode() if isinstance(part, str) else part.tobytes())
