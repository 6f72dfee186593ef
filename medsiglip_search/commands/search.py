"""Asking: search, and a file as the project sees it."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medsiglip_search import terminal, wire
from medsiglip_search.commands.options import (
    DECODE_TIMEOUT_S,
    AsJson,
    DecodeTimeout,
    Device,
    EncoderName,
    GalleryPath,
    GroupBy,
    Like,
    QueryImages,
    QueryText,
    Unlike,
    Where,
    Without,
)
from medsiglip_search.commands.output import (
    print_cells,
    print_hits,
    print_json,
    print_lines,
    say_failed,
    say_what_demo_knows,
)
from medsiglip_search.errors import InvalidQuery, MedSiglipSearchError, Unreadable
from medsiglip_search.records import Picture, PreprocessSpec, Rejected
from medsiglip_search.windows import CT_WINDOWS, parse_window

if TYPE_CHECKING:
    import numpy as np

    from medsiglip_search.queries import Region


def search(
    gallery: GalleryPath,
    text: QueryText = None,
    image: QueryImages = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="X0,Y0,X1,Y1", help="The part of each --image that is meant, in pixels."),
    ] = None,
    like: Like = None,
    study: Annotated[
        str | None,
        typer.Option(help="Cases like this study, all of its images compared; --json tells each hit's."),
    ] = None,
    without: Without = None,
    unlike: Unlike = None,
    text_weight: Annotated[
        float, typer.Option(show_default=True, help="How much TEXT counts beside each image.")
    ] = 1.0,
    as_written: Annotated[
        bool, typer.Option("--as-written", help="Leave a 'no' or 'without' in TEXT to the encoder.")
    ] = False,
    as_case: Annotated[
        bool, typer.Option("--as-case", help="The --image files are one case: cases like it, by study.")
    ] = False,
    where: Where = None,
    group_by: Annotated[
        GroupBy,
        typer.Option(help="One hit for each; a study for --study and --as-case, else an image."),
    ] = None,
    other_patients: Annotated[
        bool | None,
        typer.Option(
            "--other-patients/--any-patient",
            help="Whether to leave out the patient asked about; by default with --like and --study.",
        ),
    ] = None,
    min_relevance: Annotated[float | None, typer.Option(help="Leave out hits below this relevance.")] = None,
    top_k: Annotated[int, typer.Option(min=1, show_default=True, help="How many hits.")] = 10,
    cursor: Annotated[
        str | None, typer.Option(help="Go on after a page, by the cursor that --json told of it.")
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Texts, one a line, instead of TEXT; - for stdin.")
    ] = None,
    index: Annotated[
        Literal["auto", "exact", "int8", "ivf", "hnsw", "graph"],
        typer.Option(
            envvar="MEDSIGLIP_INDEX",
            show_envvar=True,
            show_default=True,
            help="auto: exact as far as memory goes; the others are faster and miss a few hits.",
        ),
    ] = "auto",
    recall: Annotated[
        float, typer.Option(show_default=True, help="The share of the best hits that they must find.")
    ] = 0.95,
    encoder: EncoderName = None,
    device: Device = "auto",
    decode_timeout: DecodeTimeout = DECODE_TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Find images by text, by image, by what must not be there, or by all of these.

    All parts of a query count equally. Hits are printed on stdout; what is to be said of them all, on stderr.
    """
    from medsiglip_search.images.guard import Limits
    from medsiglip_search.queries import Image, Query, Text
    from medsiglip_search.search import Searcher

    if queries is not None and (text is not None or cursor is not None):
        raise InvalidQuery("--queries takes the place of TEXT and goes without --cursor; leave one out")
    has_text = text is not None or queries is not None
    has_stored = bool(like) or study is not None
    if as_written and not has_text:
        raise InvalidQuery("--as-written is about TEXT, and there is none; leave it out")
    if as_case and not image:
        raise InvalidQuery("--as-case is about --image files; give the case's, or leave it out")
    if text_weight != 1 and not (has_text and (image or has_stored)):
        raise InvalidQuery("--text-weight is of TEXT beside --image, --like or --study; leave it out")
    if other_patients is not None and not (image or has_stored):
        raise InvalidQuery(
            "--other-patients and --any-patient are about the patient of --image, --like or --study; leave "
            "them out"
        )
    texts = [text] if queries is None else _lines(queries)
    images = [Image(*each) for each in zip(image or (), _regions(region, image), strict=True)]
    asked = [
        Query(
            parts=[*([] if one is None else [Text(one, text_weight)]), *images],
            like=like or (),
            study=study,
            without=without or (),
            unlike=unlike or (),
            negation=not as_written,
            as_case=as_case,
            where=where,
            group_by=group_by,
            other_patients=other_patients,
            min_relevance=min_relevance,
            top_k=top_k,
            cursor=cursor,
        )
        for one in texts
    ]
    searcher = Searcher.open(gallery, encoder, device, Limits(timeout_s=decode_timeout), index, recall)
    say_what_demo_knows(searcher.encoder.name)
    results = searcher.search_all(asked)
    for number, (one, result) in enumerate(zip(texts, results, strict=True), start=1):
        which = {} if queries is None else {"query": number, "query_text": one}
        if as_json:
            print_json({**wire.hit_json(hit), **which} for hit in result)
            print_json([{**which, **wire.result_json(result)}], to_stderr=True)
            continue
        if which:
            print_lines([*([""] if number > 1 else []), terminal.printable(f"{number}. {one}")])
        print_hits(result, number if which else None)


