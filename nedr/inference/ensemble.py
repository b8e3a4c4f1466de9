"""The mean of what a network says of one picture in views of several sizes.

Views err in different places, so their mean errs less: that of the optical depth -log t, of beta, of A and of its
terms. Each call is a mean already: exported weights also see copies of a view under more and under less haze.
"""

from collections.abc import Sequence

import numpy as np

from nedr.inference.onnx import Estimate, Estimator, Lattice
from nedr.pictures.arrays import Floats

# Long sides of the views, as shares of the one that the weights were made for.
SIZES = (5 / 6, 1.0, 7 / 6)


def ensemble(network: Estimator, views: Sequence[Floats], lattice: Lattice) -> Estimate:
    """The haze of a picture, seen in views (H, W, 3) RGB in [0, 1] of any sizes, t on one lattice (rows, columns).

    Raises UsageError for a network with a lattice of its own.
    """
    found = [network(view, lattice) for view in views]
    return Estimate(
        np.exp(np.mean([np.log(estimate.transmission) for estimate in found], axis=0)),
        np.mean([estimate.airlight for estimate in found], axis=0),
        float(np.mean([estimate.density for estimate in found])),
        np.mean([estimate.terms for estimate in found], axis=0),
    )
