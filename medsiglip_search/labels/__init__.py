"""Labels: what is looked for in every image, and the words for it.

    label set (YAML), probe (safetensors) -> Classifier -> scores, probabilities -> decisions

Modules: `reading` (YAML), `shipped` (the sets that come along), `probe`, `classifier` (what either comes to),
`opening` (either by name), `calibration` and `labeller` (probabilities to present, absent, abstain).
"""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Mode = Literal["findings", "exclusive"]
"""findings: each is present or absent on its own. exclusive: just one of them is true of an image."""

THRESHOLDS: dict[Mode, float] = {"findings": 0.5, "exclusive": 0.0}
"""The probability from which a label counts as present, unless its set or a calibration says another one.

The likeliest of exclusive labels is always taken: among many none comes near one half."""


@dataclass(frozen=True, slots=True)
class Label:
    """One thing that an image may show, and the texts that stand for it.

    prompts: of the label, templates filled in. absent: of its absence; empty in a set of exclusive labels.
    threshold: the probability from which it counts as present; that of `THRESHOLDS` if None.
    """

    name: str
    prompts: tuple[str, ...]
    absent: tuple[str, ...] = ()
    threshold: float | None = None

    def threshold_in(self, mode: Mode) -> float:
        """Return the probability from which it counts as present in a set of this mode."""
        return THRESHOLDS[mode] if self.threshold is None else self.threshold


@dataclass(frozen=True, slots=True)
class LabelSet:
    """Labels that are asked about together.

    source: where the prompts come from. notes: what a user should know.
    """

    name: str
    mode: Mode
    labels: tuple[Label, ...]
    source: str = ""
    notes: str = ""

    @property
    def digest(self) -> str:
        """The SHA-256, in hex, of what scores depend on: mode, labels, prompts."""
        said = [self.mode, *([label.name, label.prompts, label.absent] for label in self.labels)]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()
