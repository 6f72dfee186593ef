"""Any OpenCLIP model by its name or folder, BiomedCLIP among them."""

from typing import TYPE_CHECKING, Literal, get_args

from medsiglip_search.errors import EncoderUnavailable

if TYPE_CHECKING:
    from medsiglip_search.encoders.open_clip.encoder import OpenClipEncoder

Precision = Literal["auto", "fp32", "bf16"]


def load_open_clip(
    name: str, *, device: str = "auto", precision: str = "auto", revision: str | None = None
) -> "OpenClipEncoder":
    """Return the encoder of a folder, a hub id, or an architecture and its weights ("ViT-B-32/openai").

    precision: "auto" is bf16 for all but the smallest models where the device multiplies it.
    revision: the commit of the hub that it must be.
    Raises EncoderUnavailable for what names no model, is gated, not at hand, damaged or of another layout.
    """
    if precision not in get_args(Precision):
        usable = ", ".join(get_args(Precision))
        raise EncoderUnavailable(f"precision {precision!r}: OpenCLIP models run in none such; use {usable}")
    from medsiglip_search.encoders.open_clip.naming import locate

    checkpoint, config = locate(name, revision)
    from medsiglip_search.encoders.open_clip.loading import load  # torch takes seconds to import

    return load(checkpoint, config, device=device, precision=precision)
