"""How the README is published, where the files that it links to are not beside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

# [text](file of the repository), but no heading of the README itself and no other site
TO_FILE = re.compile(r"\[([^\]]+)\]\((?!#|https:)([^)]+)\)")


class Readme(MetadataHookInterface):
    """Make links to files lead to this version of them, or no links if nobody has said where."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set *readme* by the Repository that is among the *urls*."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata.get("urls", {}).get("Repository")
        linked = rf"[\1]({repository}/blob/v{metadata['version']}/\2)" if repository else r"\1"
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": TO_FILE.sub(linked, text),
        }
