"""The arguments and options that several commands share."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

DECODE_TIMEOUT_S = 10.0


def default_state_folder() -> Path:
    """Return where a service keeps keys, audit and jobs, unless --state or MEDSIGLIP_STATE says otherwise."""
    # XDG Base Directory Specification: state that stays between runs; a relative path there is to be ignored.
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".local" / "state") / "medsiglip-search"


GalleryPath = Annotated[
    Path, typer.Argument(metavar="GALLERY", help="The gallery's folder.", show_default=False)
]
EncoderName = Annotated[
    str | None,
    typer.Option(
        envvar="MEDSIGLIP_ENCODER",
        show_envvar=True,
        help="demo, medsiglip, a checkpoint folder, a hub id, open_clip:NAME; by default the gallery's own.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        envvar="MEDSIGLIP_DEVICE", show_envvar=True, show_default=True, help="auto, or as torch names it."
    ),
]
Precision = Annotated[
    str,
    typer.Option(
        envvar="MEDSIGLIP_PRECISION",
        show_envvar=True,
        show_default=True,
        help="auto: bf16 where the device has it, else fp32. Or fp32, bf16, int8 (processor), fp8 (GPU).",
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
Unlike = Annotated[list[int] | None, typer.Option(help="Images not like that of this image_id; repeatable.")]
GroupBy = Literal["image", "patient", "study", "series"] | None
Where = Annotated[str | None, typer.Option(help="SQL condition, such as \"modality = 'CT'\".")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
State = Annotated[
    Path,
    typer.Option(
        envvar="MEDSIGLIP_STATE",
        show_envvar=True,
        metavar="DIR",
        default_factory=default_state_folder,
        show_default="$XDG_STATE_HOME/medsiglip-search or ~/.local/state/medsiglip-search",
        help="The service's own folder: keys, audit, jobs.",
    ),
]
