"""The explainer without a language model: what is recorded, what the encoder scores, how far they agree."""

import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from medsiglip_search.explain import (
    Case,
    CaseExplanation,
    Explanation,
    Question,
    Stated,
    TellPiece,
    untold,
)
from medsiglip_search.explain.check import is_evident
from medsiglip_search.explain.claims import claims
from medsiglip_search.explain.claims.lexicon import Lexicon
from medsiglip_search.explain.comparing import differs, joined, matches
from medsiglip_search.explain.picture_evidence import Caution, FindingEvidence

AGREEMENT = 0.6
"""The share of hits from which on they are said to agree."""


class EvidenceExplainer:
    """States what speaks for a result, in plain sentences; it looks at no pixels and invents nothing."""

    name = "evidence"

    def explain(
        self, question: Question, tell: TellPiece = untold, stop: threading.Event | None = None
    ) -> Explanation:
        """Return the evidence in words. No hit is an explanation too: nothing was found."""
        started = time.monotonic()
        statement = evidence_statement(question)
        tell("summary", statement)
        return Explanation(
            self.name,
            revision="",
            state="done",
            evidence=statement,
            summary=statement,
            cases=tuple(_explained(question, case) for case in question.cases),
            findings=stated(question),
            cautions=result_cautions(question),
            seconds=time.monotonic() - started,
        )


def evidence_statement(question: Question) -> str:
    """Return what speaks for a result, as sentences."""
    if not question.hits:
        return f"Nothing in the gallery answers {question.asked}."
    return " ".join(_sentences(question))


def asked_findings(question: Question) -> tuple[str, ...]:
    """Return what is looked for: the findings of the query's picture, else those that its words name."""
    if question.query is not None:
        return evident_findings(question.query)
    lexicon = Lexicon([each for case in question.hits for each in case.evidence.findings])
    named = [
        _with_side(claim.name, claim.side)
        for claim in claims(question.asked, lexicon)
        if claim.kind == "finding" and claim.polarity == "present"
    ]
    return tuple(dict.fromkeys(named))


def evident_findings(case: Case) -> tuple[str, ...]:
    """Return what a picture surely shows, with sides: what is recorded, or else what is scored."""
    named: list[str] = []
    for each in _evident(case):
        sides = sorted(each.recorded_sides)
        if not sides and each.recorded is None and each.left is not None:
            sides = ["left" if each.left >= 0.5 else "right"]
        named += [f"{side} {each.finding}" for side in sides] or [each.finding]
    return tuple(named)


def stated(question: Question) -> tuple[Stated, ...]:
    """Return the findings of all pictures, and where each comes from, most supported first."""
    sources: dict[str, list[str]] = defaultdict(list)
    for case in question.cases:
        is_recorded = {each.finding: each.recorded == "present" for each in case.evidence.findings}
        for finding in evident_findings(case):
            plain_name = next((name for name in is_recorded if finding.endswith(name)), finding)
            how = "record" if is_recorded.get(plain_name) else "encoder"
            sources[finding].append(f"{how}: {case.subject}")
    ranked = sorted(sources.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Stated(finding, tuple(where)) for finding, where in ranked)


def result_cautions(question: Question) -> tuple[Caution, ...]:
    """Return what is to be said against a result as a whole."""
    return (*question.cautions, *_cautions(question)) if question.hits else question.cautions


def _cautions(question: Question) -> Iterator[Caution]:
    if not question.matches:
        yield Caution(
            "match",
            "result",
            "The best hit does not stand out from the gallery: perhaps nothing here matches.",
        )
    bare = sum(not _is_recorded(case) for case in question.hits)
    if bare:
        yield Caution("record", "result", f"{bare} of {len(question.hits)} hits have no recorded findings.")
    recorded = [case for case in question.hits if _is_recorded(case)]
    counts = _counts(recorded)
    if counts and max(counts.values()) < AGREEMENT * len(recorded):
        yield Caution("agreement", "result", "The hits do not agree on a finding.")


def _sentences(question: Question) -> Iterator[str]:
    best = question.hits[0].hit
    number = len(question.hits)
    if best is not None:
        yield (
            f"The best of {_counted(number, 'hit')} for {question.asked} scores {best.score:.2f}, with a "
            f"relevance of {best.relevance:.1f}."
        )
    recorded = [case for case in question.hits if _is_recorded(case)]
    if counts := _counts(recorded):
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        named = ", ".join(f"{finding} ({count} of {len(recorded)})" for finding, count in ranked[:3])
        yield f"Recorded findings: {named}."
    if normal := sum(case.evidence.is_normal is True for case in question.hits):
        yield f"Recorded as normal: {normal} of {number}."
    yield from _seen(question)
    yield from _shared(question)


def _seen(question: Question) -> Iterator[str]:
    """Tell what the encoder sees where nothing is recorded, and where it sees something else."""
    for case in question.cases:
        scored = [each for each in case.evidence.findings if each.probability is not None]
        if not scored:
            continue
        evident = [each for each in _evident(case) if each.recorded is None]
        if not _is_recorded(case) and evident:
            told = joined(f"{name} ({_percent(case, name)})" for name in evident_findings(case))
            yield f"The encoder sees in the {case.subject}: {told}."
        doubted = [
            each.finding
            for each in scored
            if each.recorded == "present"
            and each.probability is not None
            and each.probability < each.threshold
        ]
        if doubted:
            yield f"Recorded for the {case.subject}, but hardly seen by the encoder: {joined(doubted)}."


def _percent(case: Case, name: str) -> str:
    found = next(each for each in case.evidence.findings if name.endswith(each.finding))
    return f"{found.probability or 0:.2f}"


def _shared(question: Question) -> Iterator[str]:
    kinds: dict[str, int] = defaultdict(int)
    patients = set()
    for case in question.hits:
        kinds[case.evidence.modality or "unknown"] += 1
        if case.hit is not None:
            patients.add(case.hit.instance.attributes.patient)
    ranked = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    yield f"Modality: {', '.join(f'{name} ({count})' for name, count in ranked)}."
    if patients := patients - {None}:
        yield f"The hits come from {_counted(len(patients), 'patient')}."


def _explained(question: Question, case: Case) -> CaseExplanation:
    shown = evident_findings(case)
    asked = asked_findings(question)
    is_hit = case.hit is not None and case.subject != "query"
    return CaseExplanation(
        case.subject,
        case.hit.instance.image_id if case.hit is not None else None,
        description=_said_of(case, shown),
        findings=shown,
        matches=matches(asked, shown) if is_hit else "",
        differs=differs(asked, shown) if is_hit else "",
    )


def _said_of(case: Case, shown: Sequence[str]) -> str:
    how = "Recorded" if _is_recorded(case) else "Seen by the encoder"
    if shown:
        return f"{how}: {joined(shown)}."
    return "Recorded as normal." if case.evidence.is_normal else ""


def _evident(case: Case) -> list[FindingEvidence]:
    """Return the findings that a picture surely has; scores count where nothing is recorded at all."""
    recorded = [each for each in case.evidence.findings if each.recorded == "present"]
    if recorded or _is_recorded(case):
        return recorded
    return [each for each in case.evidence.findings if is_evident(each)]


def _is_recorded(case: Case) -> bool:
    said = any(each.recorded is not None for each in case.evidence.findings)
    return said or case.evidence.is_normal is not None


def _counts(cases: Sequence[Case]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for case in cases:
        for finding in evident_findings(case):
            counts[finding] += 1
    return counts


def _with_side(finding: str, side: str | None) -> str:
    if side is None:
        return finding
    return f"{'bilateral' if side == 'both' else side} {finding}"


def _counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
