"""Maps from one raster to another: torch's own answers where torch has them, and what must hold at any ratio."""

import pytest
import torch
from torch.nn import functional as F

from nedr.model.resample import averaged, centres, sampled

SIZES = [(24, 36), (12, 12), (7, 11), (1, 1), (31, 50), (48, 72)]


@pytest.fixture
def picture():
    torch.manual_seed(0)
    return torch.rand(2, 3, 24, 36, dtype=torch.float64)


@pytest.mark.parametrize("ratio", [(1, 1), (2, 3), (4, 4), (8, 12), (24, 36)])
def test_averages_over_whole_cells_are_pooling(picture, ratio):
    found = averaged(picture, 24 // ratio[0], 36 // ratio[1])
    torch.testing.assert_close(found, F.avg_pool2d(picture, ratio))


@pytest.mark.parametrize("size", SIZES)
def test_samples_are_bilinear_interpolation(picture, size):
    expected = F.interpolate(picture, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(sampled(picture, *size), expected)


@pytest.mark.parametrize("size", SIZES)
def test_averages_keep_the_mean_at_any_ratio(picture, size):
    torch.testing.assert_close(averaged(picture, *size).mean(dim=(2, 3)), picture.mean(dim=(2, 3)))


def test_sizes_may_be_tensors(picture):
    for bring in (averaged, sampled):
        found = bring(picture, torch.tensor(7), torch.tensor(11))
        torch.testing.assert_close(found, bring(picture, 7, 11), atol=1e-5, rtol=0)


def test_centres_by_hand():
    torch.testing.assert_close(centres(4, torch.zeros(())), torch.tensor([-0.75, -0.25, 0.25, 0.75]))
