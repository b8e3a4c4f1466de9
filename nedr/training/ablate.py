"""Ablation: KAN, IDRM and DREM replaced one at a time and all together, same budget and seeds, dehazing PSNR on pairs.

    >>> paths = Paths(Path("runs/ablation"), clear=clear, depth=depth, validation=pairs)
    >>> results = ablate(config, paths, steps=1500, seeds=3)
    >>> print(markdown_table(results, config.model))

Every run has its own folder, seed-N/VARIANT. A finished run is not repeated, and a stopped one resumes from its
checkpoint, so the same call completes an interrupted ablation.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from statistics import fmean, median, stdev

import torch
from lightning_fabric import Fabric
from torch.utils.flop_counter import FlopCounterMode

from nedr.errors import NedrError, UsageError
from nedr.evaluation.tables import as_csv, as_markdown
from nedr.model.nedr import NeDR, NeDRConfig
from nedr.pictures import atomic
from nedr.training import config as configuration
from nedr.training.checkpoint import load_weights
from nedr.training.config import Paths, TrainConfig
from nedr.training.loop import begin, fit
from nedr.training.stream import batches
from nedr.training.validation import Validation

FULL = "full"
# The switches of NeDRConfig that each variant turns off.
VARIANTS: dict[str, tuple[str, ...]] = {
    FULL: (),
    "linear-kan": ("kan",),
    "no-idrm": ("idrm",),
    "no-drem": ("drem",),
    "none-of-them": ("kan", "idrm", "drem"),
}

RECIPE = "ablation.json"
PACE = "pace.json"
SCORES = "scores.json"
SIDE = 256  # of the view that multiply-accumulates are counted on

PROTOCOL = (
    "PSNR in dB (RGB, 8 bit, full size, no border crop), mean over a set's pairs; then mean ± standard deviation over "
    "the seeds. One view, without the copies that exported weights see as well. `all` is the mean of the sets; "
    "`to full` its difference to the full network of the same seed. "
    "The variants of a seed see the same pictures in the same order. `linear-kan`: linear layers of as many weights "
    "and multiplications instead of the KAN; `no-idrm`: a 3x3 convolution and bilinear upsampling decode the grid; "
    f"`no-drem`: its input passes unchanged. Multiply-accumulates for a view of {SIDE} x {SIDE}."
)


@dataclass(frozen=True)
class Result:
    """One finished run of `steps` steps; `psnr` maps each validation set to its mean in dB."""

    variant: str
    seed: int
    psnr: dict[str, float]
    steps: int

    @property
    def all(self) -> float:
        """The mean of the sets, each counted once."""
        return fmean(self.psnr.values())


def ablate(
    config: TrainConfig,
    paths: Paths,
    *,
    steps: int,
    seeds: int = 3,
    equal_time: bool = False,
    vary: Sequence[str] = (),
    boxes: bool = True,
    fabric: Fabric | None = None,
    progress: Callable[[Result, int, int], None] | None = None,
) -> list[Result]:
    """Train and score every variant with every seed, each for `steps`; the tables below `paths.out` grow with each run.

    config: the recipe of all runs; its seed is the first one, its switches must all be on. paths: `validation` is
    needed, `init` must be None. equal_time: `steps` are the full network's, and the others take as many as cost the
    same processor time, which is measured once. vary: further variants, each a key of NeDRConfig and its value, as
    "cues=false"; without `boxes` only these are compared with the full network. progress: called after each run with
    its result, its number and the number of runs.

    Raises UsageError for a recipe that cannot be ablated, for a folder that holds another ablation, and for unusable
    pictures; NedrError when training diverges.
    """
    recipe, variants = budget(config, steps), (*(VARIANTS if boxes else (FULL,)), *vary)
    if len(variants) == 1:
        raise UsageError("without the boxes' own variants an ablation needs others to vary")
    pairs = _checked(recipe, paths, seeds, vary)
    _claim(paths.out / RECIPE, recipe)
    counts = _equal_steps(recipe, paths, variants, fabric) if equal_time else dict.fromkeys(variants, steps)
    validation = Validation(pairs)
    results: list[Result] = []
    for seed in range(config.seed, config.seed + seeds):
        for variant in variants:
            run = replace(budget(config, counts[variant]), seed=seed, model=ablated(config.model, variant))
            folder = paths.out / f"seed-{seed}" / variant
            scores = _scores(run, replace(paths, out=folder), validation, fabric)
            results.append(Result(variant, seed, scores, counts[variant]))
            write_tables(results, config.model, paths.out)
            if progress is not None:
                progress(results[-1], len(results), seeds * len(variants))
    return results


def budget(config: TrainConfig, steps: int) -> TrainConfig:
    """The recipe shortened to `steps`: its warm start, at most a tenth of them, and its decay's share, at most a half.

    Were the warm start to shrink with the run, heads would saturate in the first steps and learn no more. Raises
    UsageError below 2 steps.
    """
    if steps < 2:
        raise UsageError(f"an ablation needs at least 2 steps, found {steps}")
    optim, log = config.optim, config.log
    warm, decay = min(optim.warm, steps // 10), max(1, min(steps * optim.decay // optim.steps, steps // 2))
    return replace(
        config,
        optim=replace(optim, steps=steps, warm=warm, decay=decay),
        log=replace(log, pictures=steps, validate=steps, checkpoint=min(log.checkpoint, steps)),
    )


def ablated(model: NeDRConfig, variant: str) -> NeDRConfig:
    """The network's configuration with every part but those that `variant` leaves out, or with the value it names.

    Raises UsageError for a key or a value that cannot be.
    """
    off = VARIANTS.get(variant)
    changed = dict([configuration.parse_override(variant)]) if off is None else dict.fromkeys(off, False)
    return configuration.from_dict(NeDRConfig, asdict(model) | changed, where=variant)


@lru_cache
def size(config: NeDRConfig) -> tuple[int, int]:
    """Parameters, and multiply-accumulates for one view of SIDE x SIDE, counted without running anything."""
    with torch.device("meta"):
        model = NeDR(config).eval()
        view = torch.empty(1, 3, SIDE, SIDE)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(view)
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2


def csv_table(results: Sequence[Result]) -> str:
    """One line per run and set: variant, seed, set, psnr."""
    rows = [
        [result.variant, result.seed, name, f"{value:.6f}"] for result in results for name, value in result.psnr.items()
    ]
    return as_csv(["variant", "seed", "set", "psnr"], rows)


def markdown_table(results: Sequence[Result], model: NeDRConfig) -> str:
    """One row per variant: size, each set, all of them and the difference to the full network, then the protocol."""
    sets = list(results[0].psnr)
    seeds = sorted({result.seed for result in results})
    table = []
    whole = {result.seed: result.all for result in results if result.variant == FULL}
    for variant in dict.fromkeys(result.variant for result in results):
        rows = [result for result in results if result.variant == variant]
        parameters, operations = size(ablated(model, variant))
        cells = [variant, f"{parameters / 1e6:.2f} M", f"{operations / 1e9:.2f}", f"{rows[0].steps:,}"]
        cells += [_spread([row.psnr[name] for row in rows]) for name in sets]
        cells += [_spread([row.all for row in rows])]
        cells += ["" if variant == FULL else _spread([row.all - whole[row.seed] for row in rows], "+.2f")]
        table.append(cells)
    columns = ["variant", "parameters", "GMACs", "steps", *sets, "all", "to full"]
    return as_markdown(columns, table, [f"Seeds {', '.join(map(str, seeds))}. {PROTOCOL}"])


def write_tables(results: Sequence[Result], model: NeDRConfig, folder: Path) -> None:
    """Write ablation.md and ablation.csv into `folder`, each whole, over older ones."""
    atomic.write(folder / "ablation.csv", csv_table(results).encode(), overwrite=True)
    atomic.write(folder / "ablation.md", markdown_table(results, model).encode(), overwrite=True)


def _checked(recipe: TrainConfig, paths: Paths, seeds: int, vary: Sequence[str]) -> Path:
    """The validation pairs, when everything that can be known before training is as it must be."""
    if seeds < 1:
        raise UsageError(f"an ablation needs at least 1 seed, found {seeds}")
    if paths.validation is None:
        raise UsageError("an ablation needs validation pairs; give a CSV with the columns set,hazy,clear")
    if paths.init is not None:
        raise UsageError("an ablation starts every variant alike, from the encoder's start; leave out other weights")
    off = [switch for switch in ("kan_cid", "kan", "idrm", "drem") if not getattr(recipe.model, switch)]
    if off:
        raise UsageError(f"the configuration already leaves out {', '.join(off)}; an ablation starts from the whole")
    for variant in vary:
        if ablated(recipe.model, variant) == recipe.model:
            raise UsageError(f"{variant} is what the configuration says already; expected another value")
    return paths.validation


def _equal_steps(recipe: TrainConfig, paths: Paths, variants: Sequence[str], fabric: Fabric | None) -> dict[str, int]:
    """Steps of each variant that cost what the full network's do, from a measurement that is made once."""
    file = paths.out / PACE
    costs = _read(file, "measure again") if file.exists() else {FULL: 1.0}
    if missing := [name for name in variants if name not in costs]:
        seconds = pace(recipe, paths, fabric or Fabric(accelerator="cpu", devices=1), [FULL, *missing])
        costs |= {name: costs[FULL] * seconds[name] / seconds[FULL] for name in missing}
        atomic.write(file, json.dumps(costs).encode(), overwrite=True)
    return {name: max(2, round(recipe.optim.steps * costs[FULL] / costs[name])) for name in variants}


