"""Settings: what fills them, and the sentences for what cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments.config.load import (
    PRESETS,
    RENAMED,
    Settings,
    all_settings,
    current_values,
    from_dict,
    load_settings,
    preset_names,
    read_settings,
    settings_from_words,
    to_dict,
)
from experiments.config.yaml_text import read_mapping, read_yaml
from experiments.errors import SettingsError
from lightning_modules.options.optimizer import OptimizerOptions


def test_command_line_wins_over_preset_wins_over_defaults(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("seed: 5\nrun:\n  log_every: 7\n  precision: 32\n", encoding="utf-8")
    settings = load_settings(str(preset), ["run.log_every=9", "out=a b: c"])
    assert (settings.seed, settings.run.log_every, settings.run.samples) == (5, 9, 4)
    assert settings.run.precision == "32"
    assert settings.out == "a b: c"  # text is taken as it stands, not read as YAML
    assert settings.preset == str(preset)


def test_words_may_name_the_preset_anywhere(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("seed: 5\n", encoding="utf-8")
    assert settings_from_words(["run.samples=0", f"preset={preset}"]).seed == 5


def test_the_home_folder_may_be_written_short() -> None:
    settings = load_settings(None, ["data=~/aist", "clips.split_files=~/splits", "out=a~/b"])
    assert settings.data == str(Path.home() / "aist")
    assert settings.clips.split_files == str(Path.home() / "splits")
    assert settings.out == "a~/b"


def test_settings_survive_yaml_unchanged() -> None:
    settings = load_settings(None, ["seed=3", "stage1.train.sizes=[64,128]"])
    assert from_dict(yaml.safe_load(yaml.safe_dump(to_dict(settings)))) == settings


#: Unquoted scalars that YAML 1.1 reads as something else than what is written.
SURPRISING = [
    "on", "off", "yes", "no", "y", "n", "On", "NO", "001", "010", "0o10", "0x1F", "0b11", "1_000",
    "12:30", "1:30:00", "190:20:30", "2026-11-29", "2026-11-29 10:00:00", "1e5", ".5", "+1", "08",
    "1.10", "true", "False", "=", ".inf", "1.", "Null",
]  # fmt: skip


@pytest.mark.parametrize("text", SURPRISING)
@pytest.mark.parametrize("group", ["run:\n  name: ", "run: {name: ", "run.name: "])
def test_text_stays_text(text: str, group: str, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"{group}{text}" + ("}" if "{" in group else ""), encoding="utf-8")
    assert load_settings(str(preset), []).run.name == text
    settings = load_settings(None, [f"run.name={text}"])
    assert settings.run.name == text
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(to_dict(settings)), encoding="utf-8")
    assert read_settings(config) == settings


@pytest.mark.parametrize("text", ["off", "no", "'off'", '"off"'])
def test_weights_and_biases_may_be_off_in_a_file(text: str, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"run:\n  wandb: {text}\n", encoding="utf-8")
    if "off" in text:
        assert load_settings(str(preset), []).run.wandb == "off"
    else:
        with pytest.raises(SettingsError, match=r'run\.wandb cannot be "no"'):
            load_settings(str(preset), [])


def test_lists_of_text_stay_text(tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text("stage1: {train: {freeze: [generator]}}\n", encoding="utf-8")
    assert load_settings(str(preset), []).stage1.train.freeze == ["generator"]
    with pytest.raises(SettingsError, match="contains '010'"):
        load_settings(None, ["stage1.train.freeze=[010]"])


@pytest.mark.parametrize(
    ("text", "number"),
    [("010", 10), ("08", 8), ("+1", 1), ("0", 0), ("1_000", 1000), ("12", 12), ("000", 0)],
)
def test_whole_numbers_are_decimal(text: str, number: int, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"seed: {text}\n", encoding="utf-8")
    assert load_settings(str(preset), []).seed == number
    assert load_settings(None, [f"seed={text}"]).seed == number


@pytest.mark.parametrize(
    "text",
    ["0o10", "0x1F", "0b11", "1:30", "2026-11-29", "1e5", ".5", "~", "", "null", "on", "yes"],
)
def test_what_is_no_decimal_number_is_refused_as_it_is_written(text: str, tmp_path: Path) -> None:
    preset = tmp_path / "mine.yaml"
    preset.write_text(f"seed: {text}\n", encoding="utf-8")
    for arguments in ((str(preset), []), (None, [f"seed={text}"])):
        with pytest.raises(SettingsError, match="whole number") as caught:
            load_settings(*arguments)
        assert f'"{text}"' in str(caught.value)


@pytest.mark.parametrize(
    ("text", "number"), [("1e-5", 1e-5), (".5", 0.5), ("+1", 1.0), ("1.", 1.0), ("010.5", 10.5)]
)
def test_numbers_are_decimal(text: str, number: float) -> None:
    rate = load_settings(None, [f"stage1.train.learning_rate={text}"]).stage1.train.learning_rate
    assert rate == number


def test_sweeps_and_other_files_are_read_by_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "base: &b {n: no, o: 010, t: 1:30, d: 2026-11-29, f: 1e-5, i: 3, e: , q: '3', b: true}\n"
        "merged: {<<: *b, i: 4}\n",
        encoding="utf-8",
    )
    base = {
        "n": "no", "o": "010", "t": "1:30", "d": "2026-11-29", "f": 1e-5, "i": 3, "e": None,
        "q": "3", "b": True,
    }  # fmt: skip
    assert read_yaml(path) == {"base": base, "merged": {**base, "i": 4}}


def test_a_run_of_an_older_version_is_still_read(tmp_path: Path) -> None:
    values = to_dict(load_settings("quickstart", []))
    train = values["stage2"]["train"]
    train["clip_gradient"] = train.pop("gradient_clip")
    for new in ("beta1", "beta2", "schedule"):
        del train[new]
    first = values["stage1"]["train"]
    first["checkpoint_gradients"] = first.pop("gradient_checkpointing")
    del first["final_rate_factor"]
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    assert read_settings(config) == load_settings("quickstart", [])
    flat = current_values(read_mapping(config))
    assert flat["stage2.train.gradient_clip"] == 1.0
    assert "stage2.train.clip_gradient" not in flat


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_former_name_names_the_new_one(old: str, new: str) -> None:
    assert new in all_settings()
    assert old not in all_settings()
    with pytest.raises(SettingsError, match=new):
        load_settings(None, [f"{old}=1"])


def test_the_stages_name_alike_what_is_alike() -> None:
    first, second = Settings().stage1.train, Settings().stage2.train
    for options in (first, second, Settings().adapter):
        assert isinstance(options, OptimizerOptions)
    assert (first.beta1, first.beta2, first.schedule, first.final_rate_factor) == (
        0.5, 0.999, "steps", 0.02,
    )  # fmt: skip
    assert (second.beta1, second.beta2, second.schedule, second.final_rate_factor) == (
        0.9, 0.99, "cosine", 1.0,
    )  # fmt: skip


def test_settings_are_listed_without_torch_or_numpy() -> None:
    code = "import sys, experiments.config.load; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_every_setting_has_a_docstring() -> None:
    bare = [setting.name for setting in all_settings().values() if not setting.doc]
    assert bare == []


def test_every_default_is_of_its_own_type() -> None:
    assert from_dict(to_dict(load_settings(None, []))) == load_settings(None, [])


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_say_what_they_cost(name: str) -> None:
    load_settings(name, [])
    header = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    for word in ("# Command:", "# Cost:", "# Score:"):
        assert word in header


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("sed=1", "the nearest is seed"),
        ("wandb=off", "the nearest is run.wandb"),
        ("run.wand=off", "the nearest is run.wandb"),
        ("stage1.train.lerning_rate=1", "stage1.train.learning_rate"),
        ("stage2.train.lerning_rate=1", "stage2.train.learning_rate"),
        ("stage2.train.step=1", "stage2.train.steps"),
        ("run.wandb=ofline", "the nearest is offline"),
        ("run.accelerator=gpus", "the nearest is gpu"),
        ("run=3", "group of settings"),
        ("run.devices=two", "whole number"),
        ("run.devices=1.5", "whole number"),
        ("run.devices=[1", "whole number"),
        ("run.devices=", "whole number"),
        ("clips.mirror=perhaps", "true | false"),
        ("run.explode_factor=nan", "finite"),
        ("stage1.train.sizes=64", "list of whole number"),
        ("seed", "key=value"),
        ("=3", "no setting"),
        ("seed=-1", "between 0 and"),
        ("run.log_every=0", "at least 1"),
        ("sampling.steps=2000", "only 1000 noise levels"),
        ("run.explode_factor=0.5", "above 1"),
        ("out=${nothing}", "nothing"),
    ],
)
def test_a_bad_word_is_one_sentence(word: str, expected: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None, [word])
    sentence = str(caught.value)
    assert expected in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("sed: 1", "the nearest is seed"),
        ("run: 3", "run is a group"),
        ("run:\n  wandb: offlin", "the nearest is offline"),
        ("- seed", "holds no settings"),
        ("seed: [1", "not readable YAML"),
        ("1: 2", 'no setting "1"'),
        ("seed: !!python/object/apply:os.system ['touch executed']", "not readable YAML"),
    ],
)
def test_a_bad_file_is_one_sentence(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(str(path), [])
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Path("executed").exists()


def test_an_unknown_preset_names_those_there_are() -> None:
    with pytest.raises(SettingsError, match="quickstart"):
        load_settings("quikstart", [])


def test_values_of_a_file_are_plain_and_can_be_written_again(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    file.write_text("name: off\nsteps: [1, 2.5, x]\nnested: {on: true}\n", encoding="utf-8")
    values = read_yaml(file)
    assert values == {"name": "off", "steps": [1, 2.5, "x"], "nested": {"on": True}}
    assert {type(key) for key in values} == {str}
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    assert read_yaml(file) == values
