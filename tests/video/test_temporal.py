"""Video frames: no flicker, no leak across a cut, and the frames' own noise."""

import numpy as np
import pytest
from PIL import Image
from standin import write

from nedr.errors import ImageError, UsageError
from nedr.inference.dehazer import Dehazer
from nedr.inference.field import HazeField
from nedr.inference.view import noise_level
from nedr.video.scenes import LOOKS, Exposure, Fade, exposure_change, is_cut
from nedr.video.temporal import FieldFollower, TemporalDenoiser, VideoDehazer, blocks

SIZE = (180, 320)
AIRLIGHT = np.array([0.80, 0.82, 0.86], np.float32)
SIGMA = 2.5 / 255


def scene(name, mirrored=False):
    """A shippable photograph as a clear scene in [0, 1], and a transmission that falls towards its top."""
    photo = Image.open(f"examples/{name}.jpg").convert("RGB").resize(SIZE[::-1], Image.Resampling.BOX)
    clear = np.asarray(photo, np.float32) / 255 * 0.8
    t = np.linspace(0.35, 0.9, SIZE[0], dtype=np.float32)[:, None, None] * np.ones((1, SIZE[1], 1), np.float32)
    return (clear[:, ::-1], t) if mirrored else (clear, t)


def clip(clear, t, count, seed=0, sigma=SIGMA):
    """`count` frames of a scene that stands still, with sensor noise: hazy and clear, with the very same noise."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, sigma, (count, *clear.shape)).astype(np.float32)
    hazy = clear * t + AIRLIGHT * (1 - t)
    return [[np.rint(np.clip(x + n, 0, 1) * 255).astype(np.uint8) for n in noise] for x in (hazy, clear)]


def deviation(frames):
    """The mean over all values of each one's standard deviation over time."""
    return float(np.stack(frames).astype(np.float32).std(axis=0).mean())


@pytest.fixture(scope="module")
def dehazer():
    return Dehazer(threads=1)


def test_a_still_scene_flickers_no_more_than_the_clear_one(dehazer):
    hazy, clear = clip(*scene("temple"), 24)
    results = list(VideoDehazer(dehazer)(hazy))
    assert deviation(results[12:]) <= 1.15 * deviation(clear[12:])
    assert deviation(results[2:]) <= 1.15 * deviation(clear[2:])  # nearly from the first frame on
    alone = [dehazer.dehaze(frame) for frame in hazy[12:]]
    assert deviation(alone) > 1.3 * deviation(clear[12:])  # so the test can fail


def test_the_haze_goes_as_it_does_in_a_photograph(dehazer):
    """Frames differ by their noise alone, and what it does to one photograph's estimate, others undo in the mean."""
    hazy, _ = clip(*scene("temple"), 12)
    video, photos = list(VideoDehazer(dehazer)(hazy))[-1], [dehazer.dehaze(frame) for frame in hazy]
    photo = photos[-1]
    assert np.abs(video.mean(axis=(0, 1)) - np.mean(photos, axis=(0, 1, 2))).max() < 1
    removed = np.abs(photo.astype(int) - hazy[-1]).mean()
    assert removed > 10
    assert np.abs(video.astype(int) - photo).mean() < removed / 3


@pytest.mark.parametrize("denoise", [True, False])
def test_nothing_leaks_across_a_cut(dehazer, denoise):
    before, after = clip(*scene("temple"), 6)[0], clip(*scene("pyramid"), 6, seed=1)[0]
    fresh = list(VideoDehazer(dehazer, denoise=denoise)(after))
    joined = list(VideoDehazer(dehazer, denoise=denoise)(before + after))[6:]
    for alone, behind in zip(fresh, joined, strict=True):
        np.testing.assert_array_equal(behind, alone)


def test_a_pan_and_a_flash_are_no_cuts_and_another_scene_is():
    clear, _ = scene("temple")
    cells = clear.reshape(45, 4, 80, 4, 3).mean(axis=(1, 3))
    assert not is_cut(cells, np.roll(cells, 1, axis=1))
    assert not is_cut(cells, np.clip(cells * 1.1, 0, 1))
    other, _ = scene("pyramid")
    assert is_cut(cells, other.reshape(45, 4, 80, 4, 3).mean(axis=(1, 3)))
    assert is_cut(cells, cells[:, ::2])


def out_and_in(count):
    """How much is left of a scene in a fade that goes out in so many frames and comes in in as many."""
    return np.concatenate([np.ones(10), np.linspace(1, 0, count), np.linspace(0, 1, count), np.ones(4)])


