"""The stream of training samples."""

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from nedr.errors import UsageError  # noqa: E402
from nedr.training.data import (  # noqa: E402
    DataConfig,
    DrawnHaze,
    HazyPhotographs,
    RebuiltITS,
    SyntheticHaze,
    Together,
    depth_pairs,
    held_out,
    list_images,
    sky_and_distance,
)
from nedr.training.synthesis import HazeConfig  # noqa: E402


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("clear", "nyu/clear", "nyu/depth"):
        (tmp_path / name).mkdir(parents=True)
    for index in range(6):
        pixels = rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"clear/{index}.png")
        Image.fromarray(pixels).save(tmp_path / f"nyu/clear/{index}.jpg")
        Image.fromarray(rng.integers(20, 256, (30, 45), dtype=np.uint8)).save(tmp_path / f"nyu/depth/{index}.png")
    return tmp_path


def dataset(folders, **options):
    data = DataConfig(views=((64, 96), (96, 64)), batch=4, holdout=1000, **options)
    return SyntheticHaze(list_images(folders / "clear"), depth_pairs(folders / "nyu"), data, HazeConfig(), seed=3)


def test_sample_number_alone_decides_the_sample(folders):
    first, second = dataset(folders), dataset(folders)
    order = [5, 2, 9, 2]
    for index in order:
        a, b = first[index], second[index]
        assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(first[2]["hazy"], first[5]["hazy"])


def test_samples_of_a_batch_share_a_view(folders):
    stream = dataset(folders)
    sizes = [tuple(stream[index]["hazy"].shape[-2:]) for index in range(32)]
    assert {len(set(sizes[start : start + 4])) for start in range(0, 32, 4)} == {1}
    assert set(sizes) == {(64, 96), (96, 64)}


def test_sample_shapes_and_ranges(folders):
    for index in range(8):
        sample = dataset(folders)[index]
        height, width = sample["hazy"].shape[-2:]
        assert sample["clear"].shape == (3, height, width)
        assert sample["transmission"].shape == (1, height, width)
        assert sample["airlight"].shape == (3,)
        assert sample["density"].shape == ()
        assert sample["light"].shape == (3, height, width)
        assert sample["weight"].shape == sample["depth"].shape == (1, height, width)
        assert all(float(sample[name].min()) >= 0 and float(sample[name].max()) <= 1 for name in ("hazy", "clear"))


@pytest.mark.parametrize("measured", [0.0, 1.0])
def test_depth_is_the_one_under_the_haze(folders, measured):
    data = DataConfig(views=((64, 96),), batch=4, holdout=1000, measured=measured, turned=0.5)
    haze = HazeConfig(plain=1.0, clear=0.0)
    scenes = list_images(folders / "clear"), depth_pairs(folders / "nyu")
    for index in range(6):
        sample = SyntheticHaze(*scenes, data, haze, seed=3)[index]
        assert sample["depth"].max() > 0.9
        assert torch.allclose(sample["transmission"], torch.exp(-sample["density"] * sample["depth"]), rtol=1e-4)


def test_a_share_of_the_samples_has_resides_haze(folders):
    """Even, grey and bright, from measured depth in its own units."""
    for path in (folders / "nyu/depth").iterdir():
        Image.fromarray(np.linspace(20, 150, 60).astype(np.uint8)[:, None].repeat(90, axis=1)).save(path)
    scenes = list_images(folders / "clear"), depth_pairs(folders / "nyu")
    data = DataConfig(views=((64, 96),), batch=4, holdout=1000, measured=1.0, turned=1.0, whole=1.0)
    always, sometimes = (SyntheticHaze(*scenes, data, HazeConfig(standard=share), seed=3) for share in (1.0, 0.5))
    even = []
    for index in range(12):
        sample, depth = always[index], always[index]["depth"]
        assert depth.max() == pytest.approx(150 / 255, abs=0.02)  # nothing is as far as the map could say
        beta = sample["density"] / depth.max()
        assert 0.5 <= beta <= 1.9
        assert torch.allclose(sample["transmission"], torch.exp(-beta * depth), rtol=1e-4)
        assert torch.allclose(sample["light"], sample["airlight"][:1].expand(3)[:, None, None])
        assert 0.7 <= sample["airlight"][0] <= 1.0
        even.append(bool(sometimes[index]["light"].max() == sometimes[index]["light"].min()))
    assert any(even)
    assert not all(even)


def test_resides_haze_outdoors_is_bright_and_its_depth_shallow(folders):
    data = DataConfig(views=((64, 96),), batch=4, holdout=1000, measured=0.0)
    scenes = list_images(folders / "clear"), depth_pairs(folders / "nyu")
    stream = SyntheticHaze(*scenes, data, HazeConfig(standard=1.0), seed=3)
    reliefs = []
    for sample in map(stream.__getitem__, range(12)):
        assert 0.8 <= sample["airlight"][0] <= 1.0
        assert 0.15 <= sample["density"] / sample["depth"].max() <= 1.3
        assert torch.allclose(sample["transmission"], torch.exp(-sample["density"] * sample["depth"]), rtol=0.05)
        reliefs.append(1.0 - float(sample["depth"].min() / sample["depth"].max()))
    assert 0.3 < max(reliefs) < 0.72
    assert min(reliefs) < 0.2


@pytest.fixture
def labels(folders):
    """Sky above, near below, for the pictures 0 to 4; 1 is not to be trusted."""
    for name in ("labels/sky", "labels/far"):
        (folders / name).mkdir(parents=True)
    ramp = np.linspace(255, 0, 60).astype(np.uint8)[:, None].repeat(90, axis=1)
    for index in range(5):
        Image.fromarray(ramp).save(folders / f"labels/far/{index}.png")
        Image.fromarray(255 * (ramp > 200).astype(np.uint8)).save(folders / f"labels/sky/{index}.png")
    Image.fromarray(ramp).save(folders / "labels/far/elsewhere.png")
    (folders / "labels/labels.csv").write_text("name,agreement\n0,0.9\n1,0.2\n2,0.55\n")
    return folders / "labels"


