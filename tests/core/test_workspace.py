"""Memory that a training step uses again."""

import pickle

import numpy as np
import pytest

from convnet import Workspace
from convnet.core.workspace import MOST_LAYOUTS, Layout


def views(arrays, workspace=None):
    """Return the arrays of a single stage in a workspace."""
    (memory,) = (Workspace() if workspace is None else workspace).memories(Layout([arrays], 1))
    return memory


def test_arrays_come_by_stage_and_name_with_the_number_of_threads():
    stages = [{"y": ((3, 5), np.float32), "scratch": ((7,), np.uint8)}, {}, {"y": ((2,), np.float64)}]
    memories = Workspace().memories(Layout(stages, 3))
    assert [memory.threads for memory in memories] == [3, 3, 3]
    for memory, specs in zip(memories, stages, strict=True):
        assert {name: (array.shape, array.dtype) for name, array in memory.items()} == specs


def test_the_next_call_gives_the_same_memory():
    workspace = Workspace()
    layout = Layout([{"a": ((3, 5), np.float32)}, {"b": ((7,), np.float64)}], 1)
    first, again = workspace.memories(layout), workspace.memories(layout)
    assert first[0]["a"] is again[0]["a"]
    other = workspace.memories(Layout([{"a": ((2, 5), np.float32)}, {"b": ((), np.float64)}], 1))
    assert np.shares_memory(first[0]["a"], other[0]["a"])
    assert np.shares_memory(first[1]["b"], other[1]["b"])
    assert other[1]["b"].shape == ()


def test_a_larger_layout_makes_new_memory_which_a_smaller_one_uses_again():
    workspace = Workspace()
    small, large = (Layout([{"y": ((size,), np.float32)}], 1) for size in (15, 1500))
    first = workspace.memories(small)[0]["y"]
    grown = workspace.memories(large)[0]["y"]
    assert not np.shares_memory(first, grown)
    assert np.shares_memory(workspace.memories(small)[0]["y"], grown)
    assert workspace.memories(large)[0]["y"] is grown
    first[...] = 1  # still whole for whoever holds it
    assert first.sum() == 15


def test_many_layouts_do_not_pile_up():
    workspace = Workspace()
    block = workspace.memories(Layout([{"y": ((1000,), np.uint8)}], 1))[0]["y"]
    for size in range(1, 3 * MOST_LAYOUTS):
        assert np.shares_memory(workspace.memories(Layout([{"y": ((size,), np.uint8)}], 1))[0]["y"], block)
    assert len(workspace._memories) <= MOST_LAYOUTS


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int32, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(0, 4), (1,), (33, 7), (), (2, 3, 5, 7)])
def test_arrays_are_whole_and_start_at_a_cache_line(dtype, shape):
    memory = views({"before": ((5,), np.uint8), "array": (shape, dtype), "after": ((3,), np.float64)})
    for array in memory.values():
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.ctypes.data % 64 == 0 or array.size == 0
    array = memory["array"]
    array[...] = 1
    assert array.sum() == array.size


def test_distinct_arrays_do_not_overlap(rng):
    dtypes = [np.bool_, np.uint8, np.int32, np.float32, np.float64]
    stages = [
        {str(name): (tuple(rng.integers(0, 9, name).tolist()), dtypes[rng.integers(5)]) for name in range(4)}
        for _ in range(6)
    ]
    memories = Workspace().memories(Layout(stages, 1))
    arrays = [array.reshape(-1).view(np.uint8) for memory in memories for array in memory.values()]
    for number, array in enumerate(arrays):
        array[...] = number
    for number, array in enumerate(arrays):
        assert (array == number).all()


def test_sizes_are_of_whole_cache_lines():
    layout = Layout([{"a": ((3, 5), np.float32), "b": ((1,), np.uint8)}, {}, {"c": ((64,), np.uint8)}], 1)
    assert layout.stage_sizes == [128, 0, 64]
    assert layout.size == 192


def test_a_pickled_workspace_is_empty():
    workspace = Workspace()
    views({"y": ((10**6,), np.float64)}, workspace)
    content = pickle.dumps(workspace)
    assert len(content) < 1000
    assert views({"y": ((3,), np.uint8)}, pickle.loads(content))["y"].shape == (3,)


def test_what_a_stage_has_noted_is_forgotten_after_a_call_with_another_layout():
    one, other = (Layout([{"a": ((size,), np.float32)}], 1) for size in (3, 5))
    workspace, kept = Workspace(), []
    for layout in (one, one, other, one, one):
        (memory,) = workspace.memories(layout)
        kept.append("a" in memory.kept)
        memory.kept.add("a")
    assert kept == [False, True, False, False, True]
