"""The tree of all settings, and how presets, files and the command line fill it.

A YAML preset and `key=value` words are read into dataclasses, which check themselves, and
`experiments.factories` passes them on as explicit arguments. The dataclasses are next to what they
configure (`datamodules.options`, `lightning_modules.options`) and hold the only, published
defaults; a preset holds what differs from them.
"""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from datamodules.options.checks import check_range
from datamodules.options.clips import SEED, ClipOptions
from datamodules.options.synthetic import SyntheticOptions
from experiments.config.run import RunSettings
from experiments.config.schema import Setting, list_settings, nearest_settings
from experiments.config.stage1 import Stage1Settings
from experiments.config.stage2 import Stage2Settings
from experiments.config.yaml_text import as_text, parse, read_mapping, resolve
from experiments.errors import SettingsError, one_sentence
from lightning_modules.options.diffusion import SamplingOptions
from lightning_modules.options.music import AdapterOptions, MusicOptions

PRESETS = Path(__file__).parents[1] / "presets"
#: Former names of settings: still read from files, refused on the command line.
RENAMED = {
    "stage1.train.checkpoint_gradients": "stage1.train.gradient_checkpointing",
    "stage2.train.clip_gradient": "stage2.train.gradient_clip",
}
T = TypeVar("T")


@dataclass
class Settings:
    """All settings, as `config.yaml` of a run folder holds them."""

    preset: str = ""
    """Name of a preset (see `dabfusion settings --presets`) or path of a YAML file with settings;
    empty for the defaults."""
    seed: int = SEED
    """Random seed of weights, data order, noise and condition dropout; runs with equal seeds are
    equal."""
    data: str = ""
    """Folder that `dabfusion prepare` wrote."""
    autoencoder: str = ""
    """Run or export folder of the stage 1 that stage 2 is trained on."""
    out: str = ""
    """Run folder to write; empty uses `runs/STAGE-PRESET` in the working directory."""
    resume: Literal["never", "auto", "always"] = "never"
    """If `out` already holds a run: never refuses; auto resumes it, or starts a new run if there is
    none; always resumes it, and refuses if there is none."""
    synthetic: SyntheticOptions = field(default_factory=SyntheticOptions)
    clips: ClipOptions = field(default_factory=ClipOptions)
    stage1: Stage1Settings = field(default_factory=Stage1Settings)
    stage2: Stage2Settings = field(default_factory=Stage2Settings)
    music: MusicOptions = field(default_factory=MusicOptions)
    adapter: AdapterOptions = field(default_factory=AdapterOptions)
    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    run: RunSettings = field(default_factory=RunSettings)

    def notices(self, stage: str) -> list[str]:
        """Return sentences on settings of a stage that are given but have no effect."""
        return self.stage1.loss.notices() if stage == "autoencoder" else []

    def __post_init__(self) -> None:
        check_range(self, 0, 2**31 - 1, "seed")
        levels = self.stage2.scheduler.timesteps
        if self.sampling.steps > levels:
            raise ValueError(
                f"sampling.steps is {self.sampling.steps}, but there are only {levels} noise "
                "levels (stage2.scheduler.timesteps)."
            )


@cache
def all_settings() -> dict[str, Setting]:
    """Return every setting by its dotted name, in the order of the source."""
    return {setting.name: setting for setting in list_settings(Settings)}


def preset_names() -> list[str]:
    """Return the names of the presets in the package, sorted."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load_settings(preset: str | None, overrides: list[str]) -> Settings:
    """Return the defaults, overridden by a preset, overridden by words of the command line.

    Args:
        preset: Name of a file in `presets/`, path of a YAML file, or None for the defaults.
        overrides: `key=value` with dotted keys; lists as `[1,2,3]`.

    Raises:
        SettingsError: In one sentence, with the nearest name or choice there is.
    """
    tree = OmegaConf.structured(Settings)
    if preset:
        _update(tree, read_mapping(_preset_path(preset)), f'The preset "{preset}"')
        tree.preset = preset
    for word in overrides:
        _update(tree, dict([_split(word)]), f'"{word}"')
    return _to_settings(tree)


def settings_from_words(words: list[str]) -> Settings:
    """Return `load_settings` of `key=value` words, one of which may be `preset=NAME`."""
    presets = [word.partition("=")[2] for word in words if word.startswith("preset=")]
    others = [word for word in words if not word.startswith("preset=")]
    return load_settings(presets[-1] if presets else None, others)


def from_dict(values: dict[str, Any], source: str = "The settings") -> Settings:
    """Return settings from nested values, such as those of `to_dict`; `source` is for errors."""
    tree = OmegaConf.structured(Settings)
    _update(tree, values, source)
    return _to_settings(tree)


def read_settings(path: Path) -> Settings:
    """Return the settings in a run's `config.yaml`, former names included.

    Raises:
        SettingsError: The file is not readable or holds an unknown setting.
    """
    return from_dict(read_mapping(path), f'The file "{path}"')


def to_dict(settings: Settings) -> dict[str, Any]:
    """Return the settings as nested plain values, for YAML or JSON."""
    return asdict(settings)


def current_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested values by dotted names, with former names replaced; unknown ones are kept."""
    return {name: _typed(name, value) for name, value in _flatten(values)}


