"""Any picture in, the same kind of picture out; one view for all sizes; errors that name what is wrong."""

import io
import os
import pickle
import subprocess
import sys

import drawn_pictures
import numpy as np
import pytest
import standin
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

import nedr
from nedr.errors import ImageError, MissingExtraError, NedrError, UsageError
from nedr.inference import dehazer, onnx, weights
from nedr.inference.dehazer import QUALITIES, Dehazer
from nedr.inference.field import HazeField, Rendering
from nedr.pictures import icc, images

TYPES = (np.uint8, np.uint16, np.float32, np.float64)


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory):
    return standin.write(tmp_path_factory.mktemp("weights") / "standin.onnx")


@pytest.fixture(scope="session")
def clear_view(weights_file):
    """A Dehazer of the stand-in network."""
    return Dehazer(weights_file, threads=2)


def photo(height=150, width=200, channels=3, dtype=np.uint8, seed=0):
    """Soft hazy shapes with some texture: what a view of any size sees alike."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [
        0.55 + 0.2 * np.sin(5 * x + c) * np.cos(4 * y) + 0.15 * (x > 0.4) * (y > 0.3) for c in range(max(channels, 1))
    ]
    values = np.stack(waves, axis=2) + np.random.default_rng(seed).normal(0, 0.01, (height, width, max(channels, 1)))
    values = np.clip(values if channels else values[..., 0], 0, 1)
    return (
        np.rint(values * np.iinfo(dtype).max).astype(dtype) if dtype in (np.uint8, np.uint16) else values.astype(dtype)
    )


def encoded(array, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


# Type in, type out


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    channels=st.sampled_from([0, 1, 3, 4]),
    dtype=st.sampled_from(TYPES),
    strength=st.sampled_from([0, 0.3, 1, 1.5]),
)
def test_arrays_keep_shape_and_type(clear_view, height, width, channels, dtype, strength):
    picture = photo(height, width, channels, dtype)
    before = picture.copy()
    result = clear_view.dehaze(picture, strength=strength)
    assert result.shape == picture.shape
    assert result.dtype == picture.dtype
    assert np.array_equal(picture, before)
    assert strength != 0 or np.array_equal(result, picture)
    if channels == 4:
        assert np.array_equal(result[..., 3], picture[..., 3])


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 40), (40, 1, 3), (20, 400, 3), (1200, 60, 3), (9000, 11, 1), (64, 5000)]
)
def test_every_size_and_proportion_works(clear_view, shape):
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert clear_view.dehaze(picture).shape == shape


def test_haze_is_removed(clear_view):
    picture = photo()
    assert clear_view.dehaze(picture).std() > picture.std()
    assert np.array_equal(clear_view(picture), clear_view.dehaze(picture))


@pytest.mark.parametrize(
    "mode", ["L", "RGB", "RGBA", "LA", "P", "1", "CMYK", "YCbCr", "HSV", "I;16", "I", "F", "PA", "RGBX"]
)
def test_pil_images_keep_mode_size_and_metadata(clear_view, mode):
    image = {
        "I;16": lambda: Image.fromarray(photo(channels=0, dtype=np.uint16)),
        "I": lambda: Image.fromarray(photo(channels=0, dtype=np.uint16).astype(np.int32)),
        "F": lambda: Image.fromarray(photo(channels=0, dtype=np.float32)),
        "PA": lambda: Image.fromarray(photo()).convert("P").convert("PA"),
    }.get(mode, lambda: Image.fromarray(photo()).convert(mode))()
    image.info["comment"] = "kept"
    result = clear_view.dehaze(image)
    assert (result.mode, result.size, result.info["comment"]) == (mode, image.size, "kept")
    assert mode == "1" or result.tobytes() != image.tobytes()
    assert clear_view.dehaze(image, strength=0).tobytes() == image.tobytes()


def test_alpha_of_pil_images_is_untouched(clear_view):
    rgba = Image.fromarray(photo(channels=4))
    assert clear_view.dehaze(rgba).getchannel("A").tobytes() == rgba.getchannel("A").tobytes()
    grey = rgba.convert("LA")
    assert clear_view.dehaze(grey).getchannel("A").tobytes() == grey.getchannel("A").tobytes()


def test_pil_integers_beyond_16_bits_are_refused(clear_view):
    with pytest.raises(ImageError, match="0 to 65535"):
        clear_view.dehaze(Image.fromarray(np.full((4, 4), 70000, np.int32)))


@pytest.mark.parametrize(
    ("kind", "options"), [("PNG", {}), ("JPEG", {"quality": 90}), ("TIFF", {}), ("WEBP", {"lossless": True})]
)
def test_bytes_and_files_keep_their_format(clear_view, kind, options):
    data = encoded(photo(), kind, **options)
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        result = clear_view.dehaze(source)
        assert isinstance(result, bytes)
        opened = Image.open(io.BytesIO(result))
        assert (opened.format, opened.size) == (kind, (200, 150))
    assert clear_view.dehaze(data, strength=0) == data


def test_a_file_gives_the_pixels_of_its_array(clear_view):
    picture = photo()
    result = Image.open(io.BytesIO(clear_view.dehaze(encoded(picture))))
    assert np.array_equal(np.asarray(result), clear_view.dehaze(picture))


def test_a_path_answers_with_a_pil_image(clear_view, tmp_path):
    path = tmp_path / "photo ä.png"
    path.write_bytes(encoded(photo(), dpi=(300, 300)))
    for source in (path, str(path)):
        result = clear_view.dehaze(source)
        assert isinstance(result, Image.Image)
        assert np.array_equal(np.asarray(result), clear_view.dehaze(photo()))
        assert result.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize(
    ("channels", "alpha", "mode"), [(0, False, "I;16"), (3, False, "RGB"), (3, True, "RGBA"), (0, True, "LA")]
)
def test_a_path_to_sixteen_bits_answers_as_well_as_pil_can(clear_view, tmp_path, channels, alpha, mode):
    pixels = photo(channels=channels, dtype=np.uint16)
    picture = images.Picture(
        pixels, pixels if alpha and not channels else pixels[..., 0] if alpha else None, "PNG", images.Metadata()
    )
    path = tmp_path / "deep.png"
    path.write_bytes(images.encode(picture))
    result = clear_view.dehaze(path)
    assert result.mode == mode
    expected = clear_view.dehaze(pixels) / (1 if mode == "I;16" else 257)
    colour = np.asarray(result)[..., : 3 if channels else 1] if mode != "I;16" else np.asarray(result)
    assert np.abs(np.squeeze(colour) - expected).max() <= 0.51


def test_a_picture_answers_with_a_picture(clear_view):
    picture = images.read(encoded(photo()))
    result = clear_view.dehaze(picture)
    assert isinstance(result, images.Picture)
    assert np.array_equal(result.pixels, clear_view.dehaze(photo()))
    assert clear_view.dehaze(picture, strength=0) is picture


@pytest.mark.parametrize("dtype", ["uint8", "float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 40, 50), (1, 40, 50), (4, 40, 50), (2, 3, 40, 50)])
def test_tensors_keep_shape_type_and_device(clear_view, dtype, shape):
    torch = pytest.importorskip("torch")
    values = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    tensor = (values * 255).to(torch.uint8) if dtype == "uint8" else values.to(getattr(torch, dtype))
    result = clear_view.dehaze(tensor.requires_grad_(dtype != "uint8"))
    assert (result.shape, result.dtype, result.device) == (tensor.shape, tensor.dtype, tensor.device)
    assert torch.equal(clear_view.dehaze(tensor, strength=0), tensor)
    if dtype in ("uint8", "float32"):
        first = tensor.detach() if tensor.ndim == 3 else tensor.detach()[0]
        expected = clear_view.dehaze(np.ascontiguousarray(first.permute(1, 2, 0).numpy()))
        assert np.allclose((result if tensor.ndim == 3 else result[0]).permute(1, 2, 0).numpy(), expected, atol=1e-6)


def test_tensors_of_other_shapes_are_refused(clear_view):
    torch = pytest.importorskip("torch")
    for shape in ((40, 50), (5, 40, 50), (1, 1, 3, 8, 8), (0, 3, 8, 8)):
        with pytest.raises(ImageError):
            clear_view.dehaze(torch.zeros(shape))
    with pytest.raises(ImageError, match="batch of 2"):
        clear_view.field(torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("thing", [None, 3, [[1, 2], [3, 4]], object()])
def test_what_is_no_picture_is_refused(clear_view, thing):
    with pytest.raises(ImageError, match="expected a picture as a path, bytes"):
        clear_view.dehaze(thing)


@pytest.mark.parametrize("data", [b"", b"not a picture", encoded(photo())[:300]])
def test_broken_files_are_refused(clear_view, data):
    with pytest.raises(ImageError):
        clear_view.dehaze(data)
    with pytest.raises(ImageError):
        clear_view.dehaze(io.BytesIO(data))


def test_text_files_are_refused(clear_view):
    with pytest.raises(ImageError, match="binary"):
        clear_view.dehaze(io.StringIO("x"))


def test_a_missing_path_is_refused(clear_view, tmp_path):
    with pytest.raises(NedrError, match="nowhere"):
        clear_view.dehaze(tmp_path / "nowhere.png")


# One haze for all sizes


@pytest.mark.parametrize("size", [(768, 1024), (384, 512), (1800, 2400)])
def test_a_preview_agrees_with_the_full_size_result(clear_view, size):
    """Mean difference under 2/255 between the result at one size and the full-size result brought to that size."""
    full = np.asarray(Image.fromarray(photo(150, 200)).resize((1200, 900), Image.Resampling.BICUBIC))

    def resized(array):
        return np.asarray(Image.fromarray(array).resize(size[::-1], Image.Resampling.LANCZOS))

    difference = clear_view.dehaze(resized(full)).astype(float) - resized(clear_view.dehaze(full))
    assert np.abs(difference).mean() < 2


def test_a_crop_with_the_whole_pictures_field_is_exact(clear_view):
    picture = photo(301, 407)
    field = clear_view.field(picture)
    crop = field.apply(picture[50:200, 33:400], region=(33, 50, 400, 200), full=(301, 407))
    assert np.array_equal(crop, clear_view.dehaze(picture)[50:200, 33:400])


def test_the_field_holds_what_the_network_said(clear_view):
    picture = photo()
    field = clear_view.field(picture)
    assert isinstance(field, HazeField)
    assert field.lattice.shape == (32, 32)
    assert field.guide.shape == (32, 32, 3)
    assert field.density == 1.5
    assert np.allclose(field.airlight, field.airlight.max(), atol=0.2)
    assert abs(field.guide.mean() - picture.mean() / 255) < 0.01


def test_results_do_not_depend_on_threads(weights_file):
    picture = photo(500, 700)
    one = Dehazer(weights_file, threads=1).dehaze(picture)
    assert np.abs(Dehazer(weights_file, threads=3).dehaze(picture).astype(int) - one).max() <= 1


def test_colours_of_a_profile_are_kept_as_they_are(clear_view):
    """A picture tagged with a profile, sRGB itself here, comes out as the same picture without a tag."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = photo()
    tagged = clear_view.dehaze(encoded(picture, icc_profile=profile))
    opened = Image.open(io.BytesIO(tagged))
    assert opened.info["icc_profile"] == profile
    assert np.abs(np.asarray(opened).astype(int) - clear_view.dehaze(picture)).max() <= 3
    image = Image.fromarray(picture)
    image.info["icc_profile"] = profile
    assert np.array_equal(np.asarray(clear_view.dehaze(image)), np.asarray(opened))


