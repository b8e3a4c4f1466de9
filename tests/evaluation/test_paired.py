import csv
import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nedr.errors import ImageError, MissingExtraError, NedrError, UsageError
from nedr.evaluation import paired as ev
from nedr.evaluation.paired import Identity, evaluate, figure_sheet, load_methods, means, read_pairs

DATA = Path(os.environ.get("NEDR_DATA", "no folder is named by NEDR_DATA"))


class Darker(Identity):
    """A method of known effect: everything darker by `step`."""

    def __init__(self, step):
        self.step = step

    def dehaze(self, x, /):
        return x - np.uint8(self.step)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def pairs(tmp_path):
    """Set one: pictures hazier than the truth by 10, 20, 30; set two: by 40 (grey) and 50; sides differ."""
    rows = ["set,hazy,clear"]
    for number, (name, off) in enumerate([("one", 10), ("one", 20), ("one", 30), ("two", 40), ("two", 50)]):
        clear = np.random.default_rng(number).integers(0, 200, (20 + number, 30, 3), dtype=np.uint8)
        if off == 40:
            clear = clear[..., 0]
        save(tmp_path / name / "hazy" / f"{number}.png", clear + np.uint8(off))
        save(tmp_path / name / "clear" / f"{number}.png", clear)
        rows.append(f"{name},{name}/hazy/{number}.png,{name}/clear/{number}.png")
    (tmp_path / "pairs.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "pairs.csv"


def decibels(error):
    return 10 * np.log10(255**2 / error**2)


def test_scores_come_pair_by_pair_with_every_method(pairs):
    scores = evaluate(pairs, methods={"input": Identity(), "darker": Darker(5)})
    assert [(s.pair.set, s.method) for s in scores] == [
        (name, method) for name in ("one", "one", "one", "two", "two") for method in ("input", "darker")
    ]
    expected = [decibels(error) for error in (10, 5, 20, 15, 30, 25, 40, 35, 50, 45)]
    assert [s.psnr for s in scores] == pytest.approx(expected, abs=1e-9)


def test_a_sets_mean_is_the_mean_of_its_pictures(pairs):
    rows = means(evaluate(pairs, methods={"input": Identity()}))
    assert [(row.set, row.method, row.count) for row in rows] == [("one", "input", 3), ("two", "input", 2)]
    assert rows[0].psnr == pytest.approx(np.mean([decibels(10), decibels(20), decibels(30)]))
    assert rows[1].psnr == pytest.approx(np.mean([decibels(40), decibels(50)]))


def test_perfect_results_score_infinity_without_failing(pairs):
    pairs.write_text("set,hazy,clear\none,one/clear/0.png,one/clear/0.png\n")
    scores = evaluate(pairs, methods={"input": Identity()})
    assert (scores[0].psnr, scores[0].ciede2000) == (float("inf"), 0)
    assert "inf / 1.000 / 0.00" in ev.markdown_table(scores)


def test_limit_keeps_the_first_pairs_of_each_set(pairs):
    kept = read_pairs(pairs, limit=1)
    assert [(pair.set, pair.hazy) for pair in kept] == [("one", "one/hazy/0.png"), ("two", "two/hazy/3.png")]


def test_progress_counts_every_score_to_the_total(pairs):
    seen = []
    methods = {"input": Identity(), "darker": Darker(1)}
    scores = evaluate(pairs, methods=methods, limit=2, progress=lambda *call: seen.append(call))
    assert seen == [(done + 1, 8, score) for done, score in enumerate(scores)]


def test_two_runs_write_the_same_bytes(pairs, tmp_path):
    for run in ("a", "b"):
        scores = evaluate(pairs, methods=load_methods(["input", "dcp", "cap"]))
        ev.write_tables(scores, csv_path=tmp_path / f"{run}.csv", markdown_path=tmp_path / f"{run}.md")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()


def test_the_shipped_weights_score_the_very_same_again_and_with_any_number_of_threads(tmp_path):
    example = Path(__file__).parents[2] / "examples/temple.jpg"
    with Image.open(example) as picture:
        small = picture.convert("RGB").resize((320, 240))
    small.save(tmp_path / "clear.png")
    Image.blend(small, Image.new("RGB", small.size, (200, 200, 205)), 0.4).save(tmp_path / "hazy.png")
    (tmp_path / "pairs.csv").write_text("set,hazy,clear\ns,hazy.png,clear.png\n")
    tables = {
        ev.csv_table(evaluate(tmp_path / "pairs.csv", methods=load_methods(["nedr"], threads=threads)))
        for threads in (1, 1, 2, 3)
    }
    assert len(tables) == 1


def test_csv_holds_every_score(pairs):
    scores = evaluate(pairs, methods={"input": Identity(), "darker": Darker(5)})
    rows = list(csv.DictReader(io.StringIO(ev.csv_table(scores))))
    assert list(rows[0]) == ["set", "hazy", "clear", "method", "psnr", "ssim", "ciede2000"]
    assert [(row["hazy"], row["method"]) for row in rows] == [(s.pair.hazy, s.method) for s in scores]
    for measure in ("psnr", "ssim", "ciede2000"):
        assert [float(row[measure]) for row in rows] == pytest.approx([getattr(s, measure) for s in scores], abs=1e-6)


def test_markdown_has_a_row_per_set_methods_side_by_side_and_the_protocol(pairs):
    text = ev.markdown_table(evaluate(pairs, methods={"input": Identity(), "darker": Darker(5)}))
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert table[0] == ["set", "pairs", "input", "darker"]
    assert [row[:2] for row in table[2:]] == [["one", "3"], ["two", "2"]]
    assert table[2][2].startswith(f"{np.mean([decibels(error) for error in (10, 20, 30)]):.2f} / ")
    for word in ("RGB", "8 bit", "full size", "no border crop", "11x11", "PSNR / SSIM / CIEDE2000"):
        assert word in text


def test_existing_tables_are_kept_unless_asked(pairs, tmp_path):
    scores = evaluate(pairs, methods={"input": Identity()}, limit=1)
    target = tmp_path / "scores.csv"
    target.write_text("mine")
    with pytest.raises(UsageError, match=r"scores\.csv"):
        ev.write_tables(scores, csv_path=target)
    assert target.read_text() == "mine"
    ev.write_tables(scores, csv_path=target, overwrite=True)
    assert target.read_text() == ev.csv_table(scores)


def test_16_bit_grey_and_8_bit_grey_are_scored_alike(tmp_path):
    grey = np.random.default_rng(0).integers(0, 200, (20, 30), dtype=np.uint8)
    save(tmp_path / "deep.png", (grey.astype(np.uint16) * 257))
    save(tmp_path / "clear.png", grey)
    (tmp_path / "pairs.csv").write_text("set,hazy,clear\ns,deep.png,clear.png\n")
    assert evaluate(tmp_path / "pairs.csv", methods={"input": Identity()})[0].psnr == float("inf")


def test_paths_hold_from_anywhere_and_absolute_ones_too(pairs, tmp_path, monkeypatch):
    monkeypatch.chdir("/")
    assert len(evaluate(pairs, methods={"input": Identity()}, limit=1)) == 2
    folder = pairs.parent / "one"
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text(f"set,hazy,clear\ns,{folder}/hazy/0.png,{folder}/clear/0.png\n")
    assert len(evaluate(elsewhere, methods={"input": Identity()})) == 1


def test_spreadsheet_exports_and_extra_columns_are_read(pairs):
    text = pairs.read_text().replace("set,hazy,clear", "set,hazy,clear,note").replace("0.png\n", "0.png,good\n")
    pairs.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(read_pairs(pairs)) == 5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("set,hazy\none,a.png\n", "no column clear"),
        ("", "no column set, hazy, clear"),
        ("set,hazy,clear\n", "no pairs"),
        ("set,hazy,clear\none,one/hazy/0.png\n", "line 2 lacks"),
        ("set,hazy,clear\none,one/hazy/0.png,\n", "line 2 lacks"),
        ("set,hazy,clear\none,one/hazy/0.png,one/clear/9.png\n", r"1 of its pictures .*9\.png"),
        ("set,hazy,clear\none,one/hazy/0.png,one/clear\n", r"1 of its pictures"),
        (b"set,hazy,clear\n\xff\xfe,a,b\n", "UTF-8"),
    ],
)
def test_a_bad_list_is_one_clear_error(pairs, text, words):
    pairs.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(NedrError, match=words) as caught:
        read_pairs(pairs)
    assert "pairs.csv" in str(caught.value)


