"""Haze put on clear pictures: the scattering model at any size, the same kind of picture, files by name."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from nedr import Hazer  # noqa: E402
from nedr.cli import main as cli  # noqa: E402
from nedr.errors import NedrError, UsageError  # noqa: E402
from nedr.model.depth import DepthConfig  # noqa: E402
from nedr.model.rehaze import Rehazing, RehazingConfig  # noqa: E402
from nedr.training.checkpoint import save_weights  # noqa: E402
from nedr.training.export import PARITY_TOLERANCE, export  # noqa: E402


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = Rehazing(RehazingConfig(DepthConfig(widths=(4, 8, 8, 8), head_width=4), 4))
    torch.nn.init.normal_(model.rehaze.unet.last.weight, std=0.5)  # untrained it would add nothing
    save_weights(model, folder / "r.safetensors")
    parity = export(folder / "r.safetensors", folder / "r.onnx")
    assert max(row.largest_difference for row in parity) <= PARITY_TOLERANCE
    return folder / "r.onnx"


@pytest.fixture(scope="module")
def hazer(weights):
    return Hazer(weights, threads=1)


@pytest.fixture(scope="module")
def picture():
    coarse = Image.fromarray(np.random.default_rng(0).integers(20, 200, (6, 8, 3), dtype=np.uint8))
    return np.asarray(coarse.resize((300, 210), Image.Resampling.BICUBIC))


def test_physical_haze_is_the_scattering_model(hazer, picture):
    clear = picture.astype(np.float32) / 255
    airlight = (0.9, 0.8, 0.7)
    field = hazer.field(clear, 1.0, airlight)
    t = field.transmission(*clear.shape[:2], clear)[..., None]
    hazy = hazer.add(clear, beta=1.0, airlight=airlight, physical=True)
    np.testing.assert_allclose(hazy, clear * t + np.float32(airlight) * (1 - t), atol=1e-5)
    np.testing.assert_allclose(
        hazer.add(picture, beta=1.0, airlight=airlight, physical=True) / 255, hazy, atol=0.6 / 255
    )


def test_what_was_learnt_is_added_unless_physical(hazer, picture):
    physical, learnt = (hazer.add(picture, physical=only).astype(int) for only in (True, False))
    assert 1 < np.abs(physical - learnt).max() <= 0.25 * 255 + 1


def test_beta_says_how_much(hazer, picture):
    assert np.array_equal(hazer.add(picture, beta=0), picture)
    distances = [
        np.abs(hazer.add(picture, beta=beta, airlight=0.9, physical=True) - 0.9 * 255).mean() for beta in (0.3, 1, 4)
    ]
    assert distances == sorted(distances, reverse=True)


def test_airlight_is_the_brightest_unless_given(hazer, picture):
    found = hazer.field(picture, 1.0, None).airlight * 255
    assert np.abs(found - picture.reshape(-1, 3).max(axis=0)).max() < 25
    np.testing.assert_allclose(hazer.field(picture, 1.0, 0.5).airlight, 0.5)


def test_the_networks_that_ship_put_haze_far_away():
    photograph = Path(__file__).parents[2] / "examples" / "temple.jpg"
    picture = np.asarray(Image.open(photograph).convert("RGB"))
    hazer, height = Hazer(threads=1), picture.shape[0]
    t = hazer.field(picture, 1.5, None).transmission(*picture.shape[:2])
    assert t[: height // 4].mean() < t[-height // 4 :].mean() - 0.1  # the sky is farther than the water
    assert hazer.add(picture, beta=1.5).std() < 0.85 * picture.std()


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_the_same_kind_of_picture_comes_back(hazer, picture, mode):
    image = Image.fromarray(picture).convert(mode)
    if mode == "RGBA":
        image.putalpha(77)
    hazy = hazer.add(image)
    assert (hazy.mode, hazy.size) == (image.mode, image.size)
    if mode == "RGBA":
        assert hazy.getchannel("A").getextrema() == (77, 77)
    deep = (picture.astype(np.uint16) * 257)[..., :3]
    assert hazer.add(deep).dtype == np.uint16


def test_a_clear_view_of_it_is_found_again_by_inversion(hazer, picture):
    clear = picture.astype(np.float32) / 255
    hazy = hazer.add(clear, beta=0.8, airlight=0.9, physical=True)
    t = hazer.field(clear, 0.8, 0.9).transmission(*clear.shape[:2], clear)[..., None]
    np.testing.assert_allclose((hazy - 0.9) / t + 0.9, clear, atol=1e-4)


@pytest.mark.parametrize("options", [{"beta": -1}, {"beta": float("nan")}, {"airlight": 2.0}, {"airlight": (0.5, 0.5)}])
def test_values_that_cannot_be_are_refused(hazer, picture, options):
    with pytest.raises(UsageError, match="expected a"):
        hazer.add(picture, **options)


def test_a_network_that_removes_haze_cannot_make_it(picture):
    with pytest.raises(NedrError, match="does not make haze"):
        Hazer("base").add(picture)


def test_photographs_and_folders(weights, picture, tmp_path, capsys):
    (tmp_path / "in/deep").mkdir(parents=True)
    Image.fromarray(picture).save(tmp_path / "in/a.png")
    Image.fromarray(picture).save(tmp_path / "in/deep/b.jpg", quality=95)
    (tmp_path / "in/broken.png").write_bytes(b"no picture")
    options = ["--weights", str(weights), "--airlight", "0.9,0.9,0.95", "--beta", "2"]
    assert cli.main(["haze", str(tmp_path / "in/a.png"), *options]) == 0
    assert (tmp_path / "in/a.hazy.png").exists()
    assert cli.main(["haze", str(tmp_path / "in/a.png"), *options]) == 2  # it is there already
    (tmp_path / "in/a.hazy.png").unlink()
    assert cli.main(["haze", str(tmp_path / "in"), "-o", str(tmp_path / "out"), *options]) == 1
    assert "broken.png" in capsys.readouterr().err
    assert sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*.*g")) == [
        "a.png",
        "deep/b.jpg",
    ]
    assert np.asarray(Image.open(tmp_path / "out/a.png")).mean() > picture.mean()
    assert cli.main(["haze", str(tmp_path / "in"), *options]) == 2
    assert "-o FOLDER" in capsys.readouterr().err


def test_an_airlight_that_is_no_number_is_named(weights, capsys):
    assert cli.main(["haze", "a.jpg", "--airlight", "white"]) == 2
    assert capsys.readouterr().err == (
        "nedr: argument --airlight: expected auto, a grey such as 0.9 or a colour such as 0.8,0.8,0.9, found 'white' "
        "(see nedr haze --help)\n"
    )
