"""URLs as archives: what a store tells becomes entries, and what it keeps back is told."""

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from archives import ColourEncoder, counts, images, make_gallery, rejected, save
from fsspec import AbstractFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from indexer.pipeline import index_archives
from indexer.sources import Entry, bounds, open_source, remote
from medsiglip_search.errors import ArchiveNotFound, Reason, Unreadable


class ByHand(MemoryFileSystem):
    """A store of its own whose answers can be changed.

    more: what it tells beside names and sizes, by name; lost: the names that it fails on.
    """

    protocol = "byhand"
    store: ClassVar[dict[str, Any]]
    pseudo_dirs: ClassVar[list[str]]
    more: ClassVar[dict[str, dict[str, Any]]]
    lost: ClassVar[set[str]]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        path = path.split("byhand://")[-1].split("@")[-1].split("?")[0]
        return "/" + path.strip("/") if path.strip("/") else ""

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self._answer(path)
        listed = super().ls(path, detail=True, **options)
        for one in listed:
            one.pop("created", None)
            one.update(self.more.get(one["name"], {}))
        return listed if detail else [one["name"] for one in listed]

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        self._answer(path)
        return super().cat_file(path, start, end, **options)

    def _answer(self, path: str) -> None:
        if self._strip_protocol(path) in self.lost:
            raise ConnectionResetError(104, "Connection reset by peer: secret")


@pytest.fixture
def store() -> ByHand:
    fsspec.register_implementation("byhand", ByHand, clobber=True)
    ByHand.store, ByHand.pseudo_dirs, ByHand.more, ByHand.lost = {}, [""], {}, set()
    return ByHand(skip_instance_cache=True)


def listed(url: str) -> dict[str, Entry]:
    entries = list(open_source(url).entries())
    assert len({entry.uri for entry in entries}) == len(entries)
    return {entry.uri: entry for entry in entries}


def test_files_are_listed_sorted_within_each_folder(store: ByHand) -> None:
    files = {"b/2.dcm": b"22", "b/10.dcm": b"1", "a.png": b"", "käse 100%.png": b"k", ".hidden/c": b"c"}
    for name, content in files.items():
        store.pipe_file(f"/bucket/p/{name}", content)
    store.pipe_file("/bucket/other/z", b"z")
    entries = listed("byhand://bucket/p/")
    assert list(entries) == [".hidden/c", "a.png", "b/10.dcm", "b/2.dcm", "käse 100%.png"]
    assert {uri: entry.size for uri, entry in entries.items()} == {uri: len(files[uri]) for uri in entries}
    assert {uri: entry.file.content() for uri, entry in entries.items()} == {
        uri: files[uri] for uri in entries
    }
    assert {entry.archive for entry in entries.values()} == {"byhand://bucket/p"}


def test_the_built_in_store_of_fsspec_is_read() -> None:
    system = MemoryFileSystem()
    system.pipe_file("/kept/a/1.dcm", b"one")
    try:
        [entry] = listed("memory://kept").values()
        assert (entry.uri, entry.size, entry.file.content()) == ("a/1.dcm", 3, b"one")
        system.pipe_file("/kept/a/1.dcm", b"two")
        assert listed("memory://kept")["a/1.dcm"].mtime_ns != entry.mtime_ns
    finally:
        system.rm("/kept", recursive=True)


def test_a_url_of_a_local_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "1.png").write_bytes(b"x")
    source = open_source((tmp_path / "a b").as_uri())
    assert source.archive == str(tmp_path / "a b")
    [entry] = source.entries()
    assert entry.file.content() == tmp_path / "a b" / "1.png"


@pytest.mark.parametrize(
    ("url", "archive"),
    [
        ("byhand://me:secret@bucket/p", "byhand://bucket/p"),
        ("byhand://secret@bucket/p/", "byhand://bucket/p"),
        ("byhand://bucket/p?signature=secret#secret", "byhand://bucket/p"),
        ("byhand://me:s@cret@bucket/p", "byhand://bucket/p"),
    ],
)
def test_credentials_are_never_stored_or_told(store: ByHand, url: str, archive: str) -> None:
    store.pipe_file("/bucket/p/a", b"x")
    store.pipe_file("/cret@bucket/p/a", b"x")
    assert open_source(url).archive == archive
    store.lost.add("/bucket/p")
    with pytest.raises(ArchiveNotFound, match="cannot be listed: ConnectionResetError") as error:
        open_source(url)
    assert "secret" not in str(error.value)


