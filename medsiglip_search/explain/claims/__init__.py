"""What an explanation claims about its picture: findings there or not, sides, organs, the kind of picture.

By the words that name, deny and doubt, no grammar: see `lexicon`, `scopes` and `sides`. What is told of
another picture, of the past, or of what somebody searches for, is no claim.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from medsiglip_search.explain.claims import claim_words as table
from medsiglip_search.explain.claims.lexicon import Lexicon, Named
from medsiglip_search.explain.claims.scopes import Scopes, scopes
from medsiglip_search.explain.claims.sentences import Sentence, sentences
from medsiglip_search.explain.claims.sides import BREAKS, cues_of, sides
from medsiglip_search.querying.negation_words import length_at

ClaimKind = Literal["finding", "normal", "organ", "modality"]
Polarity = Literal["present", "absent"]


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that a text says of its picture.

    name: the finding, organ or modality by its name in the lexicon; empty where the picture is called normal.
    side: "left", "right", "both" or None. quote: the sentence, shortened. span: the words in the text.
    whole: of an organ, that the picture is said to be one of it, and not that it is seen in passing; of
    "normal", that it is said of the picture and not of what it shows ("the skin looks normal").
    implied: no finding is named, but a structure that would show it is called normal.
    """

    kind: ClaimKind
    name: str
    polarity: Polarity
    side: str | None
    hedged: bool
    quote: str
    span: tuple[int, int]
    whole: bool = False
    implied: bool = False


_DEFAULT = Lexicon()


def claims(text: str, lexicon: Lexicon = _DEFAULT, subject: str = "") -> tuple[Claim, ...]:
    """Return what a text claims, in its order. The time it takes grows with the length of the text.

    subject: the picture that the text is about, as `PictureEvidence.subject`; other hits are other pictures.
    """
    said = [claim for sentence in sentences(text) for claim in _Reading(sentence, lexicon, subject).claims()]
    if any(claim.kind == "finding" and claim.polarity == "present" for claim in said):
        # Beside a lesion, skin that looks normal is what surrounds it.
        said = [claim for claim in said if claim.kind != "normal" or claim.whole]
    return tuple(said)


