"""Import rules of the packages, read off the syntax trees; see CONTRIBUTING.md."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("datamodules", "lightning_modules", "metrics", "experiments")
#: Parts of `experiments`, lowest first: a part imports only from parts above its line.
LAYERS = (
    ("errors", "arguments"),
    ("config",),
    ("runs",),
    ("factories", "processes"),
    ("caching",),
    ("evaluation",),
    ("training", "generation", "reports"),
    ("sweeps",),
    ("quickstart", "benchmarks"),
    ("studies",),
    ("commands",),
    ("cli",),
)
PIPELINE = ("lightning_modules/pipeline.py", "lightning_modules/generation/inputs.py")
MOST_FILES = 16
#: The files that may use private attributes of Lightning: the Trainer's in `experiments`, and that
#: of a LightningModule's logging, which cannot import `experiments`.
LIGHTNING_PRIVATE = ("experiments.processes.trainer", "lightning_modules.step_log")
#: Private attributes of Trainer, loops, modules and loggers that code could be tempted to use.
PRIVATE_NAMES = {
    "_batches_that_stepped",
    "_callback_connector",
    "_checkpoint_connector",
    "_data_connector",
    "_data_fetcher",
    "_experiment",
    "_logger_connector",
    "_should_check_val_fx",
    "_signal_connector",
    "_wandb_init",
}


@cache
def sources() -> dict[str, Path]:
    """Every module of ours by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports_of(path: Path, at_run_time: bool = False) -> Iterator[str]:
    """Absolute names that a file imports, in functions too.

    Args:
        path: The file.
        at_run_time: Leave out what stands under `if TYPE_CHECKING`.
    """
    package = path.relative_to(ROOT).with_suffix("").parts[:-1] if path.is_absolute() else ()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unused: set[int] = set()
    if at_run_time:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                unused.update(id(inner) for inner in ast.walk(node))
    for node in ast.walk(tree):
        if id(node) in unused:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@cache
def graph() -> dict[str, frozenset[str]]:
    """Which of our modules each of them imports when the program runs."""
    known = sources()
    edges = {}
    for name, path in known.items():
        named = set(imports_of(path, at_run_time=True)) & set(known)
        # `from package import module` names the package, too, without depending on its content.
        named -= {other for other in named if any(n.startswith(other + ".") for n in named)}
        edges[name] = frozenset(named - {name})
    return edges


def cycles(edges: dict[str, frozenset[str]]) -> list[list[str]]:
    """One cycle for each group of modules that import one another."""
    state: dict[str, int] = {}
    trail: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        state[name] = 1
        trail.append(name)
        for other in sorted(edges[name]):
            if state.get(other) == 1:
                found.append([*trail[trail.index(other) :], other])
            elif other not in state:
                visit(other)
        trail.pop()
        state[name] = 2

    for name in sorted(edges):
        if name not in state:
            visit(name)
    return found


def violations(names: list[str], forbidden: tuple[str, ...]) -> list[str]:
    """`FILE imports MODULE` for each forbidden module (or part of one) that a module imports."""
    return sorted(
        {
            f"{name} imports {used}"
            for name in names
            for used in imports_of(sources()[name])
            if any(used == module or used.startswith(module + ".") for module in forbidden)
        }
    )


def inside(*prefixes: str) -> list[str]:
    """Modules of these packages."""
    found = [n for n in sources() if any(n == p or n.startswith(p + ".") for p in prefixes)]
    assert found, f"nothing lies in {prefixes}"
    return found


