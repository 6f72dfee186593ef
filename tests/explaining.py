"""Cases, questions and a model with written answers, for the tests of explainers."""

import threading
from collections.abc import Callable, Sequence

import numpy as np

from medsiglip_search.errors import ExplainerFailed
from medsiglip_search.explain import Case, Question
from medsiglip_search.explain.chat import Abilities, Answer, Ended, Prompt, Tell
from medsiglip_search.explain.picture_evidence import FindingEvidence, PictureEvidence
from medsiglip_search.records import Attributes, Hit, Instance
from medsiglip_search.windows import RenderSpec


def hit(rank: int, patient: str = "p1", relevance: float = 9.0, modality: str = "CR") -> Hit:
    attributes = Attributes(modality=modality, patient=patient)
    instance = Instance(100 + rank, "/archive", f"{rank}.png", 0, "", "", 1, 1, 8, 8, attributes)
    return Hit(instance, 0.5, relevance, rank)


def recorded(*names: str) -> tuple[FindingEvidence, ...]:
    """Findings that are written down, a side before the name."""
    found = []
    for name in names:
        side, _, rest = name.partition(" ")
        sides = frozenset({side}) if side in ("left", "right") else frozenset()
        found.append(FindingEvidence(rest if sides else name, recorded="present", recorded_sides=sides))
    return tuple(found)


def case(
    subject: str,
    findings: tuple[FindingEvidence, ...] = (),
    hit: Hit | None = None,
    modality: str | None = "CR",
    is_normal: bool | None = None,
    record: str | None = None,
    report: str | None = None,
    grey: int = 9,
) -> Case:
    evidence = PictureEvidence(subject, modality, "chest", findings, is_normal)
    picture = np.full((8, 8, 3), grey, np.uint8)
    return Case(subject, evidence, lambda *_: [picture], lambda: evidence, "", record, report, hit)


def hits_of(*findings: Sequence[str], **more: str) -> tuple[Case, ...]:
    """Hits with these recorded findings, each of its own patient."""
    return tuple(
        case(f"hit {rank}", recorded(*names), hit(rank, f"p{rank}"), grey=rank, **more)
        for rank, names in enumerate(findings, start=1)
    )


def question(
    hits: tuple[Case, ...], query: Case | None = None, asked: str = '"effusion"', matches: bool = True
) -> Question:
    return Question(asked, query, hits, matches)


ONE_PICTURE = Abilities(pictures=1)


class Scripted:
    """A model whose answers are written beforehand, or made of the prompt. asked: what it was asked."""

    name, revision = "scripted", "1"
    rendering = RenderSpec()

    def __init__(
        self,
        answers: Sequence[str] | Callable[[Prompt], str],
        abilities: Abilities = ONE_PICTURE,
        ended: Ended = "whole",
    ) -> None:
        self.asked: list[Prompt] = []
        self.abilities = abilities
        self._answers = answers
        self._ended: Ended = ended

    def generate(self, prompt: Prompt, tell: Tell, stop: threading.Event) -> Answer:
        self.asked.append(prompt)
        if callable(self._answers):
            text = self._answers(prompt)
        elif len(self.asked) > len(self._answers):
            tell("Half of ")
            raise ExplainerFailed("the server is gone", said="Half of a sentence")
        else:
            text = self._answers[len(self.asked) - 1]
        said = ""
        for word in text.split(" "):
            if stop.is_set():
                return Answer(said, "cancelled", 0, 0.0, 0.0)
            said += word + " "
            tell(word + " ")
        return Answer(text, self._ended, len(text.split()), 0.1, 0.05)


def text_of(prompt: Prompt) -> str:
    return "\n".join(part for part in prompt.parts if isinstance(part, str))