@pytest.mark.parametrize(
    ("target", "count", "dtype"),
    [
        ("black", 12, np.uint8),
        ("black", 20, np.float32),  # down to a mean of 8 of 255, not rounded
        ("white", 12, np.uint8),
        ("pyramid", 30, np.uint8),
    ],
)
def test_a_fade_and_a_dissolve_leave_the_result_as_steady_as_the_clip(dehazer, target, count, dtype):
    levels, white = out_and_in(count), 255 if dtype == np.uint8 else 1
    hazy = np.float32(white / 255) * np.stack(clip(*scene("temple"), len(levels))[0])
    flat = np.full_like(hazy[0], white * (target == "white"))
    other = flat if target in ("black", "white") else np.float32(clip(*scene(target), 1)[0][0])
    frames = [s * frame + (1 - s) * other for s, frame in zip(levels, hazy, strict=True)]
    frames = [(np.rint(frame) if white == 255 else frame).astype(dtype) for frame in frames]
    results = list(VideoDehazer(dehazer)(frames))
    steady = results[9].mean(axis=(0, 1))
    behind = (flat if other is flat else dehazer.dehaze(other.astype(dtype))).mean(axis=(0, 1))
    for s, frame, result in zip(levels, frames, results, strict=True):
        expected = s * steady + (1 - s) * behind
        if not frame.any():
            assert not result.any()  # black stays black, and has no ratio
            continue
        ratio = result.mean(axis=(0, 1)) / expected
        assert ratio.min() > 0.8
        assert ratio.max() < 1.25


def test_what_goes_out_is_looked_at_as_it_was_and_a_flash_as_what_surrounds_it():
    """Until a brightness stays: then it is the scene's own."""
    scene = np.linspace(0.2, 0.8, 24 * 3, dtype=np.float32).reshape(4, 6, 3)
    for level in (0.0, 1.0):
        fade = Fade()
        for share in (1, 0.8, 0.6, 0.3, 0.1):
            seen = fade.exposure(level + share * (scene - level))
            assert seen.gain == pytest.approx(1 / share)
            assert level * seen.gain + seen.offset == pytest.approx(level, abs=1e-5)
        for _ in range(LOOKS):
            seen = fade.exposure(level + share * (scene - level))
        assert (seen.gain, seen.offset) == (pytest.approx(1 if level else 0.25 / 0.08), 0)
    flash = Fade()
    gains = [flash.exposure(share * scene).gain for share in (*[1] * LOOKS, 1.2, 1.2, 1, 1, *[1.2] * LOOKS)]
    assert gains[: -LOOKS + 1] == pytest.approx([*[1] * LOOKS, 1 / 1.2, 1 / 1.2, 1, 1, 1 / 1.2], rel=1e-4)
    assert gains[-1] == 1


@pytest.mark.parametrize("blank", [0, 1])
def test_only_what_grows_out_of_a_blank_frame_is_looked_at_as_a_fade(blank):
    def looked_at(shares):
        fade = Fade()
        assert fade.exposure(np.full((4, 6, 3), blank, np.float32)) == Exposure()
        return [fade.exposure(blank + share * (scene - blank)).gain for share in shares]

    scene = np.full((4, 6, 3), 1 - blank, np.float32)
    scene[0] = 0.5
    assert looked_at([0.1, 0.2, 0.3, 0.5, 0.75, 1.0]) == pytest.approx([7.5, 3.75, 2.5, 1.5, 1, 1], rel=1e-5)
    assert looked_at([0.9, 0.2]) == [1, pytest.approx(1 if blank else 1.25)]  # a cut to another scene
    assert looked_at([0.5] * 10)[LOOKS:] == [1] * (10 - LOOKS)


def test_the_denoiser_goes_on_through_a_fade(dehazer):
    """Noise in a fade is as large as that of the same fade over the clear scene."""
    s = np.concatenate([np.ones(10), np.linspace(1, 0.3, 15)])
    clips = clip(*scene("temple"), 25)
    hazy, clear = ([level * frame for level, frame in zip(s, frames, strict=True)] for frames in clips)
    results = list(VideoDehazer(dehazer)([np.rint(frame).astype(np.uint8) for frame in hazy]))
    rough = [[noise_level(np.rint(frame).astype(np.uint8)) for frame in frames[14:]] for frames in (results, clear)]
    assert np.mean(rough[0]) < 1.3 * np.mean(rough[1])


def test_a_change_of_exposure_is_measured_and_a_pan_is_none():
    clear, _ = scene("temple")
    cells = clear.reshape(45, 4, 80, 4, 3).mean(axis=(1, 3))
    found = exposure_change(cells, cells * 0.7 + 0.2)
    assert (found.gain, found.offset) == (pytest.approx(0.7, abs=1e-3), pytest.approx(0.2, abs=1e-3))
    for other in (cells, np.roll(cells, 1, axis=1), np.zeros_like(cells), cells[:, ::2]):
        none = exposure_change(cells, other)
        assert (none.gain, none.offset) == (1, 0)


