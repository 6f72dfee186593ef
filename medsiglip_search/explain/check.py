"""What a text says of a picture against what is known of it without a language model.

The definitions, also for people who write test cases, in `tests/statements/README.md`:

- A finding is *supported* when it is recorded present, or its probability is at least the threshold, or, for
  the subject "query", at least two hits tell of findings and half of them have it. It is *evident* when it is
  recorded present, or its probability is at least max(threshold, 0.8) and it is not recorded absent. It is
  *denied* when it is recorded absent, or nothing is recorded and its probability is below threshold / 2.
- A finding that the text says is there and that is not supported is "unsupported", also if nothing is known
  of it; one that is recorded absent is "contradicted". A wider or narrower name counts as the same.
- A finding that the text denies though it is evident is "contradicted". A denial on a side where the finding
  is not ("no right effusion", recorded is a left one) contradicts nothing.
- A text that calls the picture normal while a finding is evident, or it is recorded not to be: "normal".
- A claimed side that differs from every recorded side of a finding that is recorded present: "side". Where
  nothing is recorded and the share of the left is known: a claimed side whose share is below 0.35. "Both" is
  wrong where one side only is recorded.
- A part of the body, or a kind of picture, that does not fit: "organ", "modality". Unknown evidence: nothing.
- An evident finding that the text neither affirms nor denies: "unsaid", unless the text is told to call the
  picture normal.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from medsiglip_search.explain.claims import Claim, claims
from medsiglip_search.explain.claims.lexicon import Lexicon, fits_modality, regions
from medsiglip_search.explain.claims.lexicon_words import INNER, NEAR, SPECIMENS
from medsiglip_search.explain.picture_evidence import Caution, FindingEvidence, PictureEvidence

EVIDENT = 0.8
"""The probability from which on a finding is evident, where its threshold is no higher."""

LEAST_SHARE = 0.35
"""A side with a smaller share is the wrong one."""

_SURFACE = frozenset({"DMS", "XC"})

_IN_CHEST = {"edema": ("pulmonary edema",)}
"""What a finding is in a chest, where its name alone does not tell."""

Found = tuple[str | None, Caution]


def check(text: str, evidence: PictureEvidence) -> tuple[Caution, ...]:
    """Return what to distrust in a text about a picture, in the order of the text, each thing once."""
    return tuple(caution for _, caution in cautions_by_finding(text, evidence))


def cautions_by_finding(text: str, evidence: PictureEvidence) -> tuple[Found, ...]:
    """Return the cautions of `check`, each with the finding that it is about, None where it is about none."""
    if regions(evidence.body_part, evidence.modality) == {"chest"}:
        findings = tuple(
            replace(each, phrases=(*each.phrases, *_IN_CHEST.get(each.finding, ())))
            for each in evidence.findings
        )
        evidence = replace(evidence, findings=findings)
    lexicon = Lexicon(evidence.findings)
    said = claims(text, lexicon, evidence.subject)
    return tuple(_Check(evidence, lexicon, said).found())


def is_supported(each: FindingEvidence, subject: str) -> bool:
    """Return whether something speaks for a finding."""
    scored = each.probability is not None and each.probability >= each.threshold
    return (
        each.recorded == "present"
        or scored
        or (subject == "query" and each.of >= 2 and each.hits * 2 >= each.of)
    )


def is_evident(each: FindingEvidence) -> bool:
    """Return whether a text about the picture should mention a finding."""
    scored = each.probability is not None and each.probability >= max(each.threshold, EVIDENT)
    return each.recorded == "present" or (scored and each.recorded != "absent")


def is_denied(each: FindingEvidence) -> bool:
    """Return whether something speaks against a finding."""
    scored = each.probability is not None and each.probability < each.threshold / 2
    return each.recorded == "absent" or (each.recorded is None and scored)


class _Check:
    """The claims of one text beside the evidence."""

    def __init__(self, evidence: PictureEvidence, lexicon: Lexicon, said: Sequence[Claim]) -> None:
        self.evidence, self.lexicon, self.said = evidence, lexicon, said
        self.affirmed = [c for c in said if c.kind == "finding" and c.polarity == "present"]
        self.known: dict[str, tuple[FindingEvidence, ...]] = {}

    def found(self) -> list[Found]:
        once: dict[tuple[str, str | None], Caution] = {}
        for claim in self.said:
            for kind, finding, message in self._of_claim(claim):
                caution = Caution(kind, self.evidence.subject, message, claim.quote)
                once.setdefault((kind, finding), caution)
        if not any(claim.kind == "normal" for claim in self.said):
            for finding in self._unsaid():
                message = f"The text does not mention {_article(finding)}, for which the evidence speaks."
                once.setdefault(("unsaid", finding), Caution("unsaid", self.evidence.subject, message))
        return [(finding, caution) for (_, finding), caution in once.items()]

    def _of_claim(self, claim: Claim) -> Iterator[tuple[str, str | None, str]]:
        if claim.kind == "normal":
            yield from self._normal()
        elif claim.kind == "organ":
            yield from self._organ(claim)
        elif claim.kind == "modality":
            yield from self._modality(claim)
        elif claim.polarity == "present":
            yield from self._present(claim)
        else:
            yield from self._absent(claim)

    def _about(self, name: str) -> tuple[FindingEvidence, ...]:
        """Return what is known of a finding under its name; then under wider and narrower ones."""
        if name not in self.known:
            self.known[name] = self._looked_up(name)
        return self.known[name]

    def _looked_up(self, name: str) -> tuple[FindingEvidence, ...]:
        findings = self.evidence.findings
        exact = tuple(each for each in findings if self.lexicon.concept(each.finding) == name)
        return exact + tuple(
            each for each in findings if each not in exact and self.lexicon.same(name, each.finding)
        )

    def _present(self, claim: Claim) -> Iterator[tuple[str, str | None, str]]:
        about = self._about(claim.name)
        named = _spoken(claim)
        exact = [each for each in about if self.lexicon.concept(each.finding) == claim.name]
        absent = [each for each in (exact or about) if each.recorded == "absent"]
        # What is known of the very finding counts, and of a kind of it; what is wider, such as an opacity
        # where pneumonia is named, only where no more is known.
        narrower = [each for each in about if claim.name in self.lexicon.wider(each.finding)]
        telling = [*exact, *narrower] if exact else about
        supporting = [
            each
            for each in telling
            if each.recorded != "absent" and is_supported(each, self.evidence.subject)
        ]
        if absent and (exact or not supporting):
            yield "contradicted", absent[0].finding, f"The text names {named}; it is recorded as absent."
        elif not supporting:
            finding = about[0].finding if about else claim.name
            why = (
                "the evidence speaks against it"
                if about and all(map(is_denied, about))
                else "nothing supports it"
            )
            yield "unsupported", finding, f"The text names {named}; {why}."
        elif claim.side:
            wrong = [_wrong_side(claim.side, each) for each in supporting]
            if all(wrong):
                yield "side", supporting[0].finding, f"The text names {named}; {wrong[0]}."

    def _absent(self, claim: Claim) -> Iterator[tuple[str, str | None, str]]:
        for each in self._about(claim.name):
            if not is_evident(each) or _is_elsewhere(claim.side, each):
                continue
            narrower = claim.name in self.lexicon.wider(each.finding)
            exact = self.lexicon.concept(each.finding) == claim.name
            if not (exact or narrower) and self._affirms(each):
                # "An intracerebral hemorrhage, no subdural hematoma", of what is recorded as a hemorrhage.
                continue
            if claim.implied and not (exact or narrower):
                continue
            if claim.implied and self._affirms(each, claim.side):
                continue
            speaks = "it is recorded as present" if each.recorded else "the encoder finds it"
            yield "contradicted", each.finding, f"The text says that there is no {each.finding}; {speaks}."

    def _affirms(self, each: FindingEvidence, side: str | None = None) -> bool:
        """Return whether the text says that a finding is there, and not only on another side than `side`."""
        return any(
            self.lexicon.same(claim.name, each.finding)
            and (side is None or claim.side in (None, "both", side))
            for claim in self.affirmed
        )

    def _normal(self) -> Iterator[tuple[str, str | None, str]]:
        evident = [each.finding for each in self.evidence.findings if is_evident(each)]
        if evident:
            yield (
                "normal",
                None,
                f"The text calls the picture normal; the evidence speaks for {_article(evident[0])}.",
            )
        elif self.evidence.is_normal is False:
            yield "normal", None, "The text calls the picture normal; it is recorded as not normal."

    def _organ(self, claim: Claim) -> Iterator[tuple[str, str | None, str]]:
        modality = (self.evidence.modality or "").upper()
        shown = regions(self.evidence.body_part, modality)
        words = claim.quote.lower()
        if modality == "SM":
            yield from self._specimen(claim)
            return
        if not shown or shown == {"tissue"}:
            return
        if claim.name == "tissue" or (modality in _SURFACE and not any(word in words for word in INNER)):
            return
        fitting = set(shown)
        if not claim.whole:
            fitting.update(
                near.replace("_", " ") for region in shown for near in NEAR.get(region, "").split()
            )
        if shown == {"skin"}:
            fitting.update({"skin"})
        if claim.name not in fitting:
            known = " and ".join(sorted(shown))
            yield "organ", None, f"The text speaks of the {claim.name}; the picture shows the {known}."

    def _specimen(self, claim: Claim) -> Iterator[tuple[str, str | None, str]]:
        """Of histology a body part names the organ that the tissue is of."""
        taken = _specimens(self.evidence.body_part or "")
        told = _specimens(claim.quote)
        if taken and told and not taken & told:
            yield (
                "organ",
                None,
                f"The text speaks of the {min(told)}; the tissue is of the {min(taken)}.",
            )

    def _modality(self, claim: Claim) -> Iterator[tuple[str, str | None, str]]:
        code = self.evidence.modality
        if code and fits_modality(claim.name, code) is False:
            yield (
                "modality",
                None,
                f"The text speaks of {_article(claim.name)}; the picture's modality is {code}.",
            )

    def _unsaid(self) -> Iterator[str]:
        names = {claim.name for claim in self.said if claim.kind == "finding"}
        for each in self.evidence.findings:
            if is_evident(each) and not any(self.lexicon.same(name, each.finding) for name in names):
                yield each.finding


def _specimens(text: str) -> set[str]:
    words = set(re.findall("[a-z]+", text.lower()))
    return {organ for organ, names in SPECIMENS.items() if words.intersection(names.split())}


def _wrong_side(side: str, each: FindingEvidence) -> str:
    """Return why a claimed side is wrong, empty if it is not."""
    if each.recorded == "present":
        recorded = each.recorded_sides
        if side == "both":
            return f"recorded is one on the {next(iter(recorded))}" if len(recorded) == 1 else ""
        if recorded and side not in recorded:
            return f"recorded is one on the {' and the '.join(sorted(recorded))}"
        return ""
    if each.recorded is None and each.left is not None and side in ("left", "right"):
        share = each.left if side == "left" else 1 - each.left
        if share < LEAST_SHARE:
            return f"the encoder sees it on the {'right' if side == 'left' else 'left'}"
    return ""


def _is_elsewhere(side: str | None, each: FindingEvidence) -> bool:
    """Return whether a denial on one side leaves the finding where it is."""
    return side in ("left", "right") and bool(_wrong_side(side, each))


def _spoken(claim: Claim) -> str:
    if claim.side == "both":
        return f"a {claim.name} on both sides"
    return _article(f"{claim.side} {claim.name}" if claim.side else claim.name)


def _article(name: str) -> str:
    if name.endswith("s") and not name.endswith(("ss", "us", "is")):
        return name
    return f"{'an' if name[:1] in tuple('aeiou') else 'a'} {name}"