def _lines(path: Path) -> list[str | None]:
    """Return the lines of a text file that are not empty."""
    try:
        text = sys.stdin.read().removeprefix("\ufeff") if str(path) == "-" else path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidQuery(f"{path}: cannot be read: {why}. Give a text file, a query a line") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise InvalidQuery(f"{path}: no query in it; write one a line")
    return list(lines)


def _regions(regions: Sequence[str] | None, images: Sequence[Path] | None) -> "list[Region | None]":
    """Return the region of each image."""
    if not regions:
        return [None] * len(images or ())
    if len(regions) != len(images or ()):
        raise InvalidQuery(
            f"{len(regions)} --region for {len(images or ())} --image; give one for each, in their order"
        )
    return [_region(region) for region in regions]


def _region(region: str) -> "Region":
    try:
        x0, y0, x1, y1 = (int(edge) for edge in region.split(","))
    except ValueError:
        raise InvalidQuery(f"--region {region}: give X0,Y0,X1,Y1 in whole pixels") from None
    return x0, y0, x1, y1


def render(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A picture.", show_default=False)],
    out: Annotated[Path | None, typer.Option(metavar="PNG", help="Where to write the picture.")] = None,
    frame: Annotated[int | None, typer.Option(help="Counted from 0; by default the middle one.")] = None,
    window: Annotated[
        str | None,
        typer.Option(metavar="NAME|C,W", help="Centre and width in the file's units (HU), or a CT preset."),
    ] = None,
    model_input: Annotated[
        bool, typer.Option("--model-input", help="As the encoder gets it: padded and resized.")
    ] = False,
    gallery: Annotated[
        Path | None, typer.Option(help="As the pictures of this gallery were made; MedSigLIP's by default.")
    ] = None,
    identifiers: Annotated[
        Literal["keep", "drop"], typer.Option(help="Whether to tell patient, study, series and instance.")
    ] = "drop",
    decode_timeout: DecodeTimeout = DECODE_TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Show a file as the project sees it: as a picture, and what is known of it."""
    from medsiglip_search.images.guard import Guard, Limits

    if out is None and not as_json:
        raise InvalidQuery("nowhere to write to; give --out PNG, or --json for what is known of the file")
    if out is not None and out.exists() and file.exists() and out.samefile(file):
        raise InvalidQuery(f"{out}: is the file itself; give --out another name")
    spec = _spec_of(gallery)
    chosen = parse_window(window) if window is not None else None
    try:
        with Guard(1, Limits(timeout_s=decode_timeout)) as guard:
            picture = guard.read(file, spec.rendering, frame, chosen)
    except Unreadable as error:
        if as_json:
            print_json([wire.rejected_json(Rejected(str(file), frame, error.reason, str(error)))])
        raise typer.Exit(say_failed(f"{file}: {error.reason}: {error}", error.exit_code)) from None
    if window is not None and window.lower() in CT_WINDOWS and picture.attributes.modality != "CT":
        raise InvalidQuery(f"--window {window}: in HU, which only CT has; give CENTRE,WIDTH for this picture")
    if out is not None:
        _write_picture(picture.pixels, spec if model_input else None, out)
    _print_picture(file, picture, identifiers, as_json)


def _print_picture(file: Path, picture: Picture, identifiers: str, as_json: bool) -> None:
    from medsiglip_search.identifiers import Dropped, Kept
    from medsiglip_search.images import pixel_digest, source_digest

    attributes = (Kept() if identifiers == "keep" else Dropped()).attributes(picture.attributes)
    shown = replace(picture, attributes=attributes)
    about = wire.picture_json(shown, source_digest(file), pixel_digest(picture.pixels))
    if as_json:
        print_json([about])
    else:
        print_cells(terminal.picture_cells(about))


def _spec_of(gallery: Path | None) -> PreprocessSpec:
    """Return how the pictures of a gallery were made, MedSigLIP's way without one."""
    if gallery is None:
        return PreprocessSpec()
    from medsiglip_search.gallery import Gallery

    return Gallery.open(gallery).meta.spec


def _write_picture(pixels: "np.ndarray", spec: PreprocessSpec | None, out: Path) -> None:
    """Write a PNG; as the encoder's input if there is a `spec`."""
    from medsiglip_search.images import png

    if spec is not None:
        from medsiglip_search.encoders.fitting import fitted

        pixels = fitted(pixels, spec)
    try:
        out.write_bytes(png(pixels))
    except OSError as error:
        message = f"{out}: cannot be written: {error.strerror}. Give --out another name"
        raise MedSiglipSearchError(message) from None
