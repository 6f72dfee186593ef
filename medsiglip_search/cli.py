"""The commands, put together: the one module that reaches into `indexer`, inside its own commands."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsiglip_search import __version__, terminal
from medsiglip_search.commands import gallery as upkeep
from medsiglip_search.commands import label as labelling
from medsiglip_search.commands import search as asking
from medsiglip_search.commands import transfer
from medsiglip_search.commands.audit import audit
from medsiglip_search.commands.calibrate import calibrate
from medsiglip_search.commands.evaluate import evaluate
from medsiglip_search.commands.explain import explain_command
from medsiglip_search.commands.keys import keys
from medsiglip_search.commands.labels import labels
from medsiglip_search.commands.options import (
    DECODE_TIMEOUT_S,
    AsJson,
    DecodeTimeout,
    Device,
    EncoderName,
    GalleryPath,
    Precision,
)
from medsiglip_search.commands.output import (
    print_cells,
    print_json,
    print_lines,
    say_failed,
    say_what_demo_knows,
)
from medsiglip_search.commands.probe import probe
from medsiglip_search.commands.serve import serve_command
from medsiglip_search.encoders import DEMO_ENCODER
from medsiglip_search.errors import ArchiveNotFound, GalleryDamaged, MedSiglipSearchError
from medsiglip_search.records import Fit, GalleryMeta, Identifiers, PreprocessSpec, Resample
from medsiglip_search.terminal import note
from medsiglip_search.windows import Window, parse_window

if TYPE_CHECKING:
    import numpy as np

    from indexer.pipeline import IndexReport, Progress
    from medsiglip_search.encoders import Encoder
    from medsiglip_search.explain.gathering import FileOf
    from medsiglip_search.service.app import MountPages

# What is heavy is imported inside the commands: help and typing mistakes are answered at once.

EXIT_USAGE, EXIT_REJECTED, EXIT_INTERRUPTED = 2, 3, 130
MAX_DEMO_IMAGES = 100_000

app = typer.Typer(
    help="Search medical image archives by text and by image. Not a medical device.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit with its code.

    0 done; 1 failed; 2 usage; 3 done, but files stand rejected under --strict; 4 gallery damaged; 5 gallery
    locked; 6 another encoder or format; 130 interrupted after a clean commit.
    """
    # OpenMP's threads wait by spinning: beside another busy program that is several times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    terminal.quieten_libraries()
    terminal.end_as_by_ctrl_c()
    try:
        code = app(arguments, prog_name="medsiglip-search", standalone_mode=False)
    except typer.TyperException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context else ""
        code = say_failed(error.format_message() + hint, error.exit_code)
    except MedSiglipSearchError as error:
        code = say_failed(str(error), error.exit_code)
    except OSError as error:
        code = say_failed(str(error), MedSiglipSearchError.exit_code)
    except MemoryError as error:
        told = f"{error or 'there is not the memory for it'}; close what else uses it, or pass --device cpu"
        code = say_failed(told, MedSiglipSearchError.exit_code)
    if code == EXIT_INTERRUPTED:  # typer's answer to Ctrl-C, too
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would disturb the end
        note("Interrupted; what was stored is kept. To go on, run the same command again.")
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
        files = {
            "archive": str(places.archive),
            "metadata": str(places.metadata),
            "truth": str(places.truth),
        }
        if as_json:
            print_json([files])
        else:
            print_cells(list(files.items()))
        return

    from medsiglip_search.encoders import load_encoder

    encoder = load_encoder(DEMO_ENCODER, device)

    def index_archive(gallery: Path, archive: Path, metadata: Path) -> dict[str, object]:
        return asdict(_index(gallery, [str(archive)], encoder, metadata=metadata))

    result = journey.run(places, index_archive, encoder, device)
    if as_json:
        print_json([journey.result_json(result)])
    else:
        print_lines(summary.lines(result))
        say_what_demo_knows(encoder.name)


