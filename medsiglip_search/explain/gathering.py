"""A search result to a question for explainers: each picture with what is known of it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from medsiglip_search import filters
from medsiglip_search.errors import Reason, Unreadable
from medsiglip_search.explain import Case, Pictures, Question
from medsiglip_search.explain.claims.lexicon import Lexicon
from medsiglip_search.explain.picture_evidence import (
    Caution,
    FindingEvidence,
    PictureEvidence,
    Recorded,
    Side,
)
from medsiglip_search.explain.prompts import known_of
from medsiglip_search.explain.recording import NO_RECORD, Record, record_of
from medsiglip_search.explain.scoring import Score, Scorers
from medsiglip_search.images import sampled_frames
from medsiglip_search.images.guard import Guard
from medsiglip_search.queries import Image, Like, Query, Study, Text
from medsiglip_search.records import Attributes, Hit, Instance, Result
from medsiglip_search.search import Searcher
from medsiglip_search.volumes import sorted_slices
from medsiglip_search.windows import RenderSpec

FileOf = Callable[[str, str], Path | bytes]
"""Gives what decoders open of an archive's file, by the names of both. Raises Unreadable."""

_VOLUMES = frozenset({"CT", "MR", "PT"})


def file_in_folder(archive: str, uri: str) -> Path:
    """Return the path of a file whose archive is a folder here. Raises Unreadable for any other archive."""
    root = Path(archive)
    path = root / uri
    if not root.is_dir() or not path.resolve().is_relative_to(root.resolve()):
        raise Unreadable(Reason.UNREADABLE, "Its archive is no folder on this machine.")
    return path


class Gatherer:
    """Puts together what is known of the pictures of a result."""

    def __init__(
        self,
        searcher: Searcher,
        scorers: Scorers,
        guard: Guard,
        file_of: FileOf = file_in_folder,
        findings_column: str = "findings",
        report_column: str = "report",
    ) -> None:
        """Take the parts. guard: decodes the pictures. columns: of the sidecar, where records are."""
        self._searcher = searcher
        self._scorers = scorers
        self._guard = guard
        self._file_of = file_of
        self._columns = findings_column, report_column

    def gather(self, query: Query, result: Result) -> Question:
        """Return the question that a result of this query is."""
        records = [self._record(hit.instance) for hit in result]
        hits = tuple(
            self._case(f"hit {hit.rank}", hit.instance, record, hit)
            for hit, record in zip(result, records, strict=True)
        )
        asked, own, speaks = self._asked(query, records)
        speaking = [case.subject for case, record in zip(hits, records, strict=True) if record.speaks]
        cautions = [
            Caution("record", subject, "Its record speaks to a program, and was left aside.")
            for subject in (*(["query"] if speaks else []), *speaking)
        ]
        return Question(asked, own, hits, result.matches, tuple(cautions))

    def _record(self, instance: Instance) -> Record:
        return record_of(instance, *self._columns)

    def _asked(self, query: Query, records: Sequence[Record]) -> tuple[str, Case | None, bool]:
        """Return what was searched for, in words, and the first picture that was asked about.

        And whether its record speaks to a program.
        """
        words: list[str] = []
        speaks = False
        own: Case | None = None
        for part in query.all_parts():
            match part:
                case Text(text):
                    words.append(f'"{" ".join(text.split())}"')
                case Image(region=region):
                    words.append("a picture" if region is None else "a part of a picture")
                    own = own or self._query_case(part, records)
                case Like(image_id):
                    words.append(f"image {image_id}")
                    [instance] = self._searcher.gallery.instances([image_id])
                    if own is None:
                        record = self._record(instance)
                        own, speaks = self._case("query", instance, record, None, records), record.speaks
                case Study():
                    words.append("a study")
        words += [f'without "{" ".join(text.split())}"' for text in query.without]
        return " and ".join(words), own, speaks

    def _query_case(self, part: Image, records: Sequence[Record]) -> Case:
        """Return the case of a picture that need not be in the gallery."""
        rendering = self._searcher.gallery.meta.spec.rendering
        pixels, attributes = self._read(part, rendering)
        [embedding] = self._searcher.encoder.embed_images([pixels])
        known = known_of(attributes.modality, attributes.body_part)
        attributes, scores = self._scored(embedding, attributes)
        evidence = evidence_of("query", attributes, scores, NO_RECORD, records)

        def pictures(rendering: RenderSpec, most: int) -> list[np.ndarray]:
            return [self._read(part, rendering)[0]]

        return Case("query", evidence, pictures, lambda: evidence, known)

    def _read(self, part: Image, rendering: RenderSpec) -> tuple[np.ndarray, Attributes]:
        if isinstance(part.image, np.ndarray):
            pixels, attributes = part.image, Attributes()
        else:
            picture = self._guard.read(part.image, rendering)
            pixels, attributes = picture.pixels, picture.attributes
        if part.region is not None:
            x0, y0, x1, y1 = part.region
            pixels = pixels[y0:y1, x0:x1]
        return pixels, attributes

    def _case(
        self,
        subject: str,
        instance: Instance,
        record: Record,
        hit: Hit | None,
        neighbours: Sequence[Record] = (),
    ) -> Case:
        [embedding] = self._searcher.gallery.embeddings_of([instance.image_id])
        attributes, scores = self._scored(embedding, instance.attributes)
        evidence = evidence_of(subject, attributes, scores, record, neighbours)
        return Case(
            subject,
            evidence,
            self._pictures(instance),
            lambda: self._whole(instance, evidence),
            known_of(instance.attributes.modality, instance.attributes.body_part),
            record.text,
            record.report,
            hit,
        )

    def _scored(self, embedding: np.ndarray, attributes: Attributes) -> tuple[Attributes, tuple[Score, ...]]:
        """Return attributes, with the modality that the encoder sees where none is told, and scores."""
        if attributes.modality is None:
            attributes = replace(attributes, modality=self._scorers.modality_of(embedding))
        return attributes, self._scorers.score(embedding, attributes.modality, attributes.body_part)

    def _pictures(self, instance: Instance) -> Pictures:
        """Return what reads an image's file, or slices of its volume where several are wanted."""

        def pictures(rendering: RenderSpec, most: int) -> list[np.ndarray]:
            slices = self._volume(instance) if most > 1 else [instance]
            chosen = [slices[place] for place in sampled_frames(len(slices), most)]
            return [
                self._guard.read(self._file_of(each.archive, each.uri), rendering, each.frame).pixels
                for each in chosen
            ]

        return pictures

    def _whole(self, instance: Instance, evidence: PictureEvidence) -> PictureEvidence:
        """Return what is known of an image's volume: what one slice shows, all together show."""
        every = [evidence]
        for each in self._volume(instance):
            if each.image_id != instance.image_id:
                every.append(self._case(evidence.subject, each, self._record(each), None).evidence)
        return merged(every)

    def _volume(self, instance: Instance) -> list[Instance]:
        """Return the slices of an image's series in their order, itself alone where it is of none."""
        attributes = instance.attributes
        if attributes.series is None or attributes.modality not in _VOLUMES:
            return [instance]
        gallery = self._searcher.gallery
        series = filters.of_values({"series": attributes.series}, gallery.columns(), gallery.schema)
        return sorted_slices(gallery.instances(gallery.select(series)))


