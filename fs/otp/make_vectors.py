#!/usr/bin/env python3
"""Writes vectors.json: sealed frames computed with integers alone, independently of the C++ code (see FORMAT.md)."""
import json

def pad_bytes(seed, size):
    """A fixed byte string: SHA-256 is only a convenient generator here."""
    import hashlib
    out = b""
    counter = 0
    while len(out) < size:
        out += hashlib.sha256(f"{seed}:{counter}".encode()).digest()
        counter += 1
    return out[:size]

def poly1305(r, s, message):
    point = int.from_bytes(r, "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    accumulator = 0
    for i in range(0, len(message), 16):
        block = int.from_bytes(message[i:i + 16] + b"\x01", "little")
        accumulator = (accumulator + block) * point % (2**130 - 5)
    return ((accumulator + int.from_bytes(s, "little")) % 2**128).to_bytes(16, "little")

def window_vector(name, offset, size, lengths):
    pad = pad_bytes(f"pad {name}", size)
    position, frames = 16, []
    for number, length in enumerate(lengths):
        text = pad_bytes(f"text {name} {number}", length)
        cipher = bytes(a ^ b for a, b in zip(text, pad[position:]))
        mask = pad[position + length:position + length + 16]
        block = (offset + position).to_bytes(8, "big") + length.to_bytes(4, "big") + number.to_bytes(4, "big")
        tag = poly1305(pad[:16], mask, block + cipher)
        wire = block[:12] + cipher + tag
        frames.append({"plaintext": text.hex(), "wire": wire.hex()})
        position += length + 16
    return {"name": name, "offset": offset, "pad": pad.hex(), "frames": frames}

vectors = [
    window_vector("one byte", 0, 64, [1]),
    window_vector("block edges", 4096, 256, [15, 16, 17, 31]),
    window_vector("exact fit", 2**40 + 7, 16 + 100 + 16 + 3 + 16, [100, 3]),
    window_vector("far offset", 2**63, 1024, [500, 1, 64]),
]
with open("vectors.json", "w") as out:
    json.dump(vectors, out, indent=1)
    out.write("\n")
