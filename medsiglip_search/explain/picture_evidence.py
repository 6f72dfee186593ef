"""What is known of a picture without any language model: what its explanation is checked against."""

from dataclasses import dataclass
from typing import Literal

Side = Literal["left", "right"]
Recorded = Literal["present", "absent"]


@dataclass(frozen=True, slots=True)
class FindingEvidence:
    """What speaks for and against one finding in one picture.

    finding: its name, in lower case and without a side. phrases: other words for it.
    probability: zero-shot, 0..1, from `threshold` on it counts as present; None where it was not scored.
    left: of the two sides, the share that the encoder gives the patient's left, 0..1; None without sides.
    recorded: what is written down about this picture; None where nothing is.
    recorded_sides: on which sides it is recorded, none where the record names no side.
    hits, of: how many of the hits whose records tell of findings have it, of how many.
    """

    finding: str
    phrases: tuple[str, ...] = ()
    probability: float | None = None
    threshold: float = 0.5
    left: float | None = None
    recorded: Recorded | None = None
    recorded_sides: frozenset[Side] = frozenset()
    hits: int = 0
    of: int = 0


@dataclass(frozen=True, slots=True)
class PictureEvidence:
    """What is known of one picture.

    subject: how it is called in an explanation: "query", "hit 1". modality: DICOM's code.
    body_part: as the file or the encoder names it, in lower case. is_normal: recorded to be so.
    """

    subject: str
    modality: str | None = None
    body_part: str | None = None
    findings: tuple[FindingEvidence, ...] = ()
    is_normal: bool | None = None

    def of(self, finding: str) -> FindingEvidence | None:
        """Return what is known of a finding; None if nothing is."""
        return next((each for each in self.findings if each.finding == finding), None)


@dataclass(frozen=True, slots=True)
class Caution:
    """A reason to distrust something that an explanation says.

    kind: what is wrong, see `CAUTIONS`. subject: which picture, or "result", "summary", "draft". message: for
    people, one sentence. quote: the words that it is about, empty where something was left unsaid.
    """

    kind: str
    subject: str
    message: str
    quote: str = ""


CHECKED = {
    "normal": "called normal, though something speaks for a finding",
    "unsupported": "a finding that nothing supports",
    "contradicted": "a finding denied, though something speaks for it, or the other way round",
    "side": "the wrong side",
    "organ": "another part of the body",
    "modality": "another kind of picture",
    "unsaid": "a finding that is evident, and not mentioned",
}
"""The cautions that a text about one picture is checked for, by kind."""

CAUTIONS = CHECKED | {
    "opinions": "asked in other words, another answer",
    "form": "an answer that did not come in the form asked for",
    "loop": "an answer that repeated itself",
    "length": "an answer that was cut off at its longest",
    "refused": "a question that the model refused",
    "report": "a model that writes no reports",
    "joint": "a model that is not made for so many pictures in one prompt",
    "unread": "a picture that could not be read",
    "record": "a record that is missing, or was left aside",
    "match": "no hit stands out of the gallery",
    "agreement": "the hits do not agree",
    "demo": "a model that knows synthetic pictures only",
}
"""All kinds of cautions."""
