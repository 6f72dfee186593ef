"""How far words reach that deny, doubt, or speak of another picture, as NegEx does it (Chapman 2001)."""

from collections.abc import Sequence
from dataclasses import dataclass

from medsiglip_search.explain.claims import claim_words as table
from medsiglip_search.explain.claims.lexicon import Named
from medsiglip_search.querying.negation_words import length_at

_MARKS = frozenset({",", ";", "}", "]", "|", ".", "!", ")", "{"})
_LONGEST_BACK = 60  # words


@dataclass(slots=True)
class Scopes:
    """Of each word of a sentence: whether it is denied, doubted, or no statement about the picture.

    undone: whether the words next to it only seem to deny it. adds: denied are only others of its kind.
    """

    denied: list[bool]
    hedged: list[bool]
    other: list[bool]
    adds: list[bool]


def scopes(words: Sequence[str], named: Sequence[Named], subject: str = "") -> Scopes:
    """Return the scopes of a sentence. subject: "hit 1" is not another picture where it is the subject."""
    size = len(words)
    found = Scopes([False] * size, [False] * size, [False] * size, [False] * size)
    # What lies within a name of several words is no denial: "cannot" is not, "free fluid" neither.
    taken = {at for each in named for at in range(each.start + 1, each.end)}
    taken |= {each.start for each in named if each.end - each.start > 1}
    findings = [each for each in named if any(name.kind == "finding" for name in each.names)]
    if (size and words[-1] == "?") or _is_other_line(words):
        found.other = [True] * size
        return found
    at = 0
    while at < size:
        if at in taken:
            at += 1
            continue
        at = max(_step(words, at, found, findings, subject), at + 1)
    _mark_labels(words, findings, found)
    _mark_hedges(words, found)
    return found


def _is_other_line(words: Sequence[str]) -> bool:
    colon = next((at for at, word in enumerate(words[:4]) if word == ":"), 0)
    return bool(table.OTHER_LABELS.intersection(words[:colon])) and words[0] != "no"


def _step(words: Sequence[str], at: int, found: Scopes, findings: Sequence[Named], subject: str) -> int:
    """Mark what the phrase that begins at a word reaches; return from where to go on."""
    length = length_at(table.DENIES_LIST, words, at)
    if (
        length
        and words[at + length : at + length + 1] == (":",)
        and not _has_finding_before(at, findings, words)
    ):
        end = _list_end(words, at + length + 1)
        found.denied[at + length : end] = [True] * (end - at - length)
        return end
    if length := length_at(table.CONTRASTS, words, at):
        end = _contrast_end(words, at + length)
        found.other[at:end] = [True] * (end - at)
        return end
    if length := _other_picture(words, at, subject):
        return _mark_other_picture(words, at, at + length, found)
    if length := length_at(table.OTHER_FORWARD, words, at):
        if not (words[at] == "if" and words[at + 1 : at + 2] == ("any",)):
            end = _reach(words, at + length, findings)
            end = next((p for p in range(at + length, end) if _is_over(words, p)), end)
            found.other[at:end] = [True] * (end - at)
            # What denies within is of the other statement as well.
            return end
        return at + length
    if length := length_at(table.PSEUDO, words, at):
        if table.ADDS.intersection(words[at : at + length]):
            end = _reach(words, at + length, findings)
            found.adds[at:end] = [True] * (end - at)
            return end
        return at + length
    if words[at] in table.NOTS or words[at : at + 2] == ("no", "longer"):
        ahead = at + 1
        while ahead < min(len(words), at + 5) and words[ahead] in table.ADVERBS:
            ahead += 1
        word = words[ahead] if ahead < len(words) else ""
        if word in table.EXCLUDED or (word == "be" and words[ahead + 1 : ahead + 2] == ("excluded",)):
            return ahead + (2 if words[ahead + 1 : ahead + 2] == ("out",) else 1)
        if word in table.SEEN and _has_finding_before(at, findings, words):
            _deny_back(words, at, found, findings)
            return ahead + 1
        if word in ("absent", "absence", "without", "lack", "free"):
            return ahead + 1
    length = length_at(table.DENIES_BEFORE, words, at)
    if length and _has_finding_before(at, findings, words) and words[max(0, at - 1) : at] != (",",):
        if words[at : at + 2] == ("ruled", "out") and words[at + 2 : at + 3] == ("for",):
            return at + 3
        _deny_back(words, at, found, findings)
        return at + length
    if words[at : at + 2] in (("than", "a"), ("than", "an")) and {"more", "likelier"}.intersection(
        words[:at]
    ):
        end = _reach(words, at + 1, findings)
        found.other[at:end] = [True] * (end - at)
        return end
    if length := length_at(table.DENIES_NEXT, words, at):
        if words[at] == "against" and length == 1:
            return at + 1
        if words[at] == "non" and length == 1:
            # "A non displaced fracture", "a non contrast CT": it denies no more than the word that follows.
            end = next((each.end for each in findings if each.start == at + 1), at + 1)
            found.denied[at + 1 : end] = [True] * (end - at - 1)
            return end
        end = _reach(words, at + length, findings, joins=words[at] not in ("not", "cannot"))
        for place in range(at + length, end):
            found.denied[place] = True
        return _after_denied(words, at + length, end, found, findings)
    return at + 1


