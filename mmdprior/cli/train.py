"""Train from a YAML config, or resume a run.

SIGINT and SIGTERM end it after the current step, with a checkpoint. A second signal ends it at once.
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout

from mmdprior.cli.options import print_error
from mmdprior.cli.parser import parse
from mmdprior.cli.train_options import add_options, check

__all__ = ["add_options", "main"]

_SETTINGS = ("resume", "directory", "runs", "trust", "dry_run", "quiet")


def main(arguments: Sequence[str]) -> int:
    """Train and print the run directory and the scores of the test split."""
    options = check(parse("train", add_options, arguments, __doc__))
    from mmdprior.config.json_schema import json_schema
    from mmdprior.runs.directory import RunDirectory
    from mmdprior.runs.signals import StopSignals
    from mmdprior.runs.start import open_run
    from mmdprior.runs.summary import final_lines, first_lines, stopped_line, summary
    from mmdprior.training import Profile
    from mmdprior.world import World

    if options.schema:
        print(json.dumps(json_schema(), indent=2))
        return 0
    is_main = World.from_environment().main
    with ExitStack() as claims:
        claims.enter_context(redirect_stdout(sys.stdout if is_main else None))
        settings = {name: getattr(options, name) for name in _SETTINGS}
        experiment = open_run(options.config, options.overrides, claims, print_error, **settings)
        if experiment is None:
            print(f"run {options.directory} is finished; nothing to do")
            return 0
        trainer = experiment.trainer
        if options.dry_run:
            print(summary(experiment))
            return 0
        run = RunDirectory(experiment.directory or ".")
        if is_main:
            run.record_command(["mmdprior", "train", *arguments])
        if is_main and options.profile:
            trainer.profiler = Profile(run.trace, trainer.device)
        print(first_lines(experiment), flush=True)
        trainer.stop = stop = StopSignals(print_error)
        result = experiment.run(stop)
    if trainer.stopped:
        print_error(stopped_line(experiment))
        return stop.status
    if is_main:
        print(final_lines(experiment, result))
    return 0
