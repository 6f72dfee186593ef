"""What FAISS does: the only module that imports it.

`FaissScan` compares every row. The stages are built over the base's float16 rows, numbered by their places,
and find candidates that are scored exactly afterwards.
"""

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, BinaryIO, ClassVar

import faiss
import numpy as np

from medsiglip_search.errors import IndexUnavailable
from medsiglip_search.index.files import Write
from medsiglip_search.index.scan import SUMMATION

_LARGEST = 127  # of 8 bits with a sign
_AT_ONCE = 1 << 15  # rows that are turned to float32 at a time


class FaissScan:
    """Compares queries with float16 rows one after the other, on all threads; implements `Scan`.

    The rows stay where they are: FAISS gets to see the memory that a file is mapped into.
    """

    error = SUMMATION

    def __init__(self) -> None:
        self._parts: list[tuple[int, faiss.IndexScalarQuantizer, np.ndarray]] = []

    def add(self, first: int, rows: np.ndarray) -> None:
        """Take in rows, (n, D) float16, whose places begin at `first`."""
        bounds = np.linspace(0, len(rows), _threads()[1] + 1).astype(int).tolist()
        for start, end in pairwise(bounds):
            if start < end:
                self._parts.append((first + start, _in_place(rows[start:end]), rows[start:end]))

    def up_to(self, end: int) -> "FaissScan":
        """Return a scan of the rows at places below `end`, which were added together; none is moved."""
        scan = FaissScan()
        scan._parts = [part for part in self._parts if part[0] < end]
        return scan

    def near(
        self, queries: np.ndarray, count: int, member: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and places as `Scan` says."""

        def best(part: tuple[int, faiss.IndexScalarQuantizer, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
            first, codes, _ = part
            found = codes.search(queries, min(count, codes.ntotal), params=_within(part, member))
            return found[0], np.where(found[1] < 0, -1, found[1] + first)

        parts = list(_threads()[0].map(best, self._parts))
        return _best_of(parts, count)

    def above(self, query: np.ndarray, cut: float, member: np.ndarray | None) -> np.ndarray:
        """Return places as `Scan` says."""

        def found(part: tuple[int, faiss.IndexScalarQuantizer, np.ndarray]) -> np.ndarray:
            first, codes, _ = part
            return codes.range_search(query[None], cut, params=_within(part, member))[2] + first

        return np.concatenate(list(_threads()[0].map(found, self._parts)))


class Int8Stage:
    """Compares every row in 8 bits: half the bytes of float16, and so nearly half the time.

    Codes say how far a row is from the mean of all (what a query has in common with the mean, it has with
    every row), in steps that each dimension has of its own. The query takes the steps in; then it is rounded
    to 8 bits too, for FAISS multiplies these codes as whole numbers.
    """

    kind: ClassVar = "int8"
    looks_everywhere: ClassVar = True
    efforts = (0,)

    def __init__(self, codes: faiss.IndexScalarQuantizer, steps: np.ndarray) -> None:
        """steps: (D,) float32, what one of a code is worth in each dimension."""
        self._codes = codes
        self._steps = steps

    @classmethod
    def build(cls, base: np.ndarray) -> "Int8Stage":
        """Return the stage of (B, D) float16 rows."""
        mean = np.mean([block.mean(axis=0) for block in _blocks(base)], axis=0)
        largest = np.max([np.abs(block - mean).max(axis=0) for block in _blocks(base)], axis=0)
        steps = np.maximum(largest / _LARGEST, np.finfo(np.float32).tiny)
        codes = faiss.IndexScalarQuantizer(
            base.shape[1], faiss.ScalarQuantizer.QT_8bit_direct_signed, faiss.METRIC_INNER_PRODUCT
        )
        for block in _blocks(base):
            codes.add(np.rint((block - mean) / steps))
        return cls(codes, steps)

    @classmethod
    def load(cls, note: Mapping[str, Any], file: BinaryIO) -> "Int8Stage":
        """Return a stage that was saved. Raises RuntimeError."""
        return cls(_read(file), np.array(note["steps"], np.float32))

    def saved(self) -> tuple[Mapping[str, Any], Write]:
        """Return what `load` takes."""
        return {"steps": self._steps.tolist()}, _write(self._codes)

    @property
    def size_bytes(self) -> int:
        return self._codes.ntotal * self._codes.code_size

    def candidates(
        self, queries: np.ndarray, count: int, effort: int, member: np.ndarray | None
    ) -> np.ndarray:
        """Return likely places as `FirstStage` says."""
        asked = queries * self._steps
        asked = np.rint(asked * (_LARGEST / np.abs(asked).max(axis=1, keepdims=True)))
        chosen = None if member is None else _bitmap(member)
        pool, threads = _threads()
        bounds = np.linspace(0, self._codes.ntotal, threads + 1).astype(int).tolist()

        def scan(low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
            inside: faiss.IDSelector = faiss.IDSelectorRange(low, high)
            both = inside if chosen is None else faiss.IDSelectorAnd(inside, chosen)
            return self._codes.search(asked, count, params=_parameters(faiss.SearchParameters, both))

        return _best_of(list(pool.map(scan, bounds[:-1], bounds[1:])), count)[1]


class IvfStage:
    """Looks at the lists of rows around the nearest centroids, in one bit for each dimension (RaBitQ).

    RaBitQ (arXiv 2405.12497) needs no training beyond the centroids.
    """

    kind: ClassVar = "ivf"
    looks_everywhere: ClassVar = False

    def __init__(self, lists: faiss.IndexIVFRaBitQ) -> None:
        self._lists = lists
        self._sizes = np.array([lists.get_list_size(number) for number in range(lists.nlist)])
        self._list_of = np.empty(lists.ntotal, np.int32)
        for number in np.flatnonzero(self._sizes).tolist():
            ids = faiss.rev_swig_ptr(lists.invlists.get_ids(number), int(self._sizes[number]))
            self._list_of[ids] = number
        self._centroids = lists.quantizer.reconstruct_n(0, lists.nlist)
        # Rows to look at: what lies in so many lists of middling size.
        average = lists.ntotal / lists.nlist
        self.efforts = tuple(math.ceil(average * number) for number in (2, 4, 8, 16, 32, 64, 128, 256, 512))

    @classmethod
    def build(cls, base: np.ndarray) -> "IvfStage":
        """Return the stage of (B, D) float16 rows."""
        size, dim = base.shape
        count = max(1, min(8192, round(4 * math.sqrt(size)), size // 8))
        quantizer = faiss.IndexFlatIP(dim)
        clustering = faiss.Clustering(dim, count)
        clustering.spherical = True
        clustering.niter = 5  # more hardly move the centroids
        clustering.min_points_per_centroid = 1  # or FAISS warns of small galleries on stderr
        chosen = np.sort(np.random.default_rng(0).permutation(size)[: 40 * count])
        clustering.train(base[chosen].astype(np.float32), quantizer)
        lists = faiss.IndexIVFRaBitQ(quantizer, dim, count, faiss.METRIC_INNER_PRODUCT)
        lists.train(base[chosen[: 4 * count]].astype(np.float32))
        for block in _blocks(base):
            lists.add(block)
        return cls(lists)

    @classmethod
    def load(cls, note: Mapping[str, Any], file: BinaryIO) -> "IvfStage":
        """Return a stage that was saved. Raises RuntimeError."""
        return cls(_read(file))

    def saved(self) -> tuple[Mapping[str, Any], Write]:
        """Return what `load` takes."""
        return {"lists": self._lists.nlist}, _write(self._lists)

    @property
    def size_bytes(self) -> int:
        codes = self._lists.ntotal * (self._lists.code_size + 8)
        return codes + self._centroids.nbytes + self._list_of.nbytes

    def candidates(
        self, queries: np.ndarray, count: int, effort: int, member: np.ndarray | None
    ) -> np.ndarray:
        """Return likely places as `FirstStage` says."""
        selector = None if member is None else _bitmap(member)
        parameters = _parameters(
            faiss.IVFRaBitQSearchParameters,
            selector,
            nprobe=self._lists_for(queries, effort, member),
            qb=self._lists.qb,
        )
        return self._lists.search(queries, count, params=parameters)[1]

    def _lists_for(self, queries: np.ndarray, effort: int, member: np.ndarray | None) -> int:
        """Return how many lists to look at so that each query meets `effort` rows that may be answered."""
        if member is None:
            return min(self._lists.nlist, math.ceil(effort / self._sizes.mean()))
        # A filter can leave nothing in the lists next to the query, "CT" for one about chest films.
        allowed = np.bincount(self._list_of[member], minlength=self._lists.nlist)
        nearest = np.argsort(-(queries @ self._centroids.T), axis=1, kind="stable")
        met = np.cumsum(allowed[nearest], axis=1)
        needed = (met < min(effort, int(allowed.sum()))).sum(axis=1).max() + 1
        return int(min(self._lists.nlist, needed))


class HnswStage:
    """Follows a graph of near rows (HNSW), in 8 bits."""

    kind: ClassVar = "hnsw"
    looks_everywhere: ClassVar = False
    efforts = (16, 32, 64, 128, 256, 512, 1024)

    _LINKS, _BREADTH = 32, 80

    def __init__(self, graph: faiss.IndexHNSWSQ) -> None:
        self._graph = graph

    @classmethod
    def build(cls, base: np.ndarray) -> "HnswStage":
        """Return the stage of (B, D) float16 rows."""
        graph = faiss.IndexHNSWSQ(
            base.shape[1], faiss.ScalarQuantizer.QT_8bit, cls._LINKS, faiss.METRIC_INNER_PRODUCT
        )
        graph.hnsw.efConstruction = cls._BREADTH
        chosen = np.sort(np.random.default_rng(0).permutation(len(base))[:_AT_ONCE])
        graph.train(base[chosen].astype(np.float32))
        for block in _blocks(base):
            graph.add(block)
        return cls(graph)

    @classmethod
    def load(cls, note: Mapping[str, Any], file: BinaryIO) -> "HnswStage":
        """Return a stage that was saved. Raises RuntimeError."""
        return cls(_read(file))

    def saved(self) -> tuple[Mapping[str, Any], Write]:
        """Return what `load` takes."""
        return {"links": self._LINKS}, _write(self._graph)

    @property
    def size_bytes(self) -> int:
        links = 4 * self._graph.hnsw.neighbors.size()
        return self._graph.ntotal * (self._graph.d + 8) + links

    def candidates(
        self, queries: np.ndarray, count: int, effort: int, member: np.ndarray | None
    ) -> np.ndarray:
        """Return likely places as `FirstStage` says."""
        selector = None if member is None else _bitmap(member)
        parameters = _parameters(faiss.SearchParametersHNSW, selector, efSearch=max(effort, count))
        return self._graph.search(queries, count, params=parameters)[1]


class GraphStage:
    """Follows a graph of near rows on a GPU (CAGRA), in float16; FAISS must have been built with cuVS."""

    kind: ClassVar = "graph"
    looks_everywhere: ClassVar = False
    efforts = (64, 128, 256, 512)

    _LINKS = 32

    def __init__(self, graph: Any) -> None:
        """graph: a GpuIndexCagra; it orders unit rows by distance, as inner products do."""
        self._graph = graph

    @classmethod
    def build(cls, base: np.ndarray) -> "GraphStage":
        """Return the stage of (B, D) float16 rows. Raises IndexUnavailable."""
        graph = _new_cagra(base.shape[1], cls._LINKS)
        graph.train(base, numeric_type=faiss.Float16)
        return cls(graph)

    @classmethod
    def load(cls, note: Mapping[str, Any], file: BinaryIO) -> "GraphStage":
        """Return a stage that was saved. Raises IndexUnavailable, RuntimeError."""
        graph = _new_cagra(note["dim"], note["links"])
        graph.copyFrom_ex(_read(file), faiss.Float16)
        return cls(graph)

    def saved(self) -> tuple[Mapping[str, Any], Write]:
        """Return what `load` takes."""

        def write(path: os.PathLike[str]) -> None:
            on_cpu = faiss.IndexHNSWCagra()
            on_cpu.base_level_only = True
            on_cpu.set_numeric_type(faiss.Float16)
            self._graph.copyTo(on_cpu)
            faiss.write_index(on_cpu, os.fspath(path))

        return {"dim": self._graph.d, "links": self._LINKS}, write

    @property
    def size_bytes(self) -> int:
        return self._graph.ntotal * (2 * self._graph.d + 4 * self._LINKS)

    def candidates(
        self, queries: np.ndarray, count: int, effort: int, member: np.ndarray | None
    ) -> np.ndarray:
        """Return likely places as `FirstStage` says."""
        selector = None if member is None else _bitmap(member)
        breadth = 32 * math.ceil(max(effort, count) / 32)  # what cuVS takes
        parameters = _parameters(faiss.SearchParametersCagra, selector, itopk_size=breadth)
        found = self._graph.search(
            queries.astype(np.float16), count, params=parameters, numeric_type=faiss.Float16
        )
        return found[1]


STAGES: Mapping[str, type[Int8Stage | IvfStage | HnswStage | GraphStage]] = {
    stage.kind: stage for stage in (Int8Stage, IvfStage, HnswStage, GraphStage)
}
"""The first stages by their names."""


@functools.cache
def honours_filters(kind: str) -> bool:
    """Tell whether this build of FAISS, on this machine, leaves out the rows that a filter leaves out.

    Classic GPU builds take a filter and do not look at it, without a word: so it is tried.
    """
    rows = np.random.default_rng(0).standard_normal((512, 64), np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    member = np.zeros(len(rows), bool)
    member[1::3] = True
    stage = STAGES[kind].build(rows.astype(np.float16))
    found = stage.candidates(rows[:8], 10, stage.efforts[-1], member)
    return bool((found >= 0).any() and member[found[found >= 0]].all())


def _new_cagra(dim: int, links: int) -> Any:
    if not hasattr(faiss, "GpuIndexCagra") or not faiss.get_num_gpus():
        raise IndexUnavailable(
            "the graph index needs an NVIDIA GPU and a FAISS built with cuVS; install faiss-gpu-cuvs in "
            "place of faiss-gpu, or use --index hnsw"
        )
    config = faiss.GpuIndexCagraConfig()
    config.graph_degree = links
    config.intermediate_graph_degree = 2 * links
    return faiss.GpuIndexCagra(faiss.StandardGpuResources(), dim, faiss.METRIC_L2, config)


@functools.cache
def _threads() -> tuple[ThreadPoolExecutor, int]:
    """Return a pool with a thread for each processor, and how many they are.

    FAISS scans for one query on one thread, so each is given a part of the rows.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(count, "faiss", faiss.omp_set_num_threads, (1,)), count


def _in_place(rows: np.ndarray) -> faiss.IndexScalarQuantizer:
    """Return an index of (n, D) float16 rows that reads them where they are; they must live as long as it.

    Where this build of FAISS does not have what that takes, they are copied.
    """
    codes = faiss.IndexScalarQuantizer(
        rows.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    memory = rows.reshape(-1).view(np.uint8)
    if _can_see_memory():
        _show(codes.codes, memory)
    else:
        codes.codes.resize(memory.nbytes)
        faiss.rev_swig_ptr(codes.codes.data(), memory.nbytes)[:] = memory
    codes.ntotal = len(rows)
    return codes


def _show(vector: Any, memory: np.ndarray) -> None:
    # What `MaybeOwnedVector::create_view` sets; that function itself takes no memory from Python.
    address = faiss.swig_ptr(memory)
    vector.is_owned = False
    vector.view_data = vector.c_ptr = address
    vector.view_size = vector.c_size = memory.nbytes


@functools.cache
def _can_see_memory() -> bool:
    """Tell whether a vector of this build of FAISS can be a view of memory that is not its own."""
    memory = np.arange(64, dtype=np.uint8)
    vector = faiss.IndexScalarQuantizer(32, faiss.ScalarQuantizer.QT_fp16).codes
    fields = ("is_owned", "view_data", "view_size", "c_ptr", "c_size")
    if not all(hasattr(vector, field) for field in fields):
        return False
    _show(vector, memory)
    return vector.size() == 64 and bool((faiss.rev_swig_ptr(vector.data(), 64) == memory).all())


def _within(part: tuple[int, Any, np.ndarray], member: np.ndarray | None) -> Any:
    """Return what restricts the search of a part to the members of all rows."""
    if member is None:
        return None
    first, codes, _ = part
    return faiss.SearchParameters(sel=_bitmap(member[first : first + codes.ntotal]))


def _best_of(parts: Sequence[tuple[np.ndarray, np.ndarray]], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the best of several answers, each scores and places (-1 for none), best first: (Q, count)."""
    scores, places = (np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True))
    scores[places < 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :count]
    return np.take_along_axis(scores, order, 1), np.take_along_axis(places, order, 1)


def _blocks(base: np.ndarray) -> Iterator[np.ndarray]:
    """Yield all rows as float32, some at a time."""
    for start in range(0, len(base), _AT_ONCE):
        yield base[start : start + _AT_ONCE].astype(np.float32)


def _bitmap(member: np.ndarray) -> faiss.IDSelector:
    # The selector keeps the array alive.
    return faiss.IDSelectorBitmap(np.packbits(member, bitorder="little"))


def _parameters(kind: Callable[..., Any], selector: faiss.IDSelector | None, **values: int) -> Any:
    return kind(**values) if selector is None else kind(sel=selector, **values)


def _read(file: BinaryIO) -> Any:
    return faiss.read_index(faiss.PyCallbackIOReader(file.read, 1 << 22))


def _write(index: faiss.Index) -> Write:
    return lambda path: faiss.write_index(index, os.fspath(path))
