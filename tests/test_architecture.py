"""The rules of the house, read off the syntax trees: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datamodules", "lightning_modules", "metrics", "experiments")
PIPELINE = ("lightning_modules/pipeline.py", "lightning_modules/generation/inputs.py")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported_modules(path: Path) -> set[str]:
    """Every absolute module name imported anywhere in a file, in functions too."""
    names: set[str] = set()
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            names.add(module)
            names.update(f"{module}.{alias.name}" for alias in node.names)
    return names


def violations(sources: list[Path], forbidden: tuple[str, ...]) -> list[str]:
    """`FILE imports MODULE` for each forbidden module (or part of one) that a file imports."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources
        for name in sorted(imported_modules(path))
        if any(name == module or name.startswith(module + ".") for module in forbidden)
    ]


def inside(*folders: str) -> list[Path]:
    return [p for p in SOURCES if any(p.is_relative_to(ROOT / folder) for folder in folders)]


def test_the_walk_sees_imports_inside_functions_and_relative_ones(tmp_path: Path) -> None:
    assert "lightning.pytorch" in imported_modules(ROOT / "datamodules" / "aist.py")
    assert any(
        name.startswith("metrics") for p in inside("metrics") for name in imported_modules(p)
    )


def test_data_and_metrics_import_none_of_the_other_packages() -> None:
    for package in ("datamodules", "metrics"):
        others = tuple(name for name in PACKAGES if name != package)
        assert violations(inside(package), others) == []


def test_lightning_modules_import_only_metrics_and_the_batch() -> None:
    allowed = {"datamodules.batch"}
    for path in inside("lightning_modules"):
        reads = path.name in ("pipeline.py", "pipeline_inputs.py")
        extra = {"datamodules.media.audio", "datamodules.media.video"} if reads else set()
        names = imported_modules(path)
        used = {name for name in names if name.split(".")[0] in ("datamodules", "experiments")}
        wrong = {n for n in used if not any(n.startswith(a) for a in allowed | extra)}
        assert wrong <= {"datamodules"}, f"{path.relative_to(ROOT)} imports {wrong}"


def test_pure_code_knows_no_framework() -> None:
    pure = inside("lightning_modules/networks", "metrics/functional") + [
        ROOT / "lightning_modules" / name for name in ("losses.py", "sampling.py")
    ]
    assert violations(pure, ("lightning", "omegaconf", "wandb", "pathlib", "os")) == []
    assert violations([ROOT / "lightning_modules" / "pipeline.py"], ("lightning",)) == []


@pytest.mark.parametrize(
    ("module", "home"),
    [
        ("librosa", "datamodules/media/audio.py"),
        ("decord", "datamodules/media/video.py"),
        ("laion_clap", "lightning_modules/music/clap.py"),
    ],
)
def test_fragile_libraries_live_in_one_file(module: str, home: str) -> None:
    assert violations([p for p in SOURCES if p != ROOT / home], (module,)) == []


def test_settings_and_dashboards_live_in_experiments() -> None:
    outside = inside("datamodules", "lightning_modules", "metrics")
    assert violations(outside, ("omegaconf", "wandb")) == []


def test_no_catch_all_files() -> None:
    assert not [p for p in SOURCES if p.stem in ("utils", "helpers", "common", "misc")]


def test_nothing_unsafe_is_loaded() -> None:
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            where = f"{path.relative_to(ROOT)}:{node.lineno}"
            if called == "torch.load":
                assert keywords.get("weights_only") == "True", where
            assert called not in ("pickle.load", "pickle.loads", "yaml.load", "eval", "exec"), where
            assert keywords.get("allow_pickle") != "True", where


def test_the_pipeline_runs_without_lightning() -> None:
    code = "import sys, lightning_modules.pipeline; print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr
