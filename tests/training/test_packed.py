"""Packed pictures, and batches drawn on the device: the loader's in distribution, and a run that trains on them."""

import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from lightning_fabric import Fabric  # noqa: E402

from nedr.cli.main import main  # noqa: E402
from nedr.errors import NedrError, UsageError  # noqa: E402
from nedr.training import graphs, loop, packed  # noqa: E402
from nedr.training.checkpoint import load_checkpoint, views_of  # noqa: E402
from nedr.training.config import LogConfig, OptimConfig, Paths, TrainConfig, UnpairedConfig  # noqa: E402
from nedr.training.data import DataConfig, held_out, read_rgb  # noqa: E402
from nedr.training.device_haze import DeviceHaze, labelled_depth, view_grid  # noqa: E402
from nedr.training.graphs import RecordedSteps, draw_recorded_lattice  # noqa: E402
from nedr.training.jpeg import compressed  # noqa: E402
from nedr.training.stream import packed_samples, samples  # noqa: E402
from nedr.training.synthesis import HazeConfig  # noqa: E402
from nedr.training.warmup import CHECKPOINT, compact  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Outdoor pictures with a pale sky above, rooms with measured depth, and labels of half of the former."""
    root = tmp_path_factory.mktemp("folders")
    rng = np.random.default_rng(0)
    for name in ("clear", "rooms/clear", "rooms/depth", "labels/sky", "labels/far"):
        (root / name).mkdir(parents=True)
    ramp = np.linspace(255, 0, 96).astype(np.uint8)[:, None].repeat(128, axis=1)
    for index in range(6):
        for folder in ("clear", "rooms/clear"):
            coarse = Image.fromarray(rng.integers(0, 200, (12, 16, 3), dtype=np.uint8))
            pixels = np.array(coarse.resize((128, 96), Image.Resampling.BICUBIC))
            if folder == "clear":
                pixels[:30] = (200, 210, 230)
            Image.fromarray(pixels).save(root / folder / f"{index}.png")
        depth = Image.fromarray(rng.integers(60, 256, (3, 4), dtype=np.uint8))
        depth.resize((128, 96), Image.Resampling.BICUBIC).save(root / f"rooms/depth/{index}.png")
        if index % 2:
            Image.fromarray(ramp).save(root / f"labels/far/{index}.png")
            Image.fromarray(255 * (np.arange(96) < 30).astype(np.uint8)[:, None].repeat(128, axis=1)).save(
                root / f"labels/sky/{index}.png"
            )
    return root


@pytest.fixture
def config(tiny_config):
    return TrainConfig(
        model=tiny_config,
        data=DataConfig(views=((64, 96),), batch=8, holdout=1000, workers=0),
        optim=OptimConfig(steps=20, warm=2, decay=4),
        log=LogConfig(scalars=5, pictures=100, validate=100, checkpoint=10),
    )


@pytest.fixture
def paths(folders, tmp_path):
    return Paths(tmp_path / "run", clear=folders / "clear", depth=folders / "rooms", labels=folders / "labels")


@pytest.fixture
def file(config, paths, tmp_path):
    packed.write(tmp_path / "data.npz", packed.sources(config, paths), side=128)
    return tmp_path / "data.npz"


def test_what_is_packed_comes_back(config, paths, file, folders):
    sources, pack = packed.sources(config, paths), packed.read(file, CPU)
    assert len(sources) == 12
    assert pack.pictures.shape == (12, 3, 128, 128)
    assert pack.depths.shape == pack.fars.shape == pack.skies.shape == (12, 1, 64, 64)
    assert pack.measured.tolist() == [False] * 6 + [True] * 6
    assert pack.trust.tolist() == [-1, 1, -1, 1, -1, 1] + [-1] * 6
    for index in (0, 7):
        image = read_rgb(sources[index].picture, packed.WHOLE, (128, 128))
        found = pack.pictures[index].permute(1, 2, 0).numpy() / 255
        assert np.abs(found - image).mean() < 0.02
    assert pack.skies[1, 0, :15].float().mean() > 240
    assert not pack.skies[0].any()


def test_a_pack_keeps_to_its_limit_and_pictures_held_out_stay_out(config, paths, tmp_path):
    strict = dataclasses.replace(config, data=dataclasses.replace(config.data, holdout=3, exclude=("5.png",)))
    names = [source.picture.name for source in packed.sources(strict, dataclasses.replace(paths, depth=None))]
    assert names == [f"{i}.png" for i in range(5) if not held_out(paths.clear / f"{i}.png", 3)]
    sources = packed.sources(config, paths)
    best = packed.write(tmp_path / "a.npz", sources, side=128)
    size = (tmp_path / "a.npz").stat().st_size
    fewer = packed.write(tmp_path / "b.npz", sources, side=128, limit=size - 4_000)
    assert fewer < best
    assert (tmp_path / "b.npz").stat().st_size < size - 4_000
    with pytest.raises(UsageError, match="do not fit"):
        packed.write(tmp_path / "c.npz", sources, side=128, limit=5_000)
    assert not (tmp_path / "c.npz").exists()


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("no")
    for name in ("other.npz", "text.npz", "missing.npz"):
        with pytest.raises(NedrError, match="packed by `nedr pack`"):
            packed.read(tmp_path / name, CPU)


def test_batches_have_the_loaders_keys_shapes_and_ranges(config, paths, file):
    ours = DeviceHaze(packed.read(file, CPU), config.data, config.haze, seed=1).batch(0)
    theirs = samples(config, paths)[0]
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].shape == (8, *value.shape), name
        assert ours[name].dtype == torch.float32
        assert torch.isfinite(ours[name]).all()
    for name in ("hazy", "clear", "transmission", "weight", "depth", "light"):
        assert 0 <= ours[name].min() <= ours[name].max() <= 1, name


def test_a_step_of_a_seed_is_one_batch(config, file):
    first, again, other = (
        DeviceHaze(packed.read(file, CPU), config.data, config.haze, seed=seed) for seed in (1, 1, 2)
    )
    first.batch(0)
    a, b, c = first.batch(3), again.batch(3), other.batch(3)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert not torch.equal(a["hazy"], c["hazy"])


def test_plain_haze_obeys_the_model(config, file):
    never = ("clear", "noise", "jpeg", "occluded", "exposure", "light")
    haze = HazeConfig(**dict.fromkeys(never, 0.0), plain=1.0)
    batch = DeviceHaze(packed.read(file, CPU), config.data, haze, seed=1).batch(0)
    t = torch.exp(-batch["density"].view(-1, 1, 1, 1) * batch["depth"])
    torch.testing.assert_close(batch["transmission"], t)
    torch.testing.assert_close(batch["hazy"], (batch["clear"] * t + batch["light"] * (1 - t)).clamp(0, 1))
    torch.testing.assert_close(batch["light"][:, :, 0, 0], batch["airlight"], atol=1e-5, rtol=0)


def test_a_share_of_each_batch_has_resides_haze(config, file):
    """Even, grey and bright, from the depth as it was measured; the other samples are what they are without it."""
    stream = DeviceHaze(packed.read(file, CPU), config.data, HazeConfig(standard=0.25), seed=1)
    batch, count = stream.batch(0), 2
    density, depth = batch["density"][:count].view(-1, 1, 1, 1), batch["depth"][:count]
    torch.testing.assert_close(batch["transmission"][:count], torch.exp(-density * depth / depth.amax((1, 2, 3), True)))
    assert (batch["light"][:count].amax((1, 2, 3)) == batch["light"][:count].amin((1, 2, 3))).all()
    assert ((batch["airlight"][:count] >= 0.7) & (batch["airlight"][:count] <= 1.0)).all()
    outdoors = dataclasses.replace(config.data, measured=0.0)
    bright = DeviceHaze(stream.pack, outdoors, HazeConfig(standard=1.0), seed=1).batch(0)
    assert ((bright["airlight"] >= 0.8) & (bright["airlight"] <= 1.0)).all()
    assert (bright["depth"].amin((1, 2, 3)) > 0.29).all()
    others = DeviceHaze(stream.pack, dataclasses.replace(config.data, batch=6), HazeConfig(), seed=1).batch(0)
    assert torch.equal(batch["hazy"][count:], others["hazy"])


def test_the_sky_bounds_the_airlight_of_a_batch():
    """As in `synthesis.under_sky`: brightened to the sky's 0.8 where it is known and there is any."""
    from nedr.training.device_haze import Dice, under_sky

    sky = torch.zeros(4, 1, 8, 8)
    sky[0], sky[1, :, 0, 0], sky[2], sky[3, :, :4] = -1.0, 1.0, 0.0, 1.0
    clear = torch.full((4, 3, 8, 8), 0.8)
    found = under_sky(torch.full((4, 3, 1, 1), 0.4), clear, sky, Dice([0], 4, CPU)).flatten(1)
    assert (found[:3] == 0.4).all()
    assert ((found[3] > 0.8 * 0.84) & (found[3] < 0.8 * 1.06)).all()
    kept = under_sky(torch.full((4, 3, 1, 1), 0.9), clear, sky, Dice([0], 4, CPU))
    assert (kept == 0.9).all()


