"""Report-like text about a picture, and which pictures a text is true of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medsiglip_search.demo.drawing.canvas import Rng
from medsiglip_search.demo.findings import MODALITIES, SIDES, Finding, Modality, Sign

_PRESENT = (
    "{f}",
    "{f}",
    "{f}",
    "{f}",
    "there is {f}",
    "{f} is present",
    "{f} is seen",
    "evidence of {f}",
    "findings of {f}",
    "a case of {f}",
    "a patient with {f}",
    "{m} with {f}",
    "{m} showing {f}",
    "{m}, {f}",
    "{f} on {m}",
)
_SIDED = (
    "{s} {f}",
    "{s} {f}",
    "{s}-sided {f}",
    "{s} sided {f}",
    "{f} on the {s}",
    "{f} on the {s} side",
    "{f}, {s} side",
    "{f} {s}",
)
_ABSENT = (
    "no {f}",
    "no {f}",
    "no evidence of {f}",
    "without {f}",
    "there is no {f}",
    "{m} without {f}",
    "{f} is absent",
    "negative for {f}",
    "absence of {f}",
)


@dataclass(frozen=True, slots=True)
class Statement:
    """A text and what it claims. present, absent: atoms, see `atoms_of`."""

    text: str
    modality: str
    present: frozenset[str] = frozenset()
    absent: frozenset[str] = frozenset()


def report(rng: Rng, modality: Modality, signs: Sequence[Sign]) -> Statement:
    """Return a report of one line: every sign with its side and size, and sometimes what is not there."""
    title = _capital(modality.name)
    if not signs:
        normal = str(rng.choice(modality.normal))
        absent = frozenset(finding.name for finding in modality.findings)
        text = normal if modality.name in normal else f"{title}: {normal}"
        return Statement(f"{_capital(text)}.", modality.code, absent=absent)
    sentences, present = [], set()
    for sign in signs:
        size = "" if sign.size == "moderate" else sign.size
        phrase = " ".join(filter(None, (size, sign.side, sign.finding)))
        sentences.append(_capital(phrase))
        present |= {sign.label} | ({f"{size} {sign.finding}"} if size else set())
    absent = frozenset()
    others = _not_shown(modality, signs)
    if others and rng.random() < 0.4:
        other = others[rng.integers(len(others))]
        sentences.append(f"No {other.name}")
        absent = frozenset({other.name})
    return Statement(f"{title}. {'. '.join(sentences)}.", modality.code, frozenset(present), absent)


def statement(rng: Rng, modality: Modality, signs: Sequence[Sign]) -> Statement:
    """Return one text that is true of a picture with these signs, in one of many wordings."""
    kind = rng.random()
    if kind < 0.2:
        return report(rng, modality, signs)
    if kind < 0.25:
        return Statement(str(rng.choice(modality.phrases)), modality.code)
    if not signs and kind < 0.75:
        absent = frozenset(finding.name for finding in modality.findings)
        return Statement(str(rng.choice(modality.normal)), modality.code, absent=absent)
    if signs and kind < 0.85:
        sign = signs[int(rng.integers(len(signs)))]
        text, present = _present(rng, modality, sign)
        if kind < 0.75:
            return Statement(text, modality.code, present)
        negation, absent = _absent(rng, modality, signs)
        return Statement(f"{text}{_joint(rng, negation)}", modality.code, present, absent)
    negation, absent = _absent(rng, modality, signs)
    return Statement(negation, modality.code, absent=absent)


def canonical(rng: Rng) -> list[Statement]:
    """Return a text for every finding, on each side where it has one, and for every normal picture."""
    said = []
    for modality in MODALITIES:
        absent = frozenset(finding.name for finding in modality.findings)
        said.append(Statement(str(rng.choice(modality.normal)), modality.code, absent=absent))
        for finding in modality.findings:
            atom = frozenset({finding.name})
            said.append(Statement(str(rng.choice(finding.phrases)), modality.code, atom))
            for side in SIDES if finding.sided else ():
                text = str(rng.choice(_SIDED)).format(s=side, f=rng.choice(finding.phrases))
                said.append(Statement(text, modality.code, atom | {f"{side} {finding.name}"}))
    return said


def atoms_of(signs: Sequence[Sign]) -> set[str]:
    """Return what a picture shows: each finding, with its side, with its size."""
    atoms = set()
    for sign in signs:
        atoms |= {sign.finding, sign.label, f"{sign.size} {sign.finding}"}
    return atoms


def truth(statements: Sequence[Statement], pictures: Sequence[tuple[Modality, Sequence[Sign]]]) -> np.ndarray:
    """Return (statements, pictures) bool: is the statement true of the picture?

    A statement about another modality is false, a negation too: "no pneumothorax" is said of chest films.
    """
    said_present, said_absent = np.zeros((2, len(statements), len(_ATOMS)), np.float32)
    shown = np.zeros((len(pictures), len(_ATOMS)), np.float32)
    for row, each in enumerate(statements):
        said_present[row, [_ATOMS[atom] for atom in each.present]] = 1
        said_absent[row, [_ATOMS[atom] for atom in each.absent]] = 1
    for row, (_, signs) in enumerate(pictures):
        shown[row, [_ATOMS[atom] for atom in atoms_of(signs)]] = 1
    same = np.array([each.modality for each in statements])[:, None] == np.array(
        [m.code for m, _ in pictures]
    )
    holds = (said_present @ shown.T == said_present.sum(axis=1, keepdims=True)) & (said_absent @ shown.T == 0)
    return same & holds


def _present(rng: Rng, modality: Modality, sign: Sign) -> tuple[str, frozenset[str]]:
    finding = next(each for each in modality.findings if each.name == sign.finding)
    phrase, atoms = str(rng.choice(finding.phrases)), {finding.name}
    size = sign.size if sign.size != "moderate" and rng.random() < 0.12 else ""
    if size:
        phrase, atoms = f"{size} {phrase}", atoms | {f"{size} {finding.name}"}
    if sign.side and rng.random() < 0.65:
        template = str(rng.choice(_SIDED))
        phrase, atoms = template.format(s=sign.side, f=phrase), atoms | {sign.label}
    text = str(rng.choice(_PRESENT)).format(f=phrase, m=rng.choice(modality.phrases))
    return text, frozenset(atoms)


def _absent(rng: Rng, modality: Modality, signs: Sequence[Sign]) -> tuple[str, frozenset[str]]:
    others = _not_shown(modality, signs)
    finding = others[rng.integers(len(others))]
    phrase, atom = str(rng.choice(finding.phrases)), finding.name
    sided = [sign for sign in signs if sign.side]
    if sided and rng.random() < 0.3:
        # What is there on one side is not there on the other.
        sign = sided[rng.integers(len(sided))]
        side = "right" if sign.side == "left" else "left"
        phrase, atom = f"{side} {sign.finding}", f"{side} {sign.finding}"
    text = str(rng.choice(_ABSENT)).format(f=phrase, m=rng.choice(modality.phrases))
    return text, frozenset({atom})


def _joint(rng: Rng, negation: str) -> str:
    return str(rng.choice((", ", ". ", " and "))) + negation


def _not_shown(modality: Modality, signs: Sequence[Sign]) -> list[Finding]:
    shown = {sign.finding for sign in signs}
    return [finding for finding in modality.findings if finding.name not in shown]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _all_atoms() -> dict[str, int]:
    names = [finding.name for modality in MODALITIES for finding in modality.findings]
    prefixes = ("", "left ", "right ", "small ", "moderate ", "large ")
    return {
        prefix + name: index for index, (name, prefix) in enumerate((n, p) for n in names for p in prefixes)
    }


_ATOMS = _all_atoms()
