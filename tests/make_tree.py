#!/usr/bin/env python3
"""make_tree.py DIRECTORY [SEED]: fills an empty directory with everything that a copy may get wrong: hard links,
symbolic
links, sparse files, extended attributes, odd names, odd modes and times, special files, empty and large files, deep
and wide
directories. The same seed gives the same tree."""
import os
import random
import socket
import stat
import sys


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def odd_names(root, rng):
    names = ["gen\u00f4me-\u5272\u7b26.fa", "with^caret", "new\nline", "blank name", "-dash", "quote'\"", "back\\slash",
             "tab\tname",
             "x" * 255, "\u00e9" * 127, "..three", "*?[", "$HOME", "\x01control"]
    os.mkdir(os.path.join(root, "names"))
    for name in names:
        write(os.path.join(root, "names", name), name.encode() * 3)
    # Not UTF-8 at all: names are bytes.
    write(os.path.join(os.fsencode(root), b"names", b"latin1-\xe9\xff"), rng.randbytes(10))


def sizes(root, rng):
    os.mkdir(os.path.join(root, "sizes"))
    for size in (0, 1, 15, 16, 17, 4095, 4096, 4097, 8191, 8192, 65536, 131071, (1 << 20) + 1, (4 << 20) - 1, 4 << 20,
                 (9 << 20) + 12345):
        write(os.path.join(root, "sizes", str(size)), rng.randbytes(size))


def sparse(root, rng):
    os.mkdir(os.path.join(root, "sparse"))
    with open(os.path.join(root, "sparse", "holes"), "wb") as f:
        for offset in (1 << 20, 3 << 20, (10 << 20) + 77):
            f.seek(offset)
            f.write(rng.randbytes(5000))
        f.truncate(16 << 20)
    with open(os.path.join(root, "sparse", "only-hole"), "wb") as f:
        f.truncate(24 << 20)


def links(root, rng):
    base = os.path.join(root, "links")
    os.makedirs(os.path.join(base, "elsewhere"))
    write(os.path.join(base, "first"), rng.randbytes(3000))
    os.link(os.path.join(base, "first"), os.path.join(base, "second"))
    os.link(os.path.join(base, "first"), os.path.join(base, "elsewhere", "third"))
    os.symlink("first", os.path.join(base, "relative"))
    os.symlink("/nowhere/at/all", os.path.join(base, "dangling"))
    os.symlink("t" * 4000, os.path.join(base, "long"))
    os.symlink("..", os.path.join(base, "elsewhere", "up"))
    os.link(os.path.join(base, "dangling"), os.path.join(base, "dangling-again"), follow_symlinks=False)


def attributes(root, rng):
    base = os.path.join(root, "attributes")
    os.mkdir(base)
    path = os.path.join(base, "file")
    write(path, b"x")
    os.setxattr(path, "user.empty", b"")
    os.setxattr(path, "user.bytes", rng.randbytes(200))
    os.setxattr(path, "user.\u5272\u7b26", "value".encode())
    os.setxattr(path, "user.long", rng.randbytes(2000))
    os.setxattr(base, "user.directory", b"yes")


def modes_and_times(root, rng):
    base = os.path.join(root, "modes")
    os.mkdir(base)
    for mode in (0o000, 0o400, 0o644, 0o755, 0o777, 0o4755, 0o2755, 0o1644):
        path = os.path.join(base, f"{mode:o}")
        write(path, rng.randbytes(100))
        if os.geteuid() == 0:
            os.chown(path, 1000 + mode % 7, 2000 + mode % 5)
        os.chmod(path, mode)
    for index, nanoseconds in enumerate((0, 1, 999999999, 1234567890123456789, 4102444800 * 10**9 + 5)):
        path = os.path.join(base, f"time{index}")
        write(path, b"t")
        os.utime(path, ns=(nanoseconds, nanoseconds))
    os.mkdir(os.path.join(base, "closed"), 0o700)
    write(os.path.join(base, "closed", "inside"), b"i")
    os.chmod(os.path.join(base, "closed"), 0o555)


def special(root):
    base = os.path.join(root, "special")
    os.mkdir(base)
    os.mkfifo(os.path.join(base, "fifo"), 0o640)
    if os.geteuid() == 0:
        os.mknod(os.path.join(base, "null"), stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(os.path.join(base, "block"), stat.S_IFBLK | 0o600, os.makedev(7, 99))
    # A socket's path is short: bind it by a relative name.
    here = os.getcwd()
    os.chdir(base)
    server = socket.socket(socket.AF_UNIX)
    server.bind("socket")
    server.close()
    os.chdir(here)


def many(root, rng):
    wide = os.path.join(root, "wide")
    os.mkdir(wide)
    for i in range(600):
        write(os.path.join(wide, f"f{i:04}"), rng.randbytes(rng.randrange(0, 9000)))
    deep = os.path.join(root, "deep")
    for i in range(60):
        deep = os.path.join(deep, f"level{i}")
    os.makedirs(deep)
    write(os.path.join(deep, "bottom"), b"b")


def settle_times(root):
    """Directories get times that no later step disturbs."""
    for index, (at, _, _) in enumerate(sorted(os.walk(root), key=lambda entry: -entry[0].count(os.sep))):
        os.utime(at, ns=(10**18 + index, 15 * 10**17 + index * 1001))


def age(root):
    """Old times for all but directories and plain files: rsync leaves alone what differs by less than a second."""
    for base, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(base, name)
            if os.path.islink(path) or not (os.path.isdir(path) or os.path.isfile(path)):
                os.utime(path, ns=(10**18 + 1, 14 * 10**17 + 123456789), follow_symlinks=False)


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    root = sys.argv[1]
    rng = random.Random(int(sys.argv[2]) if len(sys.argv) == 3 else 1)
    for part in (odd_names, sizes, sparse, links, attributes, modes_and_times):
        part(root, rng)
    special(root)
    age(root)
    many(root, rng)
    settle_times(root)


main()
