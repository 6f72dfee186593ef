"""The explainer without a language model: it counts what is recorded about the hits."""

from collections import Counter
from collections.abc import Sequence

from medsiglip_search.explain import Explanation, Support
from medsiglip_search.querying.relevance import MATCH
from medsiglip_search.records import Hit, Result

AGREEMENT = 0.6
"""The share of hits from which on they are said to agree."""


class EvidenceExplainer:
    """States how far the hits agree, from the gallery's own columns; it looks at no pixels.

    findings_column: the sidecar column that names findings, joined by ";".
    """

    name = "evidence"

    def __init__(self, findings_column: str = "findings") -> None:
        self._findings_column = findings_column

    def explain(self, query: str, hits: Sequence[Hit]) -> Explanation:
        """Return what the hits have in common. No hit is an explanation too: nothing was found."""
        if not hits:
            return Explanation(self.name, f'Nothing in the gallery answers "{query}".', (), ())
        recorded = [hit for hit in hits if hit.instance.sidecar.get(self._findings_column)]
        supports = self._supports(recorded)
        best = hits[0]
        sentences = [
            f'The best of {len(hits)} hit{"s" * (len(hits) > 1)} for "{query}" scores {best.score:.2f}, '
            f"with a relevance of {best.relevance:.1f}."
        ]
        if supports:
            named = ", ".join(
                f"{support.finding} ({support.hits} of {support.of})" for support in supports[:3]
            )
            sentences.append(f"Recorded findings: {named}.")
        sentences += _shared(hits)
        return Explanation(
            self.name, " ".join(sentences), supports, tuple(self._warnings(hits, recorded, supports))
        )

    def _supports(self, recorded: Sequence[Hit]) -> tuple[Support, ...]:
        counts = Counter(finding for hit in recorded for finding in self._findings(hit))
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return tuple(Support(finding, count, len(recorded)) for finding, count in ranked)

    def _findings(self, hit: Hit) -> set[str]:
        text = str(hit.instance.sidecar[self._findings_column])
        return {finding.strip() for finding in text.split(";") if finding.strip()}

    def _warnings(
        self, hits: Sequence[Hit], recorded: Sequence[Hit], supports: Sequence[Support]
    ) -> list[str]:
        warnings = []
        if not (hits.matches if isinstance(hits, Result) else hits[0].relevance >= MATCH):
            warnings.append("The best hit does not stand out from the gallery: perhaps nothing here matches.")
        if len(recorded) < len(hits):
            warnings.append(f"{len(hits) - len(recorded)} of {len(hits)} hits have no recorded findings.")
        if supports and supports[0].hits < AGREEMENT * len(recorded):
            warnings.append("The hits do not agree on a finding.")
        return warnings


def _shared(hits: Sequence[Hit]) -> list[str]:
    modalities = Counter(hit.instance.attributes.modality or "unknown" for hit in hits)
    patients = {hit.instance.attributes.patient for hit in hits} - {None}
    sentences = [f"Modality: {', '.join(f'{name} ({count})' for name, count in modalities.most_common())}."]
    if patients:
        sentences.append(f"The hits come from {len(patients)} patient{'s' if len(patients) != 1 else ''}.")
    return sentences
