"""The configuration of a run, read from TOML. An unknown key is an error that names the nearest valid one."""

import dataclasses
import difflib
import json
import tomllib
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from nedr.errors import UsageError
from nedr.model.nedr import NeDRConfig
from nedr.training.data import DataConfig
from nedr.training.synthesis import HazeConfig

T = TypeVar("T")

# What may differ when a run is resumed: its length, and what does not affect what it learns.
FREE = ("optim.steps", "optim.decay", "data.workers", "log.")


@dataclass(frozen=True)
class OptimConfig:
    """AdamW with a warm start, a constant rate, and a cosine decay to zero over the last steps."""

    steps: int = 20_000
    warm: int = 300  # steps of linear increase
    frozen: int = 0  # first steps without training the (pretrained) encoder: a third cheaper
    decay: int = 6_000  # steps of decay at the end: until they begin, a run can still be made longer
    encoder_every: int = 1  # the encoder learns in every n-th step only; the others are a third cheaper
    encoder_rate: float = 1e-4
    revive: bool = False  # centre units that never fire in the published weights that a run starts from
    rate: float = 4e-4
    muon: bool = True  # kernels of the decoder take orthogonal steps
    muon_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 1e-4
    clip: float = 1.0  # largest norm of the gradient
    ema: float = 0.998  # decay of the averaged weights, which are published

    def __post_init__(self) -> None:
        if not 0 < self.warm + self.decay <= self.steps:
            raise ValueError(f"expected 0 < warm + decay <= steps, found {self.warm} + {self.decay} and {self.steps}")
        if self.encoder_every < 1:
            raise ValueError(f"expected encoder_every >= 1, found {self.encoder_every}")


@dataclass(frozen=True)
class LossConfig:
    """Weight of each term; 0 leaves it out."""

    radiance_l1: float = 1.0
    radiance_rms: float = 1.0
    transmission_l1: float = 0.5
    transmission_log: float = 0.1
    transmission_edges: float = 0.5
    airlight_l1: float = 0.3
    density_l1: float = 0.02


