"""docs/tested_providers.md: what every row of the registry sends, recorded on loopback with the real packages."""

from __future__ import annotations

import contextlib
import gc
import importlib.metadata
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chainkit
from chainkit.backends import partners
from chainkit.registry import CHAT_MODELS, EMBEDDINGS, LLMS
from chainkit.testing.server.wire import HTTPAnswer, HTTPRequest, Server

PAGE = Path(__file__).parents[1] / "docs" / "tested_providers.md"
KEY = "Zq7-not-a-real-key"
REFUSED = HTTPAnswer(400, {"content-type": "application/json"}, (b'{"message": "no", "error": {"message": "no"}}',))
TABLES = {
    "chat": (CHAT_MODELS, chainkit.chat_model),
    "text": (LLMS, chainkit.llm),
    "vectors": (EMBEDDINGS, chainkit.embeddings),
}
HEADERS = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "anthropic-version", "content-type")
HEAD = """# Tested providers

Search words: hosted provider, OpenAI-compatible, API, recorded request.

```python
import chainkit

print(", ".join(chainkit.providers()))
```

What each row sends, with packages of the given versions, to a recorder on loopback that stands for the service (with
`/v1` for OpenAI's API). None was run against the service itself.
`python -m checks.providers` writes this page anew; [hosted models](hosted.md) says what each service has.

| provider | kind | package | request | key in | body |
|---|---|---|---|---|---|
"""


@contextlib.contextmanager
def recorder() -> Iterator[Server]:
    """A service that refuses everything."""
    server = Server(lambda request: REFUSED)
    server.start()
    try:
        yield server
    finally:
        gc.collect()
        server.stop()


def hosted() -> Iterator[tuple[str, str, Any]]:
    """Provider, kind and maker of each row that asks a service."""
    for kind, (table, make) in TABLES.items():
        for provider, row in sorted(table.items()):
            if row.startswith(("chainkit.backends.openai:", "chainkit.backends.partners:")):
                yield provider, kind, (row, make)


def package_of(row: str) -> str:
    """The package behind a row, with its version."""
    module, _, name = row.partition("?")[0].partition(":")
    name = "openai" if module.endswith("openai") else getattr(partners, name).package.replace("_", "-")
    return f"{name} {importlib.metadata.version(name)}"


def asked(provider: str, kind: str, row: str, make: Any) -> HTTPRequest:
    """The first request of a call."""
    with recorder() as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        address = f"http://127.0.0.1:{server.port}"
        if provider == "bedrock":
            partner = getattr(partners, row.partition(":")[2])
            model = partner.load()(**{partner.model_option: "a-model"}, region_name="x", endpoint_url=address)
        else:
            end = "/v1" if "openai" in row else ""
            model = make(f"{provider}:a-model", api_key=KEY, base_url=f"{address}{end}")
        with contextlib.suppress(Exception):
            (model.embed_query if kind == "vectors" else model.invoke)("Hello")
        return server.requests[0]


def line(provider: str, kind: str, row: str, request: HTTPRequest) -> str:
    """A line of the table."""
    told = [name for name in HEADERS if KEY in request.headers.get(name, "") or "AWS4" in request.headers.get(name, "")]
    fields = ", ".join(sorted(json.loads(request.body)))
    sent = f"`{request.method} {request.path.split('?')[0]}` | `{', '.join(told)}` | `{fields}`"
    return f"| `{provider}` | {kind} | {package_of(row)} | {sent} |\n"


def main() -> None:
    """Record each row and write the page."""
    os.environ |= {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": KEY}
    lines = [line(provider, kind, row, asked(provider, kind, row, make)) for provider, kind, (row, make) in hosted()]
    PAGE.write_text(HEAD + "".join(lines), "utf-8")
    print(f"{len(lines)} rows in {PAGE}", file=sys.stderr)


if __name__ == "__main__":
    main()
