"""OpenVINO and NNCF, imported so that they tell nobody about it.

Both report each import and conversion to Google Analytics through a package of their own, openvino_telemetry,
unless it cannot be imported. What runs in a hospital's network asks nobody's leave and tells nobody.
"""

import sys
import threading
from functools import cache
from importlib.util import find_spec
from typing import Any

EXTRA = "pip install 'medsiglip-search[openvino]'"
"""What installs both."""

WHAT_IT_BRINGS = "with OpenVINO a processor embeds pictures 1.3 to 2.3 times as fast"

_making_core = threading.Lock()


def is_installed() -> bool:
    return find_spec("openvino") is not None and find_spec("nncf") is not None


def openvino() -> Any:
    """Return the package openvino."""
    _silence()
    import openvino

    return openvino


def core() -> Any:
    """Return the one openvino.Core of this process, which lives as long as the process does.

    Each core gives its thread a signal stack and gives back the one before when it goes. Of two that go in
    the order in which they came, the second gives back what the first has freed, and the next Ctrl-C is a
    segmentation fault (OpenVINO 2026.4).
    """
    with _making_core:
        return _core()


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


@cache
def _core() -> Any:
    return openvino().Core()


def _silence() -> None:
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # so an import of it fails
