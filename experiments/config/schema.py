"""The settings as a flat list: dotted name, type, default, choices and docstring of each.

The docstring of a setting is the string under its field. Python does not keep these, so they are
read from the source file.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import itertools
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union


@dataclass(frozen=True)
class Setting:
    """One leaf of the tree of settings."""

    name: str
    """Dotted name, as on the command line."""
    type_text: str
    """Type in words: `whole number`, `number or null`, `none | global | frame`."""
    default: Any
    """Default without a preset."""
    choices: tuple[str, ...]
    """Allowed values; empty if they are not enumerated."""
    doc: str
    """Docstring as one paragraph."""
    text: bool
    """Whether it is a text or a choice, whose value is taken as it is written."""
    texts: bool
    """Whether it is a list of texts."""


def list_settings(root: type, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting in a dataclass, depth first, in the order of the source.

    Args:
        root: Dataclass whose fields are settings or further dataclasses.
        prefix: Dotted name of `root`; empty for the whole tree.
    """
    hints = typing.get_type_hints(root)
    docs = field_docs(root)
    for field in fields(root):
        name = f"{prefix}.{field.name}" if prefix else field.name
        hint = hints[field.name]
        if is_dataclass(hint) and isinstance(hint, type):
            yield from list_settings(hint, name)
            continue
        choices = _choices(hint)
        yield Setting(
            name=name,
            type_text=type_text(hint),
            default=_default(field),
            choices=choices,
            doc=docs.get(field.name, ""),
            text=hint is str or bool(choices),
            texts=hint == list[str],
        )


@cache
def field_docs(root: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, inherited ones included, by its name."""
    docs: dict[str, str] = {}
    for cls in reversed(root.__mro__[:-1]):
        body = ast.parse(inspect.cleandoc(inspect.getsource(cls))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in itertools.pairwise(body.body):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            ):
                docs[statement.target.id] = " ".join(following.value.value.split())
    return docs


def type_text(hint: Any) -> str:
    """Return the name of a type in words."""
    if choices := _choices(hint):
        return " | ".join(choices)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        inner = [type_text(arg) for arg in args if arg is not type(None)]
        return " or ".join(inner) + (" or null" if type(None) in args else "")
    if origin is list:
        return f"list of {type_text(args[0])}"
    return {str: "text", bool: "true | false", float: "number", int: "whole number"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )


def nearest_settings(name: str, known: list[str]) -> list[str]:
    """Return up to two known names that `name` was probably meant to be, the likeliest first.

    A known last part in another group is preferred to a similar spelling; if only a last part is
    given, up to four groups that have it are returned.
    """
    last = name.rsplit(".", 1)[-1]
    same_last = [candidate for candidate in known if candidate.rsplit(".", 1)[-1] == last]
    if same_last:
        if last == name:
            return same_last[:4]
        return difflib.get_close_matches(name, same_last, n=2, cutoff=0.0)
    spelled = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    lasts = {candidate.rsplit(".", 1)[-1]: candidate for candidate in reversed(known)}
    close = difflib.get_close_matches(last, list(lasts), n=1, cutoff=0.6)
    group = name.rpartition(".")[0]
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == group}
    same_group = difflib.get_close_matches(last, list(siblings), n=1, cutoff=0.5) if group else []
    found = spelled + [siblings[key] for key in same_group] + [lasts[key] for key in close]
    return list(dict.fromkeys(found))[:2] or difflib.get_close_matches(name, known, 1, 0.0)


def _choices(hint: Any) -> tuple[str, ...]:
    if typing.get_origin(hint) is Literal:
        return tuple(str(choice) for choice in typing.get_args(hint))
    return ()


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    if field.default_factory is not MISSING:
        return field.default_factory()
    return None
