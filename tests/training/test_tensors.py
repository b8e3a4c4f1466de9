"""Batches of tensors are dehazed as the ONNX network dehazes pictures."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import nedr  # noqa: E402
from nedr.errors import ImageError, UsageError  # noqa: E402
from nedr.model.nedr import NeDR  # noqa: E402
from nedr.training.export import to_onnx  # noqa: E402
from nedr.training.tensors import Dehaze, noise, seen  # noqa: E402


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """One network, as a module and as ONNX."""
    from nedr.model.nedr import NeDRConfig

    torch.manual_seed(3)
    sizes = {"widths": (4, 8, 8, 8), "idrm_hidden": (8, 8), "idrm_outputs": 4, "drem_width": 8, "drem_growth": 4}
    network = NeDR(NeDRConfig(**sizes, head_width=4)).eval()
    with torch.no_grad():  # an untrained airlight does not change over the picture
        network.airlight_head.last.bias.uniform_(-0.1, 0.1)
    module = Dehaze(network, view=128)
    path = tmp_path_factory.mktemp("weights") / "tiny.onnx"
    path.write_bytes(to_onnx(network, 128))
    return module, nedr.Dehazer(path, threads=1)


def scenes(height, width, count=2):
    """Hazy gradients with things in them and a little noise."""
    generator = torch.Generator().manual_seed(height)
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = torch.stack([torch.sin(9 * x + c) * torch.cos(7 * y - c) for c in range(3)])
    noisy = 0.01 * torch.rand((count, 3, height, width), generator=generator)
    return (0.6 + 0.25 * waves * (1 - 0.5 * y) + noisy).clamp(0, 1)


@pytest.mark.parametrize(("height", "width"), [(96, 130), (300, 200), (801, 1203)])
@pytest.mark.parametrize("strength", [1.0, 0.6])
def test_a_batch_is_what_onnx_makes_of_each_picture(pair, height, width, strength):
    module, dehazer = pair
    pictures = scenes(height, width)
    result = module(pictures, strength)
    for picture, clear in zip(pictures, result, strict=True):
        expected = dehazer.dehaze(picture, strength=strength)
        assert (expected - picture).abs().mean() > 0.01
        assert (expected - clear).abs().mean() < 0.5 / 255
        assert (expected - clear).abs().max() < 4 / 255


@pytest.mark.parametrize(("height", "width"), [(96, 130), (801, 1203)])
def test_views_and_noise_are_the_same(height, width):
    from nedr.inference.view import noise_level, view

    picture = scenes(height, width, 1)[0]
    array = picture.permute(1, 2, 0).numpy()
    assert np.abs(seen(picture[None], 128)[0].permute(1, 2, 0).numpy() - view(array, 128)).max() < 1e-5
    assert noise(picture[1]) == pytest.approx(noise_level(array), rel=1e-5)


def test_types_and_devices_stay(pair):
    module, _ = pair
    half = scenes(96, 128).to(torch.bfloat16)
    assert module(half).dtype == torch.bfloat16
    assert torch.equal(module(half, 0), half)
    with pytest.raises(ImageError, match="floats"):
        module((255 * scenes(96, 128)).to(torch.uint8))
    with pytest.raises(UsageError, match="strength"):
        module(half, 2.0)


def test_it_is_found_where_the_docs_say():
    assert nedr.torch.Dehaze is Dehaze
