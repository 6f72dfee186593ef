"""Words of reports to findings, organs and modalities. The words are in `lexicon_words`."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Literal

from medsiglip_search.explain.claims import lexicon_words as words_of
from medsiglip_search.explain.picture_evidence import FindingEvidence

Kind = Literal["finding", "structure", "organ", "modality"]


@dataclass(frozen=True, slots=True)
class Name:
    """What a phrase names. kind: of what it is one. name: the finding, organ or modality."""

    kind: Kind
    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """A phrase found in words `start` to `end`, the second not included.

    names: what it names. negated: the words have a "not" within, as in "the heart is not enlarged".
    """

    start: int
    end: int
    names: tuple[Name, ...]
    negated: bool = False


_BRITISH = (
    ("haem", "hem"),
    ("oedem", "edem"),
    ("ischaem", "ischem"),
    ("tumour", "tumor"),
    ("oesoph", "esoph"),
    ("anaem", "anem"),
    ("colour", "color"),
    ("fibre", "fiber"),
    ("grey", "gray"),
    ("centre", "center"),
    ("naev", "nev"),
    ("caec", "cec"),
    ("paed", "ped"),
    ("orrhoea", "orrhea"),
    ("orrhoei", "orrhei"),
    ("isation", "ization"),
    ("ised", "ized"),
    ("leuko", "leuco"),
    ("litre", "liter"),
)
_FORMS = {
    "hila": "hilum",
    "hili": "hilum",
    "lungs": "lung",
    "bronchi": "bronchus",
    "thrombi": "thrombus",
    "emboli": "embolus",
    "calculi": "calculus",
    "nuclei": "nucleus",
    "nevi": "nevus",
    "foci": "focus",
    "sulci": "sulcus",
    "atria": "atrium",
    "bullae": "bulla",
    "lacunae": "lacuna",
    "vertebrae": "vertebra",
    "pleurae": "pleura",
    "metastases": "metastasis",
    "atelectases": "atelectasis",
    "stenoses": "stenosis",
    "keratoses": "keratosis",
    "diverticula": "diverticulum",
    "septa": "septum",
    "cortices": "cortex",
    "apices": "apex",
    "appendices": "appendix",
    "pneumothoraces": "pneumothorax",
    "hemothoraces": "hemothorax",
    "hydrothoraces": "hydrothorax",
    "indices": "index",
    "mitoses": "mitosis",
    "diagnoses": "diagnosis",
    "thromboses": "thrombosis",
    "prostheses": "prosthesis",
    "teeth": "tooth",
    "feet": "foot",
    "lens": "lens",
    "hematomata": "hematoma",
    "carcinomata": "carcinoma",
    "stomata": "stoma",
    "disks": "disc",
    "disk": "disc",
    "cardiomegalia": "cardiomegaly",
    "enlarging": "enlarged",
    "calyces": "calyx",
    "hernias": "hernia",
    "always": "always",
    "perhaps": "perhaps",
    "has": "has",
    "was": "was",
    "does": "does",
    "as": "as",
    "is": "is",
    "us": "us",
    "this": "this",
    "versus": "versus",
    "pus": "pus",
    "exudative": "exudate",
    "widen": "widened",
    "dilatated": "dilated",
    "dilation": "dilatation",
    "unremarkably": "unremarkable",
}


@lru_cache(maxsize=8192)
def _form(word: str) -> str:
    for british, american in _BRITISH:
        word = word.replace(british, american)
    if word in _FORMS:
        return _FORMS[word]
    if len(word) < 4 or word.endswith(("ss", "us", "is")) or not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    return word[:-2] if word.endswith("'s") else word[:-1]


def normal_form(word: str) -> str:
    """Return a word in lower case, US spelling and singular."""
    word = word.lower().replace("\u2019", "'")
    # Only words of a report are worth remembering.
    return _form(word) if len(word) <= 30 else word


WORD = r"\b(?:h&e|pet/ct|w/o|h/o|r/o|s/p)\b|[^\W_]+(?:['\u2019][^\W_]+)*"
"""A word, as a regular expression without regard to case."""
_WORD = re.compile(WORD, re.IGNORECASE)


def forms(text: str) -> tuple[str, ...]:
    """Return the words of a phrase in their normal form; hyphens part words."""
    return tuple(normal_form(match.group()) for match in _WORD.finditer(text))


# What a text may have between the words of a phrase.
_GAPS = frozenset(
    [
        "the",
        "a",
        "an",
        "its",
        "his",
        "her",
        "of",
        "is",
        "are",
        "was",
        "were",
        "be",
        "appear",
        "appears",
        "appeared",
        "look",
        "looks",
        "seem",
        "seems",
        "remains",
        "remain",
        "mild",
        "mildly",
        "moderate",
        "moderately",
        "severe",
        "severely",
        "slight",
        "slightly",
        "marked",
        "markedly",
        "borderline",
        "grossly",
        "massively",
        "small",
        "large",
        "tiny",
        "left",
        "right",
        "bilateral",
        "both",
        "sided",
        "side",
        "subtle",
        "minimal",
        "minimally",
        "upper",
        "lower",
        "greatly",
        "clearly",
        "significantly",
        "focal",
        "somewhat",
        "visibly",
        "appearance",
        "diffusely",
        "diffuse",
        "again",
        "also",
        "partially",
        "partly",
        "acute",
        "chronic",
        "overall",
        "in",
        ":",
        "size",
        "and",
        "been",
        "has",
        "have",
        "being",
        "considerably",
        "lateral",
    ]
)
_NOT = frozenset({"not", "isn't", "aren't", "neither", "nor"})
_LONGEST_GAP = 4  # words; "heart is very mildly enlarged"

_Tree = dict[str, "_Node"]


@dataclass(slots=True)
class _Node:
    names: tuple[Name, ...] = ()
    following: _Tree = field(default_factory=dict)


# "Appendicitis", "lymphoma": more diseases than any table has are known by how their names end.
_DISEASE = re.compile(
    r".{3,}(?:itis|oma|osis|opathy|megaly|ectasis|malacia|listhesis|lithiasis|rrhage|plegia|penia|stenosis|cele|emia)"
)
_NO_DISEASE = frozenset(
    (
        *(
            "diagnosis",
            "prognosis",
            "mitosis",
            "apoptosis",
            "stroma",
            "trauma",
            "aroma",
            "anastomosis",
            "soma",
        ),
        *("diploma", "hypnosis", "metamorphosis", "coma", "osmosis", "meiosis", "genoma"),
    )
)


def _is_disease(word: str) -> bool:
    return word not in _NO_DISEASE and len(word) < 30 and _DISEASE.fullmatch(word) is not None


class Lexicon:
    """Finds names in words; it does not change once it is made.

    own: findings that are named beside the table's, or with more words than it knows.
    """

    def __init__(self, own: Iterable[FindingEvidence] = ()) -> None:
        self._root: _Tree = {}
        self._wider: dict[str, tuple[str, ...]] = {}
        self._known: dict[str, str] = {}
        own = list(own)
        names = {each.finding for each in own}
        for each in own:
            self._add_own(each, names)

    def concept(self, finding: str) -> str:
        """Return the name under which a finding's words are found: "pleural fluid" is "pleural effusion"."""
        return self._known.get(finding) or _named_whole(finding) or finding

    def same(self, one: str, other: str) -> bool:
        """Return whether two findings are one, or one is the wider name of the other."""
        one, other = self.concept(one), self.concept(other)
        return one == other or one in self.wider(other) or other in self.wider(one)

    def wider(self, finding: str) -> frozenset[str]:
        """Return all names that a finding's name implies, without itself."""
        found: set[str] = set()
        todo = [finding]
        while todo:
            name = todo.pop()
            for each in (*_table().wider.get(name, ()), *self._wider.get(name, ())):
                if each not in found and each != finding:
                    found.add(each)
                    todo.append(each)
        return frozenset(found)

    def named(self, words: Sequence[str]) -> Iterator[Named]:
        """Yield what words in normal form name, each word in the longest phrase that begins first.

        A structure or an organ within a longer name is none by itself. Time grows with the number of words.
        """
        at = 0
        while at < len(words):
            own = _longest(self._root, words, at) if self._root else None
            found = _longest(_table().root, words, at)
            if own and (not found or own.end >= found.end):
                found = own
            if found is None and _is_disease(words[at]):
                found = Named(at, at + 1, (Name("finding", words[at]),))
            if found:
                yield found
            at = found.end if found else at + 1

    def _add_own(self, each: FindingEvidence, names: set[str]) -> None:
        known = _named_whole(each.finding) or next(filter(None, map(_named_whole, each.phrases)), None)
        is_told_apart = known in names and known != each.finding
        concept = each.finding if is_told_apart else known or each.finding
        self._known[each.finding] = concept
        # What a finding is also called tells what it implies: edema that is "pulmonary edema" is an opacity.
        also = {name for name in map(_named_whole, each.phrases) if name and name != concept}
        self._wider[concept] = tuple({wide for name in also for wide in self.wider(name)} - {concept})
        if not known:
            spoken = forms(each.finding)
            last = [found for found in Lexicon().named(spoken) if found.end == len(spoken)]
            self._wider[concept] = tuple(n.name for found in last for n in found.names if n.kind == "finding")
        for phrase in (each.finding, *each.phrases):
            _plant(self._root, phrase, Name("finding", concept), first=True)


