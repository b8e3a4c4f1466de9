"""Benchmarks on disk: every published layout is found, paired by scene, cropped by the rule, and counted."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nedr.cli.main import command_parser, main
from nedr.errors import ImageError, UsageError
from nedr.evaluation import benchmarks
from nedr.evaluation.benchmarks import BENCHMARKS, find
from nedr.evaluation.paired import Identity, read_pair, score

# (benchmark, hazy, clear) as the published archives unpack and as they are often packed anew.
LAYOUTS = [
    ("sots-indoor", "nyuhaze500/hazy/1400_10.png", "nyuhaze500/gt/1400.png"),
    ("sots-indoor", "SOTS/indoor/nyuhaze500/hazy/1400_1.png", "SOTS/indoor/nyuhaze500/gt/1400.png"),
    ("sots-indoor", "indoor/hazy/1400_1.png", "indoor/clear/1400.png"),
    ("sots-indoor", "test/hazy/1400_1.png", "test/GT/1400_1.png"),
    ("sots-outdoor", "SOTS/outdoor/hazy/0001_0.8_0.2.jpg", "SOTS/outdoor/gt/0001.png"),
    ("hsts", "HSTS/synthetic/synthetic/0586.jpg", "HSTS/synthetic/original/0586.jpg"),
    ("hsts", "synthetic/0586.jpg", "original/0586.jpg"),
    ("i-haze", "# I-HAZY NTIRE 2018/hazy/01_indoor_hazy.jpg", "# I-HAZY NTIRE 2018/GT/01_indoor_GT.jpg"),
    (
        "o-haze",
        "O-HAZE/# O-HAZY NTIRE 2018/hazy/07_outdoor_hazy.jpg",
        "O-HAZE/# O-HAZY NTIRE 2018/GT/07_outdoor_GT.jpg",
    ),
    ("o-haze", "hazy/7.png", "clear/07.png"),
    ("nh-haze", "NH-HAZE/01_hazy.png", "NH-HAZE/01_GT.png"),
    ("nh-haze", "hazy/01.png", "GT/01.png"),
    ("dense-haze", "Dense_Haze_NTIRE19/hazy/01_hazy.png", "Dense_Haze_NTIRE19/GT/01_GT.png"),
    ("phonehazy", "hazy/any name.jpg", "gt/any name.png"),
]


def save(path, width=40, height=30, value=100):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(path)


@pytest.mark.parametrize(("name", "hazy", "clear"), LAYOUTS)
def test_each_layout_is_found_and_its_pictures_paired(tmp_path, name, hazy, clear):
    save(tmp_path / hazy)
    save(tmp_path / clear)
    (pair,) = find(name, tmp_path).pairs
    assert (pair.set, pair.folder / pair.hazy, pair.folder / pair.clear) == (name, tmp_path / hazy, tmp_path / clear)


def test_every_benchmark_is_tried_and_its_example_fits_its_own_rule():
    assert {name for name, *_ in LAYOUTS} == set(BENCHMARKS)
    for benchmark in BENCHMARKS.values():
        hazy, clear = (Path(part.split(" in ")[0]).stem for part in benchmark.example.split(" with "))
        assert re.fullmatch(benchmark.hazy, hazy)[1] == re.fullmatch(benchmark.clear, clear)[1]


def test_all_densities_of_a_scene_share_its_clear_picture(tmp_path):
    for scene in (1400, 1401):
        save(tmp_path / f"gt/{scene}.png")
        for number in (1, 2, 10):
            save(tmp_path / f"hazy/{scene}_{number}.png")
    pairs = find("sots-indoor", tmp_path).pairs
    assert len(pairs) == 6
    assert all(Path(pair.clear).stem == Path(pair.hazy).stem[:4] for pair in pairs)


def test_only_an_indoor_clear_picture_that_is_larger_by_the_published_edge_is_cropped(tmp_path):
    save(tmp_path / "hazy/1400_1.png", 62, 46)
    for width, height, fits in ((82, 66, True), (62, 46, True), (82, 64, False), (72, 56, False)):
        save(tmp_path / "gt/1400.png", width, height)
        (pair,) = find("sots-indoor", tmp_path).pairs
        if fits:
            assert read_pair(pair)[1].shape == (46, 62, 3)
        else:
            with pytest.raises(ImageError, match=f"62x46.*{width}x{height}"):
                read_pair(pair)


def test_the_crop_takes_ten_pixels_from_each_side(tmp_path):
    inside = np.random.default_rng(0).integers(0, 256, (46, 62, 3), dtype=np.uint8)
    save(tmp_path / "hazy/1400_1.png", 62, 46)
    save(tmp_path / "gt/1400.png")
    Image.fromarray(inside).save(tmp_path / "hazy/1400_1.png")
    Image.fromarray(np.pad(inside, ((10, 10), (10, 10), (0, 0)))).save(tmp_path / "gt/1400.png")
    (result,) = score(find("sots-indoor", tmp_path).pairs, methods={"input": Identity()})
    assert result.psnr == float("inf")


def test_a_whole_benchmark_misses_nothing(tmp_path):
    for number in range(1, 46):
        for side, folder in (("hazy", "hazy"), ("GT", "GT")):
            save(tmp_path / f"{folder}/{number:02}_outdoor_{side}.jpg", 8, 8)
    found = find("o-haze", tmp_path)
    assert (len(found.pairs), found.missing) == (45, [])


def test_what_is_missing_is_said(tmp_path):
    for number in (1, 2, 3):
        save(tmp_path / f"hazy/{number:02}_outdoor_hazy.jpg")
    save(tmp_path / "GT/01_outdoor_GT.jpg")
    save(tmp_path / "hazy/cover.jpg")
    found = find("o-haze", tmp_path)
    assert len(found.pairs) == 1
    alone, count = found.missing
    assert "2 hazy pictures" in alone
    assert "02_outdoor_hazy.jpg, 03_outdoor_hazy.jpg" in alone
    assert "1 pairs found, 45 expected" in count


def test_a_folder_without_the_benchmark_is_an_error_that_says_what_is_expected(tmp_path):
    save(tmp_path / "outdoor/hazy/0001_0.8_0.2.jpg")
    save(tmp_path / "outdoor/gt/0001.png")
    for root, words in ((tmp_path, "hazy/1400_1.png with gt/1400.png"), (tmp_path / "absent", "is not a folder")):
        with pytest.raises(UsageError, match=words):
            find("sots-indoor", root)
    with pytest.raises(UsageError, match="sots-indoor, sots-outdoor"):
        find("sots", tmp_path)


def test_the_command_scores_a_benchmark_with_its_protocol_and_what_is_missing(tmp_path, capsys):
    save(tmp_path / "hazy/1400_1.png", 62, 46, 110)
    save(tmp_path / "gt/1400.png", 82, 66, 100)
    call = ["eval", "sots-indoor", "--root", str(tmp_path), "--method", "input", "--markdown", str(tmp_path / "t.md")]
    assert main(call) == 0
    text, complaints = capsys.readouterr()
    assert "| sots-indoor | 1 | 28.13 / " in text
    for words in (benchmarks.BENCHMARKS["sots-indoor"].source, "10 pixels on each side", "1 pairs found, 500 expected"):
        assert words in text
    assert "1 pairs found, 500 expected" in complaints
    assert (tmp_path / "t.md").read_text() == text


def test_a_limited_score_says_so(tmp_path, capsys):
    for number in (1, 2):
        save(tmp_path / f"hazy/{number}.png")
        save(tmp_path / f"gt/{number}.png")
    assert main(["eval", "nh-haze", "--root", str(tmp_path), "--method", "input", "--limit", "1"]) == 0
    assert "Only the first 1 of 2 pairs" in capsys.readouterr().out


def test_a_benchmark_without_its_root_says_what_to_give(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", "dense-haze"]) == 2
    assert "--root" in capsys.readouterr().err


def test_the_help_names_every_benchmark(capsys):
    with pytest.raises(SystemExit):
        command_parser().parse_args(["eval", "--help"])
    text = " ".join(capsys.readouterr().out.split()).replace("- ", "-")
    assert all(name in text for name in BENCHMARKS)
