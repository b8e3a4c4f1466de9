"""On the site, links to folders, and to repository files that are not pages, become text."""

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """The Markdown of one page, whose links to what is not on the site name the file instead."""
    docs, here = Path(config.docs_dir).resolve(), Path(page.file.abs_src_path).parent

    def named(match: re.Match[str]) -> str:
        text, target = match[1], (here / match[2]).resolve()
        if target.is_relative_to(docs) and not target.is_dir():
            return match[0]
        name = target.relative_to(docs.parent).as_posix()
        return text if text.strip("`/") == name else f"{text} (`{name}`)"

    return LINK.sub(named, markdown)
