"""Render a template of ``reports/templates`` into one HTML page that needs no network."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TEMPLATES = Path(__file__).parent / "templates"


def json_for_script(value: Any) -> str:
    """JSON that may stand inside ``<script>``: no ``<``, no NaN (written as null).

    A clip may be called ``</script>``; escaping the bracket keeps it data.
    """
    text = json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False, default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def render_page(template: str, context: Mapping[str, Any]) -> str:
    """The page as text. Templates may include others; values are HTML-escaped by default.

    Args:
        template: file name inside ``reports/templates``.
        context: names the template uses; ``to_json`` is added to them as a filter.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["to_json"] = lambda value: Markup(json_for_script(value))
    # Scripts and styles are ours: they go in as they are, not as templates.
    environment.globals["asset"] = lambda name: Markup((TEMPLATES / name).read_text("utf-8"))
    return environment.get_template(template).render(dict(context))


def without_nan(value: Any) -> Any:
    """``value`` with NaN and infinities as None and keys as text: what JSON can hold."""
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value
