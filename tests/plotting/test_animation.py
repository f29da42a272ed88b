"""The filters' animation."""

import shutil

import numpy as np
import pytest
from cases import image_solver
from PIL import Image

from convnet import Callback, FilterAnimation
from convnet.plotting.animation import CAPTION, MARGIN

# Labels that mean nothing, and few of them: there is nothing to learn, and the Solver says so.
pytestmark = pytest.mark.filterwarnings("ignore::convnet.ConvnetWarning")


def frames_of(path):
    with Image.open(path) as image:
        frames = []
        for index in range(image.n_frames):
            image.seek(index)
            frames.append((np.asarray(image.convert("RGB")), image.info["duration"]))
        return frames, image.info.get("loop")


@pytest.mark.parametrize("channels", [1, 3])
def test_filter_animation_shows_the_filters_from_first_to_last(rng, tmp_path, channels):
    path = tmp_path / "filters.gif"
    solver = image_solver(rng, 4, [FilterAnimation(path, frames=5)], channels=channels, rate=1.0)
    solver.restore_best = False
    weights = [solver.model.params["conv1.weight"].copy()]
    solver.train()
    frames, loop = frames_of(path)
    assert loop == 0
    assert 4 <= len(frames) <= 6
    assert frames[-1][1] >= 2000
    assert all(duration == 100 for _, duration in frames[:-1])
    # Five filters of 3 x 3 on a grid of 2 x 3 with lines between: a sheet of 7 x 11.
    weights.append(solver.model.params["conv1.weight"])
    zoom, expected = 376 // 11, []
    for (pixels, _), weight in zip((frames[0], frames[-1]), weights, strict=True):
        assert pixels.shape == (2 * MARGIN + CAPTION + 7 * zoom, 2 * MARGIN + 11 * zoom, 3)
        for edge in (pixels[:MARGIN], pixels[-MARGIN:], pixels[:, :MARGIN], pixels[:, -MARGIN:]):
            assert (edge > 240).all()
        top, left = MARGIN + CAPTION, MARGIN
        first = pixels[top : top + 3 * zoom : zoom, left : left + 3 * zoom : zoom].astype(float)
        tile = weight[0].transpose(1, 2, 0) if channels == 3 else weight[0, 0][:, :, None]
        low, high = weight[0].min(), weight[0].max()
        expected.append(np.broadcast_to(255 * (tile - low) / (high - low), first.shape))
        # GIF has 256 colours a frame, so that coloured filters are near, not equal.
        np.testing.assert_allclose(first, expected[-1], atol=12)
    assert np.abs(expected[0] - expected[1]).max() > 30  # the frames of one would not pass as the other's


def test_filter_animation_leaves_divergence_to_the_solver(rng, tmp_path):
    solver = image_solver(rng, 3, [FilterAnimation(tmp_path / "a.gif")], rate=1e38)
    with pytest.raises(FloatingPointError, match="try a smaller learning rate"):
        solver.train()
    assert (tmp_path / "a.gif").exists()


def test_filter_animation_takes_no_frame_twice(rng, tmp_path):
    solver = image_solver(rng, 2, [FilterAnimation(tmp_path / "a.gif", frames=3)])
    solver.train()
    before = (tmp_path / "a.gif").read_bytes()
    solver.train()
    assert (tmp_path / "a.gif").read_bytes() == before


def test_filter_animation_is_written_while_training_goes_on(rng, tmp_path):
    path, sizes = tmp_path / "filters.gif", []

    class Look(FilterAnimation):
        def on_iteration_end(self, solver):
            super().on_iteration_end(solver)
            sizes.append(len(frames_of(path)[0]))

    image_solver(rng, 3, [Look(path)]).train()
    assert sizes[0] == 1
    assert sizes[-1] > sizes[3] > 1


def test_filter_animation_leaves_out_frames_to_stay_below_its_size(rng, tmp_path):
    full, small = tmp_path / "full.gif", tmp_path / "small.gif"
    image_solver(np.random.default_rng(0), 20, [FilterAnimation(full)]).train()
    limit = full.stat().st_size // 2
    image_solver(np.random.default_rng(0), 20, [FilterAnimation(small, max_bytes=limit)]).train()
    assert small.stat().st_size <= limit
    (all_frames, _), (frames, _) = frames_of(full), frames_of(small)
    assert 2 < len(frames) < len(all_frames)
    for index in (0, -1):
        np.testing.assert_array_equal(frames[index][0], all_frames[index][0])


def test_filter_animation_says_at_once_what_cannot_be(rng, tmp_path):
    solver = image_solver(rng, 1, [FilterAnimation(tmp_path / "no" / "such.gif")])
    with pytest.raises(FileNotFoundError, match="expected a folder"):
        solver.train()
    assert solver.iteration == 0
    solver = image_solver(rng, 1, [FilterAnimation(tmp_path / "a.gif", layer="conv2")])
    with pytest.raises(ValueError, match="expected a model with a convolution 'conv2'"):
        solver.train()


def test_filter_animation_that_cannot_be_written_any_more_is_a_warning(rng, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()

    class Remove(Callback):
        def on_iteration_end(self, solver):
            if solver.iteration == 1:
                shutil.rmtree(folder)

    solver = image_solver(rng, 2, [FilterAnimation(folder / "a.gif"), Remove()])
    with pytest.warns(
        UserWarning, match=r"a\.gif was not written, and training goes on: .*expected a folder"
    ) as caught:
        solver.train()
    assert len(caught) == 3  # the ends of two epochs, and of the training
    assert solver.epoch == 2
