"""Which parts of a network are alive: units that never fire, and what each of the paper's boxes adds to the result.

A unit is dead if its value before the activation never exceeds 0 over the pictures. A box's share is the loss of PSNR
when its output is replaced by its mean over the pictures, channel by channel: next to nothing for a box that is
bypassed by a shortcut, whatever its units do.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from nedr.inference.dehazer import Dehazer
from nedr.model.heads import SLOPE
from nedr.model.kan import KANLinear
from nedr.model.nedr import NeDR
from nedr.pictures.arrays import Array
from nedr.training.calibrate import parameters_of
from nedr.training.validation import TorchNetwork, Validation

ACTIVATIONS = (F.leaky_relu, F.gelu)
RARE = 0.001  # share of values above 0 below which a unit is restarted

# What is replaced by its mean: the outputs of KAN-CID and IDRM, IDRM's position code, what DREM calls redundant.
BOXES: Mapping[str, Callable[[str], bool]] = {
    "KAN-CID": lambda name: name.startswith("kan_cid.") and name.count(".") == 1,
    "IDRM": lambda name: name == "idrm.last",
    "IDRM position": lambda name: name == "idrm.position",
    "DREM": lambda name: name == "drem.redundant",
}


def dead_units(model: NeDR, pictures: Iterable[Array]) -> dict[str, tuple[int, int]]:
    """For every layer before an activation, except the encoder's, how many units are dead and how many there are.

    pictures: (H, W, 3) uint8, which the network sees as it sees any picture.
    """
    highest: dict[str, Tensor] = {}

    def look(name: str, values: Tensor, own: bool) -> None:
        most = values.amax(dim=1)
        highest[name] = torch.maximum(highest.get(name, most), most)

    with _BeforeActivations(model, look):
        _see(model, pictures)
    return {name: (int((most <= 0).sum()), len(most)) for name, most in highest.items()}


@torch.no_grad()
def revive(model: NeDR, views: Tensor) -> dict[str, int]:
    """Centre the units that hardly ever fire over `views` (B, 3, H, W), in place; return how many per layer.

    Such a unit returns SLOPE times its value, whatever the picture. It gets a mean of 0 and a spread that keeps its
    output about as large as before, but is at least a part of its neighbours': its kink lies among its values again.
    """
    seen: dict[str, Tensor] = {}

    def look(name: str, values: Tensor, own: bool) -> None:
        if own:
            seen[name] = values

    with _BeforeActivations(model, look):
        model(views)
    modules = dict(model.named_modules())
    revived = {name: _centre(modules[name], values) for name, values in seen.items()}
    return {name: count for name, count in revived.items() if count}


def _centre(module: nn.Module, values: Tensor) -> int:
    """Centre a layer's units that have next to no `values` (units, ...) above 0; return their number."""
    dead = (values > 0).float().mean(dim=1) < RARE
    if not dead.any() or dead.all() or not isinstance(module, nn.Conv2d | nn.Linear | KANLinear):
        return 0
    weights, bias = parameters_of(module)
    assert bias is not None
    mean, deviation = values.mean(dim=1), values.std(dim=1).clamp_min(1e-6)
    least = 0.3 * deviation[~dead].median() / deviation
    scale = torch.where(dead, least.clamp(2.0 * SLOPE, 1.0), 1.0)
    for weight in weights:
        weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))
    bias.copy_(torch.where(dead, (bias - mean) * scale, bias))
    return int(dead.sum())


def shares(model: NeDR, validation: Validation) -> dict[str, dict[str, float]]:
    """What each box adds on each set, in dB of PSNR: the score minus the score with the box's mean in its place."""
    means = box_means(model, validation.hazy())
    whole = validation.scores(model)
    found = {}
    for box, constants in means.items():
        with replaced(model, constants):
            without = validation.scores(model)
        found[box] = {name: score - without[name] for name, score in whole.items()}
    return found


def box_means(model: NeDR, pictures: Iterable[Array]) -> dict[str, dict[str, Tensor]]:
    """The mean output of every module of each box that the model has: {box: {module: (C,)}}."""
    names = {name: box for name, _ in model.named_modules() for box, belongs in BOXES.items() if belongs(name)}
    sums, counts = dict[str, Tensor](), defaultdict[str, int](int)
    modules = dict(model.named_modules())

    def adding(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def add(module: nn.Module, inputs: Any, output: Tensor) -> None:
            values = _by_unit(name, output)
            sums[name] = sums.get(name, 0) + values.double().sum(dim=1)
            counts[name] += values.shape[1]

        return add

    with _hooked((modules[name], adding(name)) for name in names if not isinstance(modules[name], nn.Identity)):
        _see(model, pictures)
    found: dict[str, dict[str, Tensor]] = {box: {} for box in BOXES}
    for name, total in sums.items():
        found[names[name]][name] = (total / counts[name]).float()
    return {box: means for box, means in found.items() if means}


@contextmanager
def replaced(model: NeDR, constants: Mapping[str, Tensor]) -> Iterator[None]:
    """Make modules return constants (C,) instead of their outputs, within the context."""
    modules = dict(model.named_modules())

    def giving(name: str, constant: Tensor) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        shape = (-1, 1, 1) if _channels_first(name) else (-1,)
        return lambda module, inputs, output: constant.to(output).reshape(shape).expand_as(output)

    with _hooked((modules[name], giving(name, constant)) for name, constant in constants.items()):
        yield


class _BeforeActivations(TorchFunctionMode):
    """Calls `look(layer, values, own)` with every value before an activation, as (units, all else), while active.

    The layer is the last module that ran; `own` says whether the values are exactly its output.
    """

    def __init__(self, model: NeDR, look: Callable[[str, Tensor, bool], None]) -> None:
        super().__init__()
        self._model, self._look, self._stack = model, look, ExitStack()
        self._last, self._answer = "", torch.empty(0)

    def __enter__(self) -> "_BeforeActivations":
        self._stack.enter_context(_hooked((module, self._passed(name)) for name, module in self._model.named_modules()))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._stack.close()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in ACTIVATIONS and not self._last.startswith("encoder"):
            self._look(self._last, _by_unit(self._last, args[0]), args[0] is self._answer)
        return func(*args, **(kwargs or {}))

    def _passed(self, name: str) -> Callable[..., None]:
        """A hook that notes which module ran last, and its output."""

        def note(module: nn.Module, inputs: Any, output: Any) -> None:
            self._last, self._answer = name, output

        return note


@contextmanager
def _hooked(hooks: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """Add forward hooks and remove them afterwards."""
    handles = [module.register_forward_hook(hook) for module, hook in hooks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _see(model: NeDR, pictures: Iterable[Array]) -> None:
    """Run the model on each picture as a Dehazer would."""
    training = model.training
    dehazer = Dehazer(TorchNetwork(model.eval()), threads=1)
    for picture in pictures:
        dehazer.field(picture)
    model.train(training)


def _channels_first(name: str) -> bool:
    """Whether a module of this name returns (B, C, H, W); the others return channels last."""
    return not name.startswith("idrm.") and not name.endswith((".expand", ".project"))


def _by_unit(name: str, values: Tensor) -> Tensor:
    """A module's values as (units, all else)."""
    channels = values.movedim(1 if values.dim() == 4 and _channels_first(name) else -1, 0)
    return channels.flatten(1)
