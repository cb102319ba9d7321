"""Build an artifact's TensorRT engines into the cache, where it is served."""

import argparse
import sys

from export.arguments import capability, sizes, sizes3
from export.engine import build_engines, parse_buckets
from export.plan import EngineOptions
from runtime.artifact.reading import read_artifact
from runtime.engines.cache import cache_folder
from runtime.engines.nvidia.tensorrt import FLAVORS
from runtime.errors import EngineError
from runtime.terminal import conclude


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("artifact", help="a folder (artifacts/mnist-vae), or a name, or name@2")
    parser.add_argument(
        "--flavor",
        choices=FLAVORS,
        default="tensorrt",
        help="tensorrt (default), for any NVIDIA GPU; tensorrt-rtx, for RTX cards, built anywhere",
    )
    parser.add_argument(
        "--precision", choices=("fp16", "bf16", "fp32"), default="fp16", help="default: fp16"
    )
    parser.add_argument(
        "--batches",
        type=sizes,
        default=(1, 16, 64, 256),
        help="batch sizes, an engine each (default: 1,16,64,256)",
    )
    parser.add_argument(
        "--dynamic",
        type=sizes3,
        metavar="SMALLEST,BEST,LARGEST",
        help="instead one engine for a range of batch sizes: less to build, 10-25%% slower",
    )
    parser.add_argument(
        "--capability",
        type=capability,
        metavar="8.9",
        help="compute capability to build for (default: this machine's GPU)",
    )


def run(args: argparse.Namespace) -> None:
    artifact = read_artifact(args.artifact)
    options = EngineOptions(
        flavor=args.flavor,
        precision=args.precision,
        buckets=parse_buckets(args.batches, args.dynamic),
        capability=args.capability,
    )
    failed: list[str] = []
    for built in build_engines(artifact, options, cache_folder(), progress=sys.stderr.isatty()):
        name = f"{built.graph} at batch {built.bucket}"
        if built.error:
            failed.append(name)
            print(f"{name}: not kept: {built.error}", file=sys.stderr)
            continue
        print(built.path)
        print(f"  {name}: {built.size / 1e6:.1f} MB, built in {built.seconds:.1f} s")
        if built.verified is None:
            print("  not verified: no GPU here runs it; the first load on one that does will")
        else:
            print(
                f"  verified: differs from the reference by at most "
                f"{built.verified['max_difference']:.3g}, mean "
                f"{built.verified['mean_difference']:.3g}; equal rows by "
                f"{built.verified['equal_rows_differ_by']:.3g}"
            )
    if failed:
        raise EngineError(f"not built: {', '.join(failed)}")
    tuned = "latentserve", "tune", args.artifact
    conclude(f"{args.artifact}: its {args.flavor} engines are in {cache_folder()}", *tuned)
