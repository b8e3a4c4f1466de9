"""`nedr completion`: what a shell needs to complete the words of a call."""

import argparse
from collections.abc import Callable, Mapping
from typing import TypeAlias

from nedr.cli.verb import Verb

Parsers: TypeAlias = Mapping[str, argparse.ArgumentParser]

DEFAULT = "dehaze"
"""The command that a call without one means."""


def options(parser: argparse.ArgumentParser) -> dict[str, str]:
    """The long options of a command and what they are for."""
    return {
        name: " ".join((action.help or "").split())
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--")
    }


def choices(parser: argparse.ArgumentParser) -> list[str]:
    """The words that may follow a command, where these are few."""
    return [str(word) for action in parser._actions if not action.option_strings for word in action.choices or ()]


def bash(parsers: Parsers) -> str:
    """A script for `~/.bashrc`: source <(nedr completion bash)."""
    cases = "\n".join(
        f"        {name}) options='{' '.join(options(parser))}'; words='{' '.join(choices(parser))}';;"
        for name, parser in parsers.items()
    )
    return f"""\
_nedr() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} verb={DEFAULT} options words given
    for given in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $given in {"|".join(parsers)}) verb=$given; break;; esac
    done
    case $verb in
{cases}
    esac
    [ "$COMP_CWORD" = 1 ] && words="{" ".join(parsers)}"
    case $word in
        -*) COMPREPLY=($(compgen -W "$options" -- "$word"));;
        *) COMPREPLY=($(compgen -W "$words" -- "$word"));;
    esac
}}
complete -o bashdefault -o default -F _nedr nedr
"""


def zsh(parsers: Parsers) -> str:
    """A script for `~/.zshrc`, behind compinit: source <(nedr completion zsh)."""

    def described(entries: Mapping[str, str]) -> str:
        return " ".join(_quoted(f"{name}:{text}".replace("\\", "")) for name, text in entries.items())

    cases = "\n".join(
        f"        ({name}) options=({described(options(parser))}); values=({' '.join(choices(parser))});;"
        for name, parser in parsers.items()
    )
    verbs = described({name: parser.description or "" for name, parser in parsers.items()})
    return f"""\
#compdef nedr
_nedr() {{
    local -a verbs options values
    local verb={DEFAULT} given
    verbs=({verbs})
    for given in ${{words[2,CURRENT-1]}}; do
        case $given in ({"|".join(parsers)}) verb=$given; break;; esac
    done
    case $verb in
{cases}
    esac
    if [[ $PREFIX == -* ]]; then
        _describe option options
    else
        (( CURRENT == 2 )) && _describe command verbs
        compadd -a values
        _files
    fi
}}
compdef _nedr nedr
"""


def fish(parsers: Parsers) -> str:
    """A script for `~/.config/fish/completions/nedr.fish`."""
    lines = []
    for verb, parser in parsers.items():
        lines.append(f"complete -c nedr -n __fish_use_subcommand -a {verb} -d {_quoted(parser.description or '')}")
        others = " ".join(name for name in parsers if name != verb)
        inside = (
            f"not __fish_seen_subcommand_from {others}" if verb == DEFAULT else f"__fish_seen_subcommand_from {verb}"
        )
        for name, text in options(parser).items():
            lines.append(f"complete -c nedr -n '{inside}' -l {name[2:]} -d {_quoted(text)}")
        if words := choices(parser):
            lines.append(f"complete -c nedr -n '{inside}' -f -a '{' '.join(words)}'")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A text in single quotes, which in none of the shells mean anything else inside them."""
    return "'" + text.replace("'", "’") + "'"


SHELLS: dict[str, Callable[[Parsers], str]] = {"bash": bash, "zsh": zsh, "fish": fish}


def _completion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="as in: source <(nedr completion bash)")


def _completion(arguments: argparse.Namespace) -> int:
    print(SHELLS[arguments.shell](arguments.parsers), end="")
    return 0


VERBS = {
    "completion": Verb("print what a shell needs to complete commands and options", _completion_arguments, _completion),
}