class _Reading:
    """One sentence with the names in it and their scopes."""

    def __init__(self, sentence: Sentence, lexicon: Lexicon, subject: str) -> None:
        self.sentence = sentence
        self.lexicon = lexicon
        self.words = sentence.words
        self.named = list(lexicon.named(self.words))
        self.scopes: Scopes = scopes(self.words, self.named, subject)
        self.at: list[Named | None] = [None] * len(self.words)
        for each in self.named:
            self.at[each.start : each.end] = [each] * (each.end - each.start)
        placed = [each for each in self.named if _has(each, "finding") or _has(each, "structure")]
        self.sides = dict(zip(((e.start, e.end) for e in placed), sides(self.words, placed), strict=True))
        findings = [each for each in placed if _has(each, "finding")]
        # Structures part no finding from its side: "on the right there is, below the lung, an effusion".
        self.sides.update(zip(((e.start, e.end) for e in findings), sides(self.words, findings), strict=True))
        _side_of_fields(self.words, findings, self.sides)
        self._take_the_only_side(findings)

    def _take_the_only_side(self, findings: Sequence[Named]) -> None:
        """Give findings without a side the only one that the sentence tells, if they are all one finding.

        "A collection along the left convexity, consistent with a subdural hematoma."
        """
        present = [each for each in findings if not any(self.scopes.denied[each.start : each.end])]
        names = [name.name for each in present for name in each.names if name.kind == "finding"]
        told = {cue for cue in cues_of(self.words) if cue}
        if len(told) != 1 or BREAKS.intersection(self.words):
            return
        if not all(self.lexicon.same(names[0], other) for other in names[1:]):
            return
        for each in present:
            if self.sides[each.start, each.end] is None:
                self.sides[each.start, each.end] = next(iter(told))

    def claims(self) -> list[Claim]:
        found = [
            *self._findings(),
            *self._normal(),
            *self._no_abnormality(),
            *self._organs(),
            *self._modalities(),
        ]
        return sorted(found, key=lambda claim: claim.span)

    def _claim(self, kind: ClaimKind, name: str, start: int, end: int, absent: bool, **more: object) -> Claim:
        spans = self.sentence.spans
        return Claim(
            kind,
            name,
            "absent" if absent else "present",
            self.sides.get((start, end)),
            self.scopes.hedged[start],
            self.sentence.quote,
            (spans[start][0], spans[end - 1][1]),
            **more,  # type: ignore[arg-type]
        )

    def _findings(self) -> Iterator[Claim]:
        for each in self.named:
            finding = next((name.name for name in each.names if name.kind == "finding"), None)
            if finding is None or self.scopes.other[each.start] or self.scopes.adds[each.start]:
                continue
            denied = any(self.scopes.denied[each.start : each.end]) != each.negated
            if self._is_mere_word(each):
                continue
            yield self._claim("finding", finding, each.start, each.end, denied)

    def _is_mere_word(self, each: Named) -> bool:
        """Return whether a word names a finding elsewhere only: "bone density", "soft tissue shadow"."""
        word = self.words[each.start : each.end]
        before = self.words[max(0, each.start - 2) : each.start]
        after = self.words[each.end : each.end + 1]
        if word in (("density",), ("shadow",), ("growth",), ("collapse",), ("cupping",)):
            quiet = {
                "bone",
                "normal",
                "mineral",
                "soft",
                "tissue",
                "cardiac",
                "heart",
                "breast",
                "hair",
                "signal",
            }
            return bool(quiet.intersection(before)) or bool(table.NORMALS.intersection(before))
        if word == ("effusion",) and after == ("size",):
            return False
        if word in (
            ("malignant",),
            ("metastatic",),
            ("calcified",),
            ("hemorrhagic",),
            ("necrotic",),
            ("fibrotic",),
        ):
            following = self.at[each.end] if each.end < len(self.words) else None
            return following is not None and _has(following, "finding")
        return False

    def _normal(self) -> Iterator[Claim]:
        words = self.words
        told = False
        for at, word in enumerate(words):
            if word not in table.NORMALS and word not in table.CLEARS:
                continue
            if (
                self.at[at] is not None
                or self.scopes.other[at]
                or self.scopes.denied[at]
                or self._is_undone(at)
            ):
                continue
            structures, picture = self._named_after(at)
            if not structures and not picture:
                structures, picture = self._named_before(at)
            if self._has_exception(at):
                continue
            for each in structures:
                yield from self._implied(each)
            calm = word in table.NORMALS or (word == "regular" and "gland" in words)
            if (
                not structures
                and calm
                and not told
                and (picture or self._is_all(at))
                and not self._is_around(at)
            ):
                told = True
                yield self._claim("normal", "", at, at + 1, False, whole=self._names_a_picture(at))

    def _names_a_picture(self, at: int) -> bool:
        """Return whether "normal" is said of a picture, or of nothing at all, and not of skin or tissue."""
        words = set(self.words[max(0, at - 12) : at + 12])
        if words & table.AROUND:
            return False
        is_named = any(_has(each, "modality") for each in self.named) or bool(words & table.NAMES_PICTURE)
        return is_named or not words & (table.TISSUES | WHOLE_WORDS)

    def _implied(self, each: Named) -> Iterator[Claim]:
        for name in each.names:
            if name.kind == "structure":
                yield self._claim("finding", name.name, each.start, each.end, True, implied=True)

    def _is_undone(self, at: int) -> bool:
        before = self.words[max(0, at - 3) : at]
        return any(
            word in table.NOTS or word in ("no", "nor", "than", "less", "upper", "near") for word in before
        )

    def _has_exception(self, at: int) -> bool:
        """Return whether the clause that calls something normal leaves something out."""
        start = at
        while start > max(0, at - 40) and self.words[start - 1] not in (";", "but", "however", "although"):
            start -= 1
        end = at
        while end < len(self.words) and self.words[end] not in (";", "."):
            end += 1
        for place in range(start, end):
            if length_at(table.EXCEPTIONS, self.words, place):
                # "The lungs are clear but there is an effusion" says both.
                return place < at or self.words[place] not in ("but", "however", "although")
        return False

    def _named_after(self, at: int) -> tuple[list[Named], bool]:
        """Return the structures that a "normal" stands before, and whether it calls the picture so."""
        structures: list[Named] = []
        place, whole, picture = at + 1, False, False
        while place < len(self.words) and place < at + 60:
            each, word = self.at[place], self.words[place]
            if place == at + 1 and word in ("and", "or", ","):
                following = self.words[place + 1 : place + 2]
                if not (table.NORMALS | table.CLEARS).intersection(following):
                    break
            if each is None:
                if word in table.PICTURES and not structures:
                    return [], True
                if (
                    word == "and"
                    and (whole or structures)
                    and self.at[min(place + 1, len(self.words) - 1)] is None
                ):
                    break
                if word in table.VERBS and structures:
                    break
                if word in (",",) and whole and not structures:
                    break
                if word not in table.BESIDE_NORMAL and word not in table.NORMALS and word != "structure":
                    break
                place += 1
                continue
            if _has(each, "finding"):
                break
            if _has(each, "structure"):
                structures.append(each)
            elif _has(each, "modality"):
                picture = not structures
                if picture:
                    return [], True
            elif any(word in WHOLE_WORDS for word in self.words[each.start : each.end]):
                whole = True
            place = each.end
        return structures, (whole or picture) and not structures

    def _named_before(self, at: int) -> tuple[list[Named], bool]:
        """Return the structures of which "normal" is said, and whether it is said of the picture."""
        structures: list[Named] = []
        picture = False
        place = at - 1
        while place >= max(0, at - 60):
            each, word = self.at[place], self.words[place]
            if each is None:
                if (
                    word in table.NORMALS
                    or word in table.CLEARS
                    or word in (";", ".", "but", "with", "however")
                ):
                    if word == "and" or (
                        word in table.NORMALS | table.CLEARS
                        and place == at - 2
                        and self.words[at - 1] in ("and", ",")
                    ):
                        place -= 1
                        continue
                    break
                if word in table.PICTURES:
                    picture = True
                elif (
                    word not in table.BESIDE_NORMAL
                    and word not in table.ADVERBS
                    and word not in table.PICTURES
                ):
                    if place < at - 1 and not (structures or picture) and word not in table.TELLS:
                        place -= 1
                        continue
                    break
                place -= 1
                continue
            if _has(each, "finding"):
                break
            if _has(each, "structure"):
                structures.append(each)
            elif _has(each, "modality") or any(w in WHOLE_WORDS for w in self.words[each.start : each.end]):
                picture = True
            place = each.start - 1
        return structures, picture and not structures

    def _is_around(self, at: int) -> bool:
        """Return whether "normal" is said of the tissue around a finding."""
        near = table.TISSUES.intersection(self.words[max(0, at - 4) : at + 5])
        return bool(near) and any(claim.polarity == "present" for claim in self._findings())

    def _is_all(self, at: int) -> bool:
        """Return whether "normal" is all that a sentence says: "Normal.", "Impression: normal"."""
        start = at
        while start > max(0, at - 6) and self.words[start] != ":":
            start -= 1
        rest = [
            w for p, w in enumerate(self.words) if p > start and p != at and not self.at[p] and w[0].isalnum()
        ]
        if self.words[start] != ":":
            rest += [
                w
                for p, w in enumerate(self.words[: start + 1])
                if p != at and not self.at[p] and w[0].isalnum()
            ]
        named = [each for each in self.named if _has(each, "finding")]
        return not named and not [
            w for w in rest if w not in table.BESIDE_NORMAL | table.PICTURES | table.NORMALS
        ]

    def _no_abnormality(self) -> Iterator[Claim]:
        for at, word in enumerate(self.words):
            if word not in table.ABNORMALITIES or self.at[at] is not None or self.scopes.other[at]:
                continue
            if self.words[at + 1 : at + 2] == (":",) and not table.DENIES_ITS_LABEL.intersection(
                self.words[at + 2 : at + 4]
            ):
                continue
            if not self.scopes.denied[at] or self.scopes.adds[at] or self._has_exception(at):
                continue
            before = at - 1
            structures: list[Named] = []
            while before >= 0 and self.scopes.denied[before]:
                each = self.at[before]
                if self.words[before] not in table.BESIDE_ABNORMALITY:
                    break
                if each is not None and not _has(each, "organ") and not _has(each, "structure"):
                    break
                before -= 1
            if before >= 0 and self.scopes.denied[before]:
                continue
            structures = self._structures_around(before, at)
            if structures:
                for each in structures:
                    yield from self._implied(each)
            elif not table.ADDS.intersection(self.words[max(0, at - 4) : at]):
                yield self._claim("normal", "", at, at + 1, False)

    def _structures_around(self, before: int, at: int) -> list[Named]:
        """Return the structures without abnormality: "the heart shows no", "no abnormality of the heart"."""
        found: list[Named] = []
        if any(word in table.LOCATES or word == "of" for word in self.words[at + 1 : at + 4]):
            for place in range(at + 1, min(at + 14, len(self.words))):
                each = self.at[place]
                if self.words[place] in table.ENDS:
                    break
                if each is not None and _has(each, "structure") and each not in found:
                    found.append(each)
        if any(word in table.VERBS or word == ":" for word in self.words[max(0, before - 1) : at]):
            for place in range(max(0, before - 12), max(0, before)):
                each = self.at[place]
                if each is not None and _has(each, "structure") and each not in found:
                    found.append(each)
        return found

    def _organs(self) -> Iterator[Claim]:
        for each in self.named:
            if self.scopes.other[each.start] or self._is_advice():
                continue
            organ = next((name.name for name in each.names if name.kind == "organ"), None)
            if organ == "none":
                continue
            if organ is None and (_has(each, "structure") or _has(each, "finding")):
                organ = next(filter(None, map(organ_of, self.words[each.start : each.end])), None)
            if organ is None:
                continue
            whole = self._is_of_picture(each)
            if organ in ("skin", "tissue", "neck") and not whole:
                continue
            yield self._claim("organ", organ, each.start, each.end, False, whole=whole)

    def _is_of_picture(self, each: Named) -> bool:
        before = each.start - 1
        while before >= max(0, each.start - 4) and self.words[before] in (
            "the",
            "a",
            "an",
            "of",
            "human",
            "patient",
            "left",
            "right",
        ):
            before -= 1
        if before >= 0 and "of" in self.words[before : each.start] and self._names_picture(before):
            return True
        if self.words[max(0, each.start - 2) : each.start] in (
            ("part", ":"),
            ("organ", ":"),
            ("region", ":"),
        ):
            return True
        return each.end < len(self.words) and self._names_picture(each.end)

    def _names_picture(self, at: int) -> bool:
        each = self.at[at]
        return (each is not None and _has(each, "modality")) or (
            each is None and self.words[at] in table.NAMES_PICTURE
        )

    def _is_advice(self) -> bool:
        return bool(table.ADVICE.intersection(self.words))

    def _modalities(self) -> Iterator[Claim]:
        for each in self.named:
            modality = next((name.name for name in each.names if name.kind == "modality"), None)
            if modality is None or self.scopes.other[each.start] or self.scopes.denied[each.start]:
                continue
            before = self.words[max(0, each.start - 2) : each.start]
            if self._is_advice() or table.BEFORE_OTHER_KIND.intersection(before):
                continue
            yield self._claim("modality", modality, each.start, each.end, False)


WHOLE_WORDS = table.WHOLE


def organ_of(word: str) -> str | None:
    """Return the part of the body that a single word in normal form names."""
    found = next(iter(_DEFAULT.named((word,))), None)
    return (
        next((n.name for n in found.names if n.kind == "organ" and n.name != "none"), None) if found else None
    )


def _has(each: Named, kind: str) -> bool:
    return any(name.kind == kind for name in each.names)


def _side_of_fields(
    words: Sequence[str], findings: Sequence[Named], found: dict[tuple[int, int], str | None]
) -> None:
    """Read the side of a finding from the fields after it: {"finding": "effusion", "side": "left"}."""
    for index, each in enumerate(findings):
        end = findings[index + 1].start if index + 1 < len(findings) else len(words)
        for at in range(each.end, min(end, each.end + 12) - 2):
            if words[at] in ("side", "laterality") and words[at + 1] == ":":
                told = words[at + 2]
                side = told if told in ("left", "right") else "both" if told in table.BOTH else None
                found[each.start, each.end] = side
                break
