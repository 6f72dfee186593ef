"""The commands: each parses, calls, prints. The one module that reaches into `indexer`."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medsiglip_search import __version__, terminal, wire
from medsiglip_search.errors import ArchiveNotFound, InvalidQuery, MedSiglipSearchError, Unreadable
from medsiglip_search.records import (
    Fit,
    GalleryMeta,
    Identifiers,
    Picture,
    PreprocessSpec,
    Rejected,
    Resample,
)
from medsiglip_search.terminal import note
from medsiglip_search.windows import CT_WINDOWS, Window, parse_window

if TYPE_CHECKING:
    import numpy as np

    from indexer.pipeline import IndexReport
    from medsiglip_search.encoders import Encoder

# What is heavy is imported inside the commands: help and typing mistakes are answered at once.

EXIT_USAGE, EXIT_REJECTED, EXIT_INTERRUPTED = 2, 3, 130
DEMO_ENCODER = "demo"
MAX_DEMO_IMAGES = 100_000
DECODE_TIMEOUT_S = 10.0

app = typer.Typer(
    help="Search medical image archives by text and by image. Not a medical device.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

GalleryPath = Annotated[
    Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        envvar="MEDSIGLIP_ENCODER",
        show_envvar=True,
        help="demo, medsiglip, a checkpoint folder or a hub id; by default the gallery's own.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        envvar="MEDSIGLIP_DEVICE", show_envvar=True, show_default=True, help="auto, or as torch names it."
    ),
]
DecodeTimeout = Annotated[
    float,
    typer.Option(
        envvar="MEDSIGLIP_DECODE_TIMEOUT",
        show_envvar=True,
        show_default=True,
        min=0.1,
        max=86_400,
        metavar="SECONDS",
        help="How long a picture may take to decode.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    0 done; 1 failed; 2 usage; 3 done, but files stand rejected under --strict; 4 gallery damaged; 5 gallery
    locked; 6 another encoder or format; 130 interrupted after a clean commit.
    """
    # OpenMP's threads wait by spinning: beside another busy program that is several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    terminal.quieten_libraries()
    try:
        code = app(arguments, prog_name="medsiglip-search", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        code = _failed(error.format_message() + hint, error.exit_code)
    except MedSiglipSearchError as error:
        code = _failed(str(error), error.exit_code)
    except OSError as error:
        code = _failed(str(error), MedSiglipSearchError.exit_code)
    sys.exit(code or 0)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(EXIT_USAGE)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for all that is made.")] = Path("demo-output"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other patients.")] = 0,
    images: Annotated[int, typer.Option(min=1, max=MAX_DEMO_IMAGES, help="Pictures in the archive.")] = 600,
    archive_only: Annotated[bool, typer.Option("--archive-only", help="Stop after the archive.")] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Go the whole way on invented patients.

    An archive is drawn and indexed, searched by text and by image, labelled and explained.
    """
    from medsiglip_search.demo import journey, summary

    with terminal.progress("Drawing") as show:
        drawn = 0

        def count(more: int) -> None:
            nonlocal drawn
            drawn += more
            show(drawn, images, "pictures")

        places = journey.make_archive(out, seed, images, count)
    if archive_only:
        files = {"archive": str(places.archive), "metadata": str(places.metadata)}
        if as_json:
            _print_json([files])
        else:
            _print_lines(terminal.aligned(list(files.items())))
        return

    from medsiglip_search.encoders import load_encoder

    encoder = load_encoder(DEMO_ENCODER, device)

    def index_archive(gallery: Path, archive: Path, metadata: Path) -> dict[str, object]:
        return asdict(_index(gallery, [str(archive)], encoder, metadata=metadata))

    result = journey.run(places, index_archive, encoder)
    if as_json:
        _print_json([journey.result_json(result)])
    else:
        _print_lines(summary.lines(result))
        _say_what_demo_knows(encoder.name)


@app.command()
def index(
    gallery: GalleryPath,
    archives: Annotated[
        list[str] | None, typer.Argument(metavar="ARCHIVE", help="Folders of images.", show_default=False)
    ] = None,
    encoder: EncoderName = None,
    device: Device = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures for the encoder at once.")] = None,
    frames_per_instance: Annotated[
        int, typer.Option(min=1, show_default=True, help="At most so many frames of a file, evenly spaced.")
    ] = 16,
    metadata: Annotated[
        Path | None, typer.Option(help="CSV whose column path names files of the archive.")
    ] = None,
    identifiers: Annotated[
        Identifiers | None,
        typer.Option(help="Of patients, studies, ...: pseudonym by default; drop finds no duplicates."),
    ] = None,
    ct_window: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|C,W", help="One window for CT, HU; by default three, in red, green, blue."
        ),
    ] = None,
    fit: Annotated[Fit | None, typer.Option(help="pad by default, as MedSigLIP was trained.")] = None,
    resample: Annotated[
        Resample | None, typer.Option(help="tf_bilinear by default, as MedSigLIP was trained.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode; by default one for each processor.")
    ] = None,
    decode_timeout: DecodeTimeout = DECODE_TIMEOUT_S,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if a file stands rejected.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a gallery up to date with archives.

    Makes the gallery where there is none. Files that did not change are not read again.
    """
    from indexer.pipeline import Interrupted, check_inputs
    from medsiglip_search.encoders import load_encoder
    from medsiglip_search.gallery import Gallery

    if not archives:
        raise ArchiveNotFound(f"no archive given; try {terminal.command('index', gallery)} FOLDER_OF_IMAGES")
    check_inputs(archives, metadata)
    window = parse_window(ct_window) if ct_window is not None else None
    if encoder is None:
        encoder = Gallery.open(gallery).meta.encoder if Gallery.exists(gallery) else DEMO_ENCODER
    _say_what_demo_knows(encoder)
    loaded = load_encoder(encoder, device)
    own = Gallery.open(gallery).meta.spec if Gallery.exists(gallery) else loaded.spec
    try:
        report = _index(
            gallery,
            archives,
            loaded.with_spec(_chosen_spec(own, fit, resample, window)),
            batch_size=batch_size,
            frames_per_instance=frames_per_instance,
            metadata=metadata,
            identifiers=identifiers,
            workers=workers,
            decode_timeout=decode_timeout,
        )
    except Interrupted as interrupted:
        _print_report(interrupted.report, gallery, as_json)
        note("Interrupted; all that is counted above is kept. To go on, run the same command again.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_report(report, gallery, as_json)
    if strict and report.rejected:
        raise typer.Exit(EXIT_REJECTED)


@app.command()
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
            _print_json([wire.rejected_json(Rejected(str(file), frame, error.reason, str(error)))])
        raise typer.Exit(_failed(f"{file}: {error.reason}: {error}", error.exit_code)) from None
    if window is not None and window.lower() in CT_WINDOWS and picture.attributes.modality != "CT":
        raise InvalidQuery(f"--window {window}: in HU, which only CT has; give CENTRE,WIDTH for this picture")
    if out is not None:
        _write_picture(picture.pixels, spec if model_input else None, out)
    _print_picture(file, picture, identifiers, as_json)


@app.command()
def search(
    gallery: GalleryPath,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="What to look for.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="Images like this file; repeatable.")] = None,
    like: Annotated[list[int] | None, typer.Option(help="Images like this image_id; repeatable.")] = None,
    where: Annotated[str | None, typer.Option(help="SQL condition, such as \"modality = 'CT'\".")] = None,
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
    _say_what_demo_knows(searcher.encoder.name)
    hits = searcher.search(text, images=image or (), like=like or (), where=where, top_k=top_k)
    if as_json:
        _print_json(map(wire.hit_json, hits))
    else:
        rows = [terminal.hit_cells(wire.hit_json(hit)) for hit in hits]
        _print_lines(terminal.aligned([terminal.HIT_HEADER, *rows]) if rows else ["no image fits"])


@app.command()
def inspect(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """Show what a gallery holds."""
    from medsiglip_search.gallery import Gallery

    contents = wire.gallery_json(Gallery.open(gallery))
    if as_json:
        _print_json([contents])
        return
    _print_lines(terminal.aligned(terminal.gallery_cells(contents)))
    _say_what_demo_knows(contents["encoder"])


@app.command()
def rejected(gallery: GalleryPath, as_json: AsJson = False) -> None:
    """List the files without embedding, and why."""
    from medsiglip_search.gallery import Gallery

    rejections = map(wire.rejected_json, Gallery.open(gallery).rejected())
    if as_json:
        _print_json(rejections)
        return
    rows = [terminal.rejected_cells(one) for one in rejections]
    _print_lines(terminal.aligned([("reason", "file", "why"), *rows]) if rows else ["nothing is rejected"])


def _index(
    path: Path,
    archives: Sequence[str],
    encoder: "Encoder",
    *,
    metadata: Path | None,
    batch_size: int | None = None,
    frames_per_instance: int = 16,
    identifiers: Identifiers | None = None,
    workers: int | None = None,
    decode_timeout: float = DECODE_TIMEOUT_S,
) -> "IndexReport":
    """Index into the gallery at `path`, made where there is none, and show the progress."""
    from indexer.pipeline import index_archives
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.images.guard import Limits

    if Gallery.exists(path):
        gallery = Gallery.open(path)
        if identifiers is not None:
            gallery.require_identifiers(identifiers)
    else:
        gallery = Gallery.create(path, _meta(encoder, identifiers or "pseudonym"))
    with terminal.progress("Indexing") as show:
        return index_archives(
            gallery,
            archives,
            encoder,
            metadata=metadata,
            batch_size=batch_size,
            frames_per_instance=frames_per_instance,
            workers=workers,
            limits=Limits(timeout_s=decode_timeout),
            progress=lambda now: show(now.files, now.total, f"{now.embedded} embedded"),
        )


def _meta(encoder: "Encoder", identifiers: Identifiers) -> GalleryMeta:
    """Return what a new gallery of this encoder is."""
    return GalleryMeta(
        encoder.name, encoder.revision, encoder.weights_digest, encoder.dim, encoder.spec, identifiers
    )


def _chosen_spec(
    own: PreprocessSpec, fit: Fit | None, resample: Resample | None, ct_window: Window | None
) -> PreprocessSpec:
    """Return `own` with what was asked for on the command line in its place."""
    rendering = own.rendering
    if ct_window is not None:
        rendering = replace(rendering, ct=(ct_window, ct_window, ct_window))
    return replace(own, fit=fit or own.fit, resample=resample or own.resample, rendering=rendering)


def _print_picture(file: Path, picture: Picture, identifiers: str, as_json: bool) -> None:
    from medsiglip_search.identifiers import Dropped, Kept
    from medsiglip_search.images import pixel_digest, source_digest

    attributes = (Kept() if identifiers == "keep" else Dropped()).attributes(picture.attributes)
    shown = replace(picture, attributes=attributes)
    about = wire.picture_json(shown, source_digest(file), pixel_digest(picture.pixels))
    if as_json:
        _print_json([about])
    else:
        _print_lines(terminal.aligned(terminal.picture_cells(about)))


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
        from medsiglip_search.encoders.preprocess import model_input

        pixels = model_input(pixels, spec).numpy()
    try:
        out.write_bytes(png(pixels))
    except OSError as error:
        message = f"{out}: cannot be written: {error.strerror}. Give --out another name"
        raise MedSiglipSearchError(message) from None


def _print_report(report: "IndexReport", gallery: Path, as_json: bool) -> None:
    if as_json:
        _print_json([asdict(report)])
        return
    _print_lines(terminal.aligned(terminal.report_cells(asdict(report))))
    if report.rejected:
        print(f"Why:  {terminal.command('rejected', gallery)}")
    print(f"Next: {terminal.command('search', gallery)} 'left pleural effusion'")


def _print_json(objects: Iterable[dict[str, Any]]) -> None:
    # In ASCII, so that neither the terminal's encoding nor a control character in a name gets in the way.
    _print_lines(map(json.dumps, objects))


def _print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _say_what_demo_knows(encoder: str) -> None:
    if encoder == DEMO_ENCODER:
        note(
            "The demo encoder knows synthetic pictures only; real ones need a gallery of --encoder medsiglip."
        )


def _failed(message: str, exit_code: int) -> int:
    note("error: " + " ".join(message.split()))
    return exit_code
