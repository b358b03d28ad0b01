"""Damaged copies of a model file: bytes flipped, runs overwritten, ends cut off."""

from __future__ import annotations

import random


def damaged(data: bytes, header_bytes: int, seed: int) -> bytes:
    """One damaged copy; three in four are hit in the header, where damage is dangerous."""
    chance = random.Random(seed)
    kind = chance.choice(["flip", "flip", "flip", "few", "run", "cut", "number"])
    copy = bytearray(data)
    reach = header_bytes if chance.random() < 0.75 else len(data)
    place = chance.randrange(reach)
    if kind == "cut":
        return bytes(copy[:place])
    if kind == "flip":
        copy[place] ^= 1 << chance.randrange(8)
    elif kind == "few":
        for _ in range(chance.randint(2, 20)):
            copy[chance.randrange(reach)] = chance.randrange(256)
    elif kind == "run":
        length = chance.randint(1, 64)
        copy[place : place + length] = chance.randbytes(len(copy[place : place + length]))
    else:
        number = chance.choice([0, 1, 2**31, 2**32 - 1, 2**62, 2**63, 2**64 - 1])
        copy[place : place + 8] = number.to_bytes(8, "little")[: len(copy[place : place + 8])]
    return bytes(copy)
