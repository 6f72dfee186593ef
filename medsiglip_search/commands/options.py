"""The arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DECODE_TIMEOUT_S = 10.0

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
QueryText = Annotated[str | None, typer.Argument(metavar="TEXT", help="What to look for.")]
QueryImages = Annotated[list[Path] | None, typer.Option(help="Images like this file; repeatable.")]
Like = Annotated[
    list[int] | None, typer.Option(help="Images like that of this image_id, as hits have it; repeatable.")
]
Without = Annotated[list[str] | None, typer.Option(help="What must not be there; repeatable.")]
GroupBy = Literal["image", "patient", "study", "series"] | None
Where = Annotated[str | None, typer.Option(help="SQL condition, such as \"modality = 'CT'\".")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
