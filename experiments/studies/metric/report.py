"""The metric study's page and figures, made from the numbers in `results.json`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.reports.tables import markdown_table
from experiments.studies.metric.members import MEMBERS
from experiments.studies.metric.sweeps import SWEEPS
from experiments.studies.page import fill_template, interval, new_figure, save_figure
from metrics.functional import PRESETS

#: Columns of the summary.
SUMMARY = ("corrected", "raw", "phase_cosine", "mint", "bailando", "av_align")


def page(results: Mapping[str, Any], command: str) -> str:
    """Return the report of the numbers in `results.json`."""
    sweeps, needed, folders = (results[k] for k in ("sweeps", "clips_needed", "folders"))

    def summary(key: str, place: str) -> str:
        row = sweeps[key]["places"].index(place)
        return " | ".join(f"{sweeps[key]['means'][member][row]:.3f}" for member in SUMMARY)

    def score(key: str) -> str:
        return " | ".join(interval(means[key]).text(3) for means in folders.values())

    tables = []
    for key, sweep in sweeps.items():
        columns = [SWEEPS[key].unit or "condition", *(MEMBERS[m] for m in sweep["means"])]
        rows = zip(sweep["places"], *sweep["means"].values(), strict=True)
        cells = [[place, *(f"{mean:.3f}" for mean in means)] for place, *means in rows]
        tables.append((SWEEPS[key].title, markdown_table(columns, cells)))
    return fill_template(
        Path(__file__).with_name("report.md.j2"),
        **results,
        command=command,
        summary=summary,
        score=score,
        tables=tables,
        needed=markdown_table(
            ["member", *(f"{float(share):.0%} hit" for share in needed["corrected"])],
            [[MEMBERS[m], *(f"{n:.0f}" for n in counts.values())] for m, counts in needed.items()],
        ),
    )


def _style(member: str) -> dict[str, Any]:
    """Color and line of a member; those of others are dashed."""
    number = list(MEMBERS).index(member)
    published = member in (*PRESETS, "av_align")
    color = f"C{number}" if number < 10 else "black"
    style = {"color": color, "linestyle": "--" if published else "-"}
    return {"label": MEMBERS[member], "markersize": 4, **style}


def draw_sweeps(sweeps: Mapping[str, Any], path: Path) -> None:
    """Draw a panel for each sweep: the mean of every member over what is varied."""
    rows = -(-len(sweeps) // 3)
    figure, panels = new_figure(rows, 3, 14.2, 3.5 * rows + 0.6)
    for axes in panels[len(sweeps) :]:
        axes.set_axis_off()
    for axes, (key, sweep) in zip(panels, sweeps.items(), strict=False):
        title, unit, _ = SWEEPS[key]
        x = list(map(float, sweep["places"])) if unit else list(range(len(sweep["places"])))
        # Named conditions have no order, so no line connects them.
        named = {} if unit else {"linestyle": " ", "markersize": 7}
        for member, means in sweep["means"].items():
            axes.plot(x, means, **{**_style(member), "marker": ".", **named})
        axes.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel=unit, ylim=(-1.05, 1.05))
        axes.tick_params(labelsize=8)
        if not unit:
            axes.set_xticks(x, sweep["places"], rotation=40, ha="right")
    legend = panels[0].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    save_figure(figure, path, dpi=90)


def draw_power(needed: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Draw the clips needed over the share of beats hit."""
    figure, (axes,) = new_figure(1, 1, 5, 4.1)
    for member, counts in needed.items():
        axes.plot(list(map(float, counts)), list(counts.values()), marker="o", **_style(member))
    axes.set(xscale="log", yscale="log", xlabel="share of beats hit")
    axes.set_ylabel("clips needed (80% power, 5% level)")
    axes.set_xticks(list(map(float, counts)), list(counts))
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False)
    save_figure(figure, path, dpi=90)
