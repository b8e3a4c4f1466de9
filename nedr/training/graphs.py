"""A run's steps as CUDA graphs: recorded once for each size of view and lattice, then launched as a whole.

A step is thousands of small kernels, and launching them one by one takes several times as long as the card needs to
run them. A graph launches them all at once, with the same results, on inputs that always lie in the same place.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nedr.errors import UsageError
from nedr.training.warmup import CHECKED, Run, rate_factor, rate_of, warmup_losses

LATTICES = 4  # per size of view

Terms = dict[str, Tensor]
Work = Callable[[], Any]


def draw_recorded_lattice(view: torch.Size, strides: tuple[float, float], seed: int, step: int) -> tuple[int, int]:
    """`warmup.draw_lattice` among few: every size of view (B, 3, H, W) has LATTICES strides of its own."""
    height, width = view[-2:]
    shift = np.random.default_rng([seed, 8, height, width]).random()
    place = (np.random.default_rng([seed, 4, step]).integers(LATTICES) + shift) / LATTICES
    stride = float(strides[0] * (strides[1] / strides[0]) ** place)
    return max(4, round(height / stride)), max(4, round(width / stride))


class RecordedSteps:
    """The steps of a warm-up run on one card. On a CPU the same work is done, launch by launch, without graphs.

    Raises UsageError for a run whose encoder rests in some steps and learns in others.
    """

    def __init__(self, run: Run) -> None:
        optim, device, self.run = run.config.optim, run.fabric.device, run
        always = optim.encoder_every == 1 and optim.frozen == 0
        if run.stage != "warm-up" or not (always or optim.frozen >= optim.steps):
            raise UsageError(
                "recorded steps are for the warm-up with an encoder that learns in every step or in none: expected "
                "optim.encoder_every=1 and optim.frozen=0, or optim.frozen of at least optim.steps, "
                f"found {run.stage} with {optim.encoder_every} and {optim.frozen} of {optim.steps}"
            )
        run.learning()
        pairs = zip(run.model.parameters(), run.averaged.parameters(), strict=True)
        learning = [(p, average.detach()) for p, average in pairs if p.requires_grad]
        self.parameters: list[Tensor] = [p for p, _ in learning]
        self.averages = [average for _, average in learning]
        self.gradients = [torch.zeros_like(p) for p in self.parameters]
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        cuda = device.type == "cuda"
        for group in run.optimizer.param_groups:
            group["lr"], group["capturable"] = torch.zeros((), device=device), cuda
        self.stream = torch.cuda.Stream() if cuda else None  # type: ignore[no-untyped-call]
        self.shared = torch.cuda.graph_pool_handle() if cuda else None  # what `learn` needs, one size at a time
        self.inputs: dict[torch.Size, Terms] = {}
        self.works: dict[Any, Work] = {}

    def advance(self, batch: Terms) -> Terms:
        """`Run.advance`. The terms hold until the next step."""
        run, shape = self.run, batch["hazy"].shape
        if shape not in self.inputs:
            self.inputs[shape] = {name: torch.empty_like(values) for name, values in batch.items()}
        inputs = self.inputs[shape]
        for name, values in batch.items():
            inputs[name].copy_(values)
        factor = rate_factor(run.step, run.config.optim)
        for group in run.optimizer.param_groups:
            group["lr"].fill_(rate_of(group, run.config.optim) * factor)
        lattice = draw_recorded_lattice(shape, run.config.data.strides, run.config.seed, run.step)
        terms: Terms = self.done((shape, lattice), lambda: self.learn(inputs, lattice), self.shared)
        run.gradient_norm = self.done("move", self.move, None)
        run.total = terms["total"]
        if run.step % CHECKED == 0:
            run.require_finite()
        if run.average.n_averaged == 0:  # the average begins with the first step's weights, as `AveragedModel`'s does
            with torch.no_grad():
                torch._foreach_copy_(self.averages, self.parameters)
        run.average.n_averaged += 1
        run.count(batch)
        return terms

    def done(self, name: Any, work: Work, pool: Any) -> Any:
        """Do some work: the first time launch by launch, the second time while it is recorded, then as a graph."""
        if self.stream is None:
            return work()
        if name in self.works:
            return self.works[name]()
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            result = work()
        torch.cuda.current_stream().wait_stream(self.stream)
        self.works[name] = lambda: self.recorded(name, work, pool)
        return result

    def recorded(self, name: Any, work: Work, pool: Any) -> Any:
        """Record some work that has been done once, and do it; a graph's results always lie in the same place."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool, stream=self.stream):
            result = work()

        def again() -> Any:
            graph.replay()
            return result

        self.works[name] = again
        return again()

    def learn(self, batch: Terms, lattice: tuple[int, int]) -> Terms:
        """Forwards and backwards: every term of the loss, and the gradients where they always lie."""
        torch._foreach_zero_(self.gradients)
        terms = warmup_losses(self.run.model, batch, self.run.config.loss, lattice)
        total = torch.stack(list(terms.values())).sum()
        self.run.fabric.backward(total)
        return {name: value.detach() for name, value in ({"total": total} | terms).items()}

    def move(self) -> Tensor:
        """Move the weights and their average; return the norm of the gradient."""
        optim = self.run.config.optim
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, optim.clip, error_if_nonfinite=False)
        self.run.optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.averages, self.parameters, 1.0 - optim.ema)
        return norm
