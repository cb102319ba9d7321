"""Draw a grid over a 2-D latent space."""

import argparse

from runtime.commands._arguments import add_output, add_prompt, add_scale, load_model
from runtime.commands._output import conclude_output, first_command, save
from runtime.requests.manifold import Manifold


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    add_prompt(parser)
    add_scale(parser)
    parser.add_argument("--steps", type=int, default=20, help="images along each side")


def run(args: argparse.Namespace) -> None:
    args.columns = args.steps
    with load_model(args) as model:
        job = Manifold(args.steps, args.labels, prompt=args.prompt).job(model)
        save(args, model.batches(job), job.count)
        conclude_output(args, model, job.count, *first_command(args.artifact, model.manifest))
