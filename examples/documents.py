"""Read a folder of many kinds of files into an index, and say what could not be read.

python examples/documents.py FOLDER "When does the library open?"
"""

import sys

from chainkit.knowledge import Index


def main(folder: str, question: str) -> None:
    with Index(None) as index:
        report = index.add(folder)
        print(f"read {len(report.indexed)} files, {len(index)} passages")
        for remark in (*report.skipped, *report.notes):
            print(f"  {remark}")
        for hit in index.find(question, k=3):
            print(f"{hit.passage.place}: {hit.passage.text}")


if __name__ == "__main__":
    main(*(sys.argv[1:3] if len(sys.argv) == 3 else ("docs", "Which files are read?")))
