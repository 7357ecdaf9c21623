#!/usr/bin/env python3
"""Known answers for fs/sharing, computed from the formulas of fs/sharing/FORMAT.md and the papers alone.

Slow and plain on purpose, and independent of the C++: integers as bit rows, GF(2^128) as polynomials. Run it in this directory;
it overwrites sharing.json, tags.json, amd.json, hashes.json and chunks.json. Inputs are SHAKE-256 of a label, so that long ones
need not be stored.
"""
import hashlib
import json
import struct

SUB_BLOCK = 4096


def noise(label, size):
    return hashlib.shake_256(label.encode()).digest(size)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


# ---- the sharing scheme (Kurihara, Kiyomoto, Fukushima, Tanaka 2008) ----

def least_prime(n):
    p = max(n, 3)
    while any(p % d == 0 for d in range(2, p)):
        p += 1
    return p


def xor(a, b):
    return bytes(x ^ y for x, y in zip(a, b))


def split_unit(k, n, secret, random, size):
    """secret: p-1 blocks of `size`, random: (k-1)p-1 of them, in the order r^0_0..r^0_{p-2}, r^1_0..r^1_{p-1}, ..."""
    p = least_prime(n)
    zero = bytes(size)
    block = lambda data, i: data[i * size:(i + 1) * size]
    s = [zero] + [block(secret, i) for i in range(p - 1)]
    r = [[block(random, m) for m in range(p - 1)] + [zero]]
    for h in range(1, k - 1):
        r.append([block(random, (p - 1) + (h - 1) * p + m) for m in range(p)])
    shares = []
    for i in range(n):
        share = b""
        for j in range(p - 1):
            w = s[(j - i) % p]
            for h in range(k - 1):
                w = xor(w, r[h][(h * i + j) % p])
            share += w
        shares.append(share)
    return shares


