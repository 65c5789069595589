"""Log a finished page to Weights & Biases."""

from pathlib import Path


def log_page(page: Path, project: str, title: str) -> None:
    """One run of type ``comparison`` that shows the page; offline where nobody is logged in.

    Args:
        page: the HTML file.
        project: name of the project.
        title: name of the run.
    """
    import wandb

    from experiments.logging_wandb import logged_in

    with wandb.init(
        project=project,
        job_type="comparison",
        name=title,
        mode="online" if logged_in() else "offline",
    ) as run:
        run.log({"comparison": wandb.Html(page.read_text("utf-8"), inject=False)})
