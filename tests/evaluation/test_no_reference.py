"""No-reference measures: hand-computed values, and the directions in which they must move."""

import csv
import io
import math

import numpy as np
import pytest
from PIL import Image

from nedr.cli.main import main
from nedr.errors import ImageError, UsageError
from nedr.evaluation import no_reference
from nedr.evaluation.no_reference import visibility
from nedr.evaluation.paired import Identity


def grey(values):
    return np.repeat(np.asarray(values, np.uint8)[..., None], 3, axis=2)


def texture(contrast, seed=0):
    """A picture of soft noise around mid grey, `contrast` steps of 8 bits either way."""
    coarse = np.random.default_rng(seed).integers(-contrast, contrast + 1, (8, 10))
    return grey(128 + np.kron(coarse, np.ones((6, 6), int)))


def test_a_picture_left_alone_gains_nothing():
    found = visibility(texture(40), texture(40))
    assert (found.e, found.r, found.sigma) == (0, 1, 0)


def test_stretching_contrast_about_grey_multiplies_gradients_by_the_stretch():
    step = np.zeros((9, 12), int)
    step[:, 6:] = 1
    before, after = grey(100 + 20 * step), grey(90 + 60 * step)
    found = visibility(before, after)
    assert found.r == pytest.approx(3)
    assert found.e == 0  # the same edge is seen before and after


def test_an_edge_that_becomes_visible_counts_as_new():
    # Two edges of 20 steps after, of which the second has 3 steps, below 5 %, before.
    before = np.repeat([100, 120, 117], 6)
    after = np.repeat([100, 120, 100], 6)
    assert visibility(grey(np.tile(before, (9, 1))), grey(np.tile(after, (9, 1)))).e == 1


def test_sigma_is_the_percentage_newly_black_or_white():
    before = grey(np.full((10, 10), 128))
    before[0] = 255
    after = before.copy()
    after[1], after[2] = 0, 255
    after[3, :, 0] = 255  # a saturated colour is neither black nor white
    assert visibility(before, after).sigma == pytest.approx(20)


def test_no_edge_before_is_told_apart_from_no_edge_at_all():
    flat = grey(np.full((12, 12), 90))
    assert visibility(flat, flat).e == 0
    assert visibility(flat, texture(40)[:12, :12]).e == math.inf
    assert visibility(texture(40)[:12, :12], flat) == no_reference.Visibility(-1, 1, 0)


def test_more_contrast_means_more_and_stronger_edges():
    rows = [visibility(texture(10), texture(10 * factor)) for factor in (1, 2, 4, 8)]
    for measure in ("e", "r"):
        values = [getattr(row, measure) for row in rows]
        assert values == sorted(values)
        assert values[0] < values[-1]


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1)])
def test_pictures_of_one_line_are_measured(shape):
    picture = grey(np.full(shape, 77))
    assert visibility(picture, picture) == no_reference.Visibility(0, 1, 0)


def test_pictures_of_two_sizes_are_refused():
    with pytest.raises(ImageError, match="shape"):
        visibility(texture(1), texture(1)[1:])


def test_the_command_describes_a_folder_and_writes_both_tables(tmp_path, capsys):
    (tmp_path / "hazy").mkdir()
    for number in range(3):
        Image.fromarray(texture(20, number)).save(tmp_path / f"hazy/{number}.png")
    (tmp_path / "hazy/notes.txt").write_text("not a picture")
    tables = ["--csv", str(tmp_path / "t.csv"), "--markdown", str(tmp_path / "t.md")]
    assert main(["eval", str(tmp_path / "hazy"), "--method", "input", "--method", "dcp", *tables]) == 0
    text = capsys.readouterr().out
    assert "| input | 3 | 0.000 | 1.000 | 0.000 |" in text
    assert "Hautière" in text
    assert (tmp_path / "t.md").read_text("utf-8") == text
    rows = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [row["method"] for row in rows] == ["input", "dcp"] * 3
    scores = no_reference.describe(no_reference.photographs(tmp_path / "hazy"), methods={"input": Identity()})
    assert [float(row["r"]) for row in rows[::2]] == [score.visibility.r for score in scores]


def test_calls_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no pictures"):
        no_reference.photographs(tmp_path)
    assert main(["eval", str(tmp_path), "--sheet", str(tmp_path / "sheets")]) == 2
