"""The unpaired stage: hazy and clear photographs that do not match (NeDR-Dehaze, section on training; D4 before it).

Three generators and two critics: dehazing G, depth D, rehazing R, and a critic for clear and for hazy pictures.

    hazy -> clear -> hazy:  J^ = G(I), I^ = R(J^, D(J^), beta(I)), which should be I
    clear -> hazy -> clear: I~ = R(J, D(J), beta), J~ = G(I~), which should be J, and beta(I~) the beta drawn
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn import functional as F

from nedr.errors import NedrError
from nedr.model.critic import PatchCritic, accuracy
from nedr.model.depth import DepthConfig, DepthNet
from nedr.model.encoder import Encoder
from nedr.model.heads import brightest
from nedr.model.nedr import HazeEstimate, NeDR, NeDRConfig, depth, displayed, scene_radiance
from nedr.model.rehaze import Rehaze, Rehazing, RehazingConfig, physical_haze
from nedr.model.resample import averaged
from nedr.training import losses, teacher
from nedr.training.checkpoint import save_weights
from nedr.training.config import LossConfig, Paths, TrainConfig, UnpairedConfig
from nedr.training.validation import picture_grid
from nedr.training.warmup import Run, build_optimizer, imagenet, supervised_terms, warmup_losses

REHAZING = "rehazing.safetensors"
# Transmission that differs by less than this over a batch of hazy photographs has collapsed to a constant ...
FLAT = 0.003
# ... when it does so in as many steps one after another.
PATIENCE = 50


class Networks(NamedTuple):
    """What is trained together: G, D, R and the critics."""

    dehaze: NeDR
    depth: DepthNet
    rehaze: Rehaze
    critic_clear: PatchCritic
    critic_hazy: PatchCritic


class DehazeCycle(NamedTuple):
    """hazy -> clear -> hazy: J^ (B, 3, H, W), what G said of I, and I^ (B, 3, H, W), if a term asks for it."""

    clear: Tensor
    estimate: HazeEstimate
    hazy: Tensor | None


class RehazeCycle(NamedTuple):
    """clear -> hazy -> clear: I~ (B, 3, H, W), what G said of it, J~ (B, 3, H, W), and t (B, 1, h, w) and A of I~."""

    hazy: Tensor
    estimate: HazeEstimate
    clear: Tensor
    transmission: Tensor
    airlight: Tensor


def dehaze(network: NeDR, hazy: Tensor) -> tuple[Tensor, HazeEstimate]:
    """G(I): J^ in [0, 1] (B, 3, H, W), and the estimate behind it."""
    estimate = network(hazy)
    return displayed(scene_radiance(hazy, estimate.transmission, estimate.airlight, estimate.terms)), estimate


def depth_of(network: DepthNet, clear: Tensor, weights: UnpairedConfig) -> Tensor:
    """D(J) (B, 1, h, w), scaled to the configured mean in each picture if there is one."""
    return scaled(network(clear), weights)


def scaled(distance: Tensor, weights: UnpairedConfig) -> Tensor:
    """A depth (B, 1, h, w) with the configured mean in each picture; with 0 as it is."""
    if not weights.depth_mean:
        return distance
    return distance * (weights.depth_mean / distance.mean(dim=(1, 2, 3), keepdim=True))


def dehaze_cycle(networks: Networks, hazy: Tensor, weights: UnpairedConfig) -> DehazeCycle:
    """J^ = G(I); I^ = R(J^, D(J^), beta(I)) where the cycle counts."""
    clear, estimate = dehaze(networks.dehaze, hazy)
    if not weights.cycle:
        return DehazeCycle(clear, estimate, None)
    airlight = brightest(clear) if weights.airlight == "brightest" else estimate.airlight
    distance = depth_of(networks.depth, clear, weights)
    return DehazeCycle(clear, estimate, rehaze(networks.rehaze, clear, distance, estimate.density, airlight, weights))


def rehaze(
    network: Rehaze, clear: Tensor, distance: Tensor, density: Tensor, airlight: Tensor, weights: UnpairedConfig
) -> Tensor:
    """R(J, d, beta) (B, 3, H, W), or its physical part alone; shapes as in `Rehaze`."""
    if weights.residual:
        hazy: Tensor = network(clear, distance, density, airlight)
        return hazy
    return displayed(physical_haze(clear, distance, density, airlight)[1])


def rehaze_cycle(
    networks: Networks, batch: dict[str, Tensor], seen: HazeEstimate, weights: UnpairedConfig
) -> RehazeCycle:
    """I~ = R(J, D(J), beta drawn); J~ = G(I~).

    seen: G's estimate for the batch's hazy pictures, whose depth a share of the samples may get.
    """
    clear, density = batch["clear"], batch["drawn_density"]
    airlight = brightest(clear) if weights.airlight == "brightest" else batch["drawn_airlight"]
    distance = rehazed_depth(networks.depth, batch, seen, weights)
    hazy = rehaze(networks.rehaze, clear, distance, density, airlight, weights)
    again, estimate = dehaze(networks.dehaze, hazy)
    transmission = torch.exp(-density[:, None, None, None] * distance).detach()
    return RehazeCycle(hazy, estimate, again, transmission, airlight)


def rehazed_depth(network: DepthNet, batch: dict[str, Tensor], seen: HazeEstimate, weights: UnpairedConfig) -> Tensor:
    """The depth (B, 1, h, w) for rehazing: D(J), or what the configuration names instead.

    With D(J) alone, t is a function of the picture's content, and G need not read the haze. Depth from a hazy picture
    is turned by 180 degrees, or G could predict t from position, and D and G would lock in on a pattern.
    """
    found, luck = depth(seen.transmission, seen.density).detach(), batch["drawn_luck"][:, None, None, None]
    distance = depth_of(network, batch["clear"], weights) if weights.rehazes_on_depth else found
    size = distance.shape[-2:]
    if weights.transferred:
        found = averaged(found, *size).flip(-2, -1)
        distance = torch.where(luck < weights.transferred, scaled(found, weights), distance)
    if weights.drawn:
        drawn = scaled(averaged(batch["drawn_depth"], *size), weights)
        distance = torch.where(luck >= 1.0 - weights.drawn, drawn, distance)
    if weights.uneven:
        noise = F.interpolate(batch["drawn_unevenness"], size, mode="bicubic", align_corners=False)
        mean = distance.mean(dim=(1, 2, 3), keepdim=True)
        distance = distance * torch.exp(weights.uneven * noise)
        distance = distance * (mean / distance.mean(dim=(1, 2, 3), keepdim=True))
    if weights.measured_depth:
        distance = averaged(batch["depth"], *size)
    return distance


def generator_loss(
    networks: Networks, there: DehazeCycle, back: RehazeCycle, batch: dict[str, Tensor], weights: UnpairedConfig
) -> dict[str, Tensor]:
    """The published terms of G and R, weighted, under their names."""
    terms = {}
    if there.hazy is not None:
        terms["cycle_hazy"] = weights.cycle * losses.cycle_l1(there.hazy, batch["real"])
        terms["cycle_clear"] = weights.cycle * losses.cycle_l1(back.clear, batch["clear"])
    terms["density"] = weights.density * losses.density_square(back.estimate.density, batch["drawn_density"])
    if weights.adversarial:
        seen_clear, seen_hazy = networks.critic_clear(there.clear), networks.critic_hazy(back.hazy)
        terms["adversarial_clear"] = weights.adversarial * losses.lsgan(seen_clear, real=True)
        terms["adversarial_hazy"] = weights.adversarial * losses.lsgan(seen_hazy, real=True)
    return terms


def cures(
    there: DehazeCycle, back: RehazeCycle, batch: dict[str, Tensor], weights: UnpairedConfig
) -> dict[str, Tensor]:
    """Terms beside the published ones against cycles that a network meets by doing nothing, weighted."""
    terms = {}
    if weights.known_haze:
        said, truth = (back.estimate.transmission, back.estimate.airlight), (back.transmission, back.airlight)
        terms["known_haze"] = weights.known_haze * losses.known_haze_l1(*said, *truth)
    if weights.dark_channel:
        found = there.estimate
        result = scene_radiance(batch["real"], found.transmission, found.airlight, found.terms)
        terms["dark_channel"] = weights.dark_channel * losses.dark_channel_gap(result, batch["clear"])
    return terms


def rehazed_terms(back: RehazeCycle, batch: dict[str, Tensor], loss: LossConfig, *, lowest: float) -> dict[str, Tensor]:
    """The warm-up's terms on rehazed pictures, whose haze is known, under names that say so."""
    truth = {
        "hazy": back.hazy,
        "clear": batch["clear"],
        "transmission": back.transmission,
        "light": back.airlight[:, :, None, None].expand_as(back.hazy),
        "density": batch["drawn_density"],
        "weight": torch.ones_like(back.hazy[:, :1]),
    }
    terms = supervised_terms(back.estimate, truth, loss, lowest=lowest)
    return {f"rehazed_{name}": value for name, value in terms.items()}