def _after_denied(
    words: Sequence[str], start: int, end: int, found: Scopes, findings: Sequence[Named]
) -> int:
    """Mark other scopes within what is denied ("no evidence of a previous infarct"); return its end."""
    for at in range(start, end):
        if words[at] in table.ADDS and at - start < 4:
            found.adds[at:end] = [True] * (end - at)
        if words[at] in ("ruled", "excluded") and at > start:
            break
    return end


def _other_picture(words: Sequence[str], at: int, subject: str) -> int:
    length = length_at(table.OTHER_PICTURES, words, at)
    if length:
        number = words[at + length] if at + length < len(words) else ""
        if number.isdigit():
            length += 1
        named = " ".join(words[at : at + length])
        if subject and named == subject.lower():
            return 0
        if named == "hit" and subject.startswith("hit"):
            return 0  # "this hit"
        return length
    if subject.startswith("hit"):
        return length_at(table.QUERY_PICTURES, words, at)
    return 0


def _mark_other_picture(words: Sequence[str], start: int, end: int, found: Scopes) -> int:
    """Mark a statement whose subject is another picture; one that is named in passing is none."""
    before = [
        word for word in words[max(0, start - 3) : start] if word not in ("the", "a", "an", "this", "second")
    ]
    opens = start < 2 or not [
        w for w in words[:start] if w not in ("the", "in", "on", "a", "-", "and", "while", "as")
    ]
    told = any(word in table.TELLS for word in words[end : end + 3])
    prepositional = bool(before) and before[-1] in (
        "in",
        "on",
        "of",
        "than",
        "with",
        "as",
        "to",
        "from",
        "by",
        "like",
        "for",
    )
    if (told and not prepositional) or (prepositional and opens and before[-1] in ("in", "on")):
        last = _other_end(words, end)
        found.other[start:last] = [True] * (last - start)
        return last
    return end


def _other_end(words: Sequence[str], at: int) -> int:
    while at < len(words) and words[at] not in (";", "but", "wherea", "whereas", "however"):
        if words[at] in table.BACK_TO_IT:
            break
        if words[at] in ("while", "and") and words[at + 1 : at + 3] == ("the", "query"):
            break
        at += 1
    return at


def _contrast_end(words: Sequence[str], at: int) -> int:
    """Return where "unlike hit 2, which shows an effusion," ends."""
    while at < len(words):
        while at < len(words) and words[at] not in (",", ";", "but"):
            at += 1
        if at + 1 < len(words) and words[at] == "," and words[at + 1] in table.RELATIVES:
            at += 1
            continue
        break
    return at


def _reach(words: Sequence[str], start: int, findings: Sequence[Named], joins: bool = True) -> int:
    """Return where the reach of a phrase that concerns the words after it ends.

    A comma or "and" ends it if what follows is a statement of its own: it begins with a size, a side or an
    article and no "or" comes later in its clause, or it has a verb after what it names.
    """
    at = start
    while at < len(words):
        word = words[at]
        if word in table.ENDS or (at > start and word == "-"):
            break
        if word == ")" and "(" not in words[start:at]:
            break
        if word == "with" and at > start and words[at + 1 : at + 2] != ("no",):
            break
        if at > start and length_at(table.DENIES_NEXT, words, at) and word not in ("nor", "non", "or"):
            break
        if word in (":",):
            break
        if word in (",", "and") and at > start and (not joins or _states(words, at + 1, findings, word)):
            break
        at += 1
    return at


def _states(words: Sequence[str], at: int, findings: Sequence[Named], joint: str) -> bool:
    """Return whether what begins here is a statement of its own and no item of a list."""
    if joint == "," and at < len(words) and words[at] == "and":
        at += 1
    if at >= len(words):
        return True
    end = at
    while end < len(words) and words[end] not in table.ENDS and not length_at(table.DENIES_NEXT, words, end):
        end += 1
    end = min(end, at + 40)
    if length_at(table.DENIES_NEXT, words, at) and words[at] not in ("nor",):
        return True
    if words[at] in ("or", "nor"):
        return False
    if words[at] in ("there", "it", "this", "is", "are", "was", "which", "show", "shows", "has", "have"):
        return True
    item = at
    while item < end and words[item] not in (",", "or", "nor", "and"):
        item += 1
    if words[at] in table.VERBS and words[at] not in ("appear",):
        return True
    if any(word in table.NORMALS or word in table.CLEARS for word in words[at:item]):
        return True
    ors = any(word in ("or", "nor") for word in words[item:end])
    if ors and words[at] not in ("there", "the"):
        # "no A, large B or C" goes on as long as no verb says otherwise.
        return any(word in table.VERBS for word in words[at:item])
    if words[at] in table.QUALIFIERS:
        return True
    verb = next((place for place in range(at, item) if words[place] in table.VERBS), None)
    if verb is None:
        return False
    # "no A, B and C are seen" is one list, "no A, B is present" are two statements.
    return not (words[verb] in ("are", "were") and joint == "and")