def test_airlight_that_changes_is_converted_with_the_colours_of_a_profile(tmp_path):
    """sRGB as a profile says nothing; a profile of another gamma moves A(x) everywhere as it moves single colours."""
    terms = np.linspace(-0.05, 0.05, 15).reshape(3, 5)
    dehazer = Dehazer(standin.write(tmp_path / "uneven.onnx", terms=terms), threads=1)
    picture = photo() // 4 * 3  # no colour of it leaves the profile's
    plain = dehazer.field(picture)
    assert np.allclose(plain.terms, terms, atol=1e-6)
    points = np.meshgrid(np.linspace(0, 1, 9), np.linspace(0, 1, 9))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    tagged = dehazer.field(encoded(picture, icc_profile=srgb))
    assert np.abs(tagged.airlight_at(*points) - plain.airlight_at(*points)).max() < 0.01
    linear = drawn_pictures.profile(gamma=1.0)
    field = dehazer.field(encoded(picture, icc_profile=linear))
    expected = dehazer.field(icc.convert(picture, linear, grey=False)).airlight_at(*points)
    assert np.abs(icc.convert(field.airlight_at(*points), linear, grey=False) - expected).max() < 0.02
    assert np.abs(field.airlight_at(*points) - expected).max() > 0.1


# The lattice


