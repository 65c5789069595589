"""`dabfusion sweep`: many trials of one file, on this machine or with Weights & Biases."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.sweeps.grammar import Sweep
    from experiments.sweeps.store import SweepStore
    from experiments.sweeps.worker import Finished

HELP = """Run a sweep or an ablation: every trial trains, dances on held-out clips and is scored.

The file is in Weights & Biases' grammar. Without --wandb it runs on this machine, needs no server,
and may be killed and started again: finished trials stay, unfinished ones go on. Several workers,
on several machines that share the folder, never run a trial twice."""

EXAMPLES = [
    "dabfusion sweep                                    # the sweeps that come with it",
    "dabfusion sweep beat_ablation data=prepared autoencoder=runs/autoencoder --workers 2",
    "dabfusion sweep guidance_steps model=runs/diffusion data=prepared",
    "dabfusion sweep mine.yaml data=prepared autoencoder=runs/autoencoder --wandb",
    "dabfusion sweep beat_ablation data=prepared autoencoder=runs/autoencoder --report",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "words", nargs="*", metavar="FILE key=value", help="the sweep, and settings of every trial"
    )
    parser.add_argument("--out", type=Path, help="folder of the sweep (default: sweeps/NAME)")
    parser.add_argument("--workers", type=int, default=1, help="trials at once (default: 1)")
    parser.add_argument("--trials", type=int, help="number of trials (default: run_cap, or all)")
    parser.add_argument(
        "--storage",
        choices=["sqlite", "journal"],
        default="sqlite",
        help="journal for a folder that several machines share (default: sqlite)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random and Bayesian search")
    parser.add_argument("--report", action="store_true", help="only write the report anew")
    parser.add_argument("--wandb", action="store_true", help="run it with Weights & Biases")
    parser.add_argument("--project", default="dabfusion", help="project at Weights & Biases")
    parser.add_argument(
        "--trial",
        choices=["diffusion", "sampling"],
        help="run one trial of this kind; what a sweep's `command` calls",
    )
    parser.add_argument("--clips", type=int, default=0, help="with --trial: clips scored; 0: all")


def run(args: argparse.Namespace) -> int:
    """One trial, one worker, or several workers and the report."""
    _check(args)
    if args.trial:
        from experiments.sweeps.trial import run_trial

        return run_trial(args.trial, args.words, args.clips)
    from experiments.sweeps.grammar import load_sweep, shipped_sweeps

    if not args.words:
        names = shipped_sweeps()
        width = max(map(len, names)) + 2
        for name in names:
            print(f"{name:{width}}{load_sweep(name).description.strip().splitlines()[0]}")
        return 0
    file, *words = args.words
    sweep = load_sweep(file)
    if args.wandb:
        from experiments.sweeps.wandb_agents import run_agents

        return run_agents(sweep, words, args.project, args.workers)
    return _run_here(args, sweep, words)


def _check(args: argparse.Namespace) -> None:
    from experiments.errors import SettingsError

    for name, least in (("workers", 1), ("trials", 1), ("clips", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise SettingsError(f"--{name} is {value}, but must be at least {least}.")


def _run_here(args: argparse.Namespace, sweep: Sweep, words: list[str]) -> int:
    from experiments.sweeps.grammar import fixed_values
    from experiments.sweeps.store import SweepStore
    from experiments.sweeps.worker import run_worker

    fixed_values(sweep, words)
    out = args.out or Path("sweeps") / sweep.name
    if args.report and not (out / "sweep.json").exists():
        from experiments.errors import SettingsError

        raise SettingsError(
            f"{out} holds no sweep to report on; give the folder of one as --out, "
            "or leave --report out to run it."
        )
    store = SweepStore(out, sweep, words, args.storage, args.trials, args.seed)
    if args.report:
        return _report(store)
    _end_on_sigterm()
    if args.workers > 1:
        status = _spawn(args, out)
    else:
        run_worker(store, words, lambda finished: _say(store, finished))
        status = 0
    running = store.states().get("running", 0)
    if running and status == 0:
        print(f"{running} trials are still running in other workers.")
        return 0
    return status or _report(store)


def _spawn(args: argparse.Namespace, out: Path) -> int:
    """Workers as processes of their own; the worst of their exit statuses."""
    import subprocess
    import sys

    options = ["--out", str(out), "--storage", args.storage, "--seed", str(args.seed)]
    if args.trials:
        options += ["--trials", str(args.trials)]
    command = [sys.executable, "-m", "experiments.cli", "sweep", *args.words, *options]
    workers = [subprocess.Popen(command) for _ in range(args.workers)]
    try:
        statuses = [worker.wait() for worker in workers]
        # A signal's status is negative here, and a shell's 128 and its number.
        return max(128 - status if status < 0 else status for status in statuses)
    finally:
        # After Ctrl-C, which the terminal has sent to the workers too, they end their trials.
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def _end_on_sigterm() -> None:
    """Let SIGTERM unwind the stack, so that the trial that is running is ended, too."""
    import signal

    from experiments.errors import Interrupted

    def stop(*_: object) -> None:
        raise Interrupted("Stopped; the same command goes on with this sweep.")

    signal.signal(signal.SIGTERM, stop)


def _say(store: SweepStore, finished: Finished) -> None:
    values = " ".join(f"{name}={value}" for name, value in finished.values.items())
    result = finished.state if finished.value is None else f"{finished.value:.4f}"
    done = sum(count for state, count in store.states().items() if state not in _OPEN)
    print(
        f"[{done}/{store.cap}] trial {finished.number}: {result} in {finished.seconds:.0f} s  "
        f"{values}",
        flush=True,
    )


_OPEN = ("running", "waiting")


def _report(store: SweepStore) -> int:
    from experiments.reports.compare import CompareOptions, compare_runs
    from experiments.sweeps.report import write_sweep_report

    report = write_sweep_report(store, store.root / "report")
    print(report.read_text("utf-8"))
    trials = sorted((store.root / "trials").glob("*/manifest.json"))
    if trials:
        page = store.root / "report" / "compare.html"
        compare_runs([path.parent for path in trials], page, CompareOptions(store.sweep.name))
        print(f"Every trial: {page}")
    print(f"Report: {report}, with its figure and its tables as LaTeX and CSV beside it")
    return 1 if store.states().get("fail") else 0
