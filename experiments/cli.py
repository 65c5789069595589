"""The command `dabfusion`: parse, dispatch, and turn errors into sentences and exit statuses.

See `experiments/commands/__init__.py` for what a command is.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import sys
import tempfile
import traceback
from typing import NoReturn

from experiments.arguments import Parser, check_known
from experiments.commands import COMMAND_GROUPS, load_command, verbs
from experiments.errors import DONE, FAULT, INTERRUPTED, USER_ERROR, RankLost, explain

INTRODUCTION = """\
Generate a dance video from one image of a person and a song.

usage: dabfusion COMMAND [options] [key=value ...]
"""

ENDING = """\
`dabfusion COMMAND --help` explains a command and shows examples. `dabfusion settings` lists every
key=value setting. Exit status: 0 success, 1 internal error (the traceback is in the log), 2 invalid
input (one sentence says what is wrong), 130 interrupted.
"""


def build_parser(verb: str) -> Parser:
    """Return the parser of one command; its help ends with the command's examples."""
    command = load_command(verb)
    parser = Parser(f"dabfusion {verb}", command.HELP, command.EXAMPLES)
    command.add_arguments(parser)
    return parser


def help_text() -> str:
    """Return what `dabfusion --help` prints."""
    lines = [INTRODUCTION]
    width = max(len(verb) for verb in verbs()) + 2
    for heading, group in COMMAND_GROUPS.items():
        lines.append(f"{heading}:")
        for verb in group:
            summary = load_command(verb).HELP.strip().splitlines()[0]
            lines.append(f"  {verb:{width}}{summary}")
        lines.append("")
    return "\n".join([*lines, ENDING])


def main(argv: list[str] | None = None) -> int:
    """Run the command of `argv` (by default the process's words) and return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    try:
        return _dispatch(words)
    except KeyboardInterrupt as stop:
        print(str(stop) or "Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone, as in `dabfusion settings | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except Exception as error:  # the outermost frame: every error becomes an exit status
        sentence = explain(error)
        if sentence is not None:
            logging.getLogger("dabfusion").debug("Refused.", exc_info=error)
            print(sentence, file=sys.stderr)
            return FAULT if isinstance(error, RankLost) else USER_ERROR
        print(
            f"dabfusion failed because of an internal error ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}); the traceback is in {_log_fault(error)}.",
            file=sys.stderr,
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
    check_known("command", verb, verbs(), "dabfusion --help")
    try:
        status = load_command(verb).run(build_parser(verb).parse(words[1:]))
    except SystemExit as stop:  # --help has printed
        return int(stop.code or 0)
    sys.stdout.flush()
    return int(status)


def _log_fault(error: Exception) -> str:
    """Write the traceback to the log of the open run, or else to a file of its own."""
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
        return f"no file, because no temporary file can be written; it follows:\n{text}"


def program() -> NoReturn:
    """Run one command as the process `dabfusion` and exit with its status.

    The process exits before destructors of C++ libraries run: threads that some of them leave
    behind abort a process there now and then, after its work is done, and its status is lost.
    """
    if "_ARGCOMPLETE" in os.environ:  # the shell asks what may follow, see `dabfusion completion`
        from experiments.commands.completion import autocomplete

        autocomplete()
    status = FAULT

    def leave() -> None:
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)

    atexit.register(leave)  # registered first, so it runs after the libraries' own functions
    status = main()
    sys.exit(status)


if __name__ == "__main__":
    program()
