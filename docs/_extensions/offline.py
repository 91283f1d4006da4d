"""Warn of pages that would fetch something from elsewhere: the documentation works offline."""

import re
from pathlib import Path

from sphinx.util import logging

FETCHING = {
    "*.html": re.compile(r"""<(?!a\b)\w+\b[^>]*\b(?:src|href|srcset)=["'](?:https?:)?//[^"']+"""),
    "*.css": re.compile(r"""(?:@import|url\()\s*(?:url\()?["']?(?:https?:)?//[^"')]+"""),
}


def look_for_what_is_fetched(app, error):
    if error:
        return
    for pattern, fetching in FETCHING.items():
        for page in Path(app.outdir).rglob(pattern):
            for found in fetching.findall(page.read_text(encoding="utf-8")):
                logging.getLogger(__name__).warning("%s would fetch %s", page, found)


def setup(app):
    app.connect("build-finished", look_for_what_is_fetched)
    return {"parallel_read_safe": True}
