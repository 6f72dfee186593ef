"""Slices in the order in which they lie in the body."""

from galleries import instance

from medsiglip_search.volumes import sorted_slices


def order(*instances):
    return [(one.uri, one.frame) for one in sorted_slices(instances)]


def test_slices_are_sorted_by_position_and_not_by_name_or_frame():
    slices = [
        instance("1.dcm", position_mm=30.0),
        instance("2.dcm", position_mm=-10.5),
        instance("3.dcm", frame=1, position_mm=-10.0),
        instance("3.dcm", frame=0, position_mm=12.0),
    ]
    assert order(*slices) == [("2.dcm", 0), ("3.dcm", 1), ("3.dcm", 0), ("1.dcm", 0)]


def test_slices_at_one_position_are_sorted_by_name_and_frame():
    slices = [
        instance("b", 1, position_mm=0.0),
        instance("b", position_mm=-0.0),
        instance("a", 7, position_mm=0.0),
    ]
    assert order(*slices) == [("a", 7), ("b", 0), ("b", 1)]


def test_without_positions_names_are_sorted_as_people_count():
    names = ["IM10", "IM2", "IM1/b", "im1", "IM1", "IM010", "", "7", "IM" + "9" * 5000]
    assert [uri for uri, _ in order(*map(instance, names))] == [
        "", "7", "IM1", "IM1/b", "IM2", "IM010", "IM10", "IM" + "9" * 5000, "im1",
    ]  # fmt: skip


def test_frames_of_several_loops_are_not_mixed():
    loops = [instance("2", frame) for frame in (1, 0)] + [instance("10", 0), instance("1", 0)]
    assert order(*loops) == [("1", 0), ("2", 0), ("2", 1), ("10", 0)]


def test_slices_without_a_position_come_last():
    slices = [instance("a"), instance("b", position_mm=1e9), instance("c", position_mm=0.0)]
    assert order(*slices) == [("c", 0), ("b", 0), ("a", 0)]