def test_quality_and_lattice_choose_where_the_network_is_asked(weights_file):
    sizes = {quality: Dehazer(weights_file, quality=quality).field(photo()).lattice.shape for quality in QUALITIES}
    assert sizes == {"fast": (16, 16), "balanced": (32, 32), "best": (32, 32)}
    field = Dehazer(weights_file, lattice=37, view=256).field(photo())
    assert field.lattice.shape == (28, 37)
    assert field.guide.shape == (28, 37, 3)


@pytest.mark.parametrize("shape", [(300, 400, 3), (150, 200)])
def test_results_hardly_depend_on_the_lattice(weights_file, shape):
    picture = photo(*shape[:2], channels=3 if len(shape) == 3 else 0)
    results = [Dehazer(weights_file, lattice=cells).dehaze(picture).astype(float) for cells in (24, 37, 128)]
    assert max(np.abs(result - results[2]).mean() for result in results) < 2


def test_first_weights_without_lattice_and_terms_still_run(tmp_path):
    old = standin.write(tmp_path / "old.onnx", lattice=False, outputs=("transmission", "airlight", "density"), view=256)
    field = Dehazer(old).field(photo())
    assert field.lattice.shape == (48, 64)
    assert not field.terms.any()
    with pytest.raises(UsageError, match="lattice of its own"):
        Dehazer(old, quality="best").field(photo())