@pytest.mark.parametrize("standard", [0.0, 1.0])
def test_samples_match_the_loaders_in_distribution(config, paths, file, standard):
    """Means, deviations and histograms of every part of a sample, over as many as take a few seconds."""
    count, config = 384, dataclasses.replace(config, haze=HazeConfig(standard=standard))
    loader = samples(config, paths)
    theirs = [loader[index] for index in range(count)]
    stream = DeviceHaze(packed.read(file, CPU), config.data, config.haze, seed=5)
    ours = [stream.batch(step) for step in range(count // 8)]
    for name in theirs[0]:
        a = torch.stack([sample[name] for sample in theirs]).reshape(count, -1)
        b = torch.cat([batch[name] for batch in ours]).reshape(count, -1)
        assert a.mean(dim=1).mean() == pytest.approx(b.mean(dim=1).mean().item(), abs=0.07), name
        assert a.std(dim=1, correction=0).mean() == pytest.approx(b.std(dim=1, correction=0).mean().item(), abs=0.04), (
            name
        )
        assert a.mean(dim=1).std() == pytest.approx(b.mean(dim=1).std().item(), abs=0.09), name
        high = 2.4 if name == "density" else 1.0
        histograms = [torch.histc(values.clamp(0, high), 8, 0, high) / values.numel() for values in (a, b)]
        assert (histograms[0] - histograms[1]).abs().sum() / 2 < 0.15, name  # of 1: the share that differs
    weights = torch.stack([sample["weight"] for sample in theirs]), torch.cat([batch["weight"] for batch in ours])
    covered = [(weight == 0).flatten(1).any(dim=1).float().mean().item() for weight in weights]
    assert covered[0] == pytest.approx(covered[1], abs=0.12)


def test_views_are_parts_of_the_picture_and_whole_ones_show_all_of_it():
    from nedr.training.device_haze import Dice

    data = DataConfig(views=((64, 96),), whole=1.0, turned=0.0)
    grid = view_grid((64, 96), data, Dice([0], 16, CPU))
    assert grid.shape == (16, 128, 192, 2)
    assert grid.abs().amax() == pytest.approx(1.0, abs=0.01)
    assert (grid[:, 0, :, 1] < -0.99).all()
    assert {bool(row[0] < row[-1]) for row in grid[:, 0, :, 0]} == {True, False}  # mirrored or not
    parts = view_grid((64, 96), dataclasses.replace(data, whole=0.0, turned=1.0), Dice([0], 16, CPU))
    assert parts.abs().amax() <= 1.0
    extents = parts.amax(dim=(1, 2)) - parts.amin(dim=(1, 2))
    assert (extents > 0.85).all()
    assert (extents < 2.0).all()
    assert (parts[:, :, 0, 0].diff(dim=1).abs() > 0).all()  # on its side: x changes downwards


def test_labelled_depth_is_the_loaders():
    from nedr.training import synthesis
    from nedr.training.device_haze import Dice, guided, heights

    rng = np.random.default_rng(0)
    guide, values = rng.random((48, 64), dtype=np.float32), rng.random((48, 64), dtype=np.float32)
    found = guided(torch.from_numpy(guide)[None, None], torch.from_numpy(values)[None, None], 3)
    np.testing.assert_allclose(found[0, 0].numpy(), synthesis.guided(guide, values, 3), atol=1e-4)
    far = torch.linspace(1, 0, 96).view(1, 1, -1, 1).expand(8, 1, 96, 128)
    sky = (torch.arange(96) < 30).float().view(1, 1, -1, 1).expand(8, 1, 96, 128)
    depth = labelled_depth(torch.zeros(8, 3, 96, 128), far, sky, Dice([0], 8, CPU))
    assert (depth[:, :, 29] > 0.95).all()
    assert (depth[:, :, :30].diff(dim=2) >= 0).all()
    np.testing.assert_allclose(heights(sky > 0.5)[0, 0].numpy(), synthesis.heights(sky[0, 0].numpy()), atol=1e-6)
    assert (depth[:, :, 30:].mean(dim=3).diff(dim=2) <= 1e-6).all()


@pytest.mark.parametrize("quality", [40, 75, 95])
def test_jpeg_artefacts_are_those_of_jpeg(folders, quality):
    picture = Image.open(folders / "clear/0.png").convert("RGB")
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    expected = np.asarray(Image.open(buffer), np.float32) / 255
    image = np.asarray(picture, np.float32) / 255
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].expand(2, -1, -1, -1)
    found = compressed(batch, torch.tensor([float(quality), 20.0]))
    ours = found[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).mean() < 0.35 * np.abs(image - expected).mean() + 0.002
    assert (found[1] - batch[1]).abs().mean() > (found[0] - batch[0]).abs().mean()  # each with its own quality


@pytest.mark.parametrize("graphs", [False, True])
def test_twenty_steps_in_two_pieces(config, file, tmp_path, graphs):
    paths = Paths(tmp_path / "run", packed=file)
    weights = loop.fit(config, paths, progress=False, minutes=0.0, graphs=graphs)  # ends after the step at work
    assert load_checkpoint(paths.out / CHECKPOINT)["step"] == 1
    loop.fit(config, paths, progress=False, graphs=graphs)
    state = load_checkpoint(paths.out / CHECKPOINT)
    assert state["step"] == 20
    assert views_of(weights) == {"warm-up 64x96": 160}
    moments = [v for values in state["optimizer"]["state"].values() for v in values.values() if v.dim()]
    assert {moment.dtype for moment in moments} == {torch.bfloat16}


def test_the_base_networks_state_travels():
    from nedr.model.nedr import NeDR
    from nedr.training.warmup import build_optimizer

    model = NeDR()
    optimizer = build_optimizer(model, OptimConfig())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    buffer = io.BytesIO()
    torch.save([model.state_dict(), model.state_dict() | {"n": 1}, compact(optimizer.state_dict())], buffer)
    size = buffer.tell() + sum(value.numel() * value.element_size() for value in model.state_dict().values())
    assert size < 60_000_000  # model, average and moments; the two of this file share their tensors


def test_packed_pictures_are_for_the_warm_up(config, file, tmp_path):
    unpaired = dataclasses.replace(config, unpaired=UnpairedConfig())
    with pytest.raises(UsageError, match="for the warm-up"):
        loop.fit(unpaired, Paths(tmp_path / "run", packed=file), progress=False)


def test_the_command_packs_and_says_how_much(folders, tmp_path, capsys):
    (tmp_path / "run.toml").write_text("[data]\nholdout = 1000\n")
    call = ["pack", str(tmp_path / "d.npz"), f"--config={tmp_path / 'run.toml'}", f"--clear={folders / 'clear'}"]
    assert main([*call, "--side=128"]) == 0
    assert "6 pictures" in capsys.readouterr().out
    assert main(call) == 2
    assert "exists" in capsys.readouterr().err


def begun(config, file, out):
    torch.manual_seed(0)
    return loop.begin(config, Paths(out, packed=file), Fabric(accelerator="cpu", devices=1))


@pytest.mark.parametrize("frozen", [0, 1000])
def test_recorded_steps_learn_what_ordinary_ones_do(config, file, tmp_path, monkeypatch, frozen):
    """Same samples, same lattices: the same losses, weights and averages, and the same counts."""
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, frozen=frozen))
    ordinary, run, untouched = (begun(config, file, tmp_path) for _ in range(3))
    monkeypatch.setattr("nedr.training.warmup.draw_lattice", draw_recorded_lattice)
    steps, samples = RecordedSteps(run), packed_samples(config, file, torch.device("cpu"))
    for step in range(4):
        batch = samples.batch(step)
        expected, found = ordinary.advance(batch), steps.advance(batch)
        assert found.keys() == expected.keys()
        torch.testing.assert_close(found["total"], expected["total"], rtol=1e-4, atol=1e-5)
    for name in ("model", "averaged"):
        ours, theirs, start = (getattr(each, name).state_dict() for each in (run, ordinary, untouched))
        apart, moved = (
            torch.cat([(a[key] - theirs[key]).flatten().float() for key in theirs]).norm() for a in (ours, start)
        )
        assert apart < 0.1 * moved  # rounding, which AdamW enlarges where gradients are next to nothing
    unmoved = torch.equal(run.model.encoder.stem.weight, untouched.model.encoder.stem.weight)
    assert unmoved == (frozen > 0)
    assert (run.step, run.views) == (ordinary.step, ordinary.views)
    assert run.average.n_averaged == ordinary.average.n_averaged


