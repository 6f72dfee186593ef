"""Asking: search, and a file as the project sees it."""

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
    Where,
)
from medsiglip_search.commands.output import print_cells, print_json, say_failed, say_what_demo_knows
from medsiglip_search.errors import InvalidQuery, MedSiglipSearchError, Unreadable
from medsiglip_search.records import Picture, PreprocessSpec, Rejected
from medsiglip_search.windows import CT_WINDOWS, parse_window

if TYPE_CHECKING:
    import numpy as np


def search(
    gallery: GalleryPath,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to look for.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Images like this file; repeatable.")] = None,
    like: Annotated[list[int] | None, typer.Option(help="Images like this image_id; repeatable.")] = None,
    where: Where = None,
    top_k: Annotated[int, typer.Option(min=1, show_default=True, help="How many hits.")] = 10,
    encoder: EncoderName = None,
    device: Device = "auto",
    decode_timeout: DecodeTimeout = DECODE_TIMEOUT_S,
    as_json: AsJson = False,
) -> None:
    """Find images by text, by image, or by both.

    All parts of a query count equally.
    """
    from medsiglip_search.images.guard import Limits
    from medsiglip_search.search import Searcher

    searcher = Searcher.open(gallery, encoder, device, Limits(timeout_s=decode_timeout))
    say_what_demo_knows(searcher.encoder.name)
    hits = searcher.search(text, images=image or (), like=like or (), where=where, top_k=top_k)
    if as_json:
        print_json(map(wire.hit_json, hits))
    else:
        rows = [terminal.hit_cells(wire.hit_json(hit)) for hit in hits]
        print_cells([terminal.HIT_HEADER, *rows] if rows else [("no image fits",)])


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
