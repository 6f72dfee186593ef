"""Embeddings on their way out of a gallery, into one, and from one to another."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from medsiglip_search import terminal
from medsiglip_search.commands.options import AsJson, Device, EncoderName, GalleryPath, Where
from medsiglip_search.commands.output import print_cells, print_json


def export(
    gallery: GalleryPath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new .parquet or .npz.", show_default=False)],
    where: Where = None,
    thumbnails: Annotated[bool, typer.Option("--thumbnails", help="With the thumbnails, JPEG.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write embeddings and metadata into a Parquet or NPZ file."""
    from medsiglip_search.gallery import Gallery
    from medsiglip_search.transfer.exporting import export as export_rows

    with terminal.progress("Exporting") as show:
        exported = export_rows(
            Gallery.open(gallery),
            file,
            where=where,
            thumbnails=thumbnails,
            overwrite=overwrite,
            progress=show,
        )
    result = {**asdict(exported), "file": str(file)}
    if as_json:
        print_json([result])
    else:
        print_cells(terminal.export_cells(result))


def import_(
    gallery: GalleryPath,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A .parquet or .npz.", show_default=False)],
    encoder: EncoderName = None,
    archive: Annotated[
        str | None, typer.Option(help="The name of the archive that uris are in, unless a column says it.")
    ] = None,
    normalize: Annotated[
        bool, typer.Option("--normalize", help="Scale embeddings to norm 1; else others are refused.")
    ] = False,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Take in embeddings made elsewhere: a file with the columns uri, embedding and any others.

    Makes the gallery where there is none. Rows of a file that the gallery has already are replaced.
    """
    from medsiglip_search.transfer.importing import import_embeddings

    with terminal.progress("Importing") as show:
        imported = import_embeddings(
            gallery,
            file,
            encoder=encoder,
            archive=archive,
            normalize=normalize,
            device=device,
            progress=show,
        )
    if as_json:
        print_json([asdict(imported)])
    else:
        print_cells(terminal.import_cells(asdict(imported)))
        print(f"Next: {terminal.command('inspect', gallery)}")


def merge(
    gallery: GalleryPath,
    others: Annotated[list[Path], typer.Argument(metavar="OTHER...", help="Galleries of the same encoder.")],
    as_json: AsJson = False,
) -> None:
    """Add the images of other galleries to one, which is made where there is none.

    Files that the gallery has already stay as they are. The others are only read.
    """
    from medsiglip_search.transfer.merging import merge as merge_galleries

    with terminal.progress("Merging") as show:
        merged = merge_galleries(gallery, others, progress=show)
    if as_json:
        print_json([asdict(merged)])
    else:
        print_cells(terminal.merge_cells(asdict(merged)))