def test_labels_are_trusted_as_far_as_they_agree(labels):
    found = sky_and_distance(labels)
    assert sorted(found) == ["0", "1", "2", "3", "4"]  # those with a sky and a distance
    assert [found[name].trust for name in "0123"] == pytest.approx([1.0, 0.0, 0.5, 1.0])


def test_depth_comes_from_labels_where_there_are_some(folders, labels):
    haze = HazeConfig(plain=1.0, clear=0.0, occluded=0.0, sky=0.5)
    options = {"views": ((64, 96),), "batch": 4, "holdout": 1000, "labelled": 1.0, "whole": 1.0, "turned": 0.0}
    trusted, other = (
        SyntheticHaze([folders / f"clear/{name}.png"], [], DataConfig(**options), haze, seed=3, labels=labels)
        for name in (0, 1)
    )
    for index in range(6):
        rows = trusted[index]["depth"][0].mean(dim=1)
        known = trusted[index]["weight"][0].mean(dim=1) < 0.75  # sky
        assert known[0]
        assert 0.9 < rows.max() <= 1.0
        assert (rows[~known].diff() <= 1e-3).all()
        assert (rows[known].diff() >= -1e-3).all()
        assert (trusted[index]["weight"][0, -1] == 1.0).all()
    assert any((other[index]["depth"][0].mean(dim=1).diff() > 1e-3).any() for index in range(6))  # drawn


def test_borrowed_depth_is_another_scenes(folders):
    haze, measured = HazeConfig(plain=1.0, clear=0.0), depth_pairs(folders / "nyu")[:1]
    options = {"views": ((64, 96),), "holdout": 1000, "measured": 0.0, "whole": 1.0, "turned": 0.0}
    data = DataConfig(**options, borrowed=1.0)
    stream = SyntheticHaze(list_images(folders / "clear"), measured, data, haze, seed=3)
    maps = [stream[index]["depth"] for index in range(8)]
    assert all(torch.equal(one, maps[0]) or torch.equal(one.flip(-1), maps[0]) for one in maps)


def test_held_out_pictures_are_never_drawn(folders):
    paths = list_images(folders / "clear")
    stream = SyntheticHaze(paths, [], DataConfig(holdout=3), HazeConfig(), seed=0)
    assert stream.clear == [p for p in paths if not held_out(p, 3)]
    assert 0 < len(stream.clear) < len(paths)


def test_excluded_names_and_empty_folders(folders, tmp_path):
    assert [p.name for p in list_images(folders / "clear", ("[0-3].png",))] == ["4.png", "5.png"]
    with pytest.raises(UsageError, match="no pictures"):
        list_images(tmp_path / "nothing")
    (folders / "nyu/depth/3.png").unlink()
    assert len(depth_pairs(folders / "nyu")) == 5


def test_views_must_fit_the_network():
    with pytest.raises(ValueError, match="multiples of 32"):
        DataConfig(views=((100, 64),))


def test_its_is_rebuilt_without_pairs_and_by_its_rule(tmp_path):
    for name in ("clear", "depth"):
        (tmp_path / name).mkdir()
    for index in range(6):
        Image.new("RGB", (96, 64), (40 * index, 0, 0)).save(tmp_path / f"clear/{index}.png")
        Image.new("L", (96, 64), 255 if index < 3 else 20 * index).save(tmp_path / f"depth/{index}.png")
    data = DataConfig(views=((64, 96),), batch=2)
    its = RebuiltITS(depth_pairs(tmp_path), data, seed=3)
    samples = [its[index] for index in range(60)]
    assert {round(float(s["clear"][0].mean()) * 255) for s in samples} == {120, 160, 200}
    for sample in samples:
        torch.testing.assert_close(sample["depth"], sample["clear"][:1] / 2)  # that of the clear picture: 20 for 40
        red, green, blue = (float(plane.mean()) for plane in sample["real"])
        assert green == pytest.approx(blue)  # grey A, depth 1: green = A (1 - t), red = that + J t
        assert 0.7 * (1 - np.exp(-0.6)) - 1e-4 < green < 1 - np.exp(-1.8)
        assert (red - green) * 255 < 80 * np.exp(-0.6) + 1  # J of the first half only
    assert np.ptp([float(s["real"][1].mean()) for s in samples]) > 0.3
    drawn = RebuiltITS(depth_pairs(tmp_path), data, seed=3, drawn=True)[0]
    assert drawn["drawn_depth"].shape == (1, 64, 96)
    assert all(torch.equal(drawn[name], samples[0][name]) for name in samples[0])


def test_unpaired_samples_are_numbered_and_of_one_size(folders):
    data = DataConfig(views=((64, 96), (96, 64)), batch=4, holdout=1000)
    hazy = HazyPhotographs(list_images(folders / "nyu/clear"), data, seed=3)
    together = Together(dataset(folders), hazy, DrawnHaze((0.2, 2.0), HazeConfig(), seed=3))
    for index in (0, 5, 9):
        sample, again = together[index], together[index]
        assert all(torch.equal(sample[name], again[name]) for name in sample)
        assert sample["real"].shape == sample["clear"].shape == sample["hazy"].shape
        assert 0.2 <= float(sample["drawn_density"]) <= 2.0
        assert 0.0 <= float(sample["drawn_luck"]) < 1.0
        assert sample["drawn_unevenness"].shape == (1, 6, 8)
    assert not torch.equal(together[0]["real"], together[1]["real"])