def test_an_azure_container_is_part_of_the_name() -> None:
    assert remote._without_secrets("abfs://scans@account.dfs.core.windows.net/p") == (
        "abfs://scans@account.dfs.core.windows.net/p"
    )
    assert remote._without_secrets("abfs://key:secret@account/p") == "abfs://account/p"


@pytest.mark.parametrize("telltale", ["ETag", "LastModified", "updated", "mtime", "generation"])
def test_a_change_is_told_by_whatever_the_store_tells_of_it(store: ByHand, telltale: str) -> None:
    store.pipe_file("/b/a", b"x")
    ByHand.more["/b/a"] = {telltale: "1"}
    first, same = (listed("byhand://b")["a"].mtime_ns for _ in range(2))
    ByHand.more["/b/a"] = {telltale: "2"}
    assert first == same != listed("byhand://b")["a"].mtime_ns


def test_a_file_of_which_nothing_is_told_counts_as_changed_in_each_run(store: ByHand) -> None:
    store.pipe_file("/b/a", b"x")
    source = open_source("byhand://b")
    assert len({entry.mtime_ns for entry in (*source.entries(), *source.entries())}) == 1
    assert listed("byhand://b")["a"].mtime_ns != listed("byhand://b")["a"].mtime_ns


@pytest.mark.parametrize(
    ("told", "problem"),
    [
        ({"type": "link"}, "neither a file nor a folder"),
        ({"size": None}, "its server does not tell its size; copy it to a folder"),
        ({"name": "/b/../etc/passwd"}, "its name leads out of the archive"),
        ({"name": "/etc/passwd"}, "its name leads out of the archive"),
    ],
)
def test_what_must_not_be_read_is_an_entry_with_a_problem(
    store: ByHand, told: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.pipe_file("/b/a", b"x")
    ByHand.more["/b/a"] = told
    monkeypatch.setattr(ByHand, "info", lambda self, path: {"name": path, "type": "file", "size": None})
    [entry] = listed("byhand://b").values()
    assert (entry.problem, entry.size, entry.mtime_ns) == (problem, 0, 0)


def test_a_folder_that_cannot_be_listed_is_an_entry_and_its_files_may_be_there(store: ByHand) -> None:
    for name in ("/b/closed/1", "/b/open/2"):
        store.pipe_file(name, b"x")
    source = open_source("byhand://b")
    store.lost.add("/b/closed")
    assert {entry.uri: entry.problem for entry in source.entries()} == {
        "closed": "cannot be read: ConnectionResetError",
        "open/2": None,
    }
    asked = ("closed/1", "closed/gone", "open/2", "open/gone", "gone/1")
    assert [source.holds(uri) for uri in asked] == [True, True, True, False, False]


class Round(AbstractFileSystem):
    """A web server with `loops`, folders that are the one they lie in; its pages sort themselves by links."""

    protocol = "http"
    asked: ClassVar[list[str]]
    loops: ClassVar[tuple[str, ...]]

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[dict[str, Any]]:
        path = path.rstrip("/")
        self.asked.append(path)
        depth = path.count("/")
        files = ["a.png", "?C=N;O=D", "a.png?sort"] if "x" not in self.loops else [f"{depth}.png"]
        return [
            *({"name": f"{path}/{name}", "type": "file", "size": 1, "mtime": 1} for name in files),
            *({"name": f"{path}/{name}/", "type": "directory", "size": None} for name in self.loops),
        ]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> type[Round]:
    Round.asked = []
    system = Round(skip_instance_cache=True)
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda url, **options: (system, url))
    return Round


def test_a_circle_of_links_ends_and_is_told(web: type[Round]) -> None:
    web.loops = ("l", "m")
    entries = listed("http://host/r")
    told = "its links lead in a circle, or it lies 64 folders deep; index it by its own URL"
    assert {uri: entry.problem for uri, entry in entries.items()} == {
        "a.png": None,
        "l/a.png": None,
        "m/a.png": None,
        **{f"{first}/{second}": told for first in "lm" for second in "lm"},
    }
    assert len(web.asked) == 1 + 7


def test_folders_without_an_end_are_not_followed_for_ever(web: type[Round]) -> None:
    web.loops = ("x",)  # never holds the same
    entries = listed("http://host/r")
    assert len(entries) == remote.MAX_DEPTH + 1
    assert [uri for uri, entry in entries.items() if entry.problem] == ["/".join("x" * remote.MAX_DEPTH)]


