#!/usr/bin/env python3
"""search_marker.py MARKER PATH...: exit 1 when any file (directories are walked) holds any 8-byte piece of the
marker, in its
content or its name. Holes are skipped. Prints where."""
import os
import sys

BLOCK = 64 << 20


def files(paths):
    for path in paths:
        if os.path.isdir(path):
            for at, _, names in os.walk(path):
                for name in names:
                    yield os.path.join(at, name)
        else:
            yield path


def data_ranges(fd, size):
    """The parts of a file that are no holes."""
    at = 0
    while at < size:
        try:
            begin = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(fd, begin, os.SEEK_HOLE)
        yield begin, end
        at = end


def find_in(path, pieces):
    fd = os.open(path, os.O_RDONLY)
    try:
        for begin, end in data_ranges(fd, os.fstat(fd).st_size):
            at = begin
            while at < end:
                block = os.pread(fd, min(BLOCK, end - at) + 8, at)
                for piece in pieces:
                    where = block.find(piece)
                    if where >= 0:
                        return at + where
                at += BLOCK
        return None
    finally:
        os.close(fd)


def main():
    if len(sys.argv) < 3 or len(sys.argv[1]) < 8:
        sys.exit(__doc__)
    marker = sys.argv[1].encode()
    pieces = [marker[i:i + 8] for i in range(len(marker) - 7)]
    found = count = 0
    for path in files(sys.argv[2:]):
        if not os.path.isfile(path):
            continue
        count += 1
        if any(piece in os.fsencode(os.path.basename(path)) for piece in pieces):
            print(f"{path}: in the name")
            found += 1
        where = find_in(path, pieces)
        if where is not None:
            print(f"{path}: at byte {where}")
            found += 1
    print(f"{count} files searched, {found} with pieces of the marker")
    return 1 if found else 0


sys.exit(main())
