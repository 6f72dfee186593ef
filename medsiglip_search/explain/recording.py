"""What is written down about an image: findings and reports of the sidecar table, all of it data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from medsiglip_search.explain.addressed import speaks_to_a_program
from medsiglip_search.explain.claims import claims
from medsiglip_search.explain.claims.lexicon import Lexicon
from medsiglip_search.explain.picture_evidence import Recorded, Side
from medsiglip_search.explain.plain_text import plain
from medsiglip_search.records import Instance, Value

MOST_NAME, MOST_REPORT = 80, 4000
"""Characters of a finding's name and of a report that are read."""

_NORMAL = frozenset(
    {"normal", "none", "no finding", "no findings", "no abnormality", "unremarkable", "negative", "clear"}
)
_NO_NAMES = frozenset({"nan", "null", "n/a", "unknown", "other", "not reported", "pending"})
_LEXICON = Lexicon()
_SIDES: dict[str, frozenset[Side]] = {
    "left": frozenset({"left"}),
    "right": frozenset({"right"}),
    "bilateral": frozenset({"left", "right"}),
    "both": frozenset({"left", "right"}),
}


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down about one image.

    findings: present or absent, with the sides named. is_normal: written to be so. text: findings and report
    in words, plain, None where nothing is. speaks: whether it holds words to a program and was left aside.
    """

    findings: Mapping[str, tuple[Recorded, frozenset[Side]]] = field(default_factory=dict)
    is_normal: bool | None = None
    text: str | None = None
    report: str | None = None
    speaks: bool = False

    @property
    def tells(self) -> bool:
        """Whether it says anything of findings."""
        return bool(self.findings) or self.is_normal is not None


NO_RECORD = Record()


def record_of(
    instance: Instance,
    findings_column: str = "findings",
    report_column: str = "report",
    lexicon: Lexicon = _LEXICON,
) -> Record:
    """Return what the sidecar says of an image: names joined by ";" in one column, a report in another.

    Where there is no column of findings, they are read out of the report. lexicon: under whose names findings
    are known, so that those of records and of label sets meet.
    """
    named, speaks_too = _harmless(instance.sidecar.get(findings_column))
    report, speaks = _harmless(instance.sidecar.get(report_column))
    found = _Found()
    for part in re.split("[;|\n]", named or ""):
        if part.strip():
            _read(part.strip()[:MOST_NAME], lexicon, found, is_name=True)
    if report and not named:
        _read(report, lexicon, found)
    if any(said == "present" for said, _ in found.findings.values()):
        found.is_normal = False
    text = "\n".join(filter(None, (named and f"Findings: {named}", report and f"Report: {report}")))
    return Record(found.findings, found.is_normal, text or None, report, speaks or speaks_too)


@dataclass(slots=True)
class _Found:
    """What was read so far."""

    findings: dict[str, tuple[Recorded, frozenset[Side]]] = field(default_factory=dict)
    is_normal: bool | None = None

    def add(self, name: str, said: Recorded, sides: frozenset[Side]) -> None:
        so_far, known = self.findings.get(name, (said, frozenset()))
        if said == "absent" and (sides or so_far == "present"):
            return  # "no effusion on the right" does not deny the one on the left
        self.findings[name] = (said, sides | (known if so_far == "present" else frozenset()))


def _read(text: str, lexicon: Lexicon, found: _Found, is_name: bool = False) -> None:
    """Add what a text says. is_name: of a column of findings, where any words are the name of one."""
    said = claims(text, lexicon)
    named = [claim for claim in said if claim.kind == "finding" and not claim.hedged]
    for claim in named:
        found.add(claim.name, claim.polarity, _SIDES.get(claim.side or "", frozenset()))
    if any(claim.kind == "normal" for claim in said) or text.lower() in _NORMAL:
        found.is_normal = True
    elif is_name and not any(claim.kind == "finding" for claim in said):
        name, sides = _without_sides(text.lower())
        is_name = re.search("[^\\W\\d_]{3}", name) is not None and name not in _NO_NAMES
        if is_name and len(text) < MOST_NAME and not name.startswith(("no ", "without ")):
            found.add(name, "present", sides)


def _without_sides(name: str) -> tuple[str, frozenset[Side]]:
    """Return a name less its words of side, and these: "left mass", "mass (left)", "mass, left-sided"."""
    words = re.findall(r"[^\s,()]+", name)
    sided = {word: _SIDES.get(word.removesuffix("-sided"), frozenset()) for word in words}
    sides: frozenset[Side] = frozenset().union(*sided.values())
    return " ".join(word for word in words if not sided[word]), sides


def _harmless(value: Value) -> tuple[str | None, bool]:
    """Return a cell as plain text, and whether it speaks to a program, when it is left aside."""
    if not isinstance(value, str) or not value.strip():
        return None, False
    if speaks_to_a_program(value):
        return None, True
    return plain(value)[:MOST_REPORT] or None, False
