"""What is written down about an image: findings and reports of the sidecar table, all of it data."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from medsiglip_search.explain.addressed import speaks_to_a_program
from medsiglip_search.explain.claims import claims
from medsiglip_search.explain.picture_evidence import Recorded, Side
from medsiglip_search.explain.plain_text import plain
from medsiglip_search.records import Instance, Value

MOST_NAME, MOST_REPORT = 80, 4000
"""Characters of a finding's name and of a report that are read."""

_NORMAL = frozenset({"normal", "none", "no finding", "no findings", "no abnormality"})
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


def record_of(instance: Instance, findings_column: str = "findings", report_column: str = "report") -> Record:
    """Return what the sidecar says of an image: names joined by ";" in one column, a report in another.

    Where there is no column of findings, they are read out of the report.
    """
    named, speaks_too = _harmless(instance.sidecar.get(findings_column))
    report, speaks = _harmless(instance.sidecar.get(report_column))
    findings: dict[str, tuple[Recorded, frozenset[Side]]] = {}
    is_normal: bool | None = None
    for name in filter(None, (part.strip().lower()[:MOST_NAME] for part in re.split("[;\n]", named or ""))):
        if name in _NORMAL:
            is_normal = True
            continue
        first, _, rest = name.partition(" ")
        sides = _SIDES.get(first, frozenset()) if rest else frozenset()
        finding = rest if sides else name
        findings[finding] = ("present", sides | findings.get(finding, ("present", frozenset()))[1])
    if report and not named:
        is_normal = _read_report(report, findings)
    if any(said == "present" for said, _ in findings.values()):
        is_normal = False
    text = "\n".join(filter(None, (named and f"Findings: {named}", report and f"Report: {report}")))
    return Record(findings, is_normal, text or None, report, speaks or speaks_too)


def _read_report(report: str, findings: dict[str, tuple[Recorded, frozenset[Side]]]) -> bool | None:
    """Add what a report says to `findings`, and return whether it calls the picture normal."""
    is_normal: bool | None = None
    for claim in claims(report):
        if claim.kind == "normal":
            is_normal = True
        elif claim.kind == "finding" and not claim.hedged:
            sides = _SIDES.get(claim.side or "", frozenset())
            said, before = findings.get(claim.name, (claim.polarity, frozenset()))
            if claim.polarity == "absent" and (sides or said == "present"):
                continue  # "no effusion on the right" does not deny the one on the left
            findings[claim.name] = (claim.polarity, sides | (before if said == "present" else frozenset()))
    return is_normal


def _harmless(value: Value) -> tuple[str | None, bool]:
    """Return a cell as plain text, and whether it speaks to a program, when it is left aside."""
    if not isinstance(value, str) or not value.strip():
        return None, False
    if speaks_to_a_program(value):
        return None, True
    return plain(value)[:MOST_REPORT] or None, False
