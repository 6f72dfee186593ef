"""The words by which a text negates, and those that undo it. English and German, in lower case."""

import re
from collections.abc import Sequence

Phrases = dict[str, tuple[tuple[str, ...], ...]]


def _phrases(*lines: str) -> Phrases:
    """Return phrases by their first word, the longest first."""
    by_first: dict[str, list[tuple[str, ...]]] = {}
    for phrase in (tuple(phrase.split()) for line in lines for phrase in line.split(", ")):
        by_first.setdefault(phrase[0], []).append(phrase)
    return {first: tuple(sorted(found, key=len, reverse=True)) for first, found in by_first.items()}


def length_at(phrases: Phrases, words: Sequence[str], at: int) -> int:
    """Return how many words the longest phrase has that stands here, 0 for none."""
    for phrase in phrases.get(words[at], ()):
        if tuple(words[at : at + len(phrase)]) == phrase:
            return len(phrase)
    return 0


# What negates the words after it.
BEFORE = _phrases(
    "no, neither, without, w/o, negative for, absence of, absent, free of, free from, lack of, lacking",
    "excluding",
    "ohne, kein, keine, keinen, keinem, keiner, keines, keinerlei, weder, frei von, negativ für",
    "ausschluss von, ausschluss eines, ausschluss einer",
)
# What negates the words before it, up to the beginning of the clause.
AFTER = _phrases(
    "is absent, are absent, absent, is excluded, are excluded, was excluded, has been excluded, excluded",
    "is ruled out, are ruled out, was ruled out, has been ruled out, ruled out",
    "not seen, is not seen, are not seen, not present, is not present, are not present",
    "not visible, is not visible, are not visible, not identified, is not identified, are not identified",
    "ist ausgeschlossen, ausgeschlossen, kann ausgeschlossen werden, konnte ausgeschlossen werden",
    "ist nicht nachweisbar, nicht nachweisbar, nicht sichtbar",
    "ist nicht sichtbar, nicht erkennbar, ist nicht erkennbar, fehlt, fehlen",
    ": none, : nil, : no, : absent, : not seen, : nein, : kein, : keine, : keiner",
)
FIRST_WORDS = frozenset(BEFORE) | frozenset(AFTER)

PLURAL = frozenset({"are", "fehlen"})
"""In a phrase of `AFTER` they say that it is about several things: "A and B are absent"."""

AND_JOINS = frozenset(BEFORE) - frozenset({"no", "kein", "keine", "keinen", "keinem", "keiner", "keines"})
"""After these "and" goes on with what is absent: "without A and B", but "no A and B" says that B is there."""

UNDONE = frozenset(
    {"not", "cannot", "can't", "couldn't", "isn't", "never", "hardly", "be", "should", "must"}
    | {"nicht", "kaum", "muss", "müssen", "soll", "sollte", "sollten"}
)
"""A few words before one that negates they undo it: "cannot be entirely excluded", "nicht ohne"."""

EXCEPT = frozenset(
    {"except", "excepting", "exception", "unless", "besides", "apart", "aside", "beyond", "save"}
    | {"außer", "ausser", "ausnahme", "ausgenommen", "abgesehen", "bis"}
)

_PRIOR = frozenset(
    {"prior", "priors", "previous", "previously", "earlier", "comparison", "before"}
    | {"vorher", "zuvor", "bisher", "früher", "voraufnahme", "vorbefund", "voruntersuchung", "vergleich"}
)
_UNSURE = (
    frozenset(
        {"increase", "decrease", "progression", "regression", "worsening", "improvement", "resolution"}
        | {"reduction", "growth", "difference", "interval", "doubt", "doubts", "question", "longer", "more"}
        | {"less", "fewer", "than", "other", "further", "additional", "such", "only", "<", ">", "excluded"}
        | {"ruled", "absent", "absence", "lack", "lacking"}
        | {"zweifel", "unterschied", "progression", "änderung", "änderungen", "befundänderung", "als", "wie"}
        | {"größenänderung", "dynamik", "weitere", "weiteren", "weiterer", "andere", "anderen", "anderer"}
        | {"nur", "ausgeschlossen", "fehlt", "fehlen", "verschlechterung", "besserung", "rückgang"}
    )
    | (UNDONE - {"be"})
    | {"no", "neither", "without", "w/o", "ohne", "kein", "keine", "keinen", "weder"}
    | EXCEPT
    | _PRIOR
)
_UNSURE_FORM = re.compile(r"vorherig\w*|früher\w+|\w*(?:zunahme|abnahme|wachstum|progredienz|regredienz)")


def is_unsure(word: str) -> bool:
    """Return whether what a negation with this word in it says of a picture cannot be told by words.

    "no increase in effusion", "no doubt", "no nodule larger than", "no effusion on the prior film": the
    pseudo-negations of NegEx, comparisons, exceptions and a negation within a negation.
    """
    return word in _UNSURE or _UNSURE_FORM.fullmatch(word) is not None


OR = frozenset({"or", "nor", "oder", "noch", "/", "and/or", "und/oder"})
AND = frozenset({"and", "und", "as", "sowie", "&"})
WITH = frozenset({"with", "mit", "w", "/"})
ENDS = frozenset(
    {*".;:!?()[]{}+*|=\n\r\u2026\u2022\u00b7-\u2010\u2011\u2012\u2013\u2014\u2015\u2212"}
    | {"but", "with", "however", "although", "though", "yet", "while", "which", "showing", "shows", "because"}
    | {"demonstrates", "demonstrating", "reveals", "revealing"}
    | {"aber", "mit", "jedoch", "sondern", "wobei", "zeigt", "weil"}
)
QUOTES = frozenset('"\u201c\u201d\u201e\u00ab\u00bb')
EDGES = OR | AND | ENDS | {"there", "is", "are", "was", "were", "es", "there's", "besteht", "sich", "well"}
"""What is left over at the ends of a piece that stays, and means nothing there, like what has no letter."""

