"""YAML 1.2 for settings, presets, sweeps and `config.yaml`: text stays text, numbers are decimal.

PyYAML follows YAML 1.1, in which `off` is False, `010` is 8 and `1:30` is 90. Here only
null, true, false, decimal integers and floats are special, and only if a setting is not a text.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from experiments.errors import SettingsError

#: Leading zeros are not a number's, so that the name `001` stays as it is.
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)")
_WORDS = {"true": True, "false": False, "null": None, "~": None, "": None, ".nan": float("nan")}


class Plain(str):
    """The text of a scalar without quotation marks; `resolve` gives its value."""


class _Loader(yaml.SafeLoader):
    """Safe loader that leaves unquoted scalars as `Plain`; `<<` still merges mappings."""

    yaml_implicit_resolvers = {"<": yaml.SafeLoader.yaml_implicit_resolvers["<"]}  # noqa: RUF012


def _scalar(loader: _Loader, node: yaml.ScalarNode) -> str:
    return Plain(node.value) if node.style is None else str(node.value)


for _tag in ("str", "int", "float", "bool", "null"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _scalar)


def parse(text: str) -> Any:
    """Return the tree of a YAML document, without Python objects, unquoted scalars as `Plain`."""
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def resolve(value: Any) -> Any:
    """Return a tree with every `Plain` replaced by its value in YAML 1.2's core schema."""
    if isinstance(value, dict):
        return {str(key): resolve(item) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item) for item in value]
    if not isinstance(value, Plain):
        return value
    if value.lower() in _WORDS:
        return _WORDS[value.lower()]
    if _INTEGER.fullmatch(value):
        return int(value)
    if _FLOAT.fullmatch(value) and not re.fullmatch(r"[-+]?0[0-9]+", value):
        return float(value.replace(".i", "i").replace(".I", "I"))
    return str(value)


def as_text(value: Any) -> Any:
    """Return a value of a text setting as it is written; null or nothing is the empty text."""
    if isinstance(value, list):
        return [as_text(item) for item in value]
    if isinstance(value, Plain) and value in ("", "~", "null"):
        return ""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    return value


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file with its unquoted scalars as `Plain`.

    Raises:
        SettingsError: The file is not YAML or holds no mapping.
        FileNotFoundError: The file does not exist.
    """
    try:
        values = parse(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, TypeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        raise SettingsError(f'"{path}"{where} is not readable YAML.') from error
    if values is None or values == "":
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingsError(
            f'"{path}" holds no settings: a YAML file of "name: value" lines is expected.'
        )
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file with its values; errors as in `read_mapping`."""
    return dict(resolve(read_mapping(path)))
