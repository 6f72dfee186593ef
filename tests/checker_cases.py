"""Written statements about pictures, and how many of the expected cautions a check raises."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medsiglip_search.explain.check import cautions_by_finding
from medsiglip_search.explain.claims.lexicon import Lexicon
from medsiglip_search.explain.picture_evidence import FindingEvidence, PictureEvidence

FOLDER = Path(__file__).parent / "statements"

Told = tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class Pair:
    """A statement, what is known of its picture, and the cautions to expect: a kind and a finding each."""

    statement: str
    evidence: PictureEvidence
    expected: frozenset[Told]
    place: str


@dataclass(frozen=True, slots=True)
class Figures:
    """How well a check does.

    sensitivity: the share of expected cautions that are raised. false_alarms: of the pairs that expect
    none, the share that get one. stray: of all pairs, the share that get one that nobody expected.
    """

    sensitivity: float
    false_alarms: float
    stray: float
    faults: tuple[str, ...]


def pairs_of(path: Path) -> list[Pair]:
    return [
        _pair(each, f"{path.name}, {at}")
        for at, each in enumerate(yaml.safe_load(path.read_text("utf-8")), 1)
    ]


def _pair(written: dict[str, Any], place: str) -> Pair:
    evidence = dict(written["evidence"])
    findings = [
        FindingEvidence(
            **{
                **each,
                "phrases": tuple(each.get("phrases") or ()),
                "recorded_sides": frozenset(each.get("recorded_sides") or ()),
            }
        )
        for each in evidence.pop("findings", None) or ()
    ]
    evidence.setdefault("subject", "hit 1")
    expected = frozenset((kind, finding) for kind, finding in written["expected"])
    return Pair(written["statement"], PictureEvidence(**evidence, findings=tuple(findings)), expected, place)


def raised(pair: Pair) -> frozenset[Told]:
    return frozenset((c.kind, finding) for finding, c in cautions_by_finding(pair.statement, pair.evidence))


def figures_of(pairs: Iterable[Pair]) -> Figures:
    pairs = list(pairs)
    expected = met = alarmed = stray = 0
    faults = []
    for pair in pairs:
        lexicon = Lexicon(pair.evidence.findings)
        got = raised(pair)
        missing = [told for told in pair.expected if not any(_same(lexicon, told, each) for each in got)]
        extra = [each for each in got if not any(_same(lexicon, told, each) for told in pair.expected)]
        expected += len(pair.expected)
        met += len(pair.expected) - len(missing)
        stray += bool(extra)
        alarmed += bool(extra) and not pair.expected
        if missing or extra:
            faults.append(f"{pair.place}: {pair.statement!r}: missing {missing}, not expected {extra}")
    quiet = sum(not pair.expected for pair in pairs)
    return Figures(met / expected, alarmed / quiet, stray / len(pairs), tuple(faults))


def _same(lexicon: Lexicon, one: Told, other: Told) -> bool:
    if one[0] != other[0]:
        return False
    return one[1] == other[1] or bool(one[1] and other[1] and lexicon.same(one[1], other[1]))