PLACES = frozenset(
    {"of", "on", "in", "at", "within", "from", "for", "to", "by", "since", "involving"}
    | {
        "above",
        "below",
        "over",
        "under",
        "near",
        "after",
        "behind",
        "along",
        "über",
        "unter",
        "nach",
        "neben",
    }
    | {"im", "auf", "bei", "am", "an", "seit", "des", "der", "von"}
)
"""What begins a place or a time."""

# What may stand between the word that negates and what it negates.
FILLERS = _phrases(
    "any, a, an, the, evidence of, evidence for, sign of, signs of, findings of, finding of, indication of",
    "suggestion of, presence of, obvious, definite, clear, new",
    "ein, eine, einen, einem, einer, eines, der, die, das, den, dem, des, nachweis von, nachweis eines",
    "nachweis einer, nachweis, hinweis auf, hinweise auf, hinweis für, hinweise für, zeichen von",
    "zeichen eines, zeichen einer, zeichen für, anhalt für, von",
)
SEEN = frozenset(
    {"seen", "detected", "identified", "noted", "visible", "visualized", "visualised", "present", "evident"}
    | {"demonstrated", "appreciated", "found", "clearly"}
    | {"erkennbar", "nachweisbar", "sichtbar", "abgrenzbar", "nachgewiesen", "mehr"}
)
"""After what is negated they add nothing: "no nodule is seen"."""

NORMAL = frozenset(
    {"abnormality", "abnormalities", "process", "processes", "disease", "diseases", "finding", "findings"}
    | {"pathology", "pathologies", "change", "changes", "problem", "problems", "auffälligkeit"}
    | {"auffälligkeiten", "befund", "befunde", "pathologie", "pathologien", "veränderung", "veränderungen"}
)
"""What cannot be seen as such: "no acute cardiopulmonary process" is said of a normal picture, and encoders
have learnt it as a whole. Not so with a word of its own: "no degenerative changes"."""

_GENERAL = re.compile(
    "acute|active|significant|relevant|focal|gross|major|abnormal|pathologic|pathological|suspicious|critical"
    "|cardiopulmonary|pulmonary|cardiac|lung|chest|thoracic|intrathoracic|abdominal|intraabdominal"
    "|intra-abdominal|pelvic|intracranial|osseous|bony|skeletal|radiographic|size|overall|specific|clinically"
    "|(?:akut|aktiv|signifikant|relevant|wesentlich|pathologisch|auffällig|fokal|knöchern|ossär|frisch|pulmonal"
    "|kardiopulmonal|kardial|intrakraniell|abdominell|thorakal|eindeutig|sicher|krankhaft)(?:e[rnms]?)?"
)


def says_normal(term: Sequence[str]) -> bool:
    """Return whether a term is a general name with general words before it, and at most a place after it."""
    head = next((at for at, word in enumerate(term) if not _GENERAL.fullmatch(word)), len(term))
    if head == len(term) or term[head] not in NORMAL:
        return False
    return head + 1 == len(term) or term[head + 1] in PLACES


STATES = frozenset(
    {"normal", "unremarkable", "stable", "unchanged", "known", "is", "are", "was", "were", "has", "have"}
    | {"seen", "visible", "probable", "possible", "likely", "clear"}
    | {"normale", "normaler", "normales", "stabil", "stabile", "stabiler", "unverändert", "unveränderter"}
    | {"unauffällig", "unauffälliger", "unauffälliges", "ist", "sind", "wahrscheinlich", "möglicher"}
)
"""In an item after a comma they say that it is a statement of its own."""

_QUALIFIER = re.compile(
    "small|tiny|minimal|mild|mildly|slight|moderate|moderately|large|big|massive|severe|extensive|marked|left"
    "|right|bilateral|unilateral|upper|lower|left-sided|right-sided|enlarged|dilated|thickened|subtle|trace"
    "|links|rechts|beidseits|(?:klein|groß|mäßig|gering|geringgradig|leicht|leichtgradig|mittelgroß|ausgeprägt"
    "|schwer|linksseitig|rechtsseitig|beidseitig|link|recht|vergrößert|erweitert|verdickt|ausgedehnt)(?:e[rnms]?)?"
)
_MAY_STATE = re.compile(r"chronic|old|residual|persistent|[\w-]{3,}ed")
_ADJECTIVE = re.compile(
    r"\w{3,}(?:al|ic|ous|ive|ar|ary|oid)|\w+-|acute|old|new|\w{2,}(?:al|isch|iv|ös|är|ell)(?:e[rnms]?)?"
)


def is_qualifier(word: str) -> bool:
    """Return whether a word says how large, how bad or on which side something is."""
    return _QUALIFIER.fullmatch(word) is not None


def may_state(word: str) -> bool:
    """Return whether a word is likelier said of something that is there: "large", "old", "loculated"."""
    return is_qualifier(word) or _MAY_STATE.fullmatch(word) is not None


def lacks_noun(item: Sequence[str]) -> bool:
    """Return whether an item is no thing by itself, as "pleural" in "pleural or pericardial effusion"."""
    if not item or item[-1] in SEEN:
        return False
    return _ADJECTIVE.fullmatch(item[-1]) is not None or may_state(item[-1])
