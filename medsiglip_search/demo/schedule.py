"""The learning rate of both trainings."""

import math


def rate(step: int, steps: int, warm_up: int) -> float:
    """Return the learning rate's factor: a linear rise, then a cosine down to 0."""
    progress = max(0, step - warm_up) / max(1, steps - warm_up)
    return min((step + 1) / warm_up, 0.5 + 0.5 * math.cos(math.pi * progress))
