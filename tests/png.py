"""Makes pictures of a browser small: the 256 colours that matter, packed well."""

import struct
import zlib
from collections import Counter

_MAGIC = b"\x89PNG\r\n\x1a\n"


def shrink(data):
    """Return an RGB or RGBA picture, as a browser makes it, with a palette."""
    width, height, channels, rows = _decode(data)
    pixels = [[row[at : at + 3] for at in range(0, len(row), channels)] for row in rows]
    counted = Counter(pixel for row in pixels for pixel in row)
    palette = [pixel for pixel, _ in counted.most_common(256)]
    place = {pixel: at for at, pixel in enumerate(palette)}
    for pixel in counted.keys() - place.keys():
        place[pixel] = min(range(len(palette)), key=lambda at: _distance(palette[at], pixel))
    body = b"".join(b"\0" + bytes([place[pixel] for pixel in row]) for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = [(b"IHDR", head), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(body, 9))]
    return _MAGIC + b"".join(_chunk(*part) for part in [*parts, (b"IEND", b"")])


def _decode(data):
    at, packed = len(_MAGIC), b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) in {(8, 2), (8, 6)}
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    channels = 3 if colour == 2 else 4
    return width, height, channels, _rows(zlib.decompress(packed), width * channels, channels)


def _rows(raw, length, step):
    """Undo the filter of each row."""
    before, rows = bytes(length), []
    for start in range(0, len(raw), length + 1):
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + length])
        for at in range(length):
            left = row[at - step] if at >= step else 0
            corner = before[at - step] if at >= step else 0
            row[at] = (row[at] + _guess(kind, left, before[at], corner)) & 255
        before = bytes(row)
        rows.append(before)
    return rows


def _guess(kind, left, up, corner):
    if kind < 3:
        return (0, left, up)[kind]
    if kind == 3:
        return (left + up) // 2
    near = left + up - corner
    return min((left, up, corner), key=lambda each: abs(near - each))


def _distance(one, other):
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
