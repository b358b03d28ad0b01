"""What a chain sent and got, as a tree, and kept in a file.

python examples/trace.py openai:gpt-4o-mini log.sqlite3
"""

import sys
import tempfile
from pathlib import Path

from langchain_core.output_parsers import StrOutputParser

import chainkit
from chainkit.observe import log

name = sys.argv[1] if len(sys.argv) > 1 else "fake:"
path = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(tempfile.mkdtemp()) / "log.sqlite3"
chain = chainkit.prompt("Name three {things}.") | chainkit.chat_model(name) | StrOutputParser()

with chainkit.trace(path) as trace:
    chain.batch([{"things": "bees"}, {"things": "trees"}])

print(trace)
print(f"\nKept in {path}:")
for step in log.recent(path):
    print(step.started.strftime("%H:%M:%S"), step.id[-8:], step.inputs)
