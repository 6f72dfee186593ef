"""OpenVINO and NNCF, imported so that they tell nobody about it.

Both report each import and conversion to Google Analytics through a package of their own, openvino_telemetry,
unless it cannot be imported. What runs in a hospital's network asks nobody's leave and tells nobody.
"""

import sys
from importlib.util import find_spec
from typing import Any

EXTRA = "pip install 'medsiglip-search[openvino]'"
"""What installs both."""

WHAT_IT_BRINGS = "with OpenVINO a processor embeds pictures 1.3 to 2.2 times as fast"


def is_installed() -> bool:
    return find_spec("openvino") is not None and find_spec("nncf") is not None


def openvino() -> Any:
    """Return the package openvino."""
    _silence()
    import openvino

    return openvino


def nncf() -> Any:
    """Return the package nncf."""
    _silence()
    import nncf

    return nncf


def fold_constants(model: Any) -> None:
    """Compute what of a model of OpenVINO depends on constants alone."""
    _silence()
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(model)


def _silence() -> None:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # so an import of it fails
