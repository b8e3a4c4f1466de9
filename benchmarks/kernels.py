"""The per-pixel part in several ways: guided t from two coarse lattices, inversion, rounding; uint8 in, uint8 out.

    python benchmarks/kernels.py [--pixels 4K] [--threads 2]

numpy is what the package uses; OpenCV, an ONNX graph and numba compute the same, and numba needs `pip install numba`.
"Error" is the largest difference from the package's result in levels (OpenCV and ONNX use another cubic).
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
from bench import SIZES, best, machine, photograph, table

from nedr.inference.field import HazeField, Rendering
from nedr.inference.inversion import Medium
from nedr.pictures import arrays
from nedr.pictures.arrays import Array

Kernel = Callable[[Array], Array]


def main() -> None:
    """Parse the options and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", choices=SIZES, default="4K")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    picture = photograph(*SIZES[options.pixels])
    print(machine(), f"\n{options.pixels}, {options.threads} threads, best of {options.repeats}\n", sep="")
    table(
        ["means", "seconds", "ns/pixel", "GB/s", "of a copy", "error"], rows(picture, options.threads, options.repeats)
    )


def rows(picture: Array, threads: int, repeats: int) -> Iterator[list[str]]:
    """One row per kernel that can run here, starting with a plain copy."""
    field = haze(picture)
    medium = field._medium(1.0, 3)
    kernels: dict[str, Callable[[], Kernel]] = {
        "copy": lambda: np.copy,
        "numpy in strips": lambda: lambda image: field.apply(image, threads=threads),
        "numpy at once": lambda: lambda image: numpy_at_once(image, medium),
        "OpenCV": lambda: opencv(medium, threads),
        "ONNX graph": lambda: onnx_graph(medium, picture.shape, threads),
        "numba, fused": lambda: numba(medium, threads),
    }
    expected = field.apply(picture)
    copy = best(lambda: np.copy(picture), repeats)
    for name, build in kernels.items():
        try:
            kernel = build()
        except ImportError as missing:
            yield [name, str(missing), "", "", "", ""]
            continue
        seconds = best(lambda kernel=kernel: kernel(picture), repeats)
        error = int(np.abs(kernel(picture).astype(int) - expected).max())
        size, rate = picture.shape[0] * picture.shape[1], 2 * picture.nbytes / seconds / 1e9
        figures = [f"{seconds:.4f}", f"{seconds / size * 1e9:.2f}", f"{rate:.2f}", f"{copy / seconds:.1%}"]
        yield [name, *figures, "" if name == "copy" else str(error)]


def haze(picture: Array) -> HazeField:
    """A field on a 64 x 48 lattice with a guide, as the network's would be; not brightened, as not by every kernel."""
    from PIL import Image

    guide = np.asarray(Image.fromarray(picture).resize((64, 48), Image.Resampling.BOX), np.float32) / 255
    airlight, plain = np.array([0.88, 0.9, 0.93], np.float32), Rendering(brighten=0.0)
    return HazeField(np.clip(1.1 - guide.mean(axis=2), 0.15, 1), guide, airlight, 1.0, rendering=plain)


def numpy_at_once(image: Array, medium: Medium) -> Array:
    """The same steps over whole planes, without strips: what cache misses cost."""
    from nedr.inference import lattice

    assert medium.slope is not None
    height, width = image.shape[:2]
    rest = image - (medium.airlight * 255).astype(np.float32)
    luma = sum(rest[..., c] * np.float32(arrays.LUMA[c]) for c in range(3))
    slope = lattice.sample(medium.slope / np.float32(255), height, width)
    t = np.clip(slope * luma + lattice.sample(medium.offset, height, width), medium.floor, 1)
    gain, own = 1 / t, 1 / (t + medium.colour_veil * (1 - t))
    shift = (luma * (gain - own))[..., None] + (medium.airlight * 255 + 0.5).astype(np.float32)
    return np.clip(rest * own[..., None] + shift, 0, 255.25).astype(np.uint8)


def opencv(medium: Medium, threads: int) -> Kernel:
    """OpenCV's resize, transform and arithmetic over whole planes."""
    import cv2

    cv2.setNumThreads(threads)
    airlight = [float(a) * 255 for a in medium.airlight]

    def kernel(image: Array) -> Array:
        size = image.shape[1::-1]
        luma = cv2.transform(image.astype(np.float32), np.array([[*arrays.LUMA]], np.float32))
        cv2.subtract(luma, sum(a * w for a, w in zip(airlight, arrays.LUMA, strict=True)), dst=luma)
        t = cv2.multiply(cv2.resize(medium.slope, size, interpolation=cv2.INTER_CUBIC), luma, scale=1 / 255)
        t = cv2.add(t, cv2.resize(medium.offset, size, interpolation=cv2.INTER_CUBIC))
        t = cv2.min(cv2.max(t, medium.floor), 1.0)
        gain = cv2.divide(1.0, t)
        own = cv2.divide(1.0, cv2.addWeighted(t, 1 - medium.colour_veil, t, 0, medium.colour_veil))
        shift = cv2.multiply(luma, cv2.subtract(gain, own))
        planes = []
        for plane, a in zip(cv2.split(image), airlight, strict=True):
            rest = cv2.multiply(cv2.subtract(plane, a, dtype=cv2.CV_32F), own)
            planes.append(cv2.add(cv2.add(rest, shift), a, dtype=cv2.CV_8U))
        return cv2.merge(planes)

    return kernel


