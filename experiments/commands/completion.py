"""`dabfusion completion`: a shell's completion of commands, settings and choices."""

from __future__ import annotations

import argparse

HELP = """Print a script that completes commands, settings and choices in bash or zsh."""

EXAMPLES = [
    'eval "$(dabfusion completion bash)"            # for this shell; put it in ~/.bashrc to stay',
    'eval "$(dabfusion completion zsh)"',
]

BASH = """\
_dabfusion() {
    local IFS=$'\\n' word=${COMP_WORDS[COMP_CWORD]} file
    COMPREPLY=($(dabfusion completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
    if [[ ${#COMPREPLY[@]} -eq 0 && $word == *=* ]]; then
        for file in $(compgen -f -- "${word#*=}"); do
            [[ -d $file ]] && file+=/
            COMPREPLY+=("${word%%=*}=$file")
        done
    fi
    [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[=./] ]] && compopt -o nospace
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}
complete -o default -o plusdirs -F _dabfusion dabfusion
"""
ZSH = """\
_dabfusion() {
    local -a found
    found=(${(f)"$(dabfusion completion words -- "${words[@]:1:$((CURRENT-1))}" 2>/dev/null)"})
    if (( ${#found} )); then
        compadd -S '' -- $found
    else
        compset -P '*='
        _files
    fi
}
compdef _dabfusion dabfusion
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("shell", choices=["bash", "zsh", "words"], help="whose script to print")
    parser.add_argument("typed", nargs="*", help="with `words`: what stands on the line so far")


def run(args: argparse.Namespace) -> int:
    """Print a script, or the words that may follow."""
    if args.shell == "words":
        print("\n".join(candidates(args.typed)))
    else:
        print({"bash": BASH, "zsh": ZSH}[args.shell], end="")
    return 0


def candidates(typed: list[str]) -> list[str]:
    """What the last typed word may become.

    Args:
        typed: The words after `dabfusion`; the last is the one to complete, maybe empty.
    """
    from experiments.cli import verbs

    *before, last = typed or [""]
    if not before:
        return [verb for verb in verbs() if verb.startswith(last)]
    if last.startswith("-"):
        return [option for option in _options(before[0]) if option.startswith(last)]
    return [word for word in _words(before, last) if word.startswith(last)]


def _words(before: list[str], last: str) -> list[str]:
    from experiments.arguments import described_modules
    from experiments.cli import build_parser, verbs
    from experiments.config.load import all_settings, preset_names
    from experiments.runs.folder import STAGES
    from experiments.sweeps.grammar import shipped_sweeps

    if before == ["train"]:
        return list(STAGES)
    if before == ["sweep"]:
        return shipped_sweeps()
    if before == ["study"]:
        return list(described_modules("studies", needs_help=True))
    if before == ["benchmark"]:
        return list(described_modules("benchmarks"))
    if before[0] not in verbs() or not (
        before[0] == "study" or build_parser(before[0]).takes_settings()
    ):
        return []  # files, which the shell completes
    key, equals, _ = last.partition("=")
    if not equals:
        # One level at a time, as a shell completes folders.
        depth = last.count(".") + 1
        names = [".".join(name.split(".")[:depth]) for name in all_settings()]
        leaves = set(all_settings())
        return list(dict.fromkeys(f"{n}=" if n in leaves else f"{n}." for n in names))
    if key == "preset":
        return [f"preset={name}" for name in preset_names()]
    setting = all_settings().get(key)
    choices = () if setting is None else setting.choices
    if setting is not None and setting.type_text == "true | false":
        choices = ("true", "false")
    return [f"{key}={choice}" for choice in choices]


def _options(verb: str) -> list[str]:
    from experiments.cli import build_parser, verbs

    if verb not in verbs():
        return ["--help"]
    return sorted(build_parser(verb).option_strings())
