"""Checkpoints to resume a run from, and published weights: safetensors with the network's configuration inside."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from nedr.errors import NedrError, UsageError
from nedr.model.nedr import NeDR, NeDRConfig
from nedr.model.rehaze import Rehazing, RehazingConfig
from nedr.training import config as configuration

FORMAT, REHAZING_FORMAT = "nedr-2", "nedr-rehazing-1"
LARGE = 1024  # values in a tensor above which half precision pays off
FIRST_FORMAT = "nedr-1"  # the network of 0.1.0: its encoder is still usable


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write everything a run needs to continue; an interruption at any moment leaves the previous checkpoint intact."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint. Tensors and plain values only: a file that contains code is refused."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise NedrError(f"cannot resume from {path}: {error}; delete it to restart the run") from error
    return state


def save_weights(
    model: NeDR | Rehazing, path: str | Path, *, views: Mapping[str, int] | None = None, half: bool = False
) -> None:
    """Publish a network: its tensors as safetensors, its configuration in the header.

    views: how many it has learnt from, by stage and size, such as {"warm-up 96x128": 523000}.
    half: store large tensors in half precision, as in published files: half the size, results within an 8-bit level.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_suffix(".tmp")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.numel() >= LARGE else tensor for name, tensor in tensors.items()}
    format = FORMAT if isinstance(model, NeDR) else REHAZING_FORMAT
    metadata = {"format": format, "config": configuration.to_json(model.config), "views": json.dumps(views or {})}
    save_file(tensors, temporary, metadata=metadata)
    temporary.replace(target)


def load_weights(path: str | Path) -> NeDR:
    """Rebuild a published network from its file alone, in evaluation mode. Raises NedrError for any other file."""
    model = load_published(path)
    if not isinstance(model, NeDR):
        raise NedrError(f"{path}: expected a network that removes haze, found the networks that add it")
    return model


def views_of(path: str | Path) -> dict[str, int]:
    """How many views published weights have learnt from, by stage and size. Raises NedrError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            views: dict[str, int] = json.loads((file.metadata() or {}).get("views", "{}"))
    except Exception as error:
        raise NedrError(f"cannot read weights {path}: {error}") from error
    return views


def average(
    files: Sequence[str | Path], shares: Sequence[float] | None = None
) -> tuple[NeDR | Rehazing, dict[str, int]]:
    """The weighted mean of published weights, and the views behind the file that has seen most.

    Wortsman et al., "Model soups" (2022): states of one run, or of several from one start, lie so close together that
    their mean is often better than each. shares: positive, of any sum; None for equal ones.
    Raises UsageError for too few files, wrong shares or networks of different configurations, NedrError for a file that
    holds no weights.
    """
    shares = [1.0] * len(files) if shares is None else shares
    if len(files) < 2:
        raise UsageError(f"expected at least two files of weights to average, found {len(files)}")
    if len(shares) != len(files) or not all(0.0 < share < math.inf for share in shares):
        raise UsageError(f"expected {len(files)} positive shares, one per file, found {list(shares)}")
    models = [load_published(path) for path in files]
    for path, model in zip(files, models, strict=True):
        if model.config != models[0].config:
            raise UsageError(f"{path} holds a network with another configuration than {files[0]}")
    states = [model.state_dict() for model in models]
    whole = sum(shares)
    mean = {
        name: sum(share / whole * state[name].double() for share, state in zip(shares, states, strict=True)).to(first)
        for name, first in states[0].items()
    }
    models[0].load_state_dict(mean)
    return models[0], max(map(views_of, files), key=lambda views: sum(views.values()))


def is_first_format(path: str | Path) -> bool:
    """Whether a file holds the network of 0.1.0, from which a run may take the encoder."""
    try:
        with safe_open(path, framework="pt") as file:
            return bool((file.metadata() or {}).get("format") == FIRST_FORMAT)
    except (OSError, SafetensorError):
        return False


def encoder_of(path: str | Path) -> dict[str, Any]:
    """The encoder's tensors in a file of published weights."""
    prefix = "encoder."
    with safe_open(path, framework="pt") as file:
        return {n.removeprefix(prefix): file.get_tensor(n) for n in file.keys() if n.startswith(prefix)}  # noqa: SIM118


def load_published(path: str | Path) -> NeDR | Rehazing:
    """Rebuild what a run published, NeDR or the networks that add haze. Raises NedrError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise NedrError(f"cannot read weights {path}: {error}") from error
    config = json.loads(metadata.get("config", "{}"))
    model: NeDR | Rehazing
    if metadata.get("format") == FORMAT:
        model = NeDR(configuration.from_dict(NeDRConfig, config, where=str(path)))
    elif metadata.get("format") == REHAZING_FORMAT:
        model = Rehazing(configuration.from_dict(RehazingConfig, config, where=str(path)))
    else:
        raise NedrError(f"{path}: expected nedr weights ({FORMAT}), found {metadata.get('format', 'another file')!r}")
    model.load_state_dict(tensors)
    return model.eval()
