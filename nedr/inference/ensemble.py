"""Self-ensemble: the mean of what a network says of one picture in views of two sizes and of their mirror images.

After Timofte, Rothe and Van Gool, "Seven ways to improve example-based single image super resolution" (CVPR 2016).
Views err in different places, so their mean errs less: that of the optical depth -log t, of beta, of A and of its
terms. No view is larger than the one that the weights were made for, since larger ones miss the light haze of wide
scenes.
"""

from collections.abc import Sequence

import numpy as np

from nedr.inference.airlight import mirrored
from nedr.inference.onnx import Estimate, Estimator, Lattice
from nedr.pictures.arrays import Floats

# Long sides of the views, as shares of the one that the weights were made for.
SIZES = (5 / 6, 1.0)


def ensemble(network: Estimator, views: Sequence[Floats], lattice: Lattice) -> Estimate:
    """The haze of a picture, seen in views (H, W, 3) RGB in [0, 1] of any sizes, t on one lattice (rows, columns).

    Raises UsageError for a network with a lattice of its own.
    """
    found = []
    for view in views:
        found.append(network(view, lattice))
        t, airlight, density, terms = network(np.ascontiguousarray(view[:, ::-1]), lattice)
        found.append(Estimate(t[:, ::-1], airlight, density, mirrored(terms)))
    return Estimate(
        np.exp(np.mean([np.log(estimate.transmission) for estimate in found], axis=0)),
        np.mean([estimate.airlight for estimate in found], axis=0),
        float(np.mean([estimate.density for estimate in found])),
        np.mean([estimate.terms for estimate in found], axis=0),
    )
