"""A second way to run a network, without its weights a second time."""

import copy
from itertools import chain
from typing import TypeVar

from torch import nn

M = TypeVar("M", bound=nn.Module)


def sharing_weights(module: M) -> M:
    """Return a module with the same weights, whose structure and settings can be changed by themselves."""
    return copy.deepcopy(module, {id(one): one for one in chain(module.parameters(), module.buffers())})