def test_one_bad_field_hardly_moves_what_belongs_to_the_whole_scene():
    lattice = np.full((9, 16), 0.5, np.float32)
    guide = np.linspace(0, 1, 9 * 16 * 3, dtype=np.float32).reshape(9, 16, 3)
    follower, frame = FieldFollower(), np.zeros((36, 64, 3), np.uint8)
    good = HazeField(lattice=lattice, guide=guide, airlight=np.full(3, 0.8, np.float32), density=1.0)
    bad = HazeField(lattice=lattice, guide=guide, airlight=np.full(3, 0.2, np.float32), density=9.0)
    for field in (good, good, bad, good, good):
        followed, cut, _ = follower.follow(field, frame)
        assert not cut
        np.testing.assert_allclose(followed.airlight, 0.8, atol=1e-6)
        assert followed.density == pytest.approx(1, rel=1e-5)


def test_the_denoiser_keeps_moving_pixels_as_they_are():
    rng = np.random.default_rng(0)
    planes = rng.integers(60, 200, (64, 64, 1)).astype(np.uint8)
    denoiser, t = TemporalDenoiser(), np.full(blocks(planes), 0.4, np.float32)
    for shift in range(4):
        moved = np.roll(planes, 5 * shift, axis=1)
        out = denoiser.settle(moved, t, 1 / 255, scale=1 / 255)
        np.testing.assert_allclose(out, moved / np.float32(255), atol=1e-6)


def test_the_denoiser_pays_back_just_the_noise_that_dividing_by_t_adds():
    rng, t = np.random.default_rng(0), 0.5
    frames = [np.rint(128 + rng.normal(0, 4, (64, 64, 1))).astype(np.uint8) for _ in range(40)]
    denoiser, share = TemporalDenoiser(), np.full(blocks(frames[0]), t, np.float32)
    settled = [denoiser.settle(frame, share, 4 / 255, scale=1 / 255).copy() for frame in frames][10:]
    assert np.stack(settled).std(axis=0).mean() / t == pytest.approx(4 / 255, rel=0.1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(40, 52), (40, 52, 1), (40, 52, 3), (40, 52, 4)])
def test_every_kind_of_frame_keeps_its_shape_and_type(tmp_path, dtype, shape):
    white = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    frame = (np.random.default_rng(0).random(shape) * white).astype(dtype)
    video = VideoDehazer(Dehazer(write(tmp_path / "standin.onnx"), threads=1))
    for _ in range(2):
        clear = video.clear(frame)
        assert (clear.shape, clear.dtype) == (frame.shape, frame.dtype)
        if shape[2:] == (4,):
            np.testing.assert_array_equal(clear[:, :, 3], frame[:, :, 3])
    np.testing.assert_array_equal(VideoDehazer(video.dehazer, strength=0).clear(frame), frame)


def test_frames_come_one_at_a_time_and_a_new_size_starts_afresh(dehazer):
    taken = []

    def frames():
        for side in (64, 64, 96):
            taken.append(side)
            yield np.full((side, side, 3), 120, np.uint8)

    video = VideoDehazer(dehazer)
    results = video(frames())
    assert video.field is None
    assert next(results).shape == (64, 64, 3)
    assert taken == [64]
    assert [frame.shape[0] for frame in results] == [64, 96]
    assert video.field is not None


@pytest.mark.parametrize("method", ["dcp", "cap"])
def test_the_classical_priors_follow_a_scene_too(method):
    hazy, _ = clip(*scene("temple"), 10, sigma=8 / 255)
    prior = Dehazer(method=method, threads=1)
    results, alone = list(VideoDehazer(prior)(hazy)), [prior.dehaze(frame) for frame in hazy]
    follows, jumps = (np.std([frame.mean() for frame in frames]) for frames in (results, alone))
    assert follows < 0.8 * jumps


def test_what_cannot_be_is_said(dehazer):
    with pytest.raises(UsageError, match="strength"):
        VideoDehazer(dehazer, strength=2)
    with pytest.raises(ImageError, match="shape"):
        VideoDehazer(dehazer).clear(np.zeros((4, 4, 2), np.uint8))


def test_the_noise_of_the_test_clips_is_seen():
    hazy, _ = clip(*scene("temple"), 1)
    assert noise_level(hazy[0]) == pytest.approx(SIGMA, rel=0.6)
