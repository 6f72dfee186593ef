"""Labelling a gallery: its stored embeddings against a label set or a probe."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medsiglip_search import terminal
from medsiglip_search.commands.classifiers import LabelSource, open_classifier_of
from medsiglip_search.commands.options import AsJson, Device, EncoderName, GalleryPath, Where
from medsiglip_search.commands.output import print_cells, print_json, say_what_demo_knows
from medsiglip_search.errors import InvalidQuery
from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.labelling.run import LabelledBlock
    from medsiglip_search.labelling.summary import Summary
    from medsiglip_search.labelling.task import Task
    from medsiglip_search.labels.labeller import Labeller


def label(
    gallery: GalleryPath,
    label_set: LabelSource,
    out: Annotated[
        Path | None, typer.Option(help="A new .parquet or .csv, one row for each image and label.")
    ] = None,
    where: Where = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What calibrate made for this label set.")
    ] = None,
    group_by: Annotated[
        Literal["study", "series", "patient"] | None,
        typer.Option(help="Label these as a whole, the scores of their images pooled."),
    ] = None,
    pool: Annotated[
        Literal["max", "mean"] | None,
        typer.Option(help="How, with --group-by; by default max for findings, mean for exclusive labels."),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new .png or .svg, a bar for each label.")
    ] = None,
    write_back: Annotated[
        bool,
        typer.Option("--write-back", help="Store the decisions as columns that search --where can name."),
    ] = False,
    prefix: Annotated[
        str | None, typer.Option(help="What their names begin with; by default the label set's name.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    encoder: EncoderName = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Label every image of a gallery by its stored embedding; no image is read.

    Prints how often each label is present, absent, or abstained from. With --json, the rows themselves; the
    summary where they go to --out. An interrupted --out goes on when the same command is run again.
    """
    if pool is not None and group_by is None:
        raise InvalidQuery("--pool is about --group-by; give it, or leave --pool out")
    if prefix is not None and not write_back:
        raise InvalidQuery("--prefix is about --write-back; give it, or leave --prefix out")
    if write_back and group_by is not None:
        raise InvalidQuery(
            "--write-back stores decisions about images; leave --group-by out, or run it twice"
        )

    from medsiglip_search.gallery import Gallery
    from medsiglip_search.labelling import output, storing, summary
    from medsiglip_search.labelling.task import Task

    for path, formats in ((out, output.FORMATS), (plot, summary.PLOTS)):
        if path is not None:
            output.require_writable(path, formats, overwrite)
    opened = Gallery.open(gallery)
    labeller = _labeller(opened, label_set, calibration, encoder, device)
    classifier = labeller.classifier
    with ExitStack() as stack:
        # Held from the first on, so that what is stored is what was written and printed.
        writer = stack.enter_context(opened.writer()) if write_back else None
        if writer is not None:
            storing.require_columns(opened, labeller, prefix, where)
        task = Task(opened, labeller, where, group_by, pool)
        totals = summary.Summary(task.labels)
        _label(task, totals, out, overwrite, as_json)
        if plot is not None:
            title = f"{classifier.name}: {totals.count} {task.of_what} of {gallery.resolve().name}"
            summary.draw(totals, plot, title)
        if writer is not None:
            with terminal.progress("Storing") as show:
                columns = storing.store_decisions(writer, labeller, where=where, prefix=prefix, progress=show)
            _say_columns(gallery, columns, classifier.mode, classifier.labels[0])
    if as_json:
        if out is not None:
            print_json(totals.rows())
        return
    print_cells(terminal.label_cells(totals.rows(), totals.count, task.of_what))
    if out is None and plot is None and not write_back:
        note("For the rows, a label of an image each, pass --out FILE.parquet or FILE.csv, or --json.")


def _labeller(
    gallery: "Gallery", label_set: str, calibration: Path | None, encoder: str | None, device: str
) -> "Labeller":
    """Return what labels the gallery's embeddings."""
    from medsiglip_search.labels.labeller import Labeller

    say_what_demo_knows(gallery.meta.encoder)
    classifier = open_classifier_of(gallery, label_set, encoder, device)
    if calibration is None:
        return Labeller(classifier)
    from medsiglip_search.labels.calibration_file import read_calibration

    return Labeller(classifier, read_calibration(calibration, classifier, gallery.meta))


def _label(task: "Task", totals: "Summary", out: Path | None, overwrite: bool, as_json: bool) -> None:
    """Write or print the rows, if they are asked for, and add all to `totals`."""
    from medsiglip_search.labelling import output
    from medsiglip_search.labelling.rows import json_rows

    count = task.count
    with terminal.progress("Labelling") as show:
        if out is not None:
            written = output.write(task, out, totals, overwrite=overwrite, progress=show, say=note)
            note(f"{out}: {terminal.counted(written.rows, 'row')}, {written.size_bytes / 1e6:.1f} MB")
            return

        def counted() -> "Iterator[LabelledBlock]":
            for block in task.blocks():
                totals.add(block.labelled)
                show(totals.count, count, "labelled")
                yield block

        rows: Iterable[dict[str, Any]] = (
            row for block in counted() for row in (json_rows(block, task.labels) if as_json else ())
        )
        print_json(rows)


def _say_columns(gallery: Path, columns: list[str], mode: str, label: str) -> None:
    """Say which columns hold the decisions, and how to ask for them."""
    value = "present" if mode == "findings" else label.replace("'", "''")
    condition = f"{columns[0]} = '{value}'"
    few = ", ".join(columns[:3]) + (f" and {len(columns) - 3} more" if len(columns) > 3 else "")
    note(f'Stored as {few}. Next: {terminal.command("search", gallery)} TEXT --where "{condition}"')
