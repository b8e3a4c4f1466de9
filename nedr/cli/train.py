"""`nedr train`, `nedr ablate`, `nedr average` and `nedr export`: weights and how they come about."""

import argparse
import math
import sys
from pathlib import Path

from nedr.cli import telling, words
from nedr.cli.verb import Verb


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="TOML, as in configs/")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="checkpoint, weights, log; resumes there"
    )
    _add_pictures(parser)
    parser.add_argument("--hazy", type=Path, metavar="DIR", help="real hazy photographs, for the unpaired stage")
    parser.add_argument(
        "--val", type=Path, metavar="PAIRS.csv", help="pairs to validate on, with columns set,hazy,clear"
    )
    parser.add_argument("--init", type=Path, metavar="WEIGHTS", help="weights to start from")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="override a value of the file, as optim.steps=500",
    )
    parser.add_argument("--packed", type=Path, metavar="FILE.npz", help="of `nedr pack`, in place of folders")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after MINUTES; the same call goes on")
    parser.add_argument("--compile", action="store_true", help="compile the network, for each size of view: slow")
    parser.add_argument("--graphs", action="store_true", help="launch steps as CUDA graphs: more views a second")
    parser.add_argument("--force", action="store_true", help="resume although seed, losses, rates or others changed")
    parser.add_argument("--threads", type=words.count, help="how many one process uses at most (one per core)")
    parser.add_argument(
        "--accelerator", choices=["auto", "cpu", "cuda"], default="auto", help="what to train on (auto)"
    )
    parser.add_argument("--devices", type=words.count, default=1, help="how many to train on (1)")
    parser.add_argument("--nodes", type=words.count, default=1, help="how many machines take part (1)")
    parser.add_argument(
        "--precision", choices=["32-true", "bf16-mixed", "16-mixed"], default="32-true", help="of the network (32-true)"
    )


def _train(arguments: argparse.Namespace) -> int:
    with telling.needs("nedr train", "train"):
        import torch
        from lightning_fabric import Fabric

        from nedr.training import config, loop

        run = config.load(config.TrainConfig, arguments.config, dict(map(config.parse_override, arguments.set)))
        paths = config.Paths(
            arguments.out,
            validation=arguments.val,
            init=arguments.init,
            hazy=arguments.hazy,
            packed=arguments.packed,
            **_pictures(arguments),
        )
        if arguments.threads:
            torch.set_num_threads(arguments.threads)
        fabric = Fabric(
            accelerator=arguments.accelerator,
            devices=arguments.devices,
            num_nodes=arguments.nodes,
            precision=arguments.precision,
        )
        if arguments.devices * arguments.nodes > 1:
            fabric.launch()
        how = {"force": arguments.force, "minutes": arguments.minutes, "compiled": arguments.compile}
        how["graphs"] = arguments.graphs
        weights = loop.fit(run, paths, fabric=fabric, **how)
    if fabric.is_global_zero:
        print(weights)
    return 0


def _pack_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="OUT.npz")
    parser.add_argument("--config", required=True, metavar="FILE", help="of the run, which says what is left out")
    _add_pictures(parser)
    parser.add_argument("--side", type=words.count, default=256, help="pixels a side of every picture (256)")
    parser.add_argument("--megabytes", type=words.count, default=25, help="the most that the file may take (25)")
    words.add_overwrite(parser)


def _pack(arguments: argparse.Namespace) -> int:
    from nedr.pictures import atomic

    atomic.refuse_existing([arguments.target], overwrite=arguments.overwrite)
    with telling.needs("nedr pack", "train"):
        from nedr.training import config, packed

        run = config.load(config.TrainConfig, arguments.config)
        pictures = packed.sources(run, config.Paths(arguments.target, **_pictures(arguments)))
        how = {"side": arguments.side, "limit": arguments.megabytes * 1_000_000, "overwrite": arguments.overwrite}
        quality = packed.write(arguments.target, pictures, **how)
    size = arguments.target.stat().st_size / 1e6
    print(f"{arguments.target}  {len(pictures)} pictures  {size:.1f} MB  quality {quality}")
    return 0


