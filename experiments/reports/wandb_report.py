"""A comparison on Weights & Biases: the page as a run of its own, or one of their reports."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.errors import SettingsError
from experiments.reports.runs import RunRecord, read_runs
from experiments.reports.scores import FIRST_METRICS, ScoreTable, score_tables
from experiments.reports.tables import markdown_table
from experiments.runs.log_wandb import logged_in


def log_page(page: Path, project: str, title: str) -> None:
    """Log the page to a run of type ``comparison``, offline if nobody is logged in."""
    import wandb

    with wandb.init(
        project=project,
        job_type="comparison",
        name=title,
        mode="online" if logged_in() else "offline",
    ) as run:
        run.log({"comparison": wandb.Html(page.read_text("utf-8"), inject=False)})


def report_runs(paths: Sequence[Path], project: str, title: str) -> str:
    """Save a report of run folders on Weights & Biases and return its address.

    Raises:
        SettingsError: Nobody is logged in, no run was logged, or the package `wandb-workspaces`
            is missing.
    """
    if not logged_in():
        raise SettingsError(
            "--wandb-report needs an account, and this machine is not logged in: run `wandb "
            "login`, or omit the option; the page that is written needs no network."
        )
    runs = read_runs(paths)
    blocks = report_blocks(runs, score_tables(runs), project)
    from wandb_workspaces.reports.v2 import Report

    report = Report(project=project, title=title, blocks=blocks, width="fluid")
    report.save()
    return str(report.url)


def report_blocks(
    runs: Sequence[RunRecord], tables: Sequence[ScoreTable], project: str
) -> list[Any]:
    """Return the report's contents as objects of `wandb-workspaces`, without a network."""
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
    try:
        import wandb_workspaces.reports.v2 as reports
    except ImportError as error:
        raise SettingsError(
            "--wandb-report needs a package that is not installed: pip install wandb-workspaces."
        ) from error
    keys = sorted({key for run in runs for key in run.curves})
    keys.sort(key=lambda key: not key.startswith("val/"))
    sections: dict[str, list[Any]] = {
        "Settings that differ": [reports.RunComparer(diff_only="split")],
        "Learning curves": [reports.LinePlot(title=key, x="Step", y=[key]) for key in keys],
        "Videos": [reports.MediaBrowser(media_keys=["val/samples"], num_columns=3)],
    }
    blocks: list[Any] = []
    if tables:
        text = "\n\n".join(map(_markdown, tables))
        blocks += [reports.H2(text="Scores"), reports.MarkdownBlock(text=text)]
    filters = f"ID in {ids}"
    for title, panels in sections.items():
        shown = reports.Runset(project=project, name="compared", filters=filters)
        blocks += [reports.H2(text=title), reports.PanelGrid(runsets=[shown], panels=panels)]
    return blocks


def _markdown(table: ScoreTable) -> str:
    metrics = [name for name in table.metrics if name in FIRST_METRICS] or table.metrics
    rows = [
        [row.run, row.clips, *(row.scores.get(metric, "–") for metric in metrics)]
        for row in table.rows
    ]
    title = f"**Protocol {table.protocol_hash[:12]}**, mean over clips and 95% interval"
    return f"{title}\n\n{markdown_table(['run', 'clips', *metrics], rows)}"