@pytest.mark.parametrize("name", ["absent.csv", "."])
def test_a_list_that_is_not_there_is_a_usage_error(tmp_path, name):
    with pytest.raises(UsageError, match="no such file"):
        read_pairs(tmp_path / name)


def test_a_limit_below_one_is_a_usage_error(pairs):
    with pytest.raises(UsageError, match="at least 1"):
        read_pairs(pairs, limit=0)


def test_missing_pictures_are_found_before_any_work(pairs):
    (pairs.parent / "two/clear/4.png").unlink()
    seen = []
    with pytest.raises(NedrError, match=r"4\.png"):
        evaluate(pairs, methods={"input": Identity()}, progress=lambda *call: seen.append(call))
    assert seen == []


def test_pairs_of_two_sizes_are_named_with_both(pairs):
    pairs.write_text("set,hazy,clear\none,one/hazy/0.png,one/clear/1.png\n")
    with pytest.raises(ImageError, match=r"0\.png is 30x20.*1\.png is 30x21"):
        evaluate(pairs, methods={"input": Identity()})


def test_a_picture_too_small_to_score_is_named(tmp_path):
    save(tmp_path / "small.png", np.zeros((8, 30, 3), np.uint8))
    (tmp_path / "pairs.csv").write_text("set,hazy,clear\ns,small.png,small.png\n")
    with pytest.raises(ImageError, match=r"small\.png, method input: SSIM"):
        evaluate(tmp_path / "pairs.csv", methods={"input": Identity()})