def _list_end(words: Sequence[str], at: int) -> int:
    """Return where a list ends that may stand in brackets."""
    marks = ("]", "}") if words[at : at + 1] == ("[",) else (".", ";", "]", "}", "but")
    return next(
        (place for place in range(at, len(words)) if words[place] in marks or words[place] == "present"),
        len(words),
    )


def _is_over(words: Sequence[str], at: int) -> bool:
    """Return whether a word tells that what was there once is no more: "has resolved"."""
    return words[at] in ("has", "have") and length_at(table.DENIES_BEFORE, words, at) > 0


def _has_finding_before(at: int, findings: Sequence[Named], words: Sequence[str]) -> bool:
    start = _clause_start(words, at)
    if any(start <= each.start < at for each in findings):
        return True
    return any(word in table.ABNORMALITIES for word in words[start:at])


def _clause_start(words: Sequence[str], at: int) -> int:
    start = at
    if words[max(0, at - 1) : at] in (("which",), ("that",)):
        start = at - 1
    while start > max(0, at - _LONGEST_BACK) and words[start - 1] not in table.ENDS:
        start -= 1
    return start


def _deny_back(words: Sequence[str], at: int, found: Scopes, findings: Sequence[Named]) -> None:
    """Mark what stands before a phrase that denies it: of a list all of it, unless its verb is singular."""
    plural = any(
        word in ("are", "were", "have", "not") for word in words[max(0, at - 1) : at + 1]
    ) and not any(word in ("is", "was", "has") for word in words[max(0, at - 1) : at + 1])
    place = at - 1
    while place >= 0 and words[place] in (
        "is",
        "are",
        "was",
        "were",
        "has",
        "have",
        "be",
        "been",
        "can",
        "could",
        "(",
        "-",
    ):
        place -= 1
    seen = False
    over = any(
        word in ("resolved", "cleared", "disappeared", "gone", "longer") for word in words[at : at + 3]
    )
    while place >= 0 and words[place] in ("which", "that", ","):
        place -= 1
    while place >= max(0, at - _LONGEST_BACK):
        word = words[place]
        if word in table.ENDS or word in table.VERBS or word == ":":
            break
        if word in ("with", "show", "demonstrate") or (word in table.SEEN and seen and word != "there"):
            break
        ends_list = word in (",", "and") and not plural and seen and "or" not in words[place:at]
        if ends_list:
            break
        found.denied[place] = True
        found.other[place] = found.other[place] and not over
        seen = seen or any(each.start <= place < each.end for each in findings)
        place -= 1


def _mark_labels(words: Sequence[str], findings: Sequence[Named], found: Scopes) -> None:
    """Mark labels by their values: "pneumothorax: no", "cardiomegaly - absent", "edema (-)"."""
    marks = (":", "-", "=", "|", "(", "?")
    places = [(each.start, each.end) for each in findings]
    places += [(at, at + 1) for at, word in enumerate(words[:-1]) if word in table.ABNORMALITIES]
    for start, end in places:
        at = end
        if words[at : at + 3] == ("(", "-", ")"):
            found.denied[start:end] = [True] * (end - start)
            continue
        while (
            at < len(words)
            and words[at] in ("side", "present", "presence", "[", "(", "visible", "seen")
            and at - end < 2
        ):
            at += 1
        if at >= len(words) or words[at] not in marks:
            continue
        value = at + 1
        while value < len(words) and words[value] in (*marks, "[", "{") and value - at < 3:
            value += 1
        if value >= len(words):
            continue
        after = words[value + 1] if value + 1 < len(words) else ";"
        if length_at(table.UNSETTLED_LABEL, words, value):
            found.other[start:end] = [True] * (end - start)
        elif words[value] in table.DENIES_ITS_LABEL and (
            after in _MARKS or words[value] in ("absent", "none", "no", "without", "negative", "not")
        ):
            found.denied[start:end] = [True] * (end - start)
    _mark_objects(words, findings, found)


def _mark_objects(words: Sequence[str], findings: Sequence[Named], found: Scopes) -> None:
    """Mark findings in braces by what follows there: {"finding": "edema", "present": false}."""
    for at in range(len(words) - 2):
        if (
            words[at] in ("present", "presence", "status", "polarity", "detected", "value")
            and words[at + 1] == ":"
        ) and words[at + 2] in table.DENIES_ITS_LABEL:
            before = [each for each in findings if each.start < at and at - each.start < 30]
            if before and "}" not in words[before[-1].end : at]:
                span = before[-1]
                found.denied[span.start : span.end] = [True] * (span.end - span.start)


def _mark_hedges(words: Sequence[str], found: Scopes) -> None:
    start = 0
    for at in range(len(words) + 1):
        if at == len(words) or words[at] in table.ENDS:
            if table.HEDGES.intersection(words[start:at]):
                found.hedged[start:at] = [True] * (at - start)
            start = at + 1
