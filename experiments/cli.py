"""The command `dabfusion`: parse, dispatch, and turn errors into sentences and exit statuses.

Each verb is a module under `experiments/commands` with `HELP`, `EXAMPLES`, `add_arguments(parser)`
and `run(args) -> int`; it imports what is heavy inside `run`, so that help is quick.
"""

from __future__ import annotations

import atexit
import contextlib
import difflib
import importlib
import logging
import os
import sys
import tempfile
import traceback
from types import ModuleType
from typing import NoReturn

from experiments.arguments import Parser, UsageError
from experiments.errors import (
    DONE,
    FAULT,
    INTERRUPTED,
    USER_ERROR,
    RankLost,
    explain,
    one_sentence,
)

#: The story of the commands, in order: a heading and the verbs below it.
STORY: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("The whole road on rendered dancers, in minutes", ("quickstart",)),
    ("1. Clips, rendered or filmed", ("synthesize", "prepare", "doctor")),
    ("2. Train stage 1, cache its latent flow, train stage 2", ("train", "cache")),
    ("3. Let somebody dance", ("generate", "demo")),
    ("4. Measure and compare", ("evaluate", "compare", "sweep", "study", "benchmark")),
    ("Weights of others", ("import-lfdm", "export-lfdm", "download")),
    ("Find your way", ("settings", "completion")),
)

INTRODUCTION = """\
One picture of a person and a piece of music in, a video of that person dancing out.

usage: dabfusion COMMAND [options] [key=value ...]
"""

ENDING = """\
`dabfusion COMMAND --help` explains a command with examples; `dabfusion settings` lists every
key=value. Exit status: 0 done, 1 a fault of the program (its traceback is in the log), 2 something
in what was given (one sentence says what), 130 interrupted.
"""


def verbs() -> list[str]:
    """Every verb, in the order of the story."""
    return [verb for _, group in STORY for verb in group]


def load_command(verb: str) -> ModuleType:
    """The module of a verb (`import-lfdm` is `import_lfdm.py`)."""
    return importlib.import_module(f"experiments.commands.{verb.replace('-', '_')}")


def build_parser(verb: str) -> Parser:
    """The parser of one verb, with its examples at the end of its help."""
    command = load_command(verb)
    parser = Parser(
        prog=f"dabfusion {verb}",
        description=command.HELP,
        epilog="\n".join(["examples:", *(f"  {example}" for example in command.EXAMPLES)]),
    )
    command.add_arguments(parser)
    return parser


def help_text() -> str:
    """What `dabfusion --help` prints."""
    lines = [INTRODUCTION]
    width = max(len(verb) for verb in verbs()) + 2
    for heading, group in STORY:
        lines.append(heading)
        for verb in group:
            summary = load_command(verb).HELP.strip().splitlines()[0]
            lines.append(f"  {verb:{width}}{summary}")
        lines.append("")
    return "\n".join([*lines, ENDING])


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: The words after `dabfusion`; None takes those of the process.
    """
    words = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(words)
    except KeyboardInterrupt as stop:
        _say(str(stop) or "Interrupted.")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`dabfusion settings | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except UsageError as error:
        _say(one_sentence(str(error)))
        return USER_ERROR
    except Exception as error:  # the outermost frame: whatever it is becomes a status
        sentence = explain(error)
        if sentence is not None:
            logging.getLogger("dabfusion").debug("Refused.", exc_info=error)
            _say(sentence)
            return FAULT if isinstance(error, RankLost) else USER_ERROR
        _say(
            f"dabfusion failed through a fault of its own ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); the traceback is in {_log_fault(error)}."
        )
        return FAULT


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(help_text(), end="")
        return DONE if words else USER_ERROR
    if words[0] in ("-V", "--version", "version"):
        from importlib.metadata import version

        print(f"dabfusion {version('dabfusion-lightning')}")
        return DONE
    verb = words[0]
    if verb not in verbs():
        near = difflib.get_close_matches(verb, verbs(), n=1, cutoff=0.0)[0]
        raise UsageError(
            f'There is no command "{verb}"; the nearest is {near}, '
            "and `dabfusion --help` lists them all."
        )
    try:
        args = build_parser(verb).parse(words[1:])
    except SystemExit as stop:  # --help has printed and wants to leave
        return int(stop.code or 0)
    status = load_command(verb).run(args)
    sys.stdout.flush()
    return int(status)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _log_fault(error: Exception) -> str:
    """Write the traceback to the log of the run that is open, or else to a file of its own."""
    logger = logging.getLogger("dabfusion")
    files = [h for h in logger.handlers if isinstance(h, logging.FileHandler)]
    if files:
        logger.error("Failed.", exc_info=error)
        return files[-1].baseFilename
    text = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="dabfusion-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(text)
        return file.name
    except OSError:
        return f"no file, because none can be written here, so it follows:\n{text}"


def program() -> NoReturn:
    """The process `dabfusion`: run one command and end with its status.

    It ends before the destructors of the libraries run: threads that some of them leave behind
    abort a process there now and then, after its work is done, and its status is lost with it.
    """
    status = FAULT

    def leave() -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)

    atexit.register(leave)  # registered first, so that it runs after the libraries' own
    status = main()
    sys.exit(status)


if __name__ == "__main__":
    program()