def test_the_walk_sees_imports_inside_functions_and_relative_ones(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text("def f():\n    from experiments.cli import main\nimport wandb.sdk\n")
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert names == {"experiments.cli"}
    assert "lightning.pytorch" in set(imports_of(ROOT / "datamodules" / "aist.py"))


def test_a_cycle_is_found() -> None:
    edges = {
        "a": frozenset({"b"}),
        "b": frozenset({"c"}),
        "c": frozenset({"a"}),
        "d": frozenset({"a"}),
    }
    assert cycles(edges) == [["a", "b", "c", "a"]]
    assert cycles({"a": frozenset({"b"}), "b": frozenset()}) == []


def test_no_module_is_part_of_an_import_cycle() -> None:
    assert cycles(dict(graph())) == []


def test_experiments_import_only_from_lower_layers() -> None:
    rank = {part: level for level, parts in enumerate(LAYERS) for part in parts}
    wrong = []
    for name, used in graph().items():
        part = name.split(".")[1:2]
        if not name.startswith("experiments.") or not part:
            continue
        assert part[0] in rank, f"{name} is in no layer: add it to LAYERS"
        for other in used:
            if not other.startswith("experiments."):
                continue
            theirs = other.split(".")[1]
            if theirs != part[0] and rank[theirs] >= rank[part[0]]:
                wrong.append(f"{name} imports {other}")
    assert wrong == []


def test_only_the_command_line_imports_commands_studies_and_benchmarks() -> None:
    for part in ("commands", "studies", "benchmarks"):
        outside = [
            name
            for name in sources()
            if not name.startswith((f"experiments.{part}", "experiments.commands"))
            and name != "experiments.cli"
        ]
        assert violations(outside, (f"experiments.{part}",)) == []


def test_data_and_metrics_import_none_of_the_other_packages() -> None:
    for package in ("datamodules", "metrics"):
        others = tuple(name for name in PACKAGES if name != package)
        assert violations(inside(package), others) == []


def test_lightning_modules_import_only_metrics_the_batch_options_and_files() -> None:
    for name in inside("lightning_modules"):
        allowed = ["datamodules.batch", "datamodules.files", "datamodules.options"]
        if sources()[name].relative_to(ROOT).as_posix() in PIPELINE:
            allowed.append("datamodules.media")
        used = {n for n in imports_of(sources()[name]) if n.startswith(("datamodules.", "exper"))}
        assert not {n for n in used if not n.startswith(tuple(allowed))}, name


def test_pure_code_imports_no_framework_and_touches_no_files() -> None:
    pure = inside(
        "lightning_modules.networks",
        "lightning_modules.losses",
        "lightning_modules.sampling",
        "metrics.functional",
    )
    assert violations(pure, ("lightning", "omegaconf", "wandb", "pathlib", "os")) == []
    assert violations(["lightning_modules.pipeline"], ("lightning",)) == []


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("librosa", ("datamodules.media.audio",)),
        ("decord", ("datamodules.media.video",)),
        ("laion_clap", ("lightning_modules.music.clap",)),
        ("omegaconf", ("experiments.config",)),
        (
            "wandb",
            (
                "experiments.runs.log_wandb",
                "experiments.sweeps.wandb_agents",
                "experiments.reports.wandb_report",
            ),
        ),
        ("optuna", ("experiments.sweeps",)),
    ],
)
def test_fragile_libraries_are_imported_in_few_places(library: str, homes: tuple[str, ...]) -> None:
    outside = [n for n in sources() if not any(n == h or n.startswith(h + ".") for h in homes)]
    assert violations(outside, (library,)) == []


def test_private_api_of_lightning_is_used_in_few_places() -> None:
    wrong = []
    for name, path in sources().items():
        if name in LIGHTNING_PRIVATE:
            continue
        wrong += [
            f"{name} imports {used}"
            for used in imports_of(path)
            if used.startswith("lightning.") and "._" in used
        ]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (
                node.attr in PRIVATE_NAMES
                or (node.attr.startswith("_") and ast.unparse(node.value).endswith("trainer"))
            ):
                wrong.append(f"{name}:{node.lineno} uses {ast.unparse(node)}")
    assert wrong == []


def test_lightning_has_a_version_ceiling() -> None:
    assert "lightning>=2.6,<2.7,!=2.6.2,!=2.6.3" in (ROOT / "setup.cfg").read_text()


def test_no_catch_all_files() -> None:
    names = {name.split(".")[-1] for name in sources()}
    assert not names & {"utils", "helpers", "common", "misc"}


def test_no_folder_holds_more_files_than_one_can_survey() -> None:
    folders = {path.parent for path in sources().values()}
    counts = {
        folder.relative_to(ROOT).as_posix(): sum(
            path.suffix == ".py" and path.name != "__init__.py" for path in folder.iterdir()
        )
        for folder in folders
    }
    assert {name: count for name, count in counts.items() if count > MOST_FILES} == {}


def test_nothing_unsafe_is_loaded() -> None:
    for name, path in sources().items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            where = f"{name}:{node.lineno}"
            if called == "torch.load":
                # `pickled` has an unpickler that resolves a short list of names only.
                restricted = name == "lightning_modules.pickled" and "pickle_module" in keywords
                assert restricted or keywords.get("weights_only") == "True", where
            assert called not in ("pickle.load", "pickle.loads", "yaml.load", "eval", "exec"), where
            assert keywords.get("allow_pickle") != "True", where


def test_the_pipeline_runs_without_lightning() -> None:
    code = "import sys, lightning_modules.pipeline; print('lightning' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr
