"""Documents that tests read."""

from __future__ import annotations

from collections.abc import Sequence

BEES = """\
# Bees

Bees live in hives and make honey from nectar.

## Winter

In winter a colony forms a cluster around the queen. The cluster keeps a
temperature of about 35 degrees in its middle, and workers take turns outside.

- Drones are thrown out in autumn.
- The queen stops laying eggs
  until February.

| month | food |
|---|---|
| May | nectar |
| July | honeydew |

```python
def honey(nectar):

    return nectar / 4
```
"""

GGUF = """\
# GGUF files

A GGUF file holds the weights of a model and all that is needed to run it.

## Quantization

The q8_0 type stores every weight in eight bits, in blocks of 32 weights with one scale each.
The q4_K_M type needs about four and a half bits a weight.
"""


def pdf(pages: Sequence[str]) -> bytes:
    """A small valid PDF with one line of text for each line of each page."""
    objects: list[bytes] = [b"<< /Type /Catalog /Pages 2 0 R >>", b""]
    kids: list[str] = []
    for text in pages:
        lines = " T* ".join(f"({line}) Tj" for line in text.split("\n"))
        stream = f"BT /F1 12 Tf 14 TL 50 700 Td {lines} ET".encode("latin-1")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R /Resources << /Font << /F1 << "
            b"/Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>" % len(objects)
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    out = b"%PDF-1.4\n"
    places: list[int] = []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return out + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (
        size, table, size, len(out),
    )  # fmt: skip
