#!/usr/bin/env python3
"""numbered_files.py write MNT LIST: makes MNT/numbered/NNNNNN one after the other, each with its own content, fsyncs
the file (and, for every third, its directory by a rename), and notes the number in LIST only then; at most
NUMBERED_MAX of them. Ends at the first error, and prints it.
numbered_files.py check|check-last MNT LIST: every file (the last 20) that LIST names is there with its content."""
import hashlib
import os
import sys


def content(number):
    block = hashlib.sha256(b"%d" % number).digest()
    # From a few bytes to over a chunk, so that packing, journal and large chunks all take part.
    size = (number * 7919) % 9000 if number % 25 else 5_000_000 + number
    return (block * (size // len(block) + 1))[:size]


def acknowledged(path):
    with open(path) as f:
        # The last line may be torn by a kill of the writer.
        return [int(line) for line in f.read().split("\n")[:-1] if line]


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data):]


def write(mount, path):
    base = os.path.join(mount, "numbered")
    left = int(os.environ.get("NUMBERED_MAX", "1000000"))
    try:
        os.makedirs(base, exist_ok=True)
    except OSError:
        return 0
    known = acknowledged(path)
    # Numbers are never used twice: an unacknowledged one may exist or not.
    number = max(known, default=0) + 1000 - max(known, default=0) % 1000
    with open(path, "a") as log:
        for _ in range(left):
            name = os.path.join(base, f"{number:08}")
            temporary = name + ".tmp" if number % 3 == 0 else name
            try:
                fd = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
                write_all(fd, content(number))
                os.fsync(fd)
                os.close(fd)
                if temporary != name:
                    os.rename(temporary, name)
                    fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
                    os.fsync(fd)
                    os.close(fd)
            except OSError as e:
                print(f"the writer of numbered files ends: {e.strerror}")
                return 0
            log.write(f"{number}\n")
            log.flush()
            number += 1


def check(mount, numbers):
    for number in numbers:
        try:
            with open(os.path.join(mount, "numbered", f"{number:08}"), "rb") as f:
                data = f.read()
        except OSError as e:
            print(f"fsynced file {number}: {e.strerror}")
            return 1
        if data != content(number):
            print(f"fsynced file {number}: {len(data)} bytes, wrong content")
            return 1
    print(f"{len(numbers)} fsynced files are right")
    return 0


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check", "check-last"):
        sys.exit(__doc__)
    if sys.argv[1] == "write":
        return write(sys.argv[2], sys.argv[3])
    numbers = acknowledged(sys.argv[3])
    return check(sys.argv[2], numbers[-20:] if sys.argv[1] == "check-last" else numbers)


sys.exit(main())