def test_links_that_sort_a_web_page_are_no_files(web: type[Round]) -> None:
    web.loops = ()
    assert list(listed("http://host/r")) == ["a.png"]


def test_a_connection_lost_while_reading_costs_that_file(store: ByHand) -> None:
    store.pipe_file("/b/a", b"x")
    entry = listed("byhand://b")["a"]
    store.lost.add("/b/a")
    with pytest.raises(Unreadable, match=r"ConnectionResetError\. The next run tries it again") as error:
        entry.file.content()
    assert error.value.reason is Reason.UNREADABLE
    assert "secret" not in str(error.value)


def test_a_store_that_keeps_failing_is_asked_no_more(store: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        store.pipe_file(f"/b/{name}", b"x")
    entries = listed("byhand://b")
    store.lost.add("/b/a")
    for _ in range(2):
        with pytest.raises(Unreadable, match="ConnectionResetError"):
            entries["a"].file.content()
    assert entries["b"].file.content() == b"x"  # so the failures before are forgiven
    monkeypatch.setattr(remote, "PATIENCE_S", 0.0)
    with pytest.raises(Unreadable, match="ConnectionResetError"):
        entries["a"].file.content()
    with pytest.raises(Unreadable, match="there is no answer"):
        entries["c"].file.content()
    assert open_source("byhand://b").holds("c")


@pytest.mark.parametrize("content", [b"longer than before", b"cut"])
def test_a_file_of_another_size_than_listed_is_not_taken(store: ByHand, content: bytes) -> None:
    store.pipe_file("/b/a", b"before")
    entry = listed("byhand://b")["a"]
    store.pipe_file("/b/a", content)
    with pytest.raises(Unreadable, match="changed while it was read"):
        entry.file.content()


def test_a_file_too_large_for_memory_is_not_asked_for(store: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    store.pipe_file("/b/a", b"12345")
    monkeypatch.setattr(bounds, "MAX_ENCODED_BYTES", 4)
    entry = listed("byhand://b")["a"]
    store.lost.add("/b/a")
    with pytest.raises(Unreadable) as error:
        entry.file.content()
    assert error.value.reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("byhand://absent", "byhand://absent: cannot be listed: no such file or folder; check the URL"),
        ("nothing://a", "nothing://a: no kind of URL that fsspec knows; check its beginning"),
        ("simplecache::byhand://a", "no such archive; give a folder of images, a tar or zip file, or a URL"),
    ],
)
def test_no_archive_is_an_error_that_says_what_to_do(store: ByHand, url: str, message: str) -> None:
    with pytest.raises(ArchiveNotFound, match=message):
        open_source(url)


@pytest.mark.skipif(importlib.util.find_spec("gcsfs") is not None, reason="the package is there")
def test_a_missing_package_is_named() -> None:
    with pytest.raises(ArchiveNotFound, match=r"gs://a: .* needs another package: pip install gcsfs"):
        open_source("gs://me:secret@a")


def test_pictures_are_indexed_from_afar_and_a_lost_connection_removes_none(
    tmp_path: Path, store: ByHand
) -> None:
    picture = save(tmp_path / "a.png").read_bytes()
    for name in ("s/a.png", "t/b.png"):
        store.pipe_file(f"/b/{name}", picture)
        ByHand.more[f"/b/{name}"] = {"ETag": "1"}
    encoder = ColourEncoder()
    gallery = make_gallery(tmp_path / "gallery", encoder)
    assert index_archives(gallery, ["byhand://b"], encoder, workers=1).embedded == 2
    store.lost.add("/b/t")
    report = index_archives(gallery, ["byhand://b"], encoder, workers=1, prune=True)
    assert counts(report) == {"embedded": 0, "unchanged": 1, "replaced": 0, "rejected": {"unreadable": 1}}
    assert rejected(gallery) == {("t", None): "unreadable"}
    assert sorted(images(gallery)) == [("s/a.png", 0), ("t/b.png", 0)]
    store.lost.clear()
    store.rm_file("/b/t/b.png")
    index_archives(gallery, ["byhand://b"], encoder, workers=1, prune=True)
    assert rejected(gallery) == {}
    assert list(images(gallery)) == [("s/a.png", 0)]