@pytest.mark.parametrize(("names", "words"), [(["dpc"], "dpc"), ([], "none"), (["input", "x", "y"], "x, y")])
def test_unknown_methods_are_named_with_the_known_ones(names, words):
    with pytest.raises(UsageError, match=f"nedr, dcp, cap, input, found {words}"):
        load_methods(names)


def test_methods_keep_their_order_and_come_once():
    assert list(load_methods(["cap", "input", "dcp", "cap"])) == ["cap", "input", "dcp"]


def test_every_method_is_built_with_the_options_that_are_its_own(monkeypatch):
    monkeypatch.setattr(ev, "Dehazer", lambda *weights, **options: (*weights, options))
    monkeypatch.setattr(ev, "Network", lambda *options: options)
    monkeypatch.setattr(ev, "resolve", lambda weights: weights)
    methods = load_methods(ev.METHODS, weights="mine.onnx", view=320, quality="best", threads=2, device="cuda")
    assert list(methods) == list(ev.METHODS)
    assert methods["nedr"] == (("mine.onnx", 1, "cuda"), {"view": 320, "quality": "best", "threads": 2})
    for name in ("dcp", "cap"):
        assert methods[name] == ({"method": name, "threads": 2},)
    assert isinstance(methods["input"], Identity)


def test_without_scikit_image_the_extra_is_named(pairs, monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(MissingExtraError, match=r"\[eval\]"):
        evaluate(pairs, methods={"input": Identity()})


def test_the_sheet_shows_worst_median_and_best_in_four_columns(pairs, tmp_path):
    scores = evaluate(pairs, methods={"input": Identity()})
    rows = []
    method = Identity()
    method.field = lambda x: rows.append(x) or Identity().field(x)
    sheet = figure_sheet(scores, method, name="input", set="one")
    heights = [round(ev.CELL_WIDTH * (20 + number) / 30) + ev.CAPTION_HEIGHT for number in (2, 1, 0)]
    assert sheet.size == (4 * ev.CELL_WIDTH, sum(heights))
    # Worst first: the picture that is off by 30.
    assert [len(x) for x in rows] == [22, 21, 20]
    ev.write_sheet(tmp_path / "sheet.png", sheet)
    with Image.open(tmp_path / "sheet.png") as read_back:
        assert (read_back.format, read_back.size) == ("PNG", sheet.size)


@pytest.mark.parametrize(("limit", "rows"), [(1, 1), (2, 2)])
def test_a_sheet_of_few_pictures_shows_each_once(pairs, limit, rows):
    scores = evaluate(pairs, methods={"input": Identity()}, limit=limit)
    heights = [round(ev.CELL_WIDTH * (20 + number) / 30) + ev.CAPTION_HEIGHT for number in range(rows)]
    assert figure_sheet(scores, Identity(), name="input", set="one").height == sum(heights)


def test_a_sheet_of_nothing_is_a_usage_error(pairs):
    scores = evaluate(pairs, methods={"input": Identity()}, limit=1)
    with pytest.raises(UsageError, match="dcp on the set one"):
        figure_sheet(scores, Identity(), name="dcp", set="one")


@pytest.mark.skipif(not (DATA / "pairs.csv").is_file(), reason=f"no validation pairs: {DATA}")
def test_leaving_the_validation_pictures_alone_scores_its_known_psnr():
    rows = means(evaluate(DATA / "pairs.csv", methods=load_methods(["input"]), limit=1))
    expected = {"sots-indoor": 14.79, "hsts": 17.15, "nh-haze": 11.51, "o-haze": 13.66, "revide": 18.72}
    assert {row.set: row.psnr for row in rows if row.set in expected} == pytest.approx(expected, abs=0.005)
