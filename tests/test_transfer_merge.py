import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from archives import ColourEncoder, colours, make_gallery, save
from galleries import SPEC, gallery_of, instance, meta, rejected, unit
from transfers import EAST, NORTH, contents, rejections, uris

from indexer.pipeline import index_archives
from medsiglip_search.errors import GalleryMismatch, GalleryNotFound, InvalidMetadata
from medsiglip_search.gallery import Gallery
from medsiglip_search.transfer.merging import Merge, merge


def commit(gallery, instances=(), rows=(), rejections=()):
    with gallery.writer() as writer:
        writer.commit(instances, [b"jpeg"] * len(instances), np.reshape(rows, (-1, 2)), rejections)
    return gallery


def shards(tmp_path):
    one = gallery_of(tmp_path / "one", [EAST, NORTH], [instance("a"), instance("both", modality="CT")])
    two = gallery_of(tmp_path / "two", [NORTH, EAST], [instance("b"), instance("both", modality="MR")])
    return one, two


def test_merged_shards_are_what_indexing_both_archives_gives(tmp_path):
    encoder = ColourEncoder()
    folders = [tmp_path / "east", tmp_path / "west"]
    for number, colour in enumerate(colours(8)):
        save(folders[number % 2] / f"{number}.png", colour)
    for folder in folders:
        (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
        index_archives(make_gallery(tmp_path / f"g-{folder.name}", encoder), [str(folder)], encoder)
    both = make_gallery(tmp_path / "both", encoder)
    index_archives(both, [str(folder) for folder in folders], encoder)
    told = []
    merged = merge(
        tmp_path / "merged",
        [tmp_path / "g-east", tmp_path / "g-west"],
        progress=lambda *now: told.append(now),
    )
    assert merged == Merge(rows=8, files=10, already_there=0)
    assert told[-1] == (8, 8, "merged")
    assert contents(tmp_path / "merged") == contents(both)
    assert rejections(tmp_path / "merged") == rejections(both)
    merged_gallery = Gallery.open(tmp_path / "merged")
    thumbnails = {
        one.uri: merged_gallery.thumbnails([one.image_id])[0] for one in merged_gallery.instances(range(1, 9))
    }
    assert thumbnails == {one.uri: both.thumbnails([one.image_id])[0] for one in both.instances(range(1, 9))}
    unchanged = index_archives(merged_gallery, [str(folder) for folder in folders], encoder)
    assert (unchanged.embedded, unchanged.unchanged) == (0, 8)


def test_what_the_target_has_stays_and_is_counted(tmp_path):
    one, two = shards(tmp_path)
    before = one.state, two.state
    assert merge(one.path, [two.path]) == Merge(rows=1, files=1, already_there=1)
    one.refresh()
    assert [(row.uri, row.attributes.modality) for row, _ in contents(one)] == [
        ("a", None),
        ("b", None),
        ("both", "CT"),
    ]
    assert one.select(None).tolist() == [1, 2, 3]
    assert Gallery.open(two.path).state == before[1]
    assert merge(one.path, [two.path, two.path]) == Merge(rows=0, files=0, already_there=4)
    assert Gallery.open(one.path).state == one.state


def test_the_first_of_several_wins(tmp_path):
    one, two = shards(tmp_path)
    assert merge(tmp_path / "new", [two.path, one.path]) == Merge(rows=3, files=3, already_there=1)
    assert [row.attributes.modality for row, _ in contents(tmp_path / "new")] == [None, None, "MR"]


def test_rejections_come_along_and_stay_too(tmp_path):
    one, two = shards(tmp_path)
    commit(one, rejections=[rejected("b", mtime_ns=5), rejected("c")])
    commit(two, [instance("d", 0)], [EAST], [rejected("d", 1), rejected("a"), rejected("c"), rejected("e")])
    # b is rejected here and embedded there, a the other way round.
    assert merge(one.path, [two.path]) == Merge(rows=1, files=2, already_there=4)
    assert uris(one.path) == ["a", "both", "d"]
    assert [(uri, frame) for _, uri, frame, *_ in rejections(one.path)] == [
        ("b", None),
        ("c", None),
        ("d", 1),
        ("e", None),
    ]


def test_frames_of_one_file_stay_together(tmp_path):
    names = [f"{number % 5000}" for number in range(10_000)]
    rows = unit(np.random.default_rng(0).standard_normal((10_000, 2)))
    instances = [instance(name, number // 5000) for number, name in enumerate(names)]
    source = gallery_of(tmp_path / "one", rows, instances)
    assert merge(tmp_path / "new", [source.path]) == Merge(10_000, 5000, 0)
    assert contents(tmp_path / "new") == contents(source)


def test_a_merge_that_was_killed_is_made_good_by_another(tmp_path):
    rows = unit(np.random.default_rng(0).standard_normal((10_000, 2)))
    source = gallery_of(tmp_path / "one", rows)
    commit(source, [instance("last")], [EAST], [rejected("last", 1), rejected("none")])
    program = (
        "import os, sys; from medsiglip_search.transfer.merging import merge\n"
        "merge(sys.argv[1], sys.argv[2:], progress=lambda done, *_: done and os.kill(os.getpid(), 9))"
    )
    killed = subprocess.run([sys.executable, "-c", program, tmp_path / "new", source.path], check=False)
    assert killed.returncode == -signal.SIGKILL
    count = len(Gallery.open(tmp_path / "new"))
    assert 0 < count < 10_000
    assert merge(tmp_path / "new", [source.path]).rows == 10_001 - count
    assert contents(tmp_path / "new") == contents(source)
    assert rejections(tmp_path / "new") == rejections(source)


def test_a_file_with_nothing_but_a_rejected_frame_is_not_there_yet(tmp_path):
    # What a kill between the commits of the two tables leaves.
    one, two = shards(tmp_path)
    commit(one, rejections=[rejected("d", 1)])
    commit(two, [instance("d")], [EAST], [rejected("d", 1)])
    merge(one.path, [two.path])
    assert "d" in uris(one.path)
    assert [uri for _, uri, *_ in rejections(one.path)] == ["d"]


# Identifiers


def test_a_new_gallery_goes_on_with_the_first_one_s_key(tmp_path, caplog):
    caplog.set_level(logging.WARNING, "medsiglip_search")
    one, two = shards(tmp_path)
    merge(tmp_path / "new", [one.path])
    assert Gallery.open(tmp_path / "new").secret_key == one.secret_key
    assert Gallery.open(tmp_path / "new").meta == one.meta
    merge(one.path, [two.path])
    assert caplog.messages == []  # no image has an identifier
    commit(two, [instance("p", patient="00ff")], [EAST])
    merge(one.path, [two.path])
    merge(tmp_path / "new", [one.path])
    assert [message.split(":")[0] for message in caplog.messages] == [str(two.path)]
    assert "made with another key" in caplog.messages[0]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"weights_digest": "cd" * 32}, "embedded with by-hand (weights abababababab, 2 numbers) and with"),
        ({"dim": 3}, "by-hand (weights abababababab, 3 numbers)"),
        ({"spec": replace(SPEC, size=448)}, "pictures were made with size 2 and 448"),
        ({"identifiers": "keep"}, "made with --identifiers pseudonym and keep"),
    ],
)
def test_galleries_of_another_kind_are_refused_before_anything_is_stored(tmp_path, changes, problem):
    one, _ = shards(tmp_path)
    Gallery.create(tmp_path / "other", replace(meta(), **changes))
    with pytest.raises(GalleryMismatch) as raised:
        merge(tmp_path / "new", [one.path, tmp_path / "other"])
    assert problem in str(raised.value)
    assert not os.path.exists(tmp_path / "new")
    with pytest.raises(GalleryNotFound):
        merge(one.path, [tmp_path / "missing"])