@app.command()
def index(
    gallery: GalleryPath,
    archives: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARCHIVE", help="Folders, tar or zip files, URLs of object stores.", show_default=False
        ),
    ] = None,
    encoder: EncoderName = None,
    device: Device = "auto",
    precision: Precision = "auto",
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
    fit: Annotated[Fit | None, typer.Option(help="By default the encoder's own: pad for MedSigLIP.")] = None,
    resample: Annotated[
        Resample | None, typer.Option(help="By default the encoder's own: tf_bilinear for MedSigLIP.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that decode; by default one for each processor.")
    ] = None,
    decode_timeout: DecodeTimeout = DECODE_TIMEOUT_S,
    prune: Annotated[
        bool, typer.Option("--prune", help="Drop the images of files that are gone from these archives.")
    ] = False,
    retry_rejected: Annotated[
        bool, typer.Option("--retry-rejected", help="Try rejected files again, although they did not change.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 3 if a file stands rejected.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a gallery up to date with archives.

    Makes the gallery where there is none. Files that did not change are not read again.
    """
    from medsiglip_search import gallery_folder

    if not archives:
        raise ArchiveNotFound(f"no archive given; try {terminal.command('index', gallery)} FOLDER_OF_IMAGES")
    gallery_folder.require_no_writer(gallery)  # to load an encoder takes long

    from indexer.pipeline import Interrupted, check_inputs
    from indexer.sampling import sample_pictures
    from medsiglip_search.encoders import load_encoder, load_encoder_of
    from medsiglip_search.encoders.calibration import SAMPLED
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.images.guard import Limits

    check_inputs(archives, metadata)
    window = parse_window(ct_window) if ct_window is not None else None
    existing = Gallery.open(gallery).meta if Gallery.exists(gallery) else None
    if encoder is None:
        encoder = existing.encoder if existing else DEMO_ENCODER
    say_what_demo_knows(encoder)

    def spec_of(own: PreprocessSpec) -> PreprocessSpec:
        return _chosen_spec(existing.spec if existing else own, fit, resample, window)

    def sample(own: PreprocessSpec) -> list["np.ndarray"]:
        return sample_pictures(
            archives,
            spec_of(own),
            SAMPLED,
            workers=workers,
            limits=Limits(timeout_s=decode_timeout),
            gallery=gallery,
        )

    if existing:
        loaded = load_encoder_of(existing, encoder, device, precision, sample)
    else:
        loaded = load_encoder(encoder, device, precision, sample)
    try:
        report = _index(
            gallery,
            archives,
            loaded.with_spec(spec_of(loaded.spec)),
            batch_size=batch_size,
            frames_per_instance=frames_per_instance,
            metadata=metadata,
            identifiers=identifiers,
            workers=workers,
            decode_timeout=decode_timeout,
            prune=prune,
            retry_rejected=retry_rejected,
            as_json=as_json,
        )
    except Interrupted as interrupted:
        _print_report(interrupted.report, gallery, as_json)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _print_report(report, gallery, as_json)
    if strict and report.rejected:
        raise typer.Exit(EXIT_REJECTED)


@app.command()
def verify(
    gallery: GalleryPath,
    sources: Annotated[
        bool, typer.Option("--sources", help="Also look whether each file is still in its archive.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every row and every file of a gallery; exit with 4 where one is damaged.

    Files that are gone from their archive are listed, and no damage.
    """
    from medsiglip_search.verify import verify as verify_gallery

    with terminal.progress("Verifying") as show:
        verification = verify_gallery(gallery, progress=lambda done, total: show(done, total, "files"))
    result = asdict(verification)
    if sources and not verification.problems:
        result["gone"] = _gone(gallery)
    if as_json:
        print_json([result])
    else:
        print_cells(terminal.verification_cells(result))
    if verification.problems:
        raise typer.Exit(GalleryDamaged.exit_code)


def _gone(path: Path) -> list[dict[str, str | None]]:
    """Return the files of the gallery that are no longer in their archive; no uri: it cannot be opened."""
    from indexer.presence import gone
    from medsiglip_search.gallery import Gallery

    return [one._asdict() for one in gone(Gallery.open(path))]


for _command in (
    asking.search,
    asking.render,
    labels,
    labelling.label,
    calibrate,
    probe,
    evaluate,
    upkeep.inspect,
    upkeep.rejected,
    upkeep.delete,
    upkeep.compact,
    upkeep.backup,
    transfer.export,
    transfer.merge,
):
    app.command()(_command)
app.command("import")(transfer.import_)
app.add_typer(audit, name="audit")
app.add_typer(keys, name="keys")
app.command("explain")(explain_command(lambda: _file_of()))
app.command("serve")(serve_command(lambda: _file_of(), lambda: _pages()))


def _file_of() -> "FileOf":
    """Return what opens the files of archives of every kind."""
    from indexer.files import ArchiveFiles

    return ArchiveFiles()


def _pages() -> "MountPages":
    """Return what adds the browser pages to a service."""
    from ui.app import mount_pages

    return mount_pages


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
    prune: bool = False,
    retry_rejected: bool = False,
    as_json: bool = False,
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
    with _index_progress(as_json) as progress:
        return index_archives(
            gallery,
            archives,
            encoder,
            metadata=metadata,
            batch_size=batch_size,
            frames_per_instance=frames_per_instance,
            workers=workers,
            limits=Limits(timeout_s=decode_timeout),
            prune=prune,
            retry_rejected=retry_rejected,
            progress=progress,
        )


@contextmanager
def _index_progress(as_json: bool) -> Iterator[Callable[["Progress"], None]]:
    """Yield what shows how far a run is: to programs as JSON, to people as they like it."""
    if as_json:
        with terminal.json_progress() as tell:
            yield lambda now: tell(asdict(now))
        return
    with terminal.progress("Indexing") as show:
        yield lambda now: show(now.files, now.total if now.listed else None, terminal.index_word(asdict(now)))


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


def _print_report(report: "IndexReport", gallery: Path, as_json: bool) -> None:
    if as_json:
        print_json([asdict(report)])
        return
    print_cells(terminal.report_cells(asdict(report)))
    if report.rejected:
        print(f"Why:  {terminal.command('rejected', gallery)}")
    print(f"Next: {terminal.command('search', gallery)} 'left pleural effusion'")