def onnx_graph(medium: Medium, shape: tuple[int, ...], threads: int) -> Kernel:
    """One graph of onnxruntime over the whole picture."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    height, width = shape[:2]
    lattices = np.stack([medium.offset, medium.slope / np.float32(255)])[None]
    values = {
        "lattices": lattices,
        "sizes": np.array([1, 2, height, width]),
        "airlight": (medium.airlight * 255).astype(np.float32).reshape(1, 3, 1, 1),
        "weights": np.array(arrays.LUMA, np.float32).reshape(1, 3, 1, 1),
        "floor": np.array(medium.floor, np.float32),
        "one": np.array(1, np.float32),
        "veil": np.array(medium.colour_veil, np.float32),
        "black": np.array(0, np.float32),
        "white": np.array(255, np.float32),
    }
    steps = [
        ("Resize", ["lattices", "", "", "sizes"], "full", {"mode": "cubic", "cubic_coeff_a": -0.5}),
        ("Split", ["full"], "offset slope", {"axis": 1, "num_outputs": 2}),
        ("Cast", ["image"], "float", {"to": TensorProto.FLOAT}),
        ("Transpose", ["float"], "planes", {"perm": [0, 3, 1, 2]}),
        ("Sub", ["planes", "airlight"], "rest", {}),
        ("Conv", ["rest", "weights"], "luma", {}),
        ("Mul", ["slope", "luma"], "guided", {}),
        ("Add", ["guided", "offset"], "raw", {}),
        ("Clip", ["raw", "floor", "one"], "t", {}),
        ("Reciprocal", ["t"], "gain", {}),
        ("Sub", ["one", "t"], "lost", {}),
        ("Mul", ["lost", "veil"], "kept", {}),
        ("Add", ["t", "kept"], "colour_t", {}),
        ("Reciprocal", ["colour_t"], "colour_gain", {}),
        ("Sub", ["gain", "colour_gain"], "excess", {}),
        ("Mul", ["excess", "luma"], "shift", {}),
        ("Mul", ["rest", "colour_gain"], "scaled", {}),
        ("Add", ["scaled", "shift"], "lifted", {}),
        ("Add", ["lifted", "airlight"], "scene", {}),
        ("Round", ["scene"], "whole", {}),
        ("Clip", ["whole", "black", "white"], "held", {}),
        ("Transpose", ["held"], "pixels", {"perm": [0, 2, 3, 1]}),
        ("Cast", ["pixels"], "result", {"to": TensorProto.UINT8}),
    ]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs.split(), **attributes) for op, inputs, outputs, attributes in steps],
        "inversion",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])],
        [helper.make_tensor_value_info("result", TensorProto.UINT8, [1, height, width, 3])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image[None]})[0][0]


def numba(medium: Medium, threads: int) -> Kernel:
    """A loop over pixels compiled with everything fused, lattices already interpolated along rows."""
    import numba as compiler

    from nedr.inference import lattice

    compiler.set_num_threads(threads)
    airlight, (red, green, blue) = (medium.airlight * 255).astype(np.float32), arrays.LUMA
    floor, veil = np.float32(medium.floor), np.float32(medium.colour_veil)

    @compiler.njit(parallel=True, fastmath=True)
    def loop(image, cubics, cells, fraction, out):
        for y in compiler.prange(image.shape[0]):
            offset, slope, f = cubics[0, :, cells[y]], cubics[1, :, cells[y]], fraction[y]
            for x in range(image.shape[1]):
                r, g, b = image[y, x, 0] - airlight[0], image[y, x, 1] - airlight[1], image[y, x, 2] - airlight[2]
                luma = np.float32(red) * r + np.float32(green) * g + np.float32(blue) * b
                a = ((slope[3, x] * f + slope[2, x]) * f + slope[1, x]) * f + slope[0, x]
                t = ((offset[3, x] * f + offset[2, x]) * f + offset[1, x]) * f + offset[0, x] + a * luma
                t = min(max(t, floor), np.float32(1))
                gain = np.float32(1) / t
                colour = np.float32(1) / (t + veil * (np.float32(1) - t))
                shift = luma * (gain - colour) + np.float32(0.5)
                out[y, x, 0] = np.uint8(min(max(r * colour + shift + airlight[0], np.float32(0)), np.float32(255)))
                out[y, x, 1] = np.uint8(min(max(g * colour + shift + airlight[1], np.float32(0)), np.float32(255)))
                out[y, x, 2] = np.uint8(min(max(b * colour + shift + airlight[2], np.float32(0)), np.float32(255)))

    def kernel(image: Array) -> Array:
        height, width = image.shape[:2]
        size = len(medium.offset)
        along = lattice.along_rows(medium.stack, width, 0, width)
        along[1] /= 255
        cubics = np.stack([lattice.polynomial(along, cell) for cell in range(-1, size)], axis=2)
        cells, fraction = lattice.split(lattice.positions(height, size, 0, height), size)
        out = np.empty_like(image)
        loop(image, cubics, cells + 1, fraction, out)
        return out

    return kernel


if __name__ == "__main__":
    main()
