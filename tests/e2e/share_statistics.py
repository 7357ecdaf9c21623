#!/usr/bin/env python3
"""share_statistics.py BEFORE AFTER: of two states of one store, looks at the sectors that changed: shares of whatever
was written
in between. They must look random however structured the secret was: byte frequencies (chi square) sector by sector and
together, and the correlation of neighbouring bytes. Few sectors (headers, log, tags with padding) may differ."""
import math
import sys
from collections import Counter

SECTOR = 4096
STRUCTURED_MAX = 0.03   # part of the changed sectors
CHI_SECTOR = 400        # 255 degrees of freedom: exceeded by chance once in 10^8
CHI_ALL = 255 + 6 * math.sqrt(2 * 255)


def chi_square(counts, total):
    expected = total / 256
    return sum((counts.get(value, 0) - expected) ** 2 for value in range(256)) / expected


def changed_sectors(before, after):
    with open(before, "rb") as fb, open(after, "rb") as fa:
        while True:
            block_a, block_b = fa.read(SECTOR * 256), fb.read(SECTOR * 256)
            if not block_a:
                return
            if block_a == block_b:
                continue
            for at in range(0, len(block_a), SECTOR):
                sector = block_a[at:at + SECTOR]
                if sector != block_b[at:at + SECTOR] and any(sector):
                    yield sector


def serial_correlation(data):
    n = len(data) - 1
    mean = sum(data) / len(data)
    variance = sum(c * (v - mean) ** 2 for v, c in Counter(data).items()) / len(data)
    products = sum(x * y for x, y in zip(data, data[1:])) / n
    return (products - mean * mean) / variance, n


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    structured = total = 0
    random_looking = bytearray()
    counts = Counter()
    for sector in changed_sectors(sys.argv[1], sys.argv[2]):
        total += 1
        frequency = Counter(sector)
        if chi_square(frequency, SECTOR) > CHI_SECTOR:
            structured += 1
            continue
        counts.update(frequency)
        if len(random_looking) < 4 << 20:
            random_looking += sector
    if total < 1000:
        sys.exit(f"only {total} sectors changed: the test wrote too little")
    chi = chi_square(counts, (total - structured) * SECTOR)
    correlation, n = serial_correlation(bytes(random_looking))
    limit = 6 / math.sqrt(n)
    print(f"{total} sectors changed, {structured} of them structured; chi square {chi:.0f} (limit {CHI_ALL:.0f}); "
          f"serial correlation {correlation:.6f} (limit {limit:.6f})")
    good = structured <= total * STRUCTURED_MAX and chi <= CHI_ALL and abs(correlation) <= limit
    return 0 if good else 1


sys.exit(main())
