"""The quick start: the whole way from an archive to an explained result, on invented patients."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

from medsiglip_search import images, wire
from medsiglip_search.demo.archive import METADATA, write_archive
from medsiglip_search.demo.contact_sheet import Row, contact_sheet
from medsiglip_search.demo.figures import Figures, labels_of, measure
from medsiglip_search.demo.truth import write_truth
from medsiglip_search.encoders import Encoder
from medsiglip_search.errors import InvalidQuery
from medsiglip_search.explain import Explanation
from medsiglip_search.explain.gathering import Gatherer
from medsiglip_search.explain.kinds import DEMO_EXPLAINER
from medsiglip_search.explain.language import LanguageExplainer
from medsiglip_search.explain.opening import Access, open_model
from medsiglip_search.explain.scoring import Scorers
from medsiglip_search.gallery import Gallery
from medsiglip_search.images.guard import Guard
from medsiglip_search.queries import Query
from medsiglip_search.records import Hit, Instance
from medsiglip_search.records import Result as SearchResult
from medsiglip_search.search import Searcher

TEXT_QUERY = "left pleural effusion"
IMAGE_QUERY_FINDING = "melanoma"
SHOWN_HITS, EXPLAINED_HITS = 6, 2

_STAMP = "demo.txt"


class Index(Protocol):
    """Brings a gallery up to date with an archive and says what it did, as `index --json` ends."""

    def __call__(self, gallery: Path, archive: Path, metadata: Path) -> dict[str, object]: ...


@dataclass(frozen=True, slots=True)
class Places:
    """Where everything of the demo lies."""

    archive: Path
    metadata: Path
    truth: Path
    gallery: Path
    contact_sheet: Path


@dataclass(frozen=True, slots=True)
class Result:
    """What the demo did and found. seconds: by step."""

    places: Places
    indexed: dict[str, object]
    text_hits: Sequence[Hit]
    image_query: Instance
    image_hits: Sequence[Hit]
    figures: Figures
    explanation: Explanation
    seconds: dict[str, float]


def make_archive(
    out: Path, seed: int, images: int, progress: Callable[[int], None] = lambda count: None
) -> Places:
    """Write the synthetic archive below `out`, unless the very same one lies there.

    Raises InvalidQuery where `out` holds something that is not a demo's.
    """
    archive = out / "archive"
    places = Places(
        archive, archive / METADATA, out / "truth.csv", out / "gallery", out / "contact_sheet.png"
    )
    if out.exists() and not out.is_dir():
        raise InvalidQuery(f"{out}: a file stands where the demo would go. Pass --out with another folder.")
    stamp = out / _STAMP
    if not stamp.is_file() and out.is_dir() and any(out.iterdir()):
        raise InvalidQuery(f"{out}: not empty, and not written by the demo. Pass --out with another folder.")
    wanted = f"seed {seed}, {images} images\n"
    if stamp.is_file() and stamp.read_text() == wanted and places.truth.is_file():
        progress(images)
        return places
    out.mkdir(parents=True, exist_ok=True)
    # Whoever interrupts the drawing leaves this, and the next run begins anew.
    stamp.write_text("unfinished\n")
    for folder in (places.archive, places.gallery):
        shutil.rmtree(folder, ignore_errors=True)
    write_archive(places.archive, seed, images, progress)
    write_truth(places.metadata, places.truth)
    stamp.write_text(wanted)
    return places


def run(places: Places, index: Index, encoder: Encoder, device: str) -> Result:
    """Index the archive, ask by text and by image, label it, explain one result, draw the contact sheet."""
    seconds: dict[str, float] = {}
    with _timed(seconds, "index"):
        indexed = index(places.gallery, places.archive, places.metadata)
    gallery = Gallery.open(places.gallery)
    with _timed(seconds, "search"):
        searcher = Searcher.open(places.gallery, encoder)
        text_hits = searcher.search(text=TEXT_QUERY, top_k=SHOWN_HITS)
        query = _query_image(gallery)
        with images.open_image(Path(query.archive) / query.uri) as file:
            picture = file.read(query.frame).pixels
        own = str(query.attributes.patient)
        image_hits = searcher.search(images=[picture], where=f"patient <> '{own}'", top_k=SHOWN_HITS)
    with _timed(seconds, "label"):
        figures = measure(gallery, encoder)
    with _timed(seconds, "explain"):
        explanation = _explained(searcher, text_hits, device)
    rows = [
        _row(gallery, f'text: "{TEXT_QUERY}"', text_hits, {TEXT_QUERY}),
        _row(gallery, "image, other patients", image_hits, set(labels_of(query))),
    ]
    rows[1] = Row(rows[1].title, rows[1].hits, rows[1].thumbnails, rows[1].right, picture)
    contact_sheet("medsiglip-search demo: invented patients, drawn pictures", rows).save(places.contact_sheet)
    return Result(places, indexed, text_hits, query, image_hits, figures, explanation, seconds)


def result_json(result: Result) -> dict[str, object]:
    """Return the figures of a result under the names that `demo --json` ends with."""
    return {
        **asdict(result.figures),
        "indexed": result.indexed,
        "explanation": wire.explanation_json(result.explanation),
        "seconds": result.seconds,
        **{name: str(path) for name, path in asdict(result.places).items()},
    }


def _explained(searcher: Searcher, hits: SearchResult, device: str) -> Explanation:
    """Let the demo explainer describe the best hits, the way that MedGemma takes."""
    explainer = LanguageExplainer(open_model(DEMO_EXPLAINER, Access(device, is_cached=False)))
    with Guard(1) as guard:
        gatherer = Gatherer(searcher, Scorers(searcher.encoder), guard)
        best = replace(hits, hits=hits.hits[:EXPLAINED_HITS])
        return explainer.explain(gatherer.gather(Query(TEXT_QUERY), best))


def _query_image(gallery: Gallery) -> Instance:
    """Return the first image with the finding that the image query is about, or the first of all."""
    image_ids = gallery.select(f"findings = '{IMAGE_QUERY_FINDING}'")
    return gallery.instances([int((image_ids if len(image_ids) else gallery.select(None))[0])])[0]


def _row(gallery: Gallery, title: str, hits: Sequence[Hit], wanted: set[str]) -> Row:
    thumbnails = gallery.thumbnails([hit.instance.image_id for hit in hits])
    return Row(title, hits, thumbnails, [bool(wanted & labels_of(hit.instance)) for hit in hits])


@contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[step] = round(time.monotonic() - started, 2)
