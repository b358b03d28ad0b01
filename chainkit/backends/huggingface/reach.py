"""Whether a hub answers, asked once before a model is fetched from it."""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from chainkit.base.errors import ModelFileError
from chainkit.hub.repository import endpoint, offline

_TIMEOUT_SECONDS = 5
_MARKS = ("config.json", "modules.json")  # one of them is in the cache if the model is


def require_reachable(name: str, revision: str | None = None) -> None:
    """Fail at once where a model is neither here nor to be had.

    huggingface_hub 2.4 asks six times for each file that its cache lacks; without a network that takes half a minute.

    Raises:
        ModelFileError: The name is that of a folder that is not there, or the hub does not answer.
    """
    if Path(name).expanduser().exists():
        return
    if name.startswith((".", "/", "~")) or os.path.isabs(name) or name.endswith("/"):
        raise ModelFileError(name, "there is no such folder")
    if offline() or _is_cached(name, revision) or not (fault := _fault(endpoint())):
        return
    missing = "is not a folder here, and could not be had from the hub"
    raise ModelFileError(name, f"{missing}: {endpoint()} does not answer ({fault}); check the network and the name")


def _is_cached(name: str, revision: str | None) -> bool:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    names = [name] if "/" in name else [name, f"sentence-transformers/{name}"]
    try:
        return any(try_to_load_from_cache(one, mark, revision=revision) for one in names for mark in _MARKS)
    except HFValidationError:  # the library reports the faulty name
        return True


def _fault(url: str) -> str:
    """Why no answer came; empty for any answer, and for what the library may see otherwise, like certificates."""
    try:
        request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - the user's own hub
        urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return ""
    except urllib.error.URLError as error:
        return "" if isinstance(error.reason, ssl.SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)
    return ""