@dataclass(frozen=True, slots=True)
class _Table:
    root: _Tree
    wider: dict[str, tuple[str, ...]]
    whole: dict[tuple[str, ...], str]


def _named_whole(phrase: str) -> str | None:
    """Return the finding of the table that a phrase is a name of; None if it is a part of one, or none."""
    return _table().whole.get(forms(phrase))


@cache
def _table() -> _Table:
    table = _Table({}, {}, {})
    for name, wider, phrases in _finding_lines():
        table.wider[name] = tuple(dict.fromkeys((*table.wider.get(name, ()), *wider)))
        for phrase in (name, *phrases):
            if table.whole.setdefault(forms(phrase), name) == name:
                _plant(table.root, phrase, Name("finding", name))
    for kind, phrases_of in (
        ("structure", words_of.STRUCTURES),
        ("organ", words_of.ORGANS),
        ("modality", {name: phrases for name, (_, phrases) in words_of.MODALITIES.items()}),
    ):
        for name, joined in phrases_of.items():
            for phrase in joined.split(", "):
                _plant(table.root, phrase, Name(kind, name))  # type: ignore[arg-type]
    return table


def _finding_lines() -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each line of the table as a name, the wider names and the further phrases."""
    for line in words_of.FINDINGS.strip().replace("\n + ", ", ").splitlines():
        head, _, phrases = line.partition(":")
        name, _, wider = (part.strip() for part in head.partition("<"))
        yield (
            name,
            [each.strip() for each in wider.split(",") if each.strip()],
            [each.strip() for each in phrases.split(",") if each.strip()],
        )


def _plant(tree: _Tree, phrase: str, name: Name, first: bool = False) -> None:
    spoken = forms(phrase)
    if not spoken:
        return
    node = _Node(following=tree)
    for word in spoken:
        node = node.following.setdefault(word, _Node())
    if name not in node.names:
        node.names = (*node.names, name) if not (first and node.names) else node.names


def _longest(tree: _Tree, words: Sequence[str], at: int) -> Named | None:
    """Return the longest phrase that begins at a word, with gaps between its words where they are needed."""
    node = tree.get(words[at])
    if node is None:
        return None
    best = Named(at, at + 1, node.names) if node.names else None
    place, negated = at + 1, False
    while node.following and place < len(words):
        following = node.following.get(words[place])
        if following is None:
            # "and" is a gap for "pleural and pericardial effusion" only as part of a phrase that goes on.
            end = min(place + _LONGEST_GAP, len(words))
            while place < end and words[place] not in node.following:
                if words[place] not in _GAPS and words[place] not in _NOT:
                    return best
                negated = negated or words[place] in _NOT
                place += 1
            following = node.following.get(words[place]) if place < len(words) else None
            if following is None:
                return best
        node, place = following, place + 1
        if node.names:
            best = Named(at, place, node.names, negated)
    return best


def fits_modality(modality: str, code: str) -> bool | None:
    """Return whether a picture with DICOM's code is of a named modality; None if the code tells nothing."""
    codes = {each for fitting, _ in words_of.MODALITIES.values() for each in fitting.split()}
    if code.upper() not in codes:
        return None
    return code.upper() in words_of.MODALITIES[modality][0].split()


def regions(body_part: str | None, modality: str | None) -> frozenset[str]:
    """Return the parts of the body that a picture shows, by their names in `ORGANS`; none if unknown."""
    found: set[str] = set()
    for word in re.findall(r"[a-z]+", (body_part or "").lower()):
        found.update(region for region, known in words_of.BODY_PARTS.items() if word in known.split())
        for part, within in words_of.BODY_PARTS_WITHIN.items():
            found.update(within if part in word else ())
    if not found and not body_part and (modality or "").upper() in words_of.OF_MODALITY:
        found.add(words_of.OF_MODALITY[(modality or "").upper()])
    return frozenset(found)
