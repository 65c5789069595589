"""A comparison on Weights & Biases: the page as a run of its own, or one of their reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import SettingsError
from experiments.reports.metric_names import FIRST_METRICS
from experiments.reports.runs import RunRecord, read_runs
from experiments.reports.scores import ScoreTable, score_tables
from experiments.reports.tables import markdown_table


@dataclass(frozen=True)
class ReportPlan:
    """What a report shows: runs, scores in Markdown, and keys of the curves."""

    run_ids: tuple[str, ...]
    scores: str
    curves: tuple[str, ...]


def log_page(page: Path, project: str, title: str) -> None:
    """Log the page to a run of type ``comparison``, offline if nobody is logged in.

    Args:
        page: The HTML file.
        project: Name of the project.
        title: Name of the run.
    """
    import wandb

    from experiments.runs.log_wandb import logged_in

    with wandb.init(
        project=project,
        job_type="comparison",
        name=title,
        mode="online" if logged_in() else "offline",
    ) as run:
        run.log({"comparison": wandb.Html(page.read_text("utf-8"), inject=False)})


def report_runs(paths: Sequence[Path], project: str, title: str) -> str:
    """Save a report of run folders on Weights & Biases and return its address.

    Args:
        paths: Run folders, or folders that contain them.
        project: The project that the runs were logged to.
        title: Title of the report.

    Raises:
        SettingsError: Nobody is logged in, no run was logged, or the package `wandb-workspaces`
            is missing.
    """
    from experiments.runs.log_wandb import logged_in

    if not logged_in():
        raise SettingsError(
            "--wandb-report needs an account, and this machine is not logged in: run `wandb "
            "login`, or omit the option; the page that is written needs no network."
        )
    reports = _package()
    runs = read_runs(paths)
    blocks = report_blocks(plan_report(runs, score_tables(runs)), project)
    report = reports.Report(project=project, title=title, blocks=blocks, width="fluid")
    report.save()
    return str(report.url)


def plan_report(runs: Sequence[RunRecord], tables: Sequence[ScoreTable]) -> ReportPlan:
    """Select what a report of these runs shows.

    Raises:
        SettingsError: None of the runs was logged to Weights & Biases.
    """
    ids = [
        str(run.manifest["wandb_id"])
        for run in runs
        if run.manifest.get("wandb_id") and str(run.settings.get("run.wandb")) != "off"
    ]
    if not ids:
        raise SettingsError(
            "None of the runs was logged to Weights & Biases, so a report would be empty: train "
            "with run.wandb=online, upload offline runs by `wandb sync`, or omit --wandb-report."
        )
    keys = sorted({key for run in runs for key in run.curves})
    curves = tuple(sorted(keys, key=lambda key: not key.startswith("val/")))
    return ReportPlan(tuple(ids), "\n\n".join(map(_markdown, tables)), curves)


def report_blocks(plan: ReportPlan, project: str) -> list[Any]:
    """Return the report's contents as objects of `wandb-workspaces`, without a network.

    Raises:
        SettingsError: That package is missing.
    """
    reports = _package()
    sections: dict[str, list[Any]] = {
        "Settings that differ": [reports.RunComparer(diff_only="split")],
        "Learning curves": [reports.LinePlot(title=key, x="Step", y=[key]) for key in plan.curves],
        "Videos": [reports.MediaBrowser(media_keys=["val/samples"], num_columns=3)],
    }
    blocks: list[Any] = []
    if plan.scores:
        blocks += [reports.H2(text="Scores"), reports.MarkdownBlock(text=plan.scores)]
    filters = f"ID in {list(plan.run_ids)}"
    for title, panels in sections.items():
        shown = reports.Runset(project=project, name="compared", filters=filters)
        blocks += [reports.H2(text=title), reports.PanelGrid(runsets=[shown], panels=panels)]
    return blocks


def _package() -> Any:
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError as error:
        raise SettingsError(
            "--wandb-report needs a package that is not installed: pip install wandb-workspaces."
        ) from error
    return reports


def _markdown(table: ScoreTable) -> str:
    metrics = [name for name in table.metrics if name in FIRST_METRICS] or table.metrics
    rows = [
        [row.run, row.clips, *(row.scores.get(metric, "–") for metric in metrics)]
        for row in table.rows
    ]
    title = f"**Protocol {table.protocol_hash[:12]}**, mean over clips and 95% interval"
    return f"{title}\n\n{markdown_table(['run', 'clips', *metrics], rows)}"
