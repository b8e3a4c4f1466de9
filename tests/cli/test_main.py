import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nedr import __version__
from nedr.cli import main as cli
from nedr.inference.dehazer import Dehazer
from nedr.pictures import atomic, images

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "rio.jpg"


def photograph(path, height=48, width=64, **options):
    ramp = np.linspace(90, 220, height * width).reshape(height, width)
    pixels = np.stack([ramp, ramp * 0.95 + 8, ramp * 0.9 + 20], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return path


def names(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


# Start


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["dehaze", "--help"], ["train", "--help"]])
def test_asking_for_help_loads_no_heavy_package(words):
    code = (
        "import sys; from nedr.cli.main import main\n"
        f"try: main({words!r})\nexcept SystemExit as leaving: assert not leaving.code\n"
        "print('LOADED', sorted({'numpy', 'PIL', 'torch', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_version(nedr):
    assert nedr("--version", bare=True)[:2] == (0, [f"nedr {__version__}"])


def test_help_names_every_command_and_each_has_its_own(nedr):
    status, out, _ = nedr("--help", bare=True)
    assert status == 0
    for verb in cli.VERBS:
        assert any(line.split()[:1] == [verb] for line in out)
        assert nedr(verb, "--help", bare=True)[0] == 0


def test_no_arguments_show_the_help_as_wrong_usage(nedr):
    status, out, err = nedr(bare=True)
    assert status == 2
    assert not out
    assert err[0].startswith("usage: nedr")


def test_module_runs_as_the_command():
    done = subprocess.run([sys.executable, "-m", "nedr", "--version"], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == f"nedr {__version__}\n"


# Where results go


def test_the_result_lies_beside_the_photograph_with_its_size_format_and_metadata(folder, nedr):
    exif = Image.Exif()
    exif[0x010F] = "Camera"
    photo = photograph(folder / "a.jpg", exif=exif, dpi=(300, 300), quality=80)
    status, out, err = nedr(photo)
    assert (status, err) == (0, [])
    assert out == [f"{photo} -> {folder / 'a.dehazed.jpg'}"]
    assert names(folder) == {"a.jpg", "a.dehazed.jpg"}
    with Image.open(photo) as before, Image.open(folder / "a.dehazed.jpg") as after:
        assert (after.format, after.size) == ("JPEG", before.size)
        assert after.getexif()[0x010F] == "Camera"
        assert after.info["dpi"] == (300, 300)
        assert after.quantization == before.quantization
        assert np.asarray(after).std() > np.asarray(before).std()  # haze takes contrast away


def test_the_pixels_are_those_of_the_library(folder, nedr, weights):
    photo = photograph(folder / "a.png")
    assert nedr(photo, "--strength", "0.7")[0] == 0
    expected = Dehazer(weights).dehaze(np.asarray(Image.open(photo)), strength=0.7)
    assert np.array_equal(np.asarray(Image.open(folder / "a.dehazed.png")), expected)


def test_the_verb_may_be_left_out_also_behind_options(folder, nedr):
    for words, name in ((["dehaze"], "1.png"), ([], "2.png"), (["--strength", "1"], "3.png")):
        assert nedr(*words, photograph(folder / name))[0] == 0
    results = [(folder / f"{k}.dehazed.png").read_bytes() for k in (1, 2, 3)]
    assert results[0] == results[1] == results[2]


def test_a_photograph_called_like_a_verb_goes_with_its_folder(folder, nedr):
    photograph(folder / "info", format="PNG")
    assert nedr("./info")[0] == 0
    assert Image.open(folder / "info.dehazed").format == "PNG"


def test_names_with_spaces_letters_of_any_script_and_capital_suffixes(folder, nedr):
    for name in ("hazy day.JPG", "Dunst über München.png", "霧.webp", "two.dots.tif"):
        assert nedr(photograph(folder / name))[0] == 0
    expected = {"hazy day.dehazed.JPG", "Dunst über München.dehazed.png", "霧.dehazed.webp", "two.dots.dehazed.tif"}
    assert expected < names(folder)


@pytest.mark.parametrize(("suffix", "kind"), [(".png", "PNG"), (".jpg", "JPEG"), (".tif", "TIFF"), (".webp", "WEBP")])
def test_an_output_file_names_its_format(folder, nedr, suffix, kind):
    photo = photograph(folder / "a.bmp")
    assert nedr(photo, "-o", folder / f"out{suffix}")[0] == 0
    assert Image.open(folder / f"out{suffix}").format == kind


@pytest.mark.parametrize("output", ["there", "made/deeper", "made.2024/", "plain"])
def test_an_output_folder_is_made_and_takes_the_names(folder, nedr, output):
    (folder / "there").mkdir()
    assert nedr(photograph(folder / "a.png"), "-o", output)[0] == 0
    assert (folder / output / "a.dehazed.png").is_file()


def test_several_photographs_go_into_a_folder_and_never_into_one_file(folder, nedr):
    photos = [photograph(folder / name) for name in ("a.png", "b.png")]
    status, _, err = nedr(*photos, "-o", "out.png")
    assert status == 2
    assert "out.png" in err[0]
    assert names(folder) == {"a.png", "b.png"}
    assert nedr(*photos, "-o", "out")[0] == 0
    assert names(folder / "out") == {"a.dehazed.png", "b.dehazed.png"}


@pytest.mark.parametrize("output", ["out.xyz", "out.heic"])
def test_an_output_of_no_format_that_can_be_written_is_refused(folder, nedr, output):
    status, _, err = nedr(photograph(folder / "a.png"), "-o", output)
    assert status == 2
    assert output in err[0]
    assert names(folder) == {"a.png"}


def test_heif_becomes_jpeg(folder, nedr):
    pytest.importorskip("pillow_heif").register_heif_opener()
    assert nedr(photograph(folder / "a.heic", format="HEIF"))[0] == 0
    assert Image.open(folder / "a.dehazed.jpg").format == "JPEG"


def test_the_map_and_the_comparison(folder, nedr):
    photo = photograph(folder / "a.png")
    status, out, _ = nedr(photo, "--map", "--compare", "-o", "there/b.png")
    assert status == 0
    assert all(name in out[0] for name in ("b.png", "b.transmission.png", "b.compare.png"))
    before, after = (np.asarray(Image.open(path)) for path in (photo, folder / "there/b.png"))
    both = np.asarray(Image.open(folder / "there/b.compare.png"))
    assert np.asarray(Image.open(folder / "there/b.transmission.png")).shape == before.shape
    assert np.array_equal(both[:, :64], before)
    assert np.array_equal(both[:, -64:], after)
    assert (both[:, 64:-64] == 255).all()
    assert both.shape[1] > 128


def test_the_comparison_of_grey_16_bit_with_alpha_keeps_all_of_it(folder, nedr):
    rng = np.random.default_rng(1)
    picture = images.Picture(
        rng.integers(0, 65536, (40, 50), np.uint16),
        rng.integers(0, 65536, (40, 50), np.uint16),
        "PNG",
        images.Metadata(),
    )
    (folder / "a.png").write_bytes(images.encode(picture))
    assert nedr("a.png", "--compare")[0] == 0
    both = images.read("a.compare.png")
    assert np.array_equal(both.pixels[:, :50], picture.pixels)
    assert np.array_equal(both.alpha[:, -50:], picture.alpha)


# Strength and quality


def test_strength_0_gives_back_the_same_bytes(folder, nedr):
    for photo in (photograph(folder / "a.jpg", quality=70), photograph(folder / "b.png")):
        assert nedr(photo, "--strength", "0")[0] == 0
        assert photo.with_stem(photo.stem + ".dehazed").read_bytes() == photo.read_bytes()


def test_strength_0_into_another_format_gives_the_same_pixels(folder, nedr):
    photo = photograph(folder / "a.jpg")
    assert nedr(photo, "--strength", "0", "-o", "b.png")[0] == 0
    assert Image.open(folder / "b.png").format == "PNG"
    assert np.array_equal(images.read("b.png").pixels, images.read(photo).pixels)


def test_quality_sets_the_size_of_the_file(folder, nedr):
    photo = photograph(folder / "a.jpg", 200, 300, quality=90)
    sizes = []
    for quality in (30, 95):
        assert nedr(photo, "--quality", quality, "--overwrite")[0] == 0
        sizes.append((folder / "a.dehazed.jpg").stat().st_size)
    assert sizes[0] < sizes[1]


# Nothing is lost


def test_existing_files_stay_unless_overwrite_is_given(folder, nedr):
    photo = photograph(folder / "a.png")
    (folder / "a.dehazed.png").write_bytes(b"precious")
    status, out, err = nedr(photo)
    assert (status, out) == (2, [])
    assert len(err) == 1
    assert "a.dehazed.png" in err[0]
    assert "--overwrite" in err[0]
    assert (folder / "a.dehazed.png").read_bytes() == b"precious"
    assert nedr(photo, "--overwrite")[0] == 0
    assert Image.open(folder / "a.dehazed.png").size == (64, 48)


@pytest.mark.parametrize("name", ["a.transmission.png", "a.compare.png"])
def test_one_existing_target_of_several_stops_the_photograph_before_any_is_written(folder, nedr, name):
    photograph(folder / "a.png")
    (folder / name).write_bytes(b"precious")
    assert nedr("a.png", "--map", "--compare")[0] == 2
    assert names(folder) == {"a.png", name}


def test_two_photographs_with_one_result_are_refused_before_any_work(folder, nedr):
    (folder / "sub").mkdir()
    photos = [photograph(folder / "a.png"), photograph(folder / "sub" / "a.png")]
    status, out, err = nedr(*photos, "-o", "out")
    assert (status, out) == (2, [])
    assert all(str(path) in err[0] for path in photos)
    assert names(folder) == {"a.png", "sub/a.png"}


def test_the_same_photograph_twice_and_maps_of_one_name_are_refused(folder, nedr):
    photograph(folder / "a.png"), photograph(folder / "a.jpg")
    assert nedr("a.png", "./a.png")[0] == 2
    assert nedr("a.png", "a.jpg", "--map")[0] == 2
    assert names(folder) == {"a.png", "a.jpg"}
    assert nedr("a.png", "a.jpg")[0] == 0


def test_a_result_never_replaces_a_photograph_that_is_yet_to_be_read(folder, nedr):
    (folder / "sub").mkdir()
    photograph(folder / "a.png"), photograph(folder / "sub/a.dehazed.png")
    before = (folder / "sub/a.dehazed.png").read_bytes()
    assert nedr("a.png", "sub/a.dehazed.png", "-o", "sub", "--overwrite")[0] == 2
    assert (folder / "sub/a.dehazed.png").read_bytes() == before


def test_in_place_only_when_asked_for(folder, nedr):
    photo = photograph(folder / "a.png")
    before = photo.read_bytes()
    assert nedr(photo, "-o", photo)[0] == 2
    assert photo.read_bytes() == before
    assert nedr(photo, "-o", photo, "--overwrite")[0] == 0
    assert photo.read_bytes() != before


def test_ctrl_c_while_writing_leaves_what_was_there(folder, nedr, monkeypatch):
    photograph(folder / "a.png")

    def interrupted(part, data):
        part.write_bytes(data[: len(data) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "_fill", interrupted)
    status, out, err = nedr("a.png")
    assert (status, out, err) == (130, [], ["nedr: interrupted"])
    assert names(folder) == {"a.png"}


@pytest.mark.skipif(os.name == "nt", reason="SIGINT cannot be sent to a process on Windows")
def test_ctrl_c_in_a_batch_leaves_whole_results_only(folder):
    photos = [str(photograph(folder / f"{k}.png", 300, 400)) for k in range(40)]
    command = [sys.executable, "-m", "nedr", *photos, "--method", "dcp", "--threads", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, cwd=folder, env=environment) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "nedr: interrupted\n"
    results = names(folder) - {Path(photo).name for photo in photos}
    assert 1 <= len(results) < len(photos)
    for name in results:
        assert images.read(folder / name).pixels.shape == (300, 400, 3)


def test_nobody_reading_the_output_is_no_traceback(folder):
    command = [sys.executable, "-m", "nedr", "info", str(photograph(folder / "a.png")), "--method", "dcp"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, cwd=folder, env=environment) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


# Bad input


def bad_photographs(folder):
    whole = photograph(folder / "whole.jpg", 100, 100).read_bytes()
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a picture")
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    header = b"P6\n1000000 1000000\n255\n"
    (folder / "gigantic.ppm").write_bytes(header + bytes(100))
    (folder / "zero.ppm").write_bytes(b"P6\n0 0\n255\n")
    (folder / "a folder").mkdir()
    (folder / "whole.jpg").unlink()
    return {"empty.jpg": 1, "text.jpg": 1, "truncated.jpg": 1, "gigantic.ppm": 1, "zero.ppm": 1} | {
        "a folder": 2,
        "missing.jpg": 2,
    }


@pytest.mark.parametrize("verb", ["dehaze", "info"])
def test_each_kind_of_bad_input_gets_one_line_and_leaves_nothing(folder, nedr, verb):
    bad = bad_photographs(folder)
    before = names(folder)
    for name, expected in bad.items():
        status, out, err = nedr(verb, name)
        assert (status, out, len(err)) == (expected, [], 1), name
        assert name in err[0]
        assert "Traceback" not in err[0]
    assert names(folder) == before


def test_the_others_are_done_when_some_photographs_fail(folder, nedr):
    bad = bad_photographs(folder)
    good = [photograph(folder / name) for name in ("first.png", "last.png")]
    status, out, err = nedr(good[0], *bad, good[1])
    assert status == 1
    assert len(out) == 2
    assert len(err) == len(bad)
    assert all(name in line for name, line in zip(bad, err, strict=True))
    assert {"first.dehazed.png", "last.dehazed.png"} < names(folder)


def test_a_target_that_cannot_be_written_leaves_nothing(folder, nedr):
    photograph(folder / "a.png")
    status, out, err = nedr("a.png", "-o", "a.png/b.png")
    assert (status, out, len(err)) == (2, [], 1)
    assert "a.png" in err[0]
    assert names(folder) == {"a.png"}


def test_transparency_into_jpeg_is_refused_and_names_the_photograph(folder, nedr):
    Image.fromarray(np.full((40, 40, 4), 120, np.uint8)).save(folder / "a.png")
    status, _, err = nedr("a.png", "-o", "b.jpg")
    assert status == 2
    assert len(err) == 1
    assert "a.png" in err[0]
    assert names(folder) == {"a.png"}


@pytest.mark.parametrize(
    "words",
    [
        ["--strength", "2"],
        ["--strength", "nan"],
        ["--strength", "much"],
        ["--method", "magic"],
        ["--device", "abacus"],
        ["--threads", "0"],
        ["--quality", "0"],
        ["--quality", "101"],
        ["--no-such-flag"],
        ["--weights", "no-such-weights"],
        ["--weights", "missing.onnx"],
    ],
)
def test_wrong_options_are_usage_errors_before_any_work(folder, nedr, words):
    photograph(folder / "a.png")
    status, out, err = nedr("a.png", *words, bare=True)
    assert (status, out) == (2, [])
    assert any(line.startswith(("nedr: ", "nedr dehaze: error: ", "nedr: error: ")) for line in err)
    assert not any("Traceback" in line for line in err)
    assert names(folder) == {"a.png"}


def test_damaged_weights_are_one_line(folder, nedr):
    (folder / "bad.onnx").write_bytes(b"not ONNX")
    status, _, err = nedr(photograph(folder / "a.png"), "--weights", "bad.onnx", bare=True)
    assert status == 1
    assert len(err) == 1
    assert "bad.onnx" in err[0]


def test_a_mistyped_command_is_met_with_the_right_one(folder, nedr):
    status, _, err = nedr("wieghts", "list", bare=True)
    assert status == 2
    assert "'weights'" in err[0]


# What is printed


def test_json_is_a_line_for_each_photograph(folder, nedr):
    photograph(folder / "a.png"), (folder / "empty.png").write_bytes(b"")
    status, out, _ = nedr("a.png", "empty.png", "--map", "--json")
    assert status == 1
    good, bad = map(json.loads, out)
    assert (good["photo"], good["dehazed"], good["map"], good["compare"]) == (
        "a.png",
        "a.dehazed.png",
        "a.transmission.png",
        None,
    )
    assert (good["width"], good["height"]) == (64, 48)
    assert bad["photo"] == "empty.png"
    assert "empty.png" in bad["error"]


def test_info_tells_what_the_field_holds(folder, nedr, weights):
    photo = photograph(folder / "a.png")
    status, out, _ = nedr("info", photo, "--json")
    found = json.loads(out[0])
    field = Dehazer(weights).field(photo)
    assert status == 0
    assert (found["width"], found["height"]) == (64, 48)
    assert found["airlight"] == pytest.approx(field.airlight.tolist(), abs=1e-3)
    assert found["density"] == pytest.approx(1.5)
    assert found["transmission"] == pytest.approx(float(field.transmission(48, 64).mean()), abs=0.01)
    status, out, _ = nedr("info", photo)
    assert out[0] == str(photo)
    assert [line.split()[0] for line in out[1:]] == ["size", "airlight", "density", "transmission"]
    assert names(folder) == {"a.png"}


def test_info_tells_of_borders(folder, nedr):
    framed = np.zeros((80, 100, 3), np.uint8)
    framed[20:70] = np.random.default_rng(0).integers(90, 250, (50, 100, 3), dtype=np.uint8)
    Image.fromarray(framed).save(folder / "film.png")
    _, out, _ = nedr("info", "film.png", "--json")
    assert json.loads(out[0])["borders"] == {"top": 20, "bottom": 10}
    _, out, _ = nedr("info", "film.png")
    assert out[-1] == "  borders       top 20, bottom 10 pixels, left as they are"


def test_two_qualities_one_of_the_haze_and_one_of_the_file(folder, nedr):
    Image.fromarray(np.random.default_rng(0).integers(90, 250, (90, 120, 3), dtype=np.uint8)).save(folder / "a.jpg")
    sizes = {}
    for words in (["best"], ["30"], ["fast", "30"], ["95"]):
        options = [option for word in words for option in ("--quality", word)]
        status, _, _ = nedr("a.jpg", "-o", f"{'-'.join(words)}.jpg", *options)
        assert status == 0
        sizes["-".join(words)] = (folder / f"{'-'.join(words)}.jpg").stat().st_size
    assert max(sizes["30"], sizes["fast-30"]) < sizes["95"]
    assert (folder / "30.jpg").read_bytes() != (folder / "fast-30.jpg").read_bytes()
    status, _, err = nedr("a.jpg", "--quality", "finest")
    assert status == 2
    assert "expected fast, balanced, best or a whole number from 1 to 100, found 'finest'" in err[-1]


def test_info_of_a_grey_photograph(folder, nedr):
    Image.fromarray(np.full((40, 50), 180, np.uint8)).save(folder / "grey.png")
    status, out, _ = nedr("info", "grey.png", "--json")
    assert status == 0
    assert len(json.loads(out[0])["airlight"]) == 3


def test_notes_go_to_stderr_under_the_name_of_the_photograph(folder, nedr):
    ramp = np.linspace(10, 120, 40 * 50).reshape(40, 50).astype(np.uint8)
    Image.fromarray(np.stack([ramp, ramp, ramp, ramp // 4], axis=2), "CMYK").save(folder / "a.jpg")
    status, _, err = nedr("a.jpg")
    assert status == 0
    assert any(line.startswith("nedr: a.jpg: ") and "CMYK" in line for line in err)


@pytest.mark.parametrize("method", ["dcp", "cap"])
def test_the_classical_methods_need_no_weights(folder, nedr, method):
    assert nedr(photograph(folder / "a.png"), "--method", method, bare=True)[0] == 0
    assert Image.open(folder / "a.dehazed.png").size == (64, 48)


# Training, export, evaluation, weights


@pytest.mark.parametrize(
    ("words", "absent", "extra"),
    [
        (["train", "--config", "c.toml", "--out", "run"], "torch", "train"),
        (["train", "--config", "c.toml", "--out", "run"], "lightning_fabric", "train"),
        (["export", "w.safetensors", "w.onnx"], "torch", "train"),
        (["eval", "pairs.csv", "--method", "dcp"], "skimage", "eval"),
    ],
)
def test_a_missing_package_is_met_with_the_extra_that_brings_it(folder, nedr, monkeypatch, words, absent, extra):
    photograph(folder / "a.png"), (folder / "pairs.csv").write_text("set,hazy,clear\none,a.png,a.png\n")
    monkeypatch.delitem(sys.modules, "nedr.training.export", raising=False)
    for name in [name for name in sys.modules if name.startswith(f"{absent}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, absent, None)
    status, _, err = nedr(*words, bare=True)
    assert (status, len(err)) == (1, 1)
    assert f"pip install '{ROOT}[{extra}]'" in err[0]
    assert names(folder) == {"a.png", "pairs.csv"}


def test_train_hands_over_its_configuration_and_folders(folder, nedr, monkeypatch):
    train = pytest.importorskip("nedr.training.loop")
    torch = pytest.importorskip("torch")
    from nedr.training.config import Paths

    calls = []
    monkeypatch.setattr(train, "fit", lambda *given, **named: calls.append((*given, named)) or Path("weights"))
    (folder / "run.toml").write_text("seed = 5\n[optim]\nsteps = 40\nwarm = 3\ndecay = 10\n")
    before = torch.get_num_threads()
    try:
        words = ["--out", "run", "--clear", "c", "--depth", "d", "--val", "v.csv", "--init", "i", "--threads", "1"]
        status, out, _ = nedr("train", "--config", "run.toml", *words, "--set", "optim.steps=50", bare=True)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    assert (status, out) == (0, ["weights"])
    config, paths, _ = calls[0]
    assert (config.seed, config.optim.steps, config.optim.warm) == (5, 50, 3)
    assert paths == Paths(Path("run"), Path("c"), Path("d"), Path("v.csv"), init=Path("i"))


@pytest.mark.parametrize(
    ("line", "words", "named"),
    [
        ("sed = 1", [], "'seed'"),
        ("seed = 1", ["--set", "optim.stps=3"], "'steps'"),
        ("seed = 1", ["--set", "seed"], "KEY=VALUE"),
        ("seed = ", [], "run.toml"),
    ],
)
def test_a_mistyped_configuration_is_a_usage_error_that_helps(folder, nedr, line, words, named):
    pytest.importorskip("nedr.training.loop")
    (folder / "run.toml").write_text(line)
    status, _, err = nedr("train", "--config", "run.toml", "--out", "run", *words, bare=True)
    assert (status, len(err)) == (2, 1)
    assert named in err[0]
    assert names(folder) == {"run.toml"}


def test_export_reports_its_parity_and_replaces_nothing(folder, nedr, monkeypatch):
    calls, sizes = [], ((256, 256), (128, 512))

    def export(source, target, **options):
        calls.append((source, target, options))
        return [SimpleNamespace(height=h, width=w, stride=4.0, largest_difference=1e-5) for h, w in sizes]

    monkeypatch.setitem(sys.modules, "nedr.training.export", SimpleNamespace(export=export))
    status, out, _ = nedr("export", "w.safetensors", "w.onnx", "--view", "320", bare=True)
    assert (status, out[0]) == (0, "w.onnx")
    assert "128 x 512" in out[2]
    assert calls == [(Path("w.safetensors"), Path("w.onnx"), {"view": 320, "overwrite": False})]
    (folder / "w.onnx").write_bytes(b"precious")
    status, _, err = nedr("export", "w.safetensors", "w.onnx", bare=True)
    assert status == 2
    assert "--overwrite" in err[0]
    assert len(calls) == 1


def test_average_writes_the_mean_and_replaces_nothing(folder, nedr, tiny_config):
    checkpoint = pytest.importorskip("nedr.training.checkpoint")
    from nedr.model.nedr import NeDR

    for name in ("a", "b"):
        checkpoint.save_weights(NeDR(tiny_config), folder / f"{name}.safetensors", views={"warm-up 64x64": 7})
    sources = ["a.safetensors", "b.safetensors"]
    status, out, _ = nedr("average", "mean.safetensors", *sources, "--shares", "1", "3", "--half", bare=True)
    assert (status, out) == (0, ["mean.safetensors  mean of 2  7 views"])
    assert checkpoint.load_weights(folder / "mean.safetensors").config == tiny_config
    before = (folder / "mean.safetensors").read_bytes()
    assert len(before) < 0.6 * (folder / "a.safetensors").stat().st_size
    status, _, err = nedr("average", "mean.safetensors", *sources, bare=True)
    assert status == 2
    assert "--overwrite" in err[0]
    assert (folder / "mean.safetensors").read_bytes() == before
    status, _, err = nedr("average", "other.safetensors", "a.safetensors", bare=True)
    assert (status, len(err)) == (2, 1)
    assert "at least two" in err[0]


def test_eval_prints_and_writes_the_tables(folder, nedr):
    pytest.importorskip("skimage")
    photograph(folder / "hazy.png"), photograph(folder / "clear.png")
    (folder / "pairs.csv").write_text("set,hazy,clear\none/a,hazy.png,clear.png\none/a,clear.png,hazy.png\n")
    words = ["--method", "input", "--method", "nedr", "--csv", "t.csv", "--markdown", "t.md", "--sheet", "figures"]
    status, out, err = nedr("eval", "pairs.csv", *words)
    assert (status, err) == (0, [])
    assert "| one/a | 2 |" in "\n".join(out)
    assert "RGB" in out[-1]
    assert (folder / "t.md").read_text().splitlines() == out
    assert len((folder / "t.csv").read_text().splitlines()) == 5
    assert Image.open(folder / "figures" / "one-a-nedr.png").width > 0
    status, _, err = nedr("eval", "pairs.csv", *words)
    assert status == 2
    assert "--overwrite" in err[0]


def test_eval_scores_each_quality(folder, nedr):
    pytest.importorskip("skimage")
    blocks = np.random.default_rng(0).integers(60, 220, (6, 8, 3), dtype=np.uint8).repeat(20, axis=0).repeat(20, axis=1)
    Image.fromarray(blocks).save(folder / "clear.png")
    Image.fromarray((blocks // 2 + 100).astype(np.uint8)).save(folder / "hazy.png")
    (folder / "pairs.csv").write_text("set,hazy,clear\na,hazy.png,clear.png\n")
    scores = {}
    for quality in ("fast", "balanced", "best", None):
        asked = ["--quality", quality] if quality else []
        assert nedr("eval", "pairs.csv", "--csv", f"{quality}.csv", *asked, bare=True)[0] == 0
        scores[quality] = (folder / f"{quality}.csv").read_text()
    assert scores[None] == scores["balanced"]
    assert len(set(scores.values())) == 3


def test_eval_names_a_missing_file(folder, nedr):
    status, _, err = nedr("eval", "pairs.csv", "--method", "input")
    assert (status, len(err)) == (2, 1)
    assert "pairs.csv" in err[0]


@pytest.fixture
def shipped(folder, weights, monkeypatch):
    """A table of weights with one sound and one damaged file."""
    from nedr.inference import weights as table

    shipping = folder / "shipped"
    shipping.mkdir()
    for name in ("base.onnx", "other.onnx"):
        shutil.copy(weights, shipping / name)
    line = {"sha256": table.sha256(weights), "licence": "Apache-2.0", "description": "a stand-in"}
    rows = {"base": line | {"file": "base.onnx"}, "other": line | {"file": "other.onnx"}}
    (shipping / table.TABLE).write_text(json.dumps(rows))
    monkeypatch.setattr(table, "FOLDER", shipping)
    return shipping


def test_weights_are_listed_located_and_verified(shipped, nedr):
    status, out, _ = nedr("weights", "list", bare=True)
    assert status == 0
    assert [line.split()[0] for line in out] == ["base", "other"]
    assert "Apache-2.0" in out[0]
    assert nedr("weights", "path", bare=True)[:2] == (0, [str(shipped / "base.onnx")])
    status, out, _ = nedr("weights", "verify", bare=True)
    assert status == 0
    assert len(out) == 2


def test_damaged_weights_fail_and_the_others_are_still_verified(shipped, nedr):
    with (shipped / "base.onnx").open("ab") as file:
        file.write(b"!")
    status, out, err = nedr("weights", "verify", bare=True)
    assert status == 1
    assert (len(out), len(err)) == (1, 1)
    assert "base" in err[0]
    assert nedr("weights", "path", "nonesuch", bare=True)[0] == 2


# What ships


def test_the_wheel_holds_the_weights_folder_and_the_marker_of_types(tmp_path):
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    shutil.copytree(ROOT / "nedr", source / "nedr", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    code = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    assert {"nedr/py.typed", "nedr/model/nedr.py"} <= inside
    shipped = {f"nedr/inference/pretrained/{path.name}" for path in (ROOT / "nedr/inference/pretrained").iterdir()}
    assert "nedr/inference/pretrained/pretrained.json" in shipped <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_example_photographs_have_their_sources_stated():
    sources = (ROOT / "examples" / "SOURCES.md").read_text(encoding="utf-8")
    photos = [path for path in (ROOT / "examples").iterdir() if path.suffix == ".jpg"]
    assert EXAMPLE in photos
    for photo in photos:
        assert photo.name in sources
        assert photo.stat().st_size < 500_000


def test_an_example_photograph_goes_through(folder, nedr):
    assert nedr(EXAMPLE, "-o", "rio.png")[0] == 0
    assert images.read("rio.png").pixels.shape == images.read(EXAMPLE).pixels.shape