def pace(
    recipe: TrainConfig, paths: Paths, fabric: Fabric, variants: Sequence[str], *, rounds: int = 8
) -> dict[str, float]:
    """Processor seconds that steps of each variant take, in turn, so that other work meets all of them alike.

    They are those between one in which the encoder learns and the next, past its frozen start.
    """
    learning = replace(recipe, optim=replace(recipe.optim, frozen=0))
    runs = {name: begin(replace(learning, model=ablated(learning.model, name)), paths, fabric) for name in variants}
    batch = next(iter(batches(recipe, paths, 0)))
    spent: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            before = time.process_time()
            for _ in range(recipe.optim.encoder_every):
                run.advance(batch)
            spent[name].append(time.process_time() - before)
    return {name: median(seconds[1:]) for name, seconds in spent.items()}


def _claim(file: Path, recipe: TrainConfig) -> None:
    """Note the recipe in the folder; one that holds another recipe's runs is refused, for they do not compare."""
    text = configuration.to_json(recipe)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        atomic.write(file, text.encode())
    elif file.read_text("utf-8") != text:
        raise UsageError(f"{file.parent} holds an ablation of another configuration or budget; choose another folder")


def _scores(run: TrainConfig, paths: Paths, validation: Validation, fabric: Fabric | None) -> dict[str, float]:
    """One run's mean PSNR per set: read when the run is done, else trained to its end first."""
    file = paths.out / SCORES
    if not file.exists():
        weights = fit(run, replace(paths, validation=None), fabric=fabric)
        atomic.write(file, json.dumps(validation.scores(load_weights(weights))).encode())
    return _read(file, "score the run again")


def _read(file: Path, purpose: str) -> dict[str, float]:
    """Numbers by name. Raises NedrError for a damaged file."""
    try:
        numbers: dict[str, float] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise NedrError(f"{file} is damaged ({error}); delete it to {purpose}") from error
    return numbers


def _spread(values: Sequence[float], form: str = ".2f") -> str:
    """Mean ± standard deviation (of the sample), or the only value there is."""
    return f"{fmean(values):{form}}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
