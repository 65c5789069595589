"""Study 1's comparison of trainings: labels or none, how long, and which losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.config.load import to_dict
from experiments.errors import SettingsError
from experiments.runs.folder import RunFolder
from metrics.functional.bootstrap import Interval

#: Settings that say where and how a run was kept, and not what it learnt.
_APART = ("out", "data", "autoencoder", "resume", "preset", "run.")
_TICKS = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
#: What the runs are compared by, with titles.
COMPARED = (
    ("epe", "end-point error, px"),
    ("angle", "angle, degrees"),
    ("hidden_iou", "hidden areas, IoU"),
    ("change", "change of flow, px"),
    ("l1_ratio", "L1, share of copying"),
    ("psnr_gain", "PSNR above copying, dB"),
    ("ssim", "SSIM"),
    ("between_ratio", "pose in between, share of the better end"),
    ("align_lost", "2D-MM Align lost"),
)


@dataclass(frozen=True)
class TrainedRun:
    """What a run of stage 1 was told and what its validation said."""

    name: str
    steps: int
    labels: bool
    """Whether key points taught it."""
    curve: list[tuple[int, float]]
    """(steps done, foreground PSNR above copying in dB) at each validation."""
    final: dict[str, float]
    """The last validation's scores, without `val/`."""
    settings: dict[str, Any]
    """Every setting by its dotted name."""

    @property
    def title(self) -> str:
        """How tables and legends call it."""
        taught = "joints" if self.labels else "no labels"
        return f"{self.steps:,} steps, {taught}"


def read_run(path: Path) -> TrainedRun:
    """A run folder of `dabfusion train autoencoder`.

    Raises:
        SettingsError: no run, or one without a validation.
    """
    folder = RunFolder(path)
    settings = folder.read_settings()
    lines = [line for line in folder.read_metrics() if "val/psnr_gain" in line]
    if not lines:
        raise SettingsError(
            f'"{path}" has no validation of stage 1 in metrics.jsonl: give a run of `dabfusion '
            "train autoencoder` that got so far."
        )
    lines.sort(key=lambda line: line["step"])
    loss = settings.stage1.loss
    return TrainedRun(
        name=path.resolve().name,
        steps=settings.stage1.train.steps,
        labels=max(loss.joints, loss.teacher_flow, loss.teacher_occlusion) > 0,
        curve=[(line["step"] + 1, line["val/psnr_gain"]) for line in lines],
        final={k.removeprefix("val/"): v for k, v in lines[-1].items() if k.startswith("val/")},
        settings=_dotted(to_dict(settings)),
    )


def changes(run: TrainedRun, first: TrainedRun) -> str:
    """The settings in which a run differs from another, as words of the command line."""
    found = [
        f"{name}={value}"
        for name, value in run.settings.items()
        if value != first.settings.get(name) and not name.startswith(_APART)
    ]
    return " ".join(found) or "as it is"


def table_of_runs(
    measured: Sequence[tuple[TrainedRun, Mapping[str, Interval]]],
) -> str:
    """Markdown: a row for each measure, a column for each run."""
    titles = [run.title for run, _ in measured]
    lines = ["| | " + " | ".join(titles) + " |", "| --- " * (len(titles) + 1) + "|"]
    for name, title in COMPARED:
        lines.append(f"| {title} | " + " | ".join(str(of[name]) for _, of in measured) + " |")
    return "\n".join(lines)


def table_of_losses(runs: Sequence[TrainedRun]) -> str:
    """Markdown: each run's last validation, and in what it differs from the first run."""
    lines = [
        "| changed | L1, share of copying | of the warp alone | PSNR above copying, dB |",
        "| --- | --- | --- | --- |",
    ]
    for run in runs:
        cells = [run.final[k] for k in ("l1_ratio", "l1_ratio_deformed", "psnr_gain")]
        lines.append(f"| {changes(run, runs[0])} | " + " | ".join(f"{c:.3f}" for c in cells) + " |")
    return "\n".join(lines)


def draw_curves(runs: Sequence[TrainedRun], path: Path) -> None:
    """PSNR above copying over the steps done, as a PNG; dashed where no labels taught."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.8), layout="constrained")
    axes = figure.subplots()
    for number, run in enumerate(sorted(runs, key=lambda run: (run.labels, run.steps))):
        steps, gains = zip(*run.curve, strict=True)
        style = "o-" if run.labels else "s--"
        axes.plot(steps, gains, style, label=run.title, color=f"C{number}", markersize=3)
    axes.set_xscale("log")
    axes.set_xticks(_TICKS, [f"{steps:,}" for steps in _TICKS])
    axes.minorticks_off()
    done = [steps for run in runs for steps, _ in run.curve]
    axes.set_xlim(0.8 * min(done), 1.3 * max(done))
    axes.set(xlabel="optimizer steps done", ylabel="foreground PSNR above copying, dB")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in tree.items():
        inner = _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else None
        found |= {f"{prefix}{name}": value} if inner is None else inner
    return found
