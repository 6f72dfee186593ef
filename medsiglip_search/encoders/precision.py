"""In which numbers an encoder computes: what a user may ask for, and what a machine does best."""

from typing import Literal, get_args

import torch

from medsiglip_search.devices import device_of, multiplies_bf16
from medsiglip_search.errors import EncoderUnavailable

Precision = Literal["auto", "fp32", "bf16", "int8", "fp8"]
"""auto: bf16 where the device multiplies it, else fp32. int8 is for processors, fp8 for GPUs."""

Computed = Literal["fp32", "bf16", "int8", "fp8"]
"""A precision that was chosen."""

BF16_FROM = 2_000_000
"""Parameters from which on bf16 pays: below, most of the time goes elsewhere."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def target(device: str) -> torch.device:
    """Return the device of a name. Raises EncoderUnavailable for one that is not on this machine."""
    try:
        return device_of(device)
    except ValueError as error:
        raise EncoderUnavailable(str(error)) from error


def chosen(precision: str, device: torch.device, parameters: int) -> Computed:
    """Return the precision for a model of so many parameters.

    Raises EncoderUnavailable for one that is unknown, or that this device does not have.
    """
    match precision:
        case "auto":
            return "bf16" if parameters >= BF16_FROM and multiplies_bf16(device) else "fp32"
        case "fp32" | "bf16":
            return precision
        case "int8":
            if device.type != "cpu":
                raise EncoderUnavailable(
                    f"precision int8: runs on processors, not on {device}; use fp8 there"
                )
            return precision
        case "fp8":
            if device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9):
                raise EncoderUnavailable(
                    f"precision fp8: needs an NVIDIA GPU of compute capability 8.9 or newer, not {device}; "
                    "use bf16 on others, int8 on a processor"
                )
            return precision
        case _:
            raise EncoderUnavailable(
                f"precision {precision!r}: unknown; use {', '.join(get_args(Precision))}"
            )