@pytest.mark.xfail(
    strict=True,
    reason="lattices of 43 and 128 cells differ from 64 by 0.014 on drawn blocks, after 2.3 million views too",
)
@pytest.mark.parametrize("name", sorted(weights.available().keys() - {"rehazing"}))
def test_lattices_of_the_weights_that_ship_agree(name):
    """Asked at the same points the network says the same of a picture, however finely it is asked."""
    network = onnx.Network(weights.path(name), 1)
    if not network.takes_lattice:
        pytest.skip(f"{name} has a lattice of its own")
    blocks = np.random.default_rng(1).integers(60, 250, (12, 16, 3), dtype=np.uint8)
    edges = blocks.repeat(20, axis=0).repeat(20, axis=1)
    pictures = [photo(192, 256), photo(300, 400)[::-1], edges, np.rint(0.4 * edges + 140).astype(np.uint8)]
    x, y = np.meshgrid((np.arange(32) + 0.5) / 32, (np.arange(24) + 0.5) / 24)
    for picture in pictures:
        fields = [Dehazer(network, lattice=cells).field(picture) for cells in (43, 64, 97, 128)]
        asked = [field.at(x, y) for field in fields]
        assert max(np.abs(t - asked[1]).mean() for t in asked) < 0.01
        assert max(np.abs(field.airlight - fields[1].airlight).max() for field in fields) < 0.02


# Options


@pytest.mark.parametrize("options", [{"quality": "best", "threads": 1}, {"lattice": 20, "view": 160}])
def test_a_dehazer_in_use_travels_as_its_settings(weights_file, options):
    dehazer = Dehazer(weights_file, rendering=Rendering(floor=0.2), **options)
    expected = dehazer.dehaze(photo())
    arrived = pickle.loads(pickle.dumps(dehazer))
    assert arrived.threads == dehazer.threads
    assert np.array_equal(arrived.dehaze(photo()), expected)
    baseline = pickle.loads(pickle.dumps(Dehazer(method="dcp")))
    assert np.array_equal(baseline.dehaze(photo(40, 50)), Dehazer(method="dcp").dehaze(photo(40, 50)))


def test_threads_that_nobody_chose_are_those_of_the_computer_it_travels_to(monkeypatch):
    travelling = pickle.dumps(Dehazer(method="dcp"))
    monkeypatch.setattr("nedr.inference.dehazer.cores", lambda: 99)
    assert pickle.loads(travelling).threads == 99


def test_a_network_in_use_can_be_pickled(weights_file):
    network = onnx.Network(weights_file, 1)
    seen = np.random.default_rng(0).random((128, 128, 3), np.float32)
    expected = network(seen)
    assert np.array_equal(pickle.loads(pickle.dumps(network))(seen).transmission, expected.transmission)


