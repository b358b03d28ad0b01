"""JSON objects in files that only their user can read; such a file is written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from chainkit.base.copying import put
from chainkit.base.errors import ChainkitError, of_system


def read_object(path: Path) -> dict[str, object]:
    """The object in a file; empty if there is no such file.

    Raises:
        ChainkitError: The file cannot be read, or holds something other than a JSON object.
    """
    try:
        found: object = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ChainkitError(f"{path} cannot be read: {of_system(error)}") from error
    except ValueError as error:
        raise ChainkitError(f"{path} is not valid JSON; mend it or delete it") from error
    if not isinstance(found, dict):
        raise ChainkitError(f"{path} does not hold a JSON object; mend it or delete it")
    return cast("dict[str, object]", found)


def write_object(path: Path, values: Mapping[str, object]) -> None:
    """Write an object to a file of mode 0600, replacing its content.

    Raises:
        ChainkitError: The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps(values, indent=2, ensure_ascii=False)
        handle, temporary = tempfile.mkstemp(dir=path.parent)  # made with mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(f"{text}\n".encode("utf-8", "replace"))
        put(Path(temporary), path)
    except OSError as error:
        raise ChainkitError(f"{path} cannot be written: {of_system(error)}") from error
