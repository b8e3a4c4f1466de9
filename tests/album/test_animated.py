"""Animations through the path of `nedr FILE`: what they were comes out, without haze and without flicker."""

import drawn_pictures as pictures
import numpy as np
import pytest

from nedr.album import one
from nedr.errors import ImageError
from nedr.inference.dehazer import Dehazer
from nedr.pictures import animation
from nedr.video.temporal import VideoDehazer

FILES = pictures.animations()


@pytest.fixture(scope="module")
def dehazer():
    return Dehazer(method="dcp", threads=1)


@pytest.mark.parametrize("kind", FILES)
def test_an_animation_is_dehazed_as_one_video(kind, dehazer, tmp_path):
    photo = tmp_path / f"moving.{kind.lower()}"
    photo.write_bytes(FILES[kind])
    (job,) = one.plan_jobs([str(photo)], map=True, compare=True)
    haze = one.dehaze_file(job, dehazer, strength=0.8)
    assert (haze.width, haze.height) == (24, 20)
    found, source = (animation.read(path.read_bytes()) for path in (job.result, photo))
    assert (found.format, found.durations, found.loop) == (kind, source.durations, source.loop)
    wanted = list(VideoDehazer(dehazer, strength=0.8)(source))
    for frame, expected in zip(found, wanted, strict=True):
        assert np.abs(frame.astype(int) - expected).mean() < (8 if kind == "GIF" else 3)
    assert next(iter(animation.read(job.compare.read_bytes()))).shape == (20, 50, 3)
    assert animation.read(job.map.read_bytes()).durations[-1] == 120
    assert haze.notes == (("256 colours of its own for each frame, as GIF holds no more",) if kind == "GIF" else ())


def test_strength_0_is_a_copy(dehazer, tmp_path):
    photo = tmp_path / "moving.gif"
    photo.write_bytes(FILES["GIF"])
    (job,) = one.plan_jobs([str(photo)])
    assert one.dehaze_file(job, dehazer, strength=0).notes == ()
    assert job.result.read_bytes() == FILES["GIF"]


def test_a_format_without_animation_is_refused_before_anything_is_written(dehazer, tmp_path):
    photo = tmp_path / "moving.gif"
    photo.write_bytes(FILES["GIF"])
    (job,) = one.plan_jobs([str(photo)], str(tmp_path / "out.jpg"))
    with pytest.raises(ImageError, match="JPEG holds no animation"):
        one.dehaze_file(job, dehazer)
    assert [path.name for path in tmp_path.iterdir()] == ["moving.gif"]
