"""Haze is looked for in a few frames, and interpolated between them, never across a cut."""

import numpy as np
import pytest

pytest.importorskip("av", reason="needs the extra [video]")

import footage

from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField
from nedr.pictures.job import Job
from nedr.video import pipeline
from nedr.video.formats import Encoding
from nedr.video.sampling import Sampler

SCENE = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).repeat(4, axis=0).repeat(4, axis=1).astype(np.uint8)


class Eye:
    """Finds t = 0.1 in the first frame that it looks at, 0.2 in the second, and so on."""

    def __init__(self):
        self.looks = 0

    def __call__(self, number):
        self.looks += 1
        lattice, airlight = np.full((4, 6), 0.1 * self.looks, np.float32), np.full(3, 0.1 * self.looks, np.float32)
        return HazeField(lattice=lattice, guide=None, airlight=airlight, density=float(self.looks))


def found(frames, every):
    """How often haze was looked for, and t in each frame; None for anything that is not a frame."""
    eye = Eye()
    fields = Sampler(eye, every)((number, frame) for number, frame in enumerate(frames))
    order, fields = zip(*fields, strict=True)
    assert order == tuple(range(len(frames)))
    return eye.looks, [field and pytest.approx(float(field.lattice.mean()), abs=1e-5) for field in fields]


def test_between_two_looks_haze_changes_evenly():
    looks, t = found([SCENE] * 9, 4)
    assert looks == 3
    assert t == [0.1, 0.125, 0.15, 0.175, 0.2, 0.225, 0.25, 0.275, 0.3]


def test_the_last_look_holds_at_the_end_and_other_items_stay_in_their_place():
    looks, t = found([SCENE, None, SCENE, None, None, SCENE], 4)
    assert looks == 1
    assert t == [0.1, None, 0.1, None, None, 0.1]


def test_every_frame_is_looked_at_if_asked_or_if_all_moves():
    assert found([SCENE] * 3, 1) == (3, [0.1, 0.2, 0.3])
    assert found([np.roll(SCENE, 17 * k, axis=1) for k in range(3)], 4) == (3, [0.1, 0.2, 0.3])


def test_nothing_is_interpolated_across_a_cut():
    looks, t = found([SCENE] * 3 + [255 - SCENE] * 5, 4)
    assert looks == 3
    assert t == [0.1, 0.1, 0.1, 0.2, 0.225, 0.25, 0.275, 0.3]


def test_fewer_looks_flicker_no_more(tmp_path, monkeypatch):
    still = next(footage.panned("temple", (90, 160), 1))
    noise = np.random.default_rng(0).normal(0, 2.5 / 255, (17, *still.shape)).astype(np.float32)
    clip = footage.film(tmp_path / "a.mkv", np.clip(still + noise, 0, 1), codec="ffv1", format="yuv444p", sound=False)
    dehazer, looks, flicker = Dehazer(threads=1), [], []
    look = dehazer.field
    monkeypatch.setattr(dehazer, "field", lambda small, **how: looks.append(small) or look(small, **how))
    for every, expected in ((1, 17), (4, 17 + 5)):
        job = Job(clip, tmp_path / f"{every}.mkv")
        pipeline.dehaze(job, dehazer, encoding=Encoding(codec="ffv1", every=every))
        assert len(looks) == expected
        with footage.av.open(str(job.result)) as made:
            shown = np.stack([footage.shown(frame) for frame in made.decode(video=0)]).astype(np.float32)
        flicker.append(shown[4:].std(axis=0).mean())
    assert flicker[1] <= 1.1 * flicker[0]


def test_a_fade_through_a_file_leaves_the_result_as_steady_as_the_clip(tmp_path):
    scene = next(footage.panned("temple", (90, 160), 1))
    levels = np.concatenate([np.ones(5), np.linspace(1, 0, 12), np.linspace(0, 1, 12)])
    frames = [s * scene for s in levels]
    job = Job(footage.film(tmp_path / "a.mkv", frames, codec="ffv1", format="yuv444p", sound=False), tmp_path / "b.mkv")
    pipeline.dehaze(job, Dehazer(threads=1), encoding=Encoding(codec="ffv1"))
    with footage.av.open(str(job.result)) as made:
        results = [footage.shown(frame) for frame in made.decode(video=0)]
    for s, result in zip(levels, results, strict=True):
        assert 0.8 * s * results[4].mean() <= result.mean() <= 1.25 * s * results[4].mean()
