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
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union

_WORDS = {str: "text", bool: "true | false", float: "number", int: "whole number"}


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
    """Yield every setting in a dataclass and those in it, in the order of the source."""
    hints = typing.get_type_hints(root)
    for field in fields(root):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        if is_dataclass(hint) and isinstance(hint, type):
            yield from list_settings(hint, f"{name}.")
            continue
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        factory = field.default_factory
        yield Setting(
            name=name,
            type_text=_type_text(hint),
            default=field.default if factory is MISSING else factory(),
            choices=choices,
            doc=_field_docs(root).get(field.name, ""),
            text=hint is str or bool(choices),
            texts=hint == list[str],
        )


@cache
def _field_docs(root: type) -> dict[str, str]:
    """Return the docstring of each field of a dataclass, inherited ones included, by its name."""
    docs: dict[str, str] = {}
    for cls in reversed(root.__mro__[:-1]):
        (body,) = ast.parse(inspect.cleandoc(inspect.getsource(cls))).body
        assert isinstance(body, ast.ClassDef)
        for pair in itertools.pairwise(body.body):
            match pair:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(text))):
                    docs[name] = " ".join(text.split())
    return docs


def _type_text(hint: Any) -> str:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return " | ".join(args)
    if origin in (Union, types.UnionType):
        inner = [_type_text(arg) for arg in args if arg is not type(None)]
        return " or ".join(inner) + (" or null" if type(None) in args else "")
    return f"list of {_type_text(args[0])}" if origin is list else _WORDS[hint]


def nearest_settings(name: str, known: list[str]) -> list[str]:
    """Return up to two known names that `name` was probably meant to be, the likeliest first.

    A known last part in another group is preferred to a similar spelling; if only a last part is
    given, up to four groups that have it are returned.
    """
    group, _, last = name.rpartition(".")
    same_last = [candidate for candidate in known if candidate.rpartition(".")[2] == last]
    if same_last and not group:
        return same_last[:4]
    if same_last:
        return difflib.get_close_matches(name, same_last, n=2, cutoff=0.0)
    spelled = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    lasts = {candidate.rpartition(".")[2]: candidate for candidate in reversed(known)}
    close = difflib.get_close_matches(last, list(lasts), n=1, cutoff=0.6)
    siblings = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == group}
    same_group = difflib.get_close_matches(last, list(siblings), n=1, cutoff=0.5) if group else []
    found = spelled + [siblings[key] for key in same_group] + [lasts[key] for key in close]
    return list(dict.fromkeys(found))[:2] or difflib.get_close_matches(name, known, 1, 0.0)