@dataclass(frozen=True)
class UnpairedConfig:
    """The unpaired stage: where its pictures come from, its networks, and the weight of each term; 0 leaves one out."""

    source: Literal["photographs", "its"] = "photographs"  # --hazy and --clear, or RESIDE's ITS rebuilt from --depth
    holdout: int = 0  # every n-th hazy photograph is kept from training; 0: none
    cycle: float = 1.0  # hazy -> clear -> hazy and clear -> hazy -> clear
    density: float = 1.0
    depth: float = 1.0  # where supervised, on the depth under drawn haze too
    depth_first: int = 0  # first steps, in which only the depth network learns, so that it does not mislead the others
    adversarial: float = 0.2
    supervised: float = 1.0  # warm-up's terms, on haze drawn on the same clear pictures
    identity: float = 0.0  # clear pictures must not change
    perceptual: float = 0.0  # on the clear pictures' cycle
    known_haze: float = 0.0  # t and A that G finds in rehazed pictures, which are known
    rehazed: float = 0.0  # the warm-up's terms on rehazed pictures, whose haze is known
    dark_channel: float = 0.0  # distance of the results' dark channel from that of clear pictures: haze raises it
    teacher: float = 0.0  # the averaged weights label real photographs, where they can be trusted
    teacher_more: float = (
        0.6  # of a photograph's own optical depth: the most haze added to the copy that is learnt from
    )
    depth_mean: float = 0.0  # D(J) is scaled to this mean, as only its product with beta is seen; 0 leaves it
    transferred: float = 0.0  # share of rehazed pictures with the depth found in a hazy one, instead of D(J)
    drawn: float = 0.0  # share with a depth drawn for the picture's regions (source "its")
    found_after: int = 0  # first steps without teacher and transferred depth, while G finds little that is worth having
    uneven: float = 0.0  # largest standard deviation of smooth noise in the logarithm of rehazed depth
    residual: bool = True  # R adds what the scattering model misses; off: the scattering model alone
    measured_depth: bool = False  # rehaze on measured depth instead of D(J): shows what D costs, outside the protocol
    beta: tuple[float, float] = (0.6, 1.8)  # densities drawn for rehazing
    airlight: Literal["estimated", "brightest"] = "estimated"  # of rehazing: as found or drawn, or max(J) as published
    depth_range: tuple[float, float] = (0.05, 3.0)  # the depth network's output
    rehaze_width: int = 16  # channels of the U-Net's first scale
    critic_width: int = 32
    critic_rate: float = 0.1  # of the other networks' rate
    pool: int = 8  # past fakes shown to the critics again, per sample of a batch

    def __post_init__(self) -> None:
        if self.source == "its" and self.supervised:
            raise ValueError("the ITS protocol has no supervision: expected unpaired.supervised = 0")
        if self.holdout < 0 or self.holdout == 1:
            raise ValueError(f"expected holdout 0 or at least 2, found {self.holdout}")
        if self.perceptual and not self.cycles:
            raise ValueError("the perceptual term is on the cycles, all of whose terms are 0: expected perceptual = 0")
        if self.depth_first and not self.depth:
            raise ValueError(f"depth_first needs a depth term: expected depth > 0, found {self.depth}")
        if not 0.0 < self.depth_range[0] < self.depth_range[1]:
            raise ValueError(f"depth_range needs 0 < low < high, found {self.depth_range}")
        if min(self.depth_mean, self.uneven, self.teacher_more) < 0.0:
            found = f"{self.depth_mean}, {self.uneven} and {self.teacher_more}"
            raise ValueError(f"expected depth_mean, uneven and teacher_more >= 0, found {found}")
        if min(self.transferred, self.drawn) < 0.0 or self.transferred + self.drawn > 1.0:
            found = f"{self.transferred} and {self.drawn}"
            raise ValueError(
                f"transferred and drawn are shares: expected at least 0 and at most 1 together, found {found}"
            )
        if self.source != "its" and self.drawn:
            raise ValueError("photographs have drawn depth in their supervision: expected unpaired.drawn = 0")

    @property
    def cycles(self) -> bool:
        """Whether any term needs the cycles, and so D, R and the critics."""
        published = (self.cycle, self.density, self.depth, self.adversarial)
        return any((*published, self.known_haze, self.rehazed, self.dark_channel))

    def at(self, step: int) -> "UnpairedConfig":
        """What holds in a step: before `found_after` nothing that G finds in a hazy picture is learnt from.

        Pictures that would get depth found in another one have a drawn one until then, where depth is drawn at all.
        """
        if step >= self.found_after:
            return self
        drawn = self.drawn + self.transferred if self.drawn else 0.0
        return dataclasses.replace(self, teacher=0.0, transferred=0.0, drawn=drawn)

    @property
    def rehazes_on_depth(self) -> bool:
        """Whether rehazed pictures need D(J): not where all of them have a depth that was drawn or found elsewhere."""
        return self.transferred + self.drawn < 1.0


@dataclass(frozen=True)
class LogConfig:
    """How often, in steps, a run reports and saves."""

    scalars: int = 20
    pictures: int = 500
    validate: int = 1_000
    alive: int = 5_000  # dead units, and the share of each of the paper's boxes: five validations
    checkpoint: int = 200
    keep: int = 0  # the averaged weights of every n-th step stay beside the latest, to be averaged again; 0: none

    def __post_init__(self) -> None:
        if self.keep % self.checkpoint:
            raise ValueError(f"expected keep to be a multiple of checkpoint = {self.checkpoint}, found {self.keep}")


