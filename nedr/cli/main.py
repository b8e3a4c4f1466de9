"""The command line: finds the verb, runs it, and turns what goes wrong into one line and an exit status."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from nedr import __version__
from nedr.cli import dehaze, evaluate, haze, info, serve, telling, train
from nedr.errors import NedrError, UsageError

VERBS = dehaze.VERBS | info.VERBS | serve.VERBS | haze.VERBS | train.VERBS | evaluate.VERBS

EPILOG = """\
`nedr PHOTO...` is `nedr dehaze PHOTO...`; a photograph that is called like a command goes as ./info.
Each command has its own help, as in `nedr dehaze --help`.

exit status: 0 all done, 1 something failed (the other photographs are done), 2 the call is wrong, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Argparse itself leaves with SystemExit, after --help, --version and arguments that it cannot read.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not fit the terminal's encoding
    words = list(sys.argv[1:] if argv is None else argv)
    parser = command_parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    try:
        arguments = parser.parse_args(_with_verb(words))
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        telling.complain("interrupted")
        return 130
    except BrokenPipeError:  # nobody reads on, as in `nedr ... | head`: the interpreter must not flush again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        telling.complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return 1
    except MemoryError:
        telling.complain("this needs more memory than there is")
        return 1
    except NedrError as error:
        telling.complain(str(error))
        return telling.status([error])
    return status


def command_parser() -> argparse.ArgumentParser:
    """The parser of every command; each has its own help."""
    parser = argparse.ArgumentParser(
        prog="nedr",
        usage="nedr [COMMAND] PHOTO... [options]",
        description="Removes haze from photographs: writes PHOTO.dehazed.jpg beside each PHOTO.jpg.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nedr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="nedr")
    for name, verb in VERBS.items():
        command = commands.add_parser(name, help=verb.summary, description=verb.summary, allow_abbrev=False)
        verb.arguments(command)
        command.set_defaults(run=verb.run)
    return parser


def _with_verb(words: list[str]) -> list[str]:
    """The words with the command that they mean in front, if they name none."""
    first = words[0]
    if first in VERBS or first in ("-h", "--help", "--version"):
        return words
    if first.isalpha() and not Path(first).exists():
        import difflib

        if near := difflib.get_close_matches(first, VERBS, n=1):
            raise UsageError(f"no photograph and no command is called {first!r}; did you mean {near[0]!r}?")
    return ["dehaze", *words]
