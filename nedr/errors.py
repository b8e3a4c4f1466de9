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
    return MissingExtraError(f"{feature} needs optional packages: pip install '{_installable(extra)}'")


def _installable(extra: str) -> str:
    """What pip takes for this nedr with an extra: the folder it came from, where it was fetched from, or a name."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from pathlib import Path
    from urllib.parse import unquote, urlsplit

    checkout = Path(__file__).parents[1]
    if (checkout / "pyproject.toml").exists():
        return f"{checkout}[{extra}]"
    try:
        origin = json.loads(distribution("nedr-dehaze").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        origin = {}
    url = origin.get("url", "")
    if url.startswith("file:"):
        return f"{unquote(urlsplit(url).path)}[{extra}]"
    fetched = f"{origin['vcs_info']['vcs']}+{url}" if "vcs_info" in origin else url
    return f"nedr-dehaze[{extra}] @ {fetched}" if fetched else f"nedr-dehaze[{extra}]"