def merged(every: Sequence[PictureEvidence]) -> PictureEvidence:
    """Return what is known of pictures that are looked at as one: what speaks most for a finding counts."""
    found = []
    for name in dict.fromkeys(each.finding for evidence in every for each in evidence.findings):
        known = [each for evidence in every if (each := evidence.of(name)) is not None]
        best = max(known, key=lambda each: (each.recorded == "present", each.probability or 0.0))
        sides = frozenset[Side]().union(*(each.recorded_sides for each in known))
        found.append(replace(best, recorded_sides=sides))
    normal = [evidence.is_normal for evidence in every]
    is_normal = False if False in normal else True if True in normal else None
    return replace(every[0], findings=tuple(found), is_normal=is_normal)


def evidence_of(
    subject: str,
    attributes: Attributes,
    scores: Sequence[Score],
    record: Record,
    neighbours: Sequence[Record] = (),
) -> PictureEvidence:
    """Return what is known of a picture. neighbours: the records of the hits, of the query's own picture."""
    return PictureEvidence(
        subject,
        attributes.modality,
        attributes.body_part.lower() if attributes.body_part else None,
        tuple(findings_of(scores, record, [each for each in neighbours if each.tells])),
        record.is_normal,
    )


def findings_of(
    scores: Sequence[Score], record: Record, neighbours: Sequence[Record]
) -> Iterator[FindingEvidence]:
    """Yield what is known of each finding that is scored or recorded, under one name."""
    lexicon = lexicon_of(scores)
    own = _by_name(record, lexicon, scores)
    others = [_by_name(each, lexicon, scores) for each in neighbours]
    by_name = {score.finding: score for score in scores}
    for name in dict.fromkeys([*by_name, *own, *sorted(set().union(*others))]):
        score = by_name.get(name)
        recorded, sides = own.get(name, (None, frozenset()))
        yield FindingEvidence(
            name,
            phrases=score.phrases if score else (),
            probability=score.probability if score else None,
            threshold=score.threshold if score else 0.5,
            left=score.left if score else None,
            recorded=recorded,
            recorded_sides=sides,
            hits=sum(each.get(name, ("absent",))[0] == "present" for each in others),
            of=len(others),
        )


def lexicon_of(scores: Sequence[Score]) -> Lexicon:
    """Return the words of findings, with those of the label set that was scored."""
    return Lexicon([FindingEvidence(score.finding, score.phrases) for score in scores])


def _by_name(
    record: Record, lexicon: Lexicon, scores: Sequence[Score]
) -> dict[str, tuple[Recorded, frozenset[Side]]]:
    """Return what is recorded by the scores' names: "effusion" is the pleural one if only that is scored."""
    scored = {lexicon.concept(score.finding): score.finding for score in scores}
    found: dict[str, tuple[Recorded, frozenset[Side]]] = {}
    for name, told in record.findings.items():
        concept = lexicon.concept(name)
        narrower = [each for each in scored if concept in lexicon.wider(each)]
        meant = concept if concept in scored or len(narrower) != 1 else narrower[0]
        known = scored.get(meant, meant)
        said, sides = found.get(known, told)
        found[known] = (max(said, told[0]), sides | told[1])  # "present" outdoes "absent"
    return found