def test_an_empty_target_takes_everything(tmp_path):
    one, two = shards(tmp_path)
    Gallery.create(tmp_path / "empty", meta())
    assert merge(tmp_path / "empty", [one.path, two.path]) == Merge(3, 3, 1)


# Sidecar columns


def test_sidecar_columns_are_joined(tmp_path):
    one = gallery_of(tmp_path / "one", [EAST], [instance("a", sidecar={"age": 63, "note": "x"})])
    two = gallery_of(tmp_path / "two", [NORTH], [instance("b", sidecar={"note": 7, "weight": 70.5})])
    merge(one.path, [two.path])
    assert [dict(row.sidecar) for row, _ in contents(one.path)] == [
        {"age": 63, "note": "x", "weight": None},
        {"age": None, "note": "7", "weight": 70.5},
    ]


def test_sidecar_columns_that_do_not_fit_are_refused_before_anything_is_stored(tmp_path):
    one = gallery_of(tmp_path / "one", [EAST], [instance("a", sidecar={"age": 63})])
    text = gallery_of(tmp_path / "two", [NORTH], [instance("b", sidecar={"age": "old"})])
    case = gallery_of(tmp_path / "three", [NORTH], [instance("b", sidecar={"Age": 7})])
    for other, problem in ((text, "'age': text, and the gallery has numbers"), (case, "has it as 'age'")):
        with pytest.raises(InvalidMetadata, match=problem):
            merge(tmp_path / "new", [one.path, other.path])
    plain = gallery_of(tmp_path / "plain", [EAST])
    with pytest.raises(InvalidMetadata, match="'age': text, and the gallery has numbers"):
        merge(tmp_path / "new", [plain.path, one.path, text.path])
    assert not os.path.exists(tmp_path / "new")
