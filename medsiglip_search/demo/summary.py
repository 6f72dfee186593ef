"""What the demo tells people at its end."""

import shlex
from collections.abc import Iterator, Sequence

from medsiglip_search import terminal, wire
from medsiglip_search.demo.journey import TEXT_QUERY, Result
from medsiglip_search.explanation_text import explanation_lines
from medsiglip_search.records import Hit


def lines(result: Result) -> Iterator[str]:
    """Yield the demo's story, step by step, and the next command to type."""
    places, figures = result.places, result.figures
    yield f"Indexed {places.archive}"
    for line in terminal.aligned(terminal.report_cells(result.indexed)):
        yield f"  {line}"
    yield ""
    yield f'Search by text: "{TEXT_QUERY}"'
    yield from _hits(result.text_hits)
    yield ""
    query = str(result.image_query.sidecar.get("findings") or "normal").replace(";", ", ")
    yield f"Search by image: {result.image_query.uri} ({query}), among other patients"
    yield from _hits(result.image_hits)
    yield ""
    yield f"Zero-shot labels and retrieval on all {figures.images} images, against the known findings"
    yield from terminal.aligned(
        [
            ("  best label is right", _share(figures.label_top1)),
            ("  text to image, precision of the first 10", _share(figures.text_p10)),
            ("  image to image of other patients, precision of the first 10", _share(figures.image_p10)),
            ("  left told from right", _share(figures.side_top1)),
        ]
    )
    yield ""
    yield f'Explanation of "{TEXT_QUERY}", by a small language model that looks at the best hits'
    for line in explanation_lines(wire.explanation_json(result.explanation)):
        yield f"  {line}".rstrip()
    yield ""
    yield from terminal.aligned(
        [
            ("archive", str(places.archive)),
            ("truth table", str(places.truth)),
            ("gallery", str(places.gallery)),
            ("contact sheet", str(places.contact_sheet)),
        ]
    )
    yield ""
    serve, search, explain, evaluate = (
        terminal.command(name, places.gallery) for name in ("serve", "search", "explain", "evaluate")
    )
    yield f"Next: {serve} --explainer demo    (pages at http://127.0.0.1:7860)"
    yield f"      {search} 'right pneumothorax' --where \"modality = 'CR'\""
    yield f"      {explain} '{TEXT_QUERY}' --explainer demo"
    yield f"      {evaluate} {shlex.quote(str(places.truth))} --labels demo-findings --out report"


def _hits(hits: Sequence[Hit]) -> Iterator[str]:
    rows = [terminal.hit_cells(wire.hit_json(hit)) for hit in hits]
    for line in terminal.aligned([terminal.HIT_HEADER, *rows]):
        yield f"  {line}"


def _share(share: float | None) -> str:
    return "too few images" if share is None else f"{share:.3f}"