def _preset_path(preset: str) -> Path:
    if preset.endswith((".yaml", ".yml")):
        return Path(preset)
    names = preset_names()
    if preset not in names:
        near = difflib.get_close_matches(preset, names, n=1, cutoff=0.0)
        raise SettingsError(
            f'There is no preset "{preset}"; {"".join(f"the nearest is {n}; " for n in near)}there '
            f"are {', '.join(names)}, and the path of a YAML file may be given."
        )
    return PRESETS / f"{preset}.yaml"


def _split(word: str) -> tuple[str, Any]:
    """Return the name and the unresolved value of a word of the command line."""
    key, equals, raw = word.partition("=")
    known = all_settings()
    if not equals:
        near = nearest_settings(key, list(known))[0]
        raise SettingsError(
            f'"{word}" is not a setting: settings are given as key=value, such as {near}=...'
        )
    if key in RENAMED:
        raise SettingsError(f"The setting {key} is now called {RENAMED[key]}.")
    if key not in known:
        raise SettingsError(_unknown(key))
    if known[key].text:
        # Shells expand ~ at the beginning of a word, but few of them after "key=".
        return key, str(Path(raw).expanduser()) if raw.startswith("~/") else raw
    try:
        return key, parse(raw)
    except (yaml.YAMLError, TypeError) as error:
        raise SettingsError(f'{key} cannot be "{raw}"; it is a {known[key].type_text}.') from error


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested values by their dotted, current names."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in all_settings():
            yield from _flatten(value, f"{name}.")
        else:
            yield RENAMED.get(name, name), value


def _typed(name: str, value: Any) -> Any:
    setting = all_settings().get(name)
    return as_text(value) if setting and (setting.text or setting.texts) else resolve(value)


def _update(tree: Any, values: Mapping[str, Any], source: str) -> None:
    """Set nested values in a tree of settings; `source` names their origin in errors."""
    for name, value in _flatten(values):
        if name not in all_settings():
            raise SettingsError(f"{source} cannot be used: {_unknown(name)}")
        try:
            OmegaConf.update(tree, name, _typed(name, value))
        except (OmegaConfBaseException, ValueError) as error:
            raise SettingsError(_bad_value(name, "" if value is None else value)) from error


def _unknown(name: str) -> str:
    known = list(all_settings())
    inner = [other for other in known if other.startswith(f"{name}.")]
    if inner:
        return f"{name} is a group of settings; give one of them, as {inner[0]}=..."
    near = " or ".join(nearest_settings(name, known))
    return f'There is no setting "{name}"; the nearest is {near}.'


def _bad_value(name: str, value: Any) -> str:
    setting = all_settings()[name]
    if setting.choices:
        near = difflib.get_close_matches(str(value), setting.choices, n=1, cutoff=0.0)[0]
        choices = ", ".join(setting.choices)
        return f'{name} cannot be "{value}"; it is one of {choices}, and the nearest is {near}.'
    return f'{name} cannot be "{value}"; it is a {setting.type_text}, as {setting.default!r}.'


def _to_settings(tree: Any) -> Settings:
    try:
        values: Any = OmegaConf.to_container(tree, resolve=True)
    except OmegaConfBaseException as error:
        raise SettingsError(one_sentence(str(error).splitlines()[0])) from error
    return _construct(Settings, values, "")


def _construct(cls: type[T], values: dict[str, Any], prefix: str) -> T:
    """Build a dataclass and those in it; their messages begin with a field's name."""
    hints = typing.get_type_hints(cls)
    assert is_dataclass(cls)
    arguments: dict[str, Any] = {}
    for item in fields(cls):
        value, name = values[item.name], f"{prefix}{item.name}"
        if is_dataclass(hints[item.name]):
            value = _construct(hints[item.name], value, f"{name}.")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, float) and not math.isfinite(number):
                raise SettingsError(f"{name} is {value}, but must be finite.")
        arguments[item.name] = value
    try:
        return cls(**arguments)
    except ValueError as error:
        raise SettingsError(one_sentence(f"{prefix}{error}")) from error
