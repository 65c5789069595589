"""The settings as a flat list: dotted name, type, default, choices and docstring of each.

The docstring of a setting is the string under its field; Python throws those away, so they are
read from the source by its syntax tree.
"""

from __future__ import annotations

import ast
import difflib
import inspect
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
    """Dotted, as on the command line."""
    type_text: str
    """As a user would say it: `int`, `float or null`, `none | global | frame`."""
    default: Any
    """The dataclass's default, before any preset."""
    choices: tuple[str, ...]
    """What a closed choice may be; empty for any other type."""
    doc: str
    """The string under the field, folded to one paragraph."""
    text: bool
    """Whether it is a plain string, whose value on the command line is taken as it stands."""


def list_settings(root: type, prefix: str = "") -> Iterator[Setting]:
    """Every leaf below a settings dataclass, depth first, in the order of the source.

    Args:
        root: A dataclass whose fields are leaves or further dataclasses.
        prefix: The dotted name of `root` itself, empty for the whole tree.
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
        )


@cache
def field_docs(root: type) -> dict[str, str]:
    """The string under each field of a dataclass, by the field's name."""
    source = inspect.getsource(root)
    body = ast.parse(inspect.cleandoc(source)).body[0]
    assert isinstance(body, ast.ClassDef)
    docs: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
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
    """A type as a user would say it."""
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
    """Up to two known dotted names that `name` may have meant, the likeliest first.

    A last part that is right somewhere else in the tree wins over a similar spelling; up to four
    places of one that is given alone.
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
    beside = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == group}
    same_group = difflib.get_close_matches(last, list(beside), n=1, cutoff=0.5) if group else []
    found = spelled + [beside[key] for key in same_group] + [lasts[key] for key in close]
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
