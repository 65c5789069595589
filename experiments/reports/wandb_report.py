"""A comparison at Weights & Biases: the page in a run of its own, or a report of their server's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.errors import SettingsError
from experiments.reports.runs import RunRecord, find_runs, read_run, run_names
from experiments.reports.scores import FIRST_METRICS, ScoreTable, score_tables

#: Where training logs its sample videos.
SAMPLES = "val/samples"


@dataclass(frozen=True)
class ReportPlan:
    """What a report shows, before their package is asked to build it."""

    run_ids: tuple[str, ...]
    scores: str
    """Markdown: one table a protocol."""
    curves: tuple[str, ...]


def log_page(page: Path, project: str, title: str) -> None:
    """One run of type ``comparison`` that shows the page; offline where nobody is logged in.

    Args:
        page: the HTML file.
        project: name of the project.
        title: name of the run.
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
    """Save a report of run folders at Weights & Biases and return its address.

    Args:
        paths: run folders, or folders of them, as for the page.
        project: that the runs have logged to.
        title: of the report.

    Raises:
        SettingsError: nobody is logged in, no run was logged, or the package `wandb-workspaces` is
            missing.
    """
    from experiments.runs.log_wandb import logged_in

    if not logged_in():
        raise SettingsError(
            "--wandb-report needs an account, and this machine is not logged in: run `wandb "
            "login`, or leave it out; the page that is written needs no network."
        )
    reports = _package()
    folders = find_runs(paths)
    named = zip(folders, run_names(folders), strict=True)
    runs = [read_run(folder, name) for folder, name in named]
    plan = plan_report(runs, score_tables(runs))
    blocks = report_blocks(plan, project)
    report = reports.Report(project=project, title=title, blocks=blocks, width="fluid")
    report.save()
    return str(report.url)


def plan_report(runs: Sequence[RunRecord], tables: Sequence[ScoreTable]) -> ReportPlan:
    """What a report of these runs shows.

    Raises:
        SettingsError: none of the runs was logged to Weights & Biases.
    """
    logged = [run for run in runs if run.manifest.get("wandb_id") and _was_logged(run)]
    if not logged:
        raise SettingsError(
            "None of the runs was logged to Weights & Biases, so there is nothing that a report "
            "could show: train with run.wandb=online, or `wandb sync` offline runs, or leave "
            "--wandb-report out."
        )
    keys = {key for run in runs for key in run.curves}
    return ReportPlan(
        tuple(str(run.manifest["wandb_id"]) for run in logged),
        "\n\n".join(_markdown(table) for table in tables),
        tuple(sorted(keys, key=lambda key: (not key.startswith("val/"), key))),
    )


def report_blocks(plan: ReportPlan, project: str) -> list[Any]:
    """The report's contents as objects of `wandb-workspaces`; asks no server.

    Raises:
        SettingsError: that package is missing.
    """
    reports = _package()
    compared = f"ID in {list(plan.run_ids)}"
    sections: dict[str, list[Any]] = {
        "Settings that differ": [reports.RunComparer(diff_only="split")],
        "Learning curves": [reports.LinePlot(title=key, x="Step", y=[key]) for key in plan.curves],
        "Videos": [reports.MediaBrowser(media_keys=[SAMPLES], num_columns=3)],
    }
    blocks: list[Any] = []
    if plan.scores:
        blocks += [reports.H2(text="Scores"), reports.MarkdownBlock(text=plan.scores)]
    for title, panels in sections.items():
        shown = reports.Runset(project=project, name="compared", filters=compared)
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


def _was_logged(run: RunRecord) -> bool:
    return str(run.settings.get("run.wandb")) != "off"


def _markdown(table: ScoreTable) -> str:
    metrics = [name for name in table.metrics if name in FIRST_METRICS] or table.metrics
    lines = [f"**Protocol {table.protocol_hash[:12]}**, mean over clips and 95% interval", ""]
    lines += ["| run | clips | " + " | ".join(metrics) + " |"]
    lines += ["| --- | ---: |" + " ---: |" * len(metrics)]
    for row in table.rows:
        cells = [str(row.scores.get(metric, "–")) for metric in metrics]
        lines.append(f"| {row.run} | {row.clips} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