def _ablate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", required=True, metavar="FILE", help="TOML, as in configs/")
    parser.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where runs and tables go; resumes there"
    )
    parser.add_argument("--val", required=True, type=Path, metavar="PAIRS.csv", help="pairs, columns set,hazy,clear")
    _add_pictures(parser)
    parser.add_argument("--steps", required=True, type=words.count, help="of every run")
    parser.add_argument("--seeds", type=words.count, default=3, help="runs of each variant (3)")
    parser.add_argument("--equal-time", action="store_true", help="as many steps as cost what the full network's do")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="override a value of the file, as data.batch=4"
    )
    parser.add_argument(
        "--vary", action="append", default=[], metavar="KEY=VALUE", help="a further variant of [model], as cues=false"
    )
    parser.add_argument("--no-boxes", action="store_true", help="only what --vary names, not KAN, IDRM and DREM")
    parser.add_argument("--threads", type=words.count, help="how many to use at most (one per core)")


def _ablate(arguments: argparse.Namespace) -> int:
    with telling.needs("nedr ablate", "train"):
        import torch

        from nedr.training import ablate, config

        recipe = config.load(config.TrainConfig, arguments.config, dict(map(config.parse_override, arguments.set)))
        paths = config.Paths(arguments.out, validation=arguments.val, **_pictures(arguments))
        if arguments.threads:
            torch.set_num_threads(arguments.threads)

        def told(result: ablate.Result, done: int, total: int) -> None:
            text = f"{done} of {total}: {result.variant}, seed {result.seed}: {result.all:.2f} dB"
            print(text, file=sys.stderr, flush=True)

        how = {name: getattr(arguments, name) for name in ("steps", "seeds", "equal_time", "vary")}
        results = ablate.ablate(recipe, paths, **how, boxes=not arguments.no_boxes, progress=told)
        print(ablate.markdown_table(results, recipe.model), end="", flush=True)
    return 0


def _average_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("target", type=Path, metavar="OUT.safetensors")
    parser.add_argument("sources", type=Path, nargs="+", metavar="WEIGHTS.safetensors")
    parser.add_argument("--shares", type=words.number, nargs="+", metavar="SHARE", help="one per file (equal ones)")
    parser.add_argument("--half", action="store_true", help="store in half precision: half the size")
    words.add_overwrite(parser)


def _average(arguments: argparse.Namespace) -> int:
    from nedr.pictures import atomic

    atomic.refuse_existing([arguments.target], overwrite=arguments.overwrite)
    with telling.needs("nedr average", "train"):
        from nedr.training import checkpoint

        model, views = checkpoint.average(arguments.sources, arguments.shares)
        checkpoint.save_weights(model, arguments.target, views=views, half=arguments.half)
    print(f"{arguments.target}  mean of {len(arguments.sources)}  {sum(views.values())} views")
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="WEIGHTS.safetensors")
    parser.add_argument("target", type=Path, metavar="OUT.onnx")
    parser.add_argument("--view", type=words.count, default=256, help="long side in pixels of the view to run on (256)")
    words.add_overwrite(parser)


def _export(arguments: argparse.Namespace) -> int:
    from nedr.pictures import atomic

    atomic.refuse_existing([arguments.target], overwrite=arguments.overwrite)
    with telling.needs("nedr export", "train"):
        from nedr.training.export import export

        rows = export(arguments.source, arguments.target, view=arguments.view, overwrite=arguments.overwrite)
    print(arguments.target)
    for row in rows:
        size = f"{row.height} x {row.width}, a cell for {row.stride:g} pixels a side"
        print(f"  {size}: within {row.largest_difference:.1e} of torch")
    return 0


def _add_pictures(parser: argparse.ArgumentParser) -> None:
    """The folders that a run learns from, beside hazy photographs."""
    parser.add_argument("--clear", type=Path, metavar="DIR", help="clear photographs")
    parser.add_argument("--depth", type=Path, metavar="DIR", help="clear photographs with measured depth")
    parser.add_argument(
        "--labels", type=Path, metavar="DIR", help="sky/ and far/ of the clear photographs, and labels.csv"
    )


def _pictures(arguments: argparse.Namespace) -> dict[str, Path | None]:
    return {name: getattr(arguments, name) for name in ("clear", "depth", "labels")}


VERBS = {
    "pack": Verb("put training pictures into one small file", _pack_arguments, _pack),
    "train": Verb("train a network", _train_arguments, _train),
    "ablate": Verb("train without KAN, IDRM and DREM in turn, and compare", _ablate_arguments, _ablate),
    "average": Verb("average the weights of related runs", _average_arguments, _average),
    "export": Verb("convert trained weights to ONNX, checked against torch", _export_arguments, _export),
}
