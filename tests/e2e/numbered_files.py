#!/usr/bin/env python3
"""numbered_files.py write MNT LIST: makes files in MNT/numbered one after the other, at most NUMBERED_MAX, each with
its own content, and notes the number in LIST when the file system has promised it. In turn:
  NNN       written, fsynced;
  NNN       as NNN.tmp written, fsynced, renamed, the directory fsynced;
  NNN       as NNN.tmp written, fsynced, renamed: promised under one of its names, until the next promise;
  NNN.data  written, and then an empty NNN.flag, neither of them fsynced: not promised, but in this order.
Ends at the first error, and prints it.
numbered_files.py check|check-last MNT LIST: every file (the last 20) that LIST names is there with its content, and
every flag (the last 20) has its whole data."""
import hashlib
import os
import sys

PLAIN, RENAMED_SYNCED, RENAMED, FLAGGED = range(4)  # number % 4


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


def make_file(base, name, number):
    """Whether the file is promised."""
    kind = number % 4
    first = name + {PLAIN: "", RENAMED_SYNCED: ".tmp", RENAMED: ".tmp", FLAGGED: ".data"}[kind]
    fd = os.open(first, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    try:
        write_all(fd, content(number))
        if kind != FLAGGED:
            os.fsync(fd)
    finally:
        os.close(fd)
    if kind == FLAGGED:
        os.close(os.open(name + ".flag", os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o644))
    elif kind != PLAIN:
        os.rename(first, name)
    if kind == RENAMED_SYNCED:
        fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    return kind != FLAGGED


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
            try:
                promised = make_file(base, name, number)
            except OSError as e:
                print(f"the writer of numbered files ends: {e.strerror}")
                return 0
            if promised:
                log.write(f"{number}\n")
                log.flush()
            number += 1


def holds(name, number):
    """What is wrong with a file; empty when nothing is."""
    try:
        with open(name, "rb") as f:
            data = f.read()
    except OSError as e:
        return e.strerror
    return "" if data == content(number) else f"{len(data)} bytes, wrong content"


def check(mount, numbers, flags_max):
    base = os.path.join(mount, "numbered")
    for number, later in zip(numbers, numbers[1:] + [0]):
        name = os.path.join(base, f"{number:08}")
        # What the same writer was promised next promises the rename too.
        if number % 4 == RENAMED and later != number + 2 and not os.path.exists(name):
            name += ".tmp"
        if wrong := holds(name, number):
            print(f"fsynced file {number}: {wrong}")
            return 1
    flags = sorted(name for name in os.listdir(base) if name.endswith(".flag")) if os.path.isdir(base) else []
    for flag in flags[-flags_max:]:
        if wrong := holds(os.path.join(base, flag[:8] + ".data"), int(flag[:8])):
            print(f"data of the flag {flag}: {wrong}")
            return 1
    print(f"{len(numbers)} fsynced files are right, and the data of {len(flags[-flags_max:])} flags")
    return 0


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("write", "check", "check-last"):
        sys.exit(__doc__)
    if sys.argv[1] == "write":
        return write(sys.argv[2], sys.argv[3])
    numbers = acknowledged(sys.argv[3])
    if sys.argv[1] == "check-last":
        return check(sys.argv[2], numbers[-20:], 20)
    return check(sys.argv[2], numbers, len(numbers) + 1000)


sys.exit(main())
