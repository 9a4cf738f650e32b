"""Read and write the small files of a state directory: private, and never seen half-written."""

import json
import os
import tempfile
from pathlib import Path


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step by a file that only its owner can read (mode 0600)."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    Path(name).replace(path)


def read_json(path: Path) -> dict[str, object]:
    """Read the object in `path`; return an empty one if there is no file yet.

    Raise TypeError if it holds no object.
    """
    if not path.exists():
        return {}
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
        raise TypeError(f"{path} holds no JSON object")
    return content