@dataclass(frozen=True)
class TrainConfig:
    """A whole run; each table of the TOML file is one of these fields."""

    seed: int = 1
    model: NeDRConfig = field(default_factory=NeDRConfig)
    data: DataConfig = field(default_factory=DataConfig)
    haze: HazeConfig = field(default_factory=HazeConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    unpaired: UnpairedConfig | None = None  # given: the unpaired stage
    log: LogConfig = field(default_factory=LogConfig)


@dataclass(frozen=True)
class Paths:
    """Where a run reads and writes; given the same pictures, none of it changes what is learnt."""

    out: Path
    clear: Path | None = None
    depth: Path | None = None
    validation: Path | None = None
    labels: Path | None = None  # sky masks and relative distances of the clear pictures
    init: Path | None = None  # published weights to start from
    hazy: Path | None = None  # real hazy photographs, for the unpaired stage
    packed: Path | None = None  # a file of `packed.write` in place of folders: samples are drawn on the device


def load(cls: type[T], path: str | Path, overrides: Mapping[str, Any] | None = None) -> T:
    """Read a TOML file into `cls`, a dataclass of values and further dataclasses (its tables).

    `overrides` maps dotted keys ("optim.steps") to values that win over the file's. Raises UsageError for a missing or
    malformed file, an unknown key, a value of the wrong type or out of the range the dataclass accepts.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"no configuration file {path}") from None
    except OSError as error:
        raise UsageError(f"cannot read the configuration {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from None
    for key, value in (overrides or {}).items():
        *tables, last = key.split(".")
        table = data
        for name in tables:
            table = table.setdefault(name, {})
            if not isinstance(table, dict):
                raise UsageError(f"{key}: {name!r} is a value, not a table")
        table[last] = value
    return from_dict(cls, data, where=str(path))


def parse_override(text: str) -> tuple[str, Any]:
    """`"optim.steps=500"` -> `("optim.steps", 500)`; the value is TOML, or a bare string."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"expected KEY=VALUE, found {text!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def from_dict(cls: type[T], data: Mapping[str, Any], *, where: str = "configuration") -> T:
    """Build a dataclass from plain data, strictly: names and types must match."""
    hints = get_type_hints(cls)
    known = {part.name: hints[part.name] for part in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in data:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise UsageError(f"{where}: unknown key {key!r}; did you mean {near[0]!r}?")
    values = {key: _convert(known[key], value, f"{where}: {key}") for key, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from None


def to_json(config: Any) -> str:
    """A dataclass as compact JSON, to travel inside weights and checkpoints; `from_dict` reads it back."""
    return json.dumps(dataclasses.asdict(config), separators=(",", ":"))


def changes(recorded: str, config: TrainConfig, *, where: str = "configuration") -> list[str]:
    """What a run was told otherwise than `config`, as "seed = 1 (now 2)"; how long it is to be is not compared.

    recorded: the run's configuration as `to_json` gives it; what it does not hold has its default. Raises UsageError
    for a record that this version cannot read.
    """
    before = from_dict(TrainConfig, json.loads(recorded), where=where)
    return list(_differences(dataclasses.asdict(before), dataclasses.asdict(config)))


def _differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in after:
            yield from _differences(before[key], after[key], f"{where}.{key}" if where else key)
    elif before != after and not where.startswith(FREE):
        yield f"{where} = {_shown(before)} (now {_shown(after)})"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, dict):
        return "no table" if value is None else "a table"
    return json.dumps(value)


def _convert(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise UsageError(f"{where}: expected a table, found {value!r}")
        return from_dict(hint, value, where=where)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(next(a for a in arguments if a is not type(None)), value, where)
    if arguments:  # Literal
        if value not in arguments:
            raise UsageError(f"{where}: expected one of {', '.join(map(repr, arguments))}, found {value!r}")
        return value
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UsageError(f"{where}: expected {hint.__name__}, found {value!r}")
    return value


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError(f"{where}: expected a list, found {value!r}")
    if arguments[-1] is Ellipsis:
        return tuple(_convert(arguments[0], item, where) for item in value)
    if len(value) != len(arguments):
        raise UsageError(f"{where}: expected {len(arguments)} values, found {len(value)}")
    return tuple(_convert(hint, item, where) for hint, item in zip(arguments, value, strict=True))
