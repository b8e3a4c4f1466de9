"""Options that several verbs share, and the types of values that they take."""

import argparse
from collections.abc import Callable

# How well the haze is found; those of `nedr.Dehazer`, which is not imported for a page of help.
QUALITIES = ("fast", "balanced", "best")


def add_seeing(parser: argparse.ArgumentParser) -> None:
    """How haze is found and reported: the same for every verb on photographs."""
    parser.add_argument(
        "--method", default="nedr", help="nedr, the network, or to compare dcp or cap, the classical priors (nedr)"
    )
    add_network(parser)
    parser.add_argument("--json", action="store_true", help="one line of JSON for each photograph, failed ones too")


def add_network(parser: argparse.ArgumentParser) -> None:
    """Which network is used, and where it runs."""
    parser.add_argument("--weights", metavar="NAME|FILE", help="of `nedr weights list`, or an .onnx file (base)")
    parser.add_argument("--threads", type=count, help="how many to use at most (one per core)")
    parser.add_argument(
        "--device", default="cpu", help="cpu, cuda, coreml, directml or openvino, with its onnxruntime (cpu)"
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Whether files that exist are replaced."""
    parser.add_argument("--overwrite", action="store_true", help="replace files that exist")


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from `least` to `most`, or without an upper end."""
    expected = f"of at least {least}" if most is None else f"from {least} to {most}"

    def read(text: str) -> int:
        if not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
            raise argparse.ArgumentTypeError(f"expected a whole number {expected}, found {text!r}")
        return int(text)

    return read


def number(text: str) -> float:
    """The type of an option that takes any number."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, found {text!r}") from None


count = whole_number(1)
percentage = whole_number(1, 100)