def test_bf16_is_for_the_grid_alone(config, file, tmp_path):
    """E' is computed in 8 bits and handed on in single precision, in which t, A and the losses follow."""
    fabric = Fabric(accelerator="cpu", devices=1, precision="bf16-mixed")
    run = loop.begin(config, Paths(tmp_path, packed=file), fabric)
    batch = packed_samples(config, file, CPU).batch(0)
    with torch.no_grad():
        rounded, exact = run.model.grid(batch["hazy"])[0], type(run.model).grid(run.model, batch["hazy"])[0]
    assert 0.0005 < (rounded - exact).norm() / exact.norm() < 0.1
    assert {value.dtype for value in (rounded, *run.advance(batch).values())} == {torch.float32}


def test_a_size_of_view_has_few_lattices_and_different_sizes_have_different_ones():
    sizes = [torch.Size((2, 3, 96, 128)), torch.Size((2, 3, 128, 192))]
    drawn = [{draw_recorded_lattice(size, (2.0, 8.0), 1, step) for step in range(200)} for size in sizes]
    for size, lattices in zip(sizes, drawn, strict=True):
        assert len(lattices) == graphs.LATTICES
        strides = sorted(size[-2] / lattice[0] for lattice in lattices)
        assert 1.9 < strides[0] < 3.0 < 5.0 < strides[-1] < 8.4
    assert {h / 96 for h, _ in drawn[0]}.isdisjoint({h / 128 for h, _ in drawn[1]})


@pytest.mark.parametrize("change", [{"encoder_every": 2}, {"frozen": 3}])
def test_an_encoder_that_rests_in_some_steps_cannot_be_recorded(config, file, tmp_path, change):
    optim = OptimConfig(**dataclasses.asdict(config.optim) | change)
    with pytest.raises(UsageError, match="encoder_every=1"):
        RecordedSteps(begun(dataclasses.replace(config, optim=optim), file, tmp_path))
