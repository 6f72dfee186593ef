"""Few-shot classifiers, trained on the stored embeddings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medsiglip_search import terminal
from medsiglip_search.commands.classifiers import Column, PatientPattern, SkipScarce, TruthPath, say_notes
from medsiglip_search.commands.options import AsJson, GalleryPath, Where
from medsiglip_search.commands.output import print_cells, print_json
from medsiglip_search.errors import InvalidQuery, UnusableFile
from medsiglip_search.terminal import note

if TYPE_CHECKING:
    from medsiglip_search.labels import Mode


def probe(
    gallery: GalleryPath,
    truth: TruthPath,
    out: Annotated[Path, typer.Option(metavar="FILE", help="A new .safetensors.", show_default=False)],
    label: Annotated[
        list[str] | None,
        typer.Option(help="A column of TRUTH; repeatable. By default all columns of 1 and 0."),
    ] = None,
    column: Column = None,
    shots: Annotated[
        int | None, typer.Option(min=1, help="Train on so many images with each label; on all by default.")
    ] = None,
    patient: PatientPattern = None,
    where: Where = None,
    skip_scarce: SkipScarce = False,
    seed: Annotated[int, typer.Option(min=0, help="Which images --shots takes.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a classifier on images whose labels are known; it can be used wherever a label set can.

    Prints the area under the ROC curve on patients that it was not shown, by cross-validation.
    """
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.labels.probe import SUFFIX, write_probe
    from medsiglip_search.labels.probing import train_probe
    from medsiglip_search.truth import join, read_truth

    if out.suffix != SUFFIX:
        raise UnusableFile(f"{out}: a probe is a {SUFFIX} file. Name it *{SUFFIX}")
    if out.exists() and not overwrite:
        raise UnusableFile(f"{out}: there is a file already. Pass --overwrite, or --out with another name")
    if label and column is not None:
        raise InvalidQuery(
            "--label names columns, and --column the one whose words are labels; leave one out"
        )
    mode: Mode = "findings" if column is None else "exclusive"
    table = read_truth(truth)
    opened = Gallery.open(gallery)
    known = join(table, opened, label or None, mode, column=column, patient=patient, where=where)
    say_notes(known)
    if missing := [one for one in label or () if one not in known.labels]:
        raise InvalidQuery(f"{truth}: no column {missing[0]!r}. Columns: {', '.join(table.columns)}")
    trained = train_probe(
        out.stem,
        mode,
        opened.meta,
        opened.embeddings_of(known.image_ids),
        known,
        shots=shots,
        seed=seed,
        skip_scarce=skip_scarce,
    )
    write_probe(trained, out)
    info = trained.info
    rows = [
        {"label": one, "present": info.fitted_on.present[one], "auc": info.auc[one]} for one in info.labels
    ]
    if as_json:
        print_json(rows)
    else:
        print_cells(terminal.probe_cells(rows))
    if left := [one for one in known.labels if one not in info.labels]:
        note(f"Left out, for too few patients or images: {', '.join(left)}")
    trained_on = f"{info.fitted_on.images} images of {terminal.counted(info.fitted_on.patients, 'patient')}"
    note(f"Trained on {trained_on}. Written to {out}. Next: {terminal.command('label', gallery)} {out}")
