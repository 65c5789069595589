"""Render a template into one HTML page that works without a network."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: Templates, styles and scripts that pages share.
TEMPLATES = Path(__file__).parent / "templates"


def render_page(
    template: Path,
    context: Mapping[str, Any],
    filters: Mapping[str, Callable[..., Any]] | None = None,
) -> str:
    """Return the page as text; values are HTML-escaped by default.

    In the template, ``asset("NAME")`` inserts a file of the template's folder or of
    ``reports/templates`` as it is, and ``VALUE | to_json`` JSON that is safe in a script.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader([template.parent, TEMPLATES])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    environment.filters.update(filters or {}, to_json=lambda value: Markup(_json_for_script(value)))
    environment.globals["asset"] = lambda name: Markup(loader.get_source(environment, name)[0])
    return environment.get_template(template.name).render(dict(context))


def without_nan(value: Any) -> Any:
    """Return ``value`` as JSON needs it: None for NaN and infinities, mappings for dataclasses."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value):
        value = vars(value)
    if isinstance(value, Mapping):
        return {str(key): without_nan(item) for key, item in value.items()}
    return [without_nan(item) for item in value] if isinstance(value, list | tuple) else value


def _json_for_script(value: Any) -> str:
    """Return JSON that is safe inside ``<script>``: a clip may be named ``</script>``."""
    text = json.dumps(without_nan(value), ensure_ascii=False, allow_nan=False, default=str)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
