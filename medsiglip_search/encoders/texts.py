"""Texts of any length to embeddings: too long ones in pieces, and none twice."""

import logging
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

logger = logging.getLogger(__name__)

KEPT = 4096
"""Texts whose embeddings are kept, the last that were asked for: 19 MB of MedSigLIP's."""

CountTokens = Callable[[Sequence[str]], list[int]]
"""How many tokens each text has, with those that end it and without a limit."""

EmbedTexts = Callable[[Sequence[str]], np.ndarray]
"""(N, D) float32 embeddings, each row of L2 norm 1, of texts none of which is too long."""

_SENTENCE_END = re.compile(r"(?<=[.!?;:])\s+|\n+")


class TextEmbedder:
    """Embeds texts with a tower that takes at most `most_tokens`. For any thread."""

    def __init__(self, count_tokens: CountTokens, embed: EmbedTexts, most_tokens: int, dim: int) -> None:
        self._count = count_tokens
        self._embed = embed
        self._most = most_tokens
        self._dim = dim
        self._known = _Recent(KEPT)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Return (N, D) float32 embeddings, each row of L2 norm 1.

        A text of too many tokens is taken apart by sentences, a longer sentence by words, and the embeddings
        of the parts are averaged by their tokens; a warning is logged.
        """
        if isinstance(texts, str):
            raise TypeError("texts: a list of texts, not one text")
        # Half of a pair of surrogates is no text, and no tokenizer takes it.
        texts = [text.encode("utf-8", "replace").decode() for text in texts]
        known = {text: row for text in dict.fromkeys(texts) if (row := self._known.get(text)) is not None}
        if new := [text for text in dict.fromkeys(texts) if text not in known]:
            found = dict(zip(new, self._averaged(new), strict=True))
            self._known.add(found)
            known |= found
        return np.stack([known[text] for text in texts]) if texts else np.empty((0, self._dim), np.float32)

    def _averaged(self, texts: Sequence[str]) -> Iterator[np.ndarray]:
        """Yield the embedding of each text, all parts of all texts embedded at once."""
        counts = self._count(texts)
        parts = [
            [text] if count <= self._most else list(self._parts(text)) or [text]
            for text, count in zip(texts, counts, strict=True)
        ]
        if long := sum(count > self._most for count in counts):
            # The text itself stays out of the log: it can name a patient.
            logger.warning(
                "%d of %d texts have more than %d tokens; they were taken in parts, and the parts averaged",
                long,
                len(texts),
                self._most,
            )
        distinct = list(dict.fromkeys(part for each in parts for part in each))
        rows = dict(zip(distinct, self._embed(distinct), strict=True))
        for each in parts:
            if len(each) == 1:
                yield rows[each[0]]
            else:
                mean = np.average([rows[part] for part in each], axis=0, weights=self._count(each))
                yield (mean / np.linalg.norm(mean)).astype(np.float32)

    def _parts(self, text: str) -> Iterator[str]:
        """Yield the parts of a text that is too long, each as many whole sentences as fit."""
        fitting: list[str] = []
        for sentence in self._fitting_pieces(text):
            if fitting and self._is_too_long(" ".join([*fitting, sentence])):
                yield " ".join(fitting)
                fitting = []
            fitting.append(sentence)
        if fitting:
            yield " ".join(fitting)

    def _fitting_pieces(self, text: str) -> Iterable[str]:
        """Yield sentences, and pieces of those that are too long themselves."""
        for sentence in _SENTENCE_END.split(text):
            if sentence.strip():
                yield from self._halved(sentence.strip())

    def _halved(self, piece: str) -> Iterator[str]:
        """Yield the piece if it fits, else what its halves come to, cut between words if possible."""
        if len(piece) < 2 or not self._is_too_long(piece):
            yield piece
            return
        middle = len(piece) // 2
        space = piece.rfind(" ", 1, middle + 1)
        cut = space if space > 0 else middle
        for half in (piece[:cut].strip(), piece[cut:].strip()):
            if half:
                yield from self._halved(half)

    def _is_too_long(self, text: str) -> bool:
        return self._count([text])[0] > self._most


class _Recent:
    """The embeddings of the texts that were asked for last, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rows: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, text: str) -> np.ndarray | None:
        with self._lock:
            if text in self._rows:
                self._rows.move_to_end(text)
            return self._rows.get(text)

    def add(self, rows: dict[str, np.ndarray]) -> None:
        with self._lock:
            # Copies: a row of a batch would keep the batch.
            self._rows |= {text: row.copy() for text, row in rows.items()}
            while len(self._rows) > self._most:
                self._rows.popitem(last=False)
