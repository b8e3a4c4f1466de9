"""The errors nedr raises on purpose: each message says what was expected, what was found and what to do."""


class NedrError(Exception):
    """Base of every error nedr raises on purpose; the command line prints it as one line and exits 1."""


class UsageError(NedrError):
    """The call itself is wrong (an option, a missing path, a target in the way); the command line exits 2."""


class ImageError(NedrError, ValueError):
    """A picture or array cannot be used: unreadable, truncated, of a wrong shape, type or range."""


class MissingExtraError(NedrError, ImportError):
    """A feature needs an optional dependency; the message names the `pip install` that brings it."""


def missing_extra(feature: str, extra: str) -> MissingExtraError:
    """The error to raise when `feature` needs the optional dependencies of `extra`."""
    return MissingExtraError(f"{feature} needs optional packages: pip install 'nedr-dehaze[{extra}]'")
