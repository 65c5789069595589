"""Every default stands in one place: a setting's, or that of what it is passed to, never both."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import experiments.factories
from experiments.config.load import all_settings

FACTORIES = sorted(path.stem for path in Path(experiments.factories.__path__[0]).glob("[a-z]*.py"))
OURS = ("datamodules", "lightning_modules", "metrics", "experiments")
CONVERSIONS = ("tuple", "list", "max", "min", "Path")
#: Annotations of the factories' parameters that are parts of the tree, and which.
ROOTS = {"Settings": "", "Stage1Settings": "stage1", "RunSettings": "run"}


@dataclasses.dataclass(frozen=True)
class Passed:
    """A setting that a factory passes to a parameter."""

    setting: str
    target: Any
    """Function or class."""
    parameter: str


def passed_settings(module: ModuleType) -> Iterator[Passed]:
    """Yield every setting that the functions of a module pass on, read from its syntax tree."""
    tree = ast.parse(inspect.getsource(module))
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        names = {
            argument.arg: ROOTS[ast.unparse(argument.annotation)]
            for argument in function.args.args
            if argument.annotation is not None and ast.unparse(argument.annotation) in ROOTS
        }
        local: dict[str, Any] = {}
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom):
                source = importlib.import_module(str(node.module))
                local |= {alias.name: getattr(source, alias.name) for alias in node.names}
            if isinstance(node, ast.Assign):
                names |= aliases(node.targets[0], node.value, names)
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                target = local.get(node.func.id, getattr(module, node.func.id, None))
                error = isinstance(target, type) and issubclass(target, BaseException)
                ours = str(getattr(target, "__module__", "")).split(".")[0] in OURS
                if callable(target) and ours and not error:
                    yield from arguments(node, target, names)


def aliases(target: ast.expr, value: ast.expr, names: dict[str, str]) -> dict[str, str]:
    """Return the local names that an assignment gives to parts of the tree."""
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = zip(target.elts, value.elts, strict=True)
        return {k: v for one, other in pairs for k, v in aliases(one, other, names).items()}
    found = dotted(value, names)
    return {target.id: found} if isinstance(target, ast.Name) and found is not None else {}


def dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """Return the dotted name of `settings.clips.fps` or of a local name; None for all else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, names)
        return None if base is None else f"{base}.{node.attr}".lstrip(".")
    return None


def arguments(call: ast.Call, target: Any, names: dict[str, str]) -> Iterator[Passed]:
    """Yield the settings in the arguments of a call, whatever is computed from them."""
    parameters = list(inspect.signature(target).parameters)
    given = list(zip(parameters, call.args, strict=False))
    given += [(word.arg, word.value) for word in call.keywords if word.arg is not None]
    for parameter, value in given:
        for name in settings_in(value, names):
            yield Passed(name, target, parameter)
    for word in call.keywords:  # **asdict(settings.group)
        if word.arg is None and isinstance(word.value, ast.Call):
            group = dotted(word.value.args[0], names)
            for name in all_settings():
                if group is not None and name.startswith(f"{group}."):
                    yield Passed(name, target, name.removeprefix(f"{group}."))


def settings_in(value: ast.AST, names: dict[str, str]) -> Iterator[str]:
    """Yield the settings that an expression passes on, directly or as `tuple(x)`, `x or y`, ..."""
    if isinstance(value, ast.expr) and (name := dotted(value, names)) in all_settings():
        assert name is not None
        yield name
    converted = isinstance(value, ast.Call) and ast.unparse(value.func) in CONVERSIONS
    # Conditions pass no value on, and other calls have parameters of their own.
    if not isinstance(value, ast.Compare | ast.Call) or converted:
        for child in ast.iter_child_nodes(value):
            yield from settings_in(child, names)


def own_default(target: Any, parameter: str) -> str | None:
    """Return the source of a parameter's default.

    None if there is none, if it is None ("not given"), or if it refers to the options' own.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(target))).body[0]
    found: ast.expr | None = None
    if isinstance(tree, ast.ClassDef) and dataclasses.is_dataclass(target):
        for statement in tree.body:
            if isinstance(statement, ast.AnnAssign) and ast.unparse(statement.target) == parameter:
                found = statement.value
    else:
        if isinstance(tree, ast.ClassDef):
            tree = next(n for n in tree.body if getattr(n, "name", "") == "__init__")
        assert isinstance(tree, ast.FunctionDef)
        positional = tree.args.args[::-1]
        pairs = list(zip(positional, tree.args.defaults[::-1], strict=False))
        pairs += zip(tree.args.kwonlyargs, tree.args.kw_defaults, strict=True)
        found = next((value for name, value in pairs if name.arg == parameter), None)
    if found is None or ast.unparse(found) == "None":
        return None
    root = ast.unparse(found).split(".")[0].split("(")[0]
    home = inspect.getmodule(target)
    origin = getattr(getattr(home, root, None), "__module__", "")
    imported = [
        alias.name
        for node in ast.walk(ast.parse(inspect.getsource(home)))
        if isinstance(node, ast.ImportFrom) and ".options" in str(node.module)
        for alias in node.names
    ]
    return None if ".options" in origin or root in imported else ast.unparse(found)


ALL = [
    passed
    for name in FACTORIES
    for passed in passed_settings(importlib.import_module(f"experiments.factories.{name}"))
]


def test_the_walk_finds_keywords_positions_aliases_and_whole_groups() -> None:
    found = {(p.setting, p.target.__name__, p.parameter) for p in ALL}
    for expected in (
        ("clips.frames", "WindowRule", "frames"),
        ("clips.speeds", "WindowRule", "speeds"),
        ("stage2.loss.velocity", "DenoisingLoss", "velocity"),
        ("sampling.guidance_scale", "Guidance", "music"),
        ("stage1.network.regions", "LatentFlowAutoencoder", "regions"),
        ("stage2.network.flow", "FlowUNet3D", "flow"),
        ("synthetic.rooms", "render_dataset", "rooms"),
    ):
        assert expected in found
    assert len(found) > 100


def test_a_second_default_is_found() -> None:
    def target(steps: int = 3, *, rate: float = 0.1, name: str) -> None: ...

    assert own_default(target, "steps") == "3"
    assert own_default(target, "rate") == "0.1"
    assert own_default(target, "name") is None


def test_no_setting_and_parameter_both_have_a_default() -> None:
    twice = {
        f"{p.setting} and {p.target.__qualname__}({p.parameter}={default})"
        for p in ALL
        if (default := own_default(p.target, p.parameter)) is not None
    }
    assert sorted(twice) == []
