"""When a model has begun to say the same thing over and over."""

from collections.abc import Sequence

SHORTEST, LONGEST = 8, 512
"""Tokens of what is repeated; shorter ones are found by their multiples: "a b c" as "a b c a b c a b c"."""

TIMES = 4
"""How often it is said, one directly after the other; lists of findings say things twice or three times."""


def kept(tokens: Sequence[int]) -> int | None:
    """Return how many tokens to keep of an answer that ends in a repetition, None where it does not.

    What is repeated is kept once. To be asked after each token: it looks at the end only.
    """
    for period in range(SHORTEST, min(LONGEST, len(tokens) // TIMES) + 1):
        # The last token alone rules out nearly every period.
        if tokens[-1] != tokens[-1 - period] or not _repeats(tokens[-TIMES * period :], period):
            continue
        tail = tokens[-TIMES * period :]
        once = next(length for length in range(1, period + 1) if _repeats(tail, length))
        return len(tokens) - len(tail) + once
    return None


def _repeats(tokens: Sequence[int], period: int) -> bool:
    return tokens[period:] == tokens[:-period]
