"""`docs/compatibility.md`: which versions the suite ran with, and how it ended.

    python -m checks.compatibility .venv .venv-newest .venv-oldest

Each folder is an environment that holds the `tests.xml` of its last run. Rows of runs that were not repeated are kept.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECORDS = Path(__file__).with_name("compatibility.json")
PAGE = ROOT / "docs" / "compatibility.md"
NAMES = {".venv": "locked", ".venv-newest": "newest", ".venv-oldest": "oldest"}
LIBRARIES = (
    *("langchain-core", "numpy", "openai", "xllamacpp", "llguidance", "onnxruntime", "tokenizers", "scipy"),
    *("scikit-learn", "matplotlib", "torch", "transformers", "sentence-transformers", "peft", "huggingface-hub"),
)
ASK = """
import importlib.metadata as m, json, platform, sys
found = {d.metadata["Name"].lower().replace("_", "-"): d.version for d in m.distributions()}
versions = {name: found.get(name, "") for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "versions": versions}))
"""


def main(folders: list[str]) -> None:
    """Take the runs that there are into the records, and write the page."""
    records = json.loads(RECORDS.read_text("utf-8")) if RECORDS.exists() else {}
    for folder in map(Path, folders):
        if (folder / "tests.xml").exists():
            records[NAMES.get(folder.name, folder.name)] = record(folder)
    RECORDS.write_text(json.dumps(records, indent=1) + "\n", "utf-8")
    PAGE.write_text(page(records), "utf-8")


def record(folder: Path) -> dict[str, Any]:
    """The versions of an environment, and how its last run ended."""
    python = folder / "bin" / "python"
    done = subprocess.run([str(python), "-c", ASK, *LIBRARIES], capture_output=True, text=True, check=True)
    suite = ET.parse(folder / "tests.xml").getroot()[0]
    count, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    day = str(suite.get("timestamp", ""))[:10]
    ended = {"day": day, "passed": count - failed - skipped, "failed": failed, "skipped": skipped}
    return json.loads(done.stdout) | ended


def page(records: dict[str, dict[str, Any]]) -> str:
    """The page of these records."""
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["requires-python"]
    rows = [("", *records)]
    rows += [(key, *(str(record[key]) for record in records.values())) for key in ("day", "python", "machine")]
    rows += [(key, *(str(record[key]) for record in records.values())) for key in ("passed", "failed", "skipped")]
    rows += [(name, *(str(record["versions"].get(name, "")) for record in records.values())) for name in LIBRARIES]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" * len(rows[0]) + "|")
    return f"""# Compatibility: which versions go together

Search words: supported versions, Python 3.13, transformers, langchain-core, torch, numpy, dependencies.

```console
$ chainkit --version
```

What the suite was run with, and how it ended; written by `make compatibility` out of the last runs. chainkit asks for
Python {requires}. "locked" is what `make` installs (`locks/`), "newest" and "oldest" are the two ends of the ranges in
`pyproject.toml`: run them with `make test-newest` and `make test-oldest`.

{chr(10).join(lines)}
"""


if __name__ == "__main__":
    main(sys.argv[1:])
