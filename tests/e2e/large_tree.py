#!/usr/bin/env python3
"""large_tree.py files DIR COUNT     makes COUNT files, a thousand in a directory, every tenth with 100 bytes
large_tree.py extents FILE COUNT  makes FILE 64 GiB long with COUNT blocks of 4 KiB, far from each other
large_tree.py check FILE COUNT    reads 1,000 of these back, and the holes behind them
large_tree.py open DIR COUNT      holds COUNT of the files of DIR open at once, and reads a byte of each"""
import os
import resource
import sys
import time

SPARSE = 64 << 30
BLOCK = 4096


def name_of(number):
    return f"d{number // 1000:04}/f{number:07}"


def files(base, count):
    for number in range(count):
        path = os.path.join(base, name_of(number))
        if number % 1000 == 0:
            os.makedirs(os.path.dirname(path))
        fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644)
        if number % 10 == 0:
            os.write(fd, b"%0100d" % number)
        os.close(fd)


def block(number):
    return (b"%08d" % number) * (BLOCK // 8)


def extents(path, count):
    with open(path, "wb", buffering=0) as f:
        f.truncate(SPARSE)
        for number in range(count):
            os.pwrite(f.fileno(), block(number), number * (SPARSE // count))
        os.fsync(f.fileno())


def check(path, count):
    with open(path, "rb", buffering=0) as f:
        assert os.fstat(f.fileno()).st_size == SPARSE
        for number in range(0, count, max(1, count // 1000)):
            at = number * (SPARSE // count)
            assert os.pread(f.fileno(), BLOCK, at) == block(number), f"block {number}"
            assert os.pread(f.fileno(), BLOCK, at + BLOCK) == bytes(BLOCK), f"hole {number}"


def hold_open(base, count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
    held = [os.open(os.path.join(base, name_of(number)), os.O_RDWR) for number in range(count)]
    for number, fd in enumerate(held):
        assert os.pread(fd, 1, 0) == (b"0" if number % 10 == 0 else b""), f"file {number}"
    for fd in held:
        os.close(fd)


def main():
    work = {"files": files, "extents": extents, "check": check, "open": hold_open}
    if len(sys.argv) != 4 or sys.argv[1] not in work:
        sys.exit(__doc__)
    start = time.monotonic()
    work[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print(f"{sys.argv[1]}: {sys.argv[3]} in {time.monotonic() - start:.1f} s")


main()
