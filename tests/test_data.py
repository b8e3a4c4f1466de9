"""The stream of training samples."""

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from nedr.data import DataConfig, SyntheticHaze, depth_pairs, held_out, list_images  # noqa: E402
from nedr.errors import UsageError  # noqa: E402
from nedr.haze import HazeConfig  # noqa: E402


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
        assert all(float(sample[name].min()) >= 0 and float(sample[name].max()) <= 1 for name in ("hazy", "clear"))


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