def unit_sizes(k, n, size):
    """Sub-block size of every unit of a piece of `size` bytes."""
    blocks = least_prime(n) - 1
    full, rest = divmod(size, blocks * SUB_BLOCK)
    short = -(-rest // blocks)
    return [SUB_BLOCK] * full + ([-(-short // 16) * 16] if rest else [])


class Stream:
    def __init__(self, data):
        self.data, self.used = data, 0

    def take(self, size):
        taken = self.data[self.used:self.used + size]
        assert len(taken) == size
        self.used += size
        return taken


def split(k, n, secret, random, sizes=None):
    p = least_prime(n)
    shares, at = [b""] * n, 0
    for size in sizes if sizes is not None else unit_sizes(k, n, len(secret)):
        unit = secret[at:at + (p - 1) * size].ljust((p - 1) * size, b"\0")
        at += (p - 1) * size
        for i, part in enumerate(split_unit(k, n, unit, random.take(((k - 1) * p - 1) * size), size)):
            shares[i] += part
    return shares


def random_size(k, n, size):
    return sum(unit_sizes(k, n, size)) * ((k - 1) * least_prime(n) - 1)


# ---- GF(2^128): bit i of byte j is the coefficient of x^(8j+i), modulo x^128 + x^7 + x^2 + x + 1 ----

def load(data):
    return int.from_bytes(data, "little")


def store(value):
    return value.to_bytes(16, "little")


def multiply(a, b):
    product = 0
    for i in range(128):
        if b >> i & 1:
            product ^= a << i
    for i in range(254, 127, -1):
        if product >> i & 1:
            product ^= ((1 << 128) | 0x87) << (i - 128)
    return product


def power(base, exponent):
    value = 1
    for bit in bin(exponent)[2:]:
        value = multiply(value, value)
        if bit == "1":
            value = multiply(value, base)
    return value


def symbols(data):
    data = data.ljust(-(-len(data) // 16) * 16, b"\0")
    return [load(data[i:i + 16]) for i in range(0, len(data), 16)]


def polynomial(point, data):
    """m_1 x^d + ... + m_d x for the symbols m_1 .. m_d."""
    value = 0
    for symbol in symbols(data):
        value = multiply(value ^ symbol, point)
    return value


# ---- tags, codewords, hashes ----

def tags_of(k, n, r, chunk, piece, secret):
    blocks = least_prime(n) - 1
    out, at, number = b"", 0, 0
    for size in unit_sizes(k, n, len(secret)):
        for _ in range(blocks):
            data = secret[at:at + size]
            prefix = b"wtag" + struct.pack(">III", size, len(data), piece) + struct.pack(">QQQ", *chunk)
            prefix += struct.pack(">II", number, 0)
            out += store(polynomial(load(r), prefix + data.ljust(size, b"\0")))
            at, number = at + size, number + 1
    return out


TYPES = {"volume_record": 1, "epoch_record": 2, "journal_record": 3, "sst": 4, "hash_table": 5}


def codeword_of(k, n, volume, kind, epoch, sequence, piece, payload, x):
    header = b"WAMD" + struct.pack(">BBBBII", 1, TYPES[kind], k, n, len(payload), piece)
    header += volume + struct.pack(">QQQQ", *epoch, sequence, 0)
    assert len(header) == 64
    s = symbols(header + payload)
    s.reverse()  # s[i - 1] is s_i
    d = len(s)
    e = d + 2 if d % 2 else d + 3
    assert e % 2 == 1 and d + 2 <= e <= d + 3
    tag = power(load(x), e)
    for i in range(1, d + 1):
        tag ^= multiply(s[i - 1], power(load(x), i))
    word = store(tag) + x + header + payload
    return word.ljust(sum(unit_sizes(k, n, len(word))) * (least_prime(n) - 1), b"\0")


def share_hash(key, chunk, piece, index, share, tags):
    prefix = b"whsh" + bytes([index, 0, 0, 0]) + struct.pack(">II", piece, len(share))
    prefix += struct.pack(">QQQ", *chunk) + struct.pack(">Q", len(tags))
    return store(polynomial(load(key), prefix + share + tags))


def chunk_shares(k, n, kind, volume, chunk, r, key, pieces, random):
    """(side, pieces) of every share. Random bytes in the order of use: piece by piece (data: pieces, tags; metadata: x, codeword),
    then x and shares of the hash table."""
    blocks = least_prime(n) - 1
    sides, parts, table = [b""] * n, [[] for _ in range(n)], b""
    for number, secret in enumerate(pieces):
        if kind == "data":
            tags = tags_of(k, n, r, chunk, number, secret)
            shares = split(k, n, secret, random)
            tag_shares = split(k, n, tags, random, [16] * (len(tags) // 16 // blocks))
        else:
            word = codeword_of(k, n, volume, "sst", chunk[:2], chunk[2], number, secret, random.take(16))
            shares, tag_shares = split(k, n, word, random), [b""] * n
        table += struct.pack(">I", len(secret))
        for i in range(n):
            parts[i].append(shares[i])
            sides[i] += tag_shares[i]
            table += share_hash(key, chunk, number, i, shares[i], tag_shares[i])
    word = codeword_of(k, n, volume, "hash_table", chunk[:2], chunk[2], 0, table, random.take(16))
    for i, share in enumerate(split(k, n, word, random)):
        sides[i] += share
    return list(zip(sides, parts))


# ---- the files ----

def sharing_vectors():
    out = []
    for k, n in [(2, 2), (2, 3), (3, 3), (2, 4), (3, 4), (4, 4), (2, 5), (3, 5), (4, 5), (3, 6), (4, 7), (5, 7), (2, 8), (6, 11),
                 (7, 13), (2, 16), (9, 16), (16, 16)]:
        sizes = [1, 100] if n <= 7 else [33]
        if (k, n) in [(2, 3), (3, 5)]:
            sizes += [16 * (least_prime(n) - 1), SUB_BLOCK * (least_prime(n) - 1), 3 * SUB_BLOCK * (least_prime(n) - 1) + 5000]
        for size in sizes:
            label = f"sharing {k} {n} {size}"
            random = noise(label + " random", random_size(k, n, size))
            secret = noise(label + " secret", size)
            shares = split(k, n, secret, Stream(random))
            entry = {"k": k, "n": n, "size": size, "secret_label": label + " secret", "random_label": label + " random",
                     "random_size": len(random), "share_size": len(shares[0]), "shares_sha256": [sha256(s) for s in shares]}
            if size <= 1:
                entry.update(secret=secret.hex(), random=random.hex(), shares=[s.hex() for s in shares])
            out.append(entry)
    return out


def tag_vectors():
    out = []
    for k, n, size, piece in [(2, 3, 1, 0), (2, 3, 100, 7), (2, 3, 8192, 1), (3, 5, 20000, 0xfffffffe), (2, 16, 50, 2)]:
        label = f"tags {k} {n} {size}"
        chunk = [2 ** 63 + 5, 0x1122334455667788, size]
        r = noise(label + " r", 16)
        out.append({"k": k, "n": n, "size": size, "secret_label": label + " secret", "r": r.hex(), "counter": chunk[0],
                    "nonce": chunk[1], "sequence": chunk[2], "piece": piece,
                    "tags": tags_of(k, n, r, chunk, piece, noise(label + " secret", size)).hex()})
    return out


def amd_vectors():
    out = []
    for k, n, kind, size in [(2, 3, "volume_record", 0), (2, 3, "journal_record", 16), (2, 3, "journal_record", 17),
                             (3, 5, "epoch_record", 33), (16, 16, "sst", 1000), (2, 2, "hash_table", 52)]:
        label = f"amd {k} {n} {size}"
        volume, x, payload = noise(label + " volume", 16), noise(label + " x", 16), noise(label + " payload", size)
        word = codeword_of(k, n, volume, kind, (3, 2 ** 64 - 1), 2 ** 40 + size, size, payload, x)
        out.append({"k": k, "n": n, "type": TYPES[kind], "volume": volume.hex(), "counter": 3, "nonce": 2 ** 64 - 1,
                    "sequence": 2 ** 40 + size, "piece": size, "payload": payload.hex(), "x": x.hex(), "codeword": word.hex()})
    return out


def hash_vectors():
    out = []
    for index, size, tags_size in [(0, 16, 0), (1, 32, 32), (15, 4096, 64)]:
        label = f"hash {index} {size}"
        key, share, tags = noise(label + " key", 16), noise(label + " share", size), noise(label + " tags", tags_size)
        out.append({"key": key.hex(), "counter": 1, "nonce": 2, "sequence": 3, "piece": 4 + index, "index": index,
                    "share": share.hex(), "tags": tags.hex(), "hash": share_hash(key, [1, 2, 3], 4 + index, index, share, tags).hex()})
    return out


def chunk_vectors():
    out = []
    for k, n, kind, sizes in [(2, 3, "data", [5000]), (2, 3, "data", [20000, 1, 8192]), (3, 5, "data", [100, 17000]),
                              (2, 3, "metadata", [8096, 300]), (3, 4, "metadata", [10])]:
        label = f"chunk {k} {n} {kind} {sizes}"
        volume, r, key = noise(label + " volume", 16), noise(label + " r", 16), noise(label + " key", 16)
        pieces = [noise(f"{label} piece {i}", size) for i, size in enumerate(sizes)]
        random = Stream(noise(label + " random", 1 << 20))
        shares = chunk_shares(k, n, kind, volume, [8, 9, 10], r, key, pieces, random)
        out.append({"k": k, "n": n, "kind": kind, "label": label, "counter": 8, "nonce": 9, "sequence": 10,
                    "volume": volume.hex(), "r": r.hex(), "hash_key": key.hex(), "sizes": sizes, "random_used": random.used,
                    "shares": [{"side_size": len(side), "side_sha256": sha256(side), "piece_sizes": [len(p) for p in parts],
                                "pieces_sha256": [sha256(p) for p in parts]} for side, parts in shares]})
    return out


def main():
    for name, vectors in [("sharing", sharing_vectors()), ("tags", tag_vectors()), ("amd", amd_vectors()), ("hashes", hash_vectors()),
                          ("chunks", chunk_vectors())]:
        with open(name + ".json", "w", encoding="ascii") as file:
            json.dump({"vectors": vectors}, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
