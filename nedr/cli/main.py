"""The command line: finds the verb, runs it, and turns what goes wrong into one line and an exit status."""

import _thread
import argparse
import difflib
import io
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from nedr import __version__
from nedr.cli import completion, dehaze, evaluate, haze, info, serve, telling, train
from nedr.errors import NedrError, UsageError

VERBS = dehaze.VERBS | info.VERBS | serve.VERBS | haze.VERBS | train.VERBS | evaluate.VERBS | completion.VERBS

# Options as other programs name them, and their names here.
HABITS = dict.fromkeys(("--force", "-f", "--yes", "-y", "--clobber", "--replace"), "--overwrite")
HABITS |= dict.fromkeys(("--jobs", "-j", "--processes"), "--workers") | {"--gpu": "--device"}

EPILOG = """\
`nedr PHOTO...` is `nedr dehaze PHOTO...`; a photograph named like a command is given as ./info.
Each command has its own help, as in `nedr dehaze --help`.

exit status: 0 all done, 1 something failed (the other photographs are done), 2 the call is wrong, 130 interrupted
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted.

    Argparse itself exits through SystemExit after --help and --version.
    """
    _settle_streams()
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what is wrong with a file is said in one line of ours
    words = list(sys.argv[1:] if argv is None else argv)
    parser = command_parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    hook, sys.unraisablehook = sys.unraisablehook, _deliver_again
    try:
        arguments = _parsed(parser, _with_verb(words))
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
    finally:
        sys.unraisablehook = hook
    return status


def _deliver_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send Ctrl-C again if it came where Python cannot raise it, as in the callback of a weak reference."""
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)
        return
    again: Callable[[], None] = _thread.interrupt_main
    if sys.platform != "win32" and (thread := threading.main_thread().ident):
        again = partial(signal.pthread_kill, thread, signal.SIGINT)
    threading.Timer(0.05, again).start()


def _settle_streams() -> None:
    """Put something harmless where the caller has closed a standard stream, or the next file opened would become it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 for as long as the process lives
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not fit the terminal's encoding


class _Parser(argparse.ArgumentParser):
    """One whose complaints are ours: one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def command_parser() -> argparse.ArgumentParser:
    """The parser of every command; each has its own help. It raises UsageError for what it cannot read."""
    parser = _Parser(
        prog="nedr",
        usage="nedr [COMMAND] PHOTO... [options]",
        description="Removes haze from photographs: writes PHOTO.dehazed.jpg beside each PHOTO.jpg.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"nedr {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog="nedr")
    parsers: dict[str, argparse.ArgumentParser] = {}
    for name, verb in VERBS.items():
        command = commands.add_parser(name, help=verb.summary, description=verb.summary, allow_abbrev=False)
        verb.arguments(command)
        command.set_defaults(run=verb.run, verb=name, parsers=parsers)
        parsers[name] = command
    return parser


def _parsed(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """The arguments. Raises UsageError for an unknown option, with the nearest known one."""
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        wrong = next((word for word in unknown if word.startswith("-")), unknown[0]).partition("=")[0]
        known = completion.options(arguments.parsers[arguments.verb])
        meant = [option for option in (HABITS.get(wrong),) if option in known]
        near = meant or difflib.get_close_matches(wrong, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"see nedr {arguments.verb} --help"
        raise UsageError(f"nedr {arguments.verb} has no {wrong}; {hint}")
    return arguments


def _with_verb(words: list[str]) -> list[str]:
    """The words with the command that they mean in front, if they name none."""
    first = words[0]
    if first == "help" and not Path(first).exists():
        return [*words[1:2], "--help"]
    if first in VERBS or first in ("-h", "--help", "--version"):
        return words
    near = difflib.get_close_matches(first, VERBS, n=1) if first.isalpha() and not Path(first).exists() else []
    if near:
        raise UsageError(f"no photograph and no command is called {first!r}; did you mean {near[0]!r}?")
    return ["dehaze", *words]