def test_the_view_comes_from_the_weights_unless_asked_for(weights_file, tmp_path, clear_view):
    assert clear_view.field(photo()).lattice.shape[1] == standin.VIEW // 4
    assert Dehazer(weights_file, view=256).field(photo()).lattice.shape == (48, 64)
    silent = standin.write(tmp_path / "silent.onnx", view=None)
    assert Dehazer(silent).field(photo()).lattice.shape == (48, 64)


def test_a_rendering_reaches_the_field(weights_file):
    rendering = Rendering(guidance="none", floor=0.2)
    assert Dehazer(weights_file, rendering=rendering).field(photo()).rendering == rendering


@pytest.mark.parametrize("method", ["dcp", "cap"])
@pytest.mark.parametrize("channels", [0, 3])
def test_baselines_are_methods(method, channels):
    picture = photo(60, 80, channels)
    result = Dehazer(method=method).dehaze(picture)
    assert result.shape == picture.shape
    assert result.dtype == picture.dtype


@pytest.mark.parametrize(
    "option",
    [
        {"method": "magic"},
        {"threads": 0},
        {"view": 96},
        {"device": "abacus"},
        {"quality": "finest"},
        {"lattice": 7},
        {"lattice": 600},
        {"lattice": 64, "quality": "fast"},
        {"method": "dcp", "quality": "best"},
    ],
)
def test_options_that_cannot_be_are_refused(weights_file, option):
    with pytest.raises(UsageError, match="expected"):
        Dehazer(weights_file, **option)


def test_a_strength_that_cannot_be_is_refused_before_anything_is_read(clear_view):
    with pytest.raises(UsageError, match="strength"):
        clear_view.dehaze("nowhere.png", strength=2)


def test_an_absent_device_is_named(weights_file):
    onnxruntime = onnx.runtime()
    absent = {"CUDAExecutionProvider": "cuda", "CoreMLExecutionProvider": "coreml"}
    name = next(name for provider, name in absent.items() if provider not in onnxruntime.get_available_providers())
    with pytest.raises(MissingExtraError, match=f"'{name}' needs"):
        Dehazer(weights_file, device=name).dehaze(photo())


def test_files_that_are_no_weights_are_refused(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not onnx")
    with pytest.raises(NedrError, match="cannot be loaded"):
        Dehazer(broken).dehaze(photo())
    foreign = standin.write(tmp_path / "foreign.onnx", outputs=("airlight", "density"))
    with pytest.raises(NedrError, match=r"expected inputs view, lattice .* found"):
        Dehazer(foreign).dehaze(photo())


def test_importing_loads_neither_onnxruntime_nor_torch():
    code = "import sys, nedr.inference.dehazer; print({'onnxruntime', 'torch', 'scipy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_nothing_is_left_in_the_home_folder_nor_reported(tmp_path):
    code = "import numpy, nedr; nedr.dehaze(numpy.zeros((64, 64, 3), numpy.uint8))"
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_DATA_HOME": str(tmp_path / "data")}
    inherited = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", code], env=inherited | home, check=True)
    assert list(tmp_path.iterdir()) == []


def test_the_default_weights_are_loaded_once_and_dehaze():
    assert weights.DEFAULT in weights.available()
    picture = photo(300, 400)
    result = nedr.dehaze(picture)
    assert result.shape == picture.shape
    assert result.dtype == picture.dtype
    assert np.array_equal(nedr.dehaze(picture, strength=0), picture)
    assert dehazer._default() is dehazer._default()


@pytest.mark.parametrize("channels", [3, 4])
def test_bgr_is_said_once(channels):
    rgb = np.random.default_rng(0).integers(0, 256, (40, 50, channels), np.uint8)
    turned = [2, 1, 0, 3][:channels]
    assert np.array_equal(nedr.dehaze(rgb[..., turned], order="bgr")[..., turned], nedr.dehaze(rgb))


def test_bgr_tensors():
    torch = pytest.importorskip("torch")
    rgb = torch.rand(2, 3, 40, 50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(nedr.dehaze(rgb.flip(1), order="bgr").flip(1), nedr.dehaze(rgb))


@pytest.mark.parametrize(("picture", "order"), [("photo.jpg", "bgr"), (np.zeros((4, 4), np.uint8), "bgr"), (1, "gbr")])
def test_an_order_that_cannot_be_is_told(picture, order):
    with pytest.raises(nedr.errors.UsageError, match="expected"):
        nedr.dehaze(picture, order=order)
