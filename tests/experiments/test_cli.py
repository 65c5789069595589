"""The command line: its help, its exit statuses, its sentences."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import cli
from experiments.arguments import described_modules

HEAVY = ("torch", "lightning", "wandb", "numpy", "omegaconf", "diffusers", "librosa", "matplotlib")


def test_help_lists_every_command_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"\n  {verb} ") for verb in cli.verbs()]
    assert places == sorted(places)


def test_every_command_module_is_in_the_table() -> None:
    folder = Path(cli.__file__).parent / "commands"
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    places = [place for group in cli.COMMAND_GROUPS.values() for place in group.values()]
    assert modules == {place.partition(":")[0] for place in places}
    assert len(places) == len(set(places))


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from experiments import cli; cli.help_text(); "
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def processor_seconds(words: list[str], environment: dict[str, str]) -> float:
    """What a call of the command takes; a busy machine does not lengthen processor time."""

    def spent_s() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return children.ru_utime + children.ru_stime

    before = spent_s()
    command = [sys.executable, "-m", "experiments.cli", *words]
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment}
    )
    return spent_s() - before


def test_help_is_fast() -> None:
    assert processor_seconds(["--help"], {}) < 0.7


def test_completion_is_fast(tmp_path: Path) -> None:
    line = "dabfusion train diffusion stage2.network."
    environment = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "_ARGCOMPLETE": "1"}
    environment["_ARGCOMPLETE_STDOUT_FILENAME"] = str(tmp_path / "completions")
    assert min(processor_seconds([], environment) for _ in range(2)) < 0.3
    assert "stage2.network.width=" in (tmp_path / "completions").read_text()


def test_a_library_that_aborts_at_exit_takes_nothing_with_it() -> None:
    """The status and what was printed survive it."""
    abort = "library = ctypes.CDLL(None); library.__cxa_atexit(library.abort, None, None)"
    code = f"import ctypes, sys; {abort}; from experiments import cli; print('said'); "
    for entry, status in (("cli.program()", 2), ("sys.exit(cli.main())", -signal.SIGABRT)):
        words = [sys.executable, "-c", code + entry, "trian"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == status
        assert done.stdout == "said\n"
        assert "the nearest is train" in done.stderr


@pytest.mark.parametrize("verb", cli.verbs())
def test_every_command_has_help_and_examples(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([verb, "--help"]) == 0
    text = capsys.readouterr().out
    assert "examples:" in text
    command = cli.load_command(verb)
    assert all("dabfusion" in example or "torchrun" in example for example in command.EXAMPLES)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["trian"], "the nearest is train"),
        (["train"], "stage"),
        (["train", "everything"], "everything"),
        (["train", "autoencoder", "--fast"], "--fast"),
        (["settings", "nothing-like-this"], "nothing-like-this"),
        (["benchmark", "nothing"], "nothing"),
        (["study", "nothing"], "nothing"),
    ],
)
def test_a_bad_command_line_is_one_sentence_and_status_2(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert expected in printed.err
    assert printed.err.count("\n") == 1


def test_a_fault_of_ours_is_status_1_and_keeps_its_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([None]) == 1  # type: ignore[list-item]
    sentence = capsys.readouterr().err
    log = Path(sentence.split(" is in ")[-1].strip().rstrip("."))
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert "Traceback" not in sentence
    log.unlink()


def test_settings_shows_type_default_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["settings", "run.wandb", "run.wandb=off"]) == 0
    text = capsys.readouterr().out
    assert "run.wandb = off    (auto | online | offline | off, default auto)" in text
    assert "Weights & Biases" in text


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("tr", ["train "]),
        ("train d", ["diffusion "]),
        ("train diffusion clips.mirror=", ["true", "false"]),
        ("train diffusion preset=quick", ["quickstart "]),
        ("train diffusion stage2.network.wid", ["stage2.network.width="]),
        ("train diffusion sy", ["synthetic.seconds="]),  # one of the settings of the only group
        ("train diffusion data=my\\ data --dry-run seed=1 clips.mir", ["clips.mirror="]),
        ("train diffusion data=pre", ["prepared/"]),
        ("train diffusion clips.split_files=my", ["my\\ list.txt "]),
        ("sweep beat", ["beat_ablation "]),
        ("generate s", []),  # files, which bash completes by itself
        ("generate run --see", ["--seed "]),
        ("study fl", ["flow "]),
        ("study flow --vid", ["--videos"]),
        ("study raters bu", ["build "]),
        ("benchmark data --dis", ["--distinct "]),
    ],
)
def test_bash_completes(typed: str, expected: list[str], tmp_path: Path) -> None:
    """The script of `dabfusion completion bash`, with a program that bash finds on its PATH."""
    (tmp_path / "prepared").mkdir()
    (tmp_path / "my list.txt").touch()
    program = tmp_path / "bin" / "dabfusion"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m experiments.cli "$@"\n')
    program.chmod(0o755)
    line = f"dabfusion {typed}"
    script = f"""
        eval "$(dabfusion completion bash)"
        COMP_LINE='{line}' COMP_POINT={len(line)} COMP_TYPE=9
        _python_argcomplete dabfusion
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = os.pathsep.join([str(program.parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "PATH": path},
    )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line]
    assert expected == found or set(expected) < set(found), done.stderr + repr(found)
    assert bool(expected) == bool(found)


def test_completion_imports_nothing_heavy() -> None:
    code = (
        "import sys; from experiments.commands.completion import build_tree, complete_setting; "
        "build_tree(['train', 'diffusion']); assert complete_setting('stage2.network.'); "
        "build_tree(['study', 'flow']); "
        f"print([name for name in {(*HEAVY[:4], *HEAVY[5:])!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", [*described_modules("studies"), "raters build"])
def test_every_study_has_help_and_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["study", *name.split(), "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: dabfusion study {name}" in text
    if " " not in name:
        assert f"examples:\n  dabfusion study {name} " in text


@pytest.mark.parametrize("name", described_modules("benchmarks"))
def test_every_benchmark_has_help_and_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["benchmark", name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"usage: dabfusion benchmark {name}" in text
    assert "--json FILE" in text
    assert f"examples:\n  dabfusion benchmark {name}" in text


def test_a_demo_without_a_free_port_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for address in (["--port", str(port)], ["--port", "70000"], ["--host", "256.1.1.1"]):
            assert cli.main(["demo", "model", *address]) == 2
            assert "Nothing can be served" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--workers=0", "--trials=-1", "--clips=-1"])
def test_a_sweep_counts_from_one(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "sweep"
    assert cli.main(["sweep", "beat_ablation", option, "--out", str(out)]) == 2
    assert "must be at least" in capsys.readouterr().err
    assert not out.exists()


def test_numbers_must_be_finite(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["generate", "run", "person.jpg", "song.mp3", "dance.mp4", "--seconds", "nan"]
    assert cli.main(words) == 2
    assert "--seconds is nan, but must be a finite number" in capsys.readouterr().err
