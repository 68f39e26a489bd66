"""What can happen to the bytes of a file: damage, and lies that fit its format.

Every mutation comes from a `random.Random`, so a seed makes the same input again.
"""

import math
import random
import re
import struct
from collections.abc import Callable

__all__ = ["Files", "mutate"]

Files = dict[str, bytes]
"""The files of an input, by their names in its folder; one alone for most kinds."""

INTEGERS = (0, 1, 2, 3, 7, 8, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 60_000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = ("NaN", "Infinity", "-Infinity", "-1", "0", "1e308", "1e-320", "1e400", "-0.0", "99999999999999999999", "0.5",
         "true", "null", '"text"', '""', "[]", "[[]]", "{}", '"1"', "3600000000", "65535", "[1, 2, 3]")  # fmt: skip
NUMBER = re.compile(rb"(?<=[\s:,\[\"=])-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
STRING = re.compile(rb'"[^"\\]{1,80}"')
FIELD_SIZES = (1, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)


def mutate(files: Files, rng: random.Random) -> Files:
    """Return an input with one to four mutations of one of its files."""
    name = rng.choice(sorted(files))
    data = files[name]
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        data = rng.choice(_fitting(data))(data, rng)
    return files | {name: data}


def _fitting(data: bytes) -> list[Callable[[bytes, random.Random], bytes]]:
    """Return the mutations to choose from; those that know the format more often."""
    anywhere = [_flip_bits, _set_bytes, _set_integer, _truncate, _remove, _repeat, _copy_over]
    if data[:4] in (b"II*\0", b"MM\0*", b"IIU\0", b"IIRO", b"IIRS", b"MMOR"):
        return anywhere + [_change_field] * 12
    if b"II*\0" in data[:4096] or b"MM\0*" in data[:4096]:
        return anywhere + [_change_field] * 5
    if data[:1] in (b"{", b"[", b"<", b"#") or data[8:9] == b"{":
        return anywhere + [_change_number] * 10 + [_change_string] * 3
    return anywhere


def _place(data: bytes, rng: random.Random) -> int:
    """Return a place in the data, near its start half of the time: there stands what the rest is read by."""
    return rng.randrange(max(1, min(len(data), 256 if rng.random() < 0.5 else len(data))))


def _flip_bits(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8, 32)) if data else 0):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _set_bytes(data: bytes, rng: random.Random) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 2, 4, 16, 256))
    return data[:at] + rng.choice((bytes(length), b"\xff" * length, rng.randbytes(length))) + data[at + length :]


def _set_integer(data: bytes, rng: random.Random) -> bytes:
    at, size, order = _place(data, rng), rng.choice((2, 4, 8)), rng.choice(("little", "big"))
    value = (rng.choice(INTEGERS) + rng.choice((0, 0, 0, 1, -1))) % (1 << 8 * size)
    return data[:at] + value.to_bytes(size, "little" if order == "little" else "big") + data[at + size :]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _remove(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 12, 64, 1000)) :]


def _repeat(data: bytes, rng: random.Random) -> bytes:
    at, length = _place(data, rng), rng.choice((1, 2, 12, 64, 1000))
    return data[:at] + data[at : at + length] * rng.choice((2, 2, 3, 20)) + data[at + length :]


def _copy_over(data: bytes, rng: random.Random) -> bytes:
    source, at, length = _place(data, rng), _place(data, rng), rng.choice((2, 4, 12, 64, 1000))
    copied = data[source : source + length]
    return data[:at] + copied + data[at + len(copied) :]


def _change_field(data: bytes, rng: random.Random) -> bytes:
    """Change type, count or value of a field of a TIFF, or a number that its value points to."""
    starts = [match.start() for match in re.finditer(rb"II\*\0|MM\0\*|IIU\0|IIR[OS]|MMOR", data[:65536])]
    start = rng.choice(starts or [0])
    order = ">" if data[start : start + 2] == b"MM" else "<"
    places = _fields(data, start, order)
    if not places:
        return _set_integer(data, rng)
    at = rng.choice(places)
    code, dtype, count, value = struct.unpack_from(order + "HHII", data, at)
    part = rng.randrange(5)
    if part == 0:
        dtype = rng.choice((*range(19), 0xFFFF))
    elif part == 1:
        count = rng.choice((*INTEGERS, count + 1, max(0, count - 1)))
    elif part == 2:
        value = rng.choice((*INTEGERS, value + 1, at - start, rng.randrange(max(1, len(data)))))
    elif part == 3:
        code = rng.choice((code + 1, 50714, 50717, 51041, 50829, 330, 34665, 256, 257, 258, 259, 277, 322, 324, 50712))
    else:
        size = FIELD_SIZES[dtype] if dtype < len(FIELD_SIZES) else 1
        if size * count > 4 and start + value < len(data):
            odd = struct.pack(order + "d", rng.choice((-1.0, 1e308, math.nan)))[:size]
            integer = struct.pack(order + "I", rng.choice(INTEGERS))
            written = rng.choice((bytes(size), b"\xff" * size, odd, integer, rng.randbytes(size)))
            place = start + value + size * rng.randrange(min(count, 64))
            return data[:place] + written + data[place + len(written) :]
    entry = struct.pack(order + "HHII", code & 0xFFFF, dtype, count & 0xFFFFFFFF, value & 0xFFFFFFFF)
    return data[:at] + entry + data[at + 12 :]


def _fields(data: bytes, start: int, order: str) -> list[int]:
    """Return where the fields of the directories of a TIFF stand, those of sub-directories too."""
    found: list[int] = []
    waiting, seen = [data[start + 4 : start + 8]], set[int]()
    while waiting and len(found) < 500:
        pointer = waiting.pop()
        at = start + struct.unpack(order + "I", pointer)[0] if len(pointer) == 4 else 0
        if at in seen or not start < at <= len(data) - 2:
            continue
        seen.add(at)
        (entries,) = struct.unpack_from(order + "H", data, at)
        ends = [place for place in range(at + 2, at + 2 + 12 * min(entries, 200), 12) if place + 12 <= len(data)]
        found += ends
        for place in ends:
            code, _, count, value = struct.unpack_from(order + "HHII", data, place)
            if code in (330, 34665, 34853):
                within = start + value
                waiting.append(data[place + 8 : place + 12] if count == 1 else data[within : within + 4])
        waiting.append(data[at + 2 + 12 * entries : at + 6 + 12 * entries])
    return found


def _change_number(data: bytes, rng: random.Random) -> bytes:
    return _replaced(data, NUMBER, rng)


def _change_string(data: bytes, rng: random.Random) -> bytes:
    return _replaced(data, STRING, rng)


def _replaced(data: bytes, what: re.Pattern[bytes], rng: random.Random) -> bytes:
    """Replace something in a text; the text before the tensors of a safetensors file goes on saying its length."""
    sized = data[8:9] == b"{"
    end = 8 + int.from_bytes(data[:8], "little") if sized else len(data)
    found = list(what.finditer(data, 8 if sized else 0, min(end, 200_000)))
    if not found:
        return _set_bytes(data, rng)
    match = rng.choice(found)
    word = rng.choice(WORDS).encode()
    if sized:
        word = word.replace(b'"', b'\\"')
        end += len(word) - len(match[0])
        return max(0, end - 8).to_bytes(8, "little") + data[8 : match.start()] + word + data[match.end() :]
    return data[: match.start()] + word + data[match.end() :]
