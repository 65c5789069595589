"""`dabfusion sweep`: run the trials of a sweep file, here or with Weights & Biases."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.sweeps.grammar import Sweep
    from experiments.sweeps.store import Claim, SweepStore

HELP = """Run a sweep or an ablation: every trial trains, generates held-out clips and is scored.

The file is in the grammar of Weights & Biases. Without --wandb the sweep runs on this machine,
needs no server, and may be stopped and started again: finished trials are kept, the others resume.
Several workers, also on several machines that share the folder, never run a trial twice."""

EXAMPLES = [
    "dabfusion sweep                                    # list the sweeps that come with it",
    "dabfusion sweep beat_ablation data=prepared autoencoder=runs/autoencoder --workers 2",
    "dabfusion sweep guidance_steps model=runs/diffusion data=prepared",
    "dabfusion sweep mine.yaml data=prepared autoencoder=runs/autoencoder --wandb",
    "dabfusion sweep beat_ablation data=prepared autoencoder=runs/autoencoder --report",
]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("words", nargs="*", metavar="FILE key=value", help="the sweep, and settings of every trial")
    add("--out", type=Path, help="folder of the sweep (default: sweeps/NAME)")
    add("--workers", type=int, default=1, help="trials that run at once (default: 1)")
    add("--trials", type=int, help="number of trials (default: run_cap of the file, or all)")
    shared = "journal for a folder that several machines share (default: sqlite)"
    add("--storage", choices=["sqlite", "journal"], default="sqlite", help=shared)
    add("--seed", type=int, default=0, help="seed of random and Bayesian search (default: 0)")
    add("--report", action="store_true", help="only write the report again")
    add("--wandb", action="store_true", help="run the sweep with Weights & Biases")
    add("--project", default="dabfusion", help="project at Weights & Biases")
    one = "run one trial of this kind; a sweep file's `command` calls it"
    add("--trial", choices=["diffusion", "sampling"], help=one)
    add("--clips", type=int, default=0, help="with --trial: number of clips to score; 0: all")


def run(args: argparse.Namespace) -> int:
    """List the sweeps, or run one trial, or all trials here or at Weights & Biases."""
    from experiments.errors import SettingsError
    from experiments.sweeps.grammar import load_sweep, shipped_sweeps

    for name, low in (("workers", 1), ("trials", 1), ("clips", 0)):
        value = getattr(args, name)
        if value is not None and value < low:
            raise SettingsError(f"--{name} is {value}, but must be at least {low}.")
    if args.trial:
        from experiments.sweeps.trial import run_trial

        return run_trial(args.trial, args.words, args.clips)
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


def _run_here(args: argparse.Namespace, sweep: Sweep, words: list[str]) -> int:
    """Run one worker, or several as processes, and write the report."""
    import signal

    from experiments.errors import Interrupted, SettingsError
    from experiments.sweeps.store import SweepStore
    from experiments.sweeps.worker import run_worker

    def stop(*_: object) -> None:
        # Ends the running trial too, as the exception passes through the worker.
        raise Interrupted("Stopped; the same command continues this sweep.")

    sweep.fixed_values(words)
    out = args.out or Path("sweeps") / sweep.name
    if args.report and not (out / "sweep.json").exists():
        raise SettingsError(
            f"{out} has no sweep to report on; give the folder of one as --out, "
            "or leave --report out to run it."
        )
    store = SweepStore(out, sweep, words, args.storage, args.trials, args.seed)
    if args.report:
        return _report(store)
    signal.signal(signal.SIGTERM, stop)
    if args.workers > 1:
        if status := _spawn(args, out):
            return status
    else:
        for ended in run_worker(store, words):
            _print(store, ended)
    if running := store.states().get("running", 0):
        print(f"{running} trials are still running in other workers.")
        return 0
    return _report(store)


def _spawn(args: argparse.Namespace, out: Path) -> int:
    """Run workers as processes and return the worst of their exit statuses."""
    import subprocess
    import sys

    options = ["--out", str(out), "--storage", args.storage, "--seed", str(args.seed)]
    options += ["--trials", str(args.trials)] if args.trials else []
    command = [sys.executable, "-m", "experiments.cli", "sweep", *args.words, *options]
    workers = [subprocess.Popen(command) for _ in range(args.workers)]
    try:
        # A process that a signal has ended has a negative status; a shell's is 128 + the signal.
        return max(128 - s if s < 0 else s for s in [worker.wait() for worker in workers])
    finally:
        # After Ctrl-C, which the terminal has also sent to the workers, they end their trials.
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.wait()


def _print(store: SweepStore, ended: Claim) -> None:
    values = " ".join(f"{name}={value}" for name, value in ended.values.items())
    result = ended.state if ended.value is None else f"{ended.value:.4f}"
    done = store.cap - sum(store.states().get(state, 0) for state in ("running", "waiting"))
    said = f"[{done}/{store.cap}] trial {ended.number}: {result} in {ended.seconds:.0f} s"
    print(f"{said}  {values}", flush=True)


def _report(store: SweepStore) -> int:
    from experiments.reports.compare import compare_runs
    from experiments.sweeps.report import write_sweep_report

    report = write_sweep_report(store, store.root / "report")
    print(report.read_text("utf-8"))
    if trials := sorted((store.root / "trials").glob("*/manifest.json")):
        page = report.with_name("compare.html")
        compare_runs([path.parent for path in trials], page, title=store.sweep.name)
        print(f"Every trial: {page}")
    print(f"Report: {report}, with its figure and its tables as LaTeX and CSV in the same folder")
    return 1 if store.states().get("fail") else 0
