"""Evaluating: how good labels and search are, against a truth."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsiglip_search import terminal
from medsiglip_search.commands.options import AsJson, Device, Where
from medsiglip_search.commands.output import print_cells, print_json, print_lines, say_what_demo_knows
from medsiglip_search.errors import InvalidQuery, MedSiglipSearchError
from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.encoders import Encoder
    from medsiglip_search.evaluate.comparison import Joining, LoadEncoder
    from medsiglip_search.evaluate.run import Evaluation
    from medsiglip_search.gallery import Gallery

REPORT, PAGE = "report.json", "report.html"


def evaluate(
    places: Annotated[
        list[Path],
        typer.Argument(
            metavar="GALLERY... TRUTH.csv",
            help="Galleries, the first of which the others are compared with, and the table of what is true.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SET|PROBE", help="A shipped set's name, a YAML file, or a probe; repeatable to compare."
        ),
    ] = None,
    calibration: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="What calibrate made for --labels; repeatable, one for each."),
    ] = None,
    column: Annotated[
        str | None, typer.Option(metavar="NAME", help="The column of the table that names the label.")
    ] = None,
    patient: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="What names the patient in a path; by default the table does."),
    ] = None,
    where: Where = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help=f"Where to write {REPORT} and {PAGE}.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a report that is there.")] = False,
    retrieval: Annotated[
        bool, typer.Option("--retrieval/--no-retrieval", help="Whether to evaluate search, too.")
    ] = True,
    top_k: Annotated[
        int, typer.Option(min=1, show_default=True, help="Of how many hits precision and recall are.")
    ] = 10,
    max_queries: Annotated[
        int, typer.Option(min=1, show_default=True, help="Images to search by; of more, a sample.")
    ] = 2000,
    resamples: Annotated[
        int, typer.Option(min=0, show_default=True, help="Draws of patients that intervals come from.")
    ] = 1000,
    seed: Annotated[int, typer.Option(min=0, show_default=True, help="Another seed, other draws.")] = 0,
    # Without the environment's default, which is for one gallery: each has its own here.
    encoder: Annotated[
        str | None, typer.Option(help="Of a single gallery, if it is elsewhere than the gallery says.")
    ] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Tell how good labels and search are on images whose truth is known, with 95 % intervals by patient.

    Without --labels only search by image is evaluated, for each label of the table. With several galleries
    or --labels all are evaluated on the images that all galleries have, and compared with the first.
    With --json each line holds the figures of one label: {"gallery", "labels": their source or null, "what":
    "labels", "together", "by_text" or "by_image", "label": null for the mean, counts, a figure each as
    {"value", "low", "high", "resamples"} with null for what is undefined, "undefined": why, "difference": to
    the first, figures as before}. Notes and warnings are on stderr.
    """
    if len(places) < 2:
        raise InvalidQuery("give galleries, and then the table of what is true: GALLERY... TRUTH.csv")
    *galleries, truth = places
    if not labels and not retrieval:
        raise InvalidQuery("--no-retrieval without --labels leaves nothing to evaluate; give --labels")
    if calibration and not labels:
        raise InvalidQuery("--calibration is of --labels; give them, or leave it out")
    if encoder is not None and len(galleries) > 1:
        raise InvalidQuery("--encoder is of one gallery, and there are several; leave it out")
    if out is not None:
        _require_writable(out, overwrite)

    from medsiglip_search.evaluate.comparison import Joining, compare
    from medsiglip_search.evaluate.report import row_json, rows
    from medsiglip_search.evaluate.run import Settings
    from medsiglip_search.evaluate.run import evaluate as evaluate_sides
    from medsiglip_search.evaluate.table import TITLES, cells
    from medsiglip_search.truth import read_truth

    for what, given in (
        ("gallery", [str(one.resolve()) for one in galleries]),
        ("source of --labels", labels or []),
    ):
        if len(set(given)) < len(given):
            raise InvalidQuery(f"the same {what} is given twice; give each once")
    table = read_truth(truth)
    joining = Joining(column, patient, where)
    comparison = compare(galleries, table, labels or (), calibration or (), joining, _loader(encoder, device))
    for name in dict.fromkeys(side.gallery.meta.encoder for side in comparison.sides):
        say_what_demo_knows(name)
    settings = Settings(retrieval, top_k, resamples, seed, max_queries)
    with terminal.progress("Evaluating") as show:
        evaluation = evaluate_sides(comparison, table, settings, show)
    if out is not None:
        _write(evaluation, joining, out)
    if as_json:
        print_json(map(row_json, rows(evaluation)))
    else:
        for number, (what, table_cells) in enumerate(cells(rows(evaluation), top_k)):
            print_lines([*([""] if number else []), TITLES[what]])
            print_cells(table_cells)
    _say(evaluation)
    undefined = {f"{row.label}: {row.undefined}" for row in rows(evaluation) if row.undefined}
    for reason in sorted(undefined):
        note(f"Undefined: {reason}")
    if out is None and not as_json:
        note("For a page with plots, and all of this as JSON, pass --out FOLDER.")


def _loader(name: str | None, device: str) -> "LoadEncoder":
    """Return what loads the encoder of a gallery, of the name if there is one."""

    def load(gallery: "Gallery") -> "Encoder":
        from medsiglip_search.encoders import load_encoder_of

        return load_encoder_of(gallery.meta, name, device)

    return load


def _require_writable(out: Path, overwrite: bool) -> None:
    """Raise InvalidQuery if a report would be overwritten that is not to be."""
    there = [out / name for name in (REPORT, PAGE) if (out / name).exists()]
    if out.exists() and not out.is_dir():
        raise InvalidQuery(f"{out}: is no folder; give --out another name")
    if there and not overwrite:
        raise InvalidQuery(f"{there[0]}: exists; give --out another name, or pass --overwrite")


def _write(evaluation: "Evaluation", joining: "Joining", out: Path) -> None:
    from medsiglip_search.evaluate.page import page
    from medsiglip_search.evaluate.report import report_json
    from medsiglip_search.files import write_file

    report = report_json(evaluation, joining)
    content = json.dumps(report, indent=1, allow_nan=False) + "\n"
    html = page(evaluation, report)
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_file(out / REPORT, content.encode())
        write_file(out / PAGE, html.encode())
    except OSError as error:
        message = f"{out}: cannot be written: {error.strerror}. Give --out another name"
        raise MedSiglipSearchError(message) from None
    note(f"Written: {out / REPORT} and {out / PAGE}")


def _say(evaluation: "Evaluation") -> None:
    """Say on stderr what a reader of the figures must know."""
    for text in evaluation.notes:
        note(text[:1].upper() + text[1:])
    for text in evaluation.warnings:
        note(f"Warning: {text}")