def critic_loss(critic: PatchCritic, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """LSGAN for one critic, half for the real and half for the fake pictures; and how often it was right."""
    on_real, on_fake = critic(real), critic(fake)
    loss = 0.5 * (losses.lsgan(on_real, real=True) + losses.lsgan(on_fake, real=False))
    return loss, accuracy(on_real.detach(), on_fake.detach())


def depth_loss(
    network: DepthNet, clear: Tensor, estimate: HazeEstimate, batch: dict[str, Tensor], weights: UnpairedConfig
) -> dict[str, Tensor]:
    """| d(I) - D(J^) | for D alone, with d(I) = -ln t / beta from the haze that G found.

    Where supervised also | d - D(J) |, with d the depth under drawn haze.
    """
    found = scaled(depth(estimate.transmission, estimate.density).detach(), weights)
    said = depth_of(network, clear.detach(), weights)
    terms = {"depth": weights.depth * losses.depth_l1(said, found, weights.depth_range)}
    if weights.supervised and weights.depth:
        known = losses.known_depth_l1(network(batch["clear"]), batch["depth"])
        terms["known_depth"] = weights.supervised * weights.depth * known
    return terms


class UnpairedRun(Run):
    """A run of the unpaired stage; what it publishes is G with averaged weights, and D and R to make haze with."""

    stage = "unpaired"

    def __init__(self, config: TrainConfig, paths: Paths, fabric: Fabric) -> None:
        super().__init__(config, paths, fabric)
        assert config.unpaired is not None
        self.weights = config.unpaired
        self.rehazing = self.placed(build_rehazing(config.model, self.weights))
        critics = [self.placed(PatchCritic(self.weights.critic_width)) for _ in range(2)]
        self.networks = Networks(self.model, self.rehazing.depth, self.rehazing.rehaze, *critics)
        self.phi = self.placed(frozen_imagenet()) if self.weights.perceptual else None
        self.optimizer = self.ready(build_optimizer(self.model, config.optim, self.rehazing.rehaze))
        self.depth_optimizer = self.ready(build_optimizer(self.rehazing.depth, config.optim))
        parameters = [p for critic in critics for p in critic.parameters()]
        self.critic_optimizer = self.ready(torch.optim.AdamW(parameters, betas=config.optim.betas, weight_decay=0.0))
        first = fabric.global_rank * config.data.batch // fabric.world_size
        self.pools = [FakePool(self.weights.pool, [config.seed, index], first) for index in range(2)]
        self.flat = 0  # steps in a row with constant transmission

    def advance(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step of every network; returns every term, the critics' accuracy, and how t and beta lie.

        Raises NedrError when a loss is not a number, or when t has collapsed to a constant.
        """
        batch = {name: _laid_out(value) for name, value in batch.items()}
        self.learning()
        if not self.weights.cycles:
            return self.without_cycles(batch)
        if self.step < self.weights.depth_first:
            with torch.no_grad(), self.fabric.autocast():
                clear, estimate = dehaze(self.model, batch["real"])
            terms = self.train_depth(batch, clear, estimate)
            self.count(batch)
            return {"total": torch.stack([*terms.values()]).sum(), **terms}
        there, back, terms = self.train_generators(batch)
        terms |= self.train_depth(batch, there.clear, there.estimate) | self.train_critics(batch, there, back)
        t = there.estimate.transmission.detach()
        spread = t.std()
        self.watch(spread.item())
        self.advanced(batch)
        seen = {"transmission_mean": t.mean(), "density_mean": there.estimate.density.detach().mean()}
        rehazed = {"rehazed_transmission_mean": back.transmission.mean()}
        return {**terms, "transmission_spread": spread, **seen, **rehazed}

    def without_cycles(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A step of G alone, on drawn haze and by the mean teacher."""
        with self.fabric.autocast():
            terms = self.further_terms(batch)
        total = self.descend(terms, self.optimizer, self.model)
        self.advanced(batch)
        return {"total": total, **terms}

    def train_generators(self, batch: dict[str, Tensor]) -> tuple[DehazeCycle, RehazeCycle, dict[str, Tensor]]:
        """One step of G and R on both cycles; returns these, and every term."""
        networks, weights = self.networks, self.weights.at(self.step)
        with frozen(networks.depth, networks.critic_clear, networks.critic_hazy):
            with self.fabric.autocast():
                there = dehaze_cycle(networks, batch["real"], weights)
                back = rehaze_cycle(networks, batch, there.estimate, weights)
                terms = generator_loss(networks, there, back, batch, weights)
                terms |= cures(there, back, batch, weights) | self.further_terms(batch)
                if weights.rehazed:
                    known = rehazed_terms(back, batch, self.config.loss, lowest=self.config.model.density[0])
                    terms |= {name: weights.rehazed * value for name, value in known.items()}
                if self.phi is not None:
                    close = losses.perceptual(self.phi, back.clear, batch["clear"])
                    terms["perceptual"] = weights.perceptual * close
            total = self.descend(terms, self.optimizer, networks.dehaze, networks.rehaze)
        return there, back, {"total": total, **terms}

    def train_depth(self, batch: dict[str, Tensor], clear: Tensor, estimate: HazeEstimate) -> dict[str, Tensor]:
        """One step of D, given what G made of the hazy photographs; none where its term counts for nothing."""
        if not self.weights.depth:
            return {}
        network = self.networks.depth
        with self.fabric.autocast():
            terms = depth_loss(network, clear, estimate, batch, self.weights)
        self.descend(terms, self.depth_optimizer, network)
        return terms

    def further_terms(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """What the paper does not have and needs no cycle: supervision on drawn haze, identity, a mean teacher."""
        terms, weights = {}, self.weights.at(self.step)
        if weights.supervised:
            supervised = warmup_losses(self.model, batch, self.config.loss, self.lattice(batch))
            terms = {name: weights.supervised * value for name, value in supervised.items()}
        if weights.identity:
            same, _ = dehaze(self.model, batch["clear"])
            terms["identity"] = weights.identity * losses.cycle_l1(same, batch["clear"])
        if weights.teacher:
            known, seed = teacher.label(self.averaged, batch["real"]), [self.config.seed, self.step]
            more = weights.teacher_more
            terms["teacher"] = weights.teacher * teacher.loss(self.model, batch["real"], known, seed, more=more)
        return terms

    def train_critics(self, batch: dict[str, Tensor], there: DehazeCycle, back: RehazeCycle) -> dict[str, Tensor]:
        """One step of both critics on real pictures and on present and past fakes."""
        if not self.weights.adversarial:
            return {}
        _, _, _, clear, hazy = self.networks
        fakes = [
            pool.exchange(fake.detach(), self.step) for pool, fake in zip(self.pools, (there[0], back[0]), strict=True)
        ]
        with self.fabric.autocast():
            clear_loss, clear_accuracy = critic_loss(clear, batch["clear"], fakes[0])
            hazy_loss, hazy_accuracy = critic_loss(hazy, batch["real"], fakes[1])
        terms = {"critic_clear": clear_loss, "critic_hazy": hazy_loss}
        self.descend(terms, self.critic_optimizer, clear, hazy, scale=self.weights.critic_rate)
        return {**terms, "critic_clear_accuracy": clear_accuracy, "critic_hazy_accuracy": hazy_accuracy}

    def watch(self, spread: float) -> None:
        """Stop a run whose transmission is the same everywhere. Raises NedrError."""
        self.flat = self.flat + 1 if spread < FLAT else 0
        if self.flat >= PATIENCE:
            raise NedrError(
                f"transmission has collapsed to a constant at step {self.step} (standard deviation {spread:.4f}): the "
                "last checkpoint is good; lower unpaired.adversarial or raise unpaired.supervised"
            )

    def pictures(self, batch: dict[str, Tensor]) -> tuple[str, Tensor]:
        """A title and a grid of the hazy photographs."""
        return "photographs: hazy, result, transmission", picture_grid(self.averaged, batch["real"])

    def save(self) -> None:
        """Write checkpoint and weights, unless transmission seems to be collapsing: then the last ones stay."""
        if self.flat:
            return
        super().save()
        if self.fabric.is_global_zero and self.weights.depth:
            save_weights(self.rehazing, self.paths.out / REHAZING, views=self.views)

    def state(self) -> dict[str, Any]:
        """What must survive an interruption; of several processes only the first one's past fakes do."""
        return super().state() | {
            "partners": [network.state_dict() for network in self.networks[1:]],
            "depth_optimizer": self.depth_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "pools": [pool.kept for pool in self.pools],
        }

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        super().load(state)
        for network, values in zip(self.networks[1:], state["partners"], strict=True):
            network.load_state_dict(values)
        self.depth_optimizer.load_state_dict(state["depth_optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        if self.fabric.is_global_zero:
            for pool, kept in zip(self.pools, state["pools"], strict=True):
                pool.kept = kept


class FakePool:
    """Past fakes for the critics (Shrivastava et al. 2017): half of the time one of them takes a new one's place.

    Every place in a batch has its own memory of `size` pictures and its own luck, so that several processes see
    together what one would.
    """

    def __init__(self, size: int, seed: list[int], first: int) -> None:
        self.size, self.seed, self.first = size, seed, first
        self.kept: dict[tuple[int, ...], list[Tensor]] = {}

    def exchange(self, fakes: Tensor, step: int) -> Tensor:
        """(B, 3, H, W) -> as many, some of them from earlier steps."""
        return torch.stack([self._one(place, fake, step) for place, fake in enumerate(fakes, self.first)])

    def _one(self, place: int, fake: Tensor, step: int) -> Tensor:
        rng = np.random.default_rng([*self.seed, step, place])
        kept = self.kept.setdefault((place, *fake.shape[-2:]), [])
        if len(kept) < self.size:
            kept.append(fake)
        elif kept and rng.random() < 0.5:
            index = int(rng.integers(self.size))
            fake, kept[index] = kept[index], fake
        return fake


def build_rehazing(model: NeDRConfig, weights: UnpairedConfig) -> Rehazing:
    """D, of G's sizes and with the encoder's ImageNet start where one is published, and R."""
    sizes = DepthConfig(
        model.encoder, model.widths, model.grid_stride, model.lattice_stride, model.head_width, weights.depth_range
    )
    rehazing = Rehazing(RehazingConfig(sizes, weights.rehaze_width))
    if model.encoder == "lite0":
        rehazing.depth.encoder.load_imagenet(imagenet())
    return rehazing


def frozen_imagenet() -> Encoder:
    """phi of the perceptual term: the ImageNet encoder as published."""
    encoder = Encoder("lite0")
    encoder.load_imagenet(imagenet())
    return encoder.requires_grad_(False)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Let gradients pass through `modules` without moving them."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)


def _laid_out(value: Tensor) -> Tensor:
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value
