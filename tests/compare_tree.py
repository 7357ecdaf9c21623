#!/usr/bin/env python3
"""compare_tree.py A B: exit 0 when both trees are equal: names, types, content, sizes, modes, owners, modification
times in
nanoseconds, hard links, symbolic links, extended attributes, device numbers. Prints the first differences otherwise.
--no-directory-times leaves out the times of directories."""
import os
import stat
import sys

BLOCK = 1 << 20


def attributes(path):
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def walk(root):
    """Relative path -> lstat, with the top directory as b'.'."""
    found = {b".": os.lstat(root)}
    pending = [b""]
    while pending:
        at = pending.pop()
        for name in os.listdir(os.path.join(root, at)):
            path = os.path.join(at, name)
            status = os.lstat(os.path.join(root, path))
            found[path] = status
            if stat.S_ISDIR(status.st_mode):
                pending.append(path)
    return found


def same_content(a, b):
    with open(a, "rb") as fa, open(b, "rb") as fb:
        while True:
            block = fa.read(BLOCK)
            if block != fb.read(BLOCK):
                return False
            if not block:
                return True


def link_groups(tree):
    groups = {}
    for path, status in tree.items():
        if not stat.S_ISDIR(status.st_mode) and status.st_nlink > 1:
            groups.setdefault(status.st_ino, []).append(path)
    return sorted(sorted(group) for group in groups.values())


def differences(root_a, root_b, directory_times):
    a, b = walk(root_a), walk(root_b)
    for path in sorted(set(a) ^ set(b)):
        yield path, "only in " + (root_a if path in a else root_b).decode()
    for path in sorted(set(a) & set(b)):
        sa, sb = a[path], b[path]
        if sa.st_mode != sb.st_mode:
            yield path, f"mode {sa.st_mode:o} and {sb.st_mode:o}"
            continue
        if (sa.st_uid, sa.st_gid) != (sb.st_uid, sb.st_gid):
            yield path, "owner"
        if sa.st_mtime_ns != sb.st_mtime_ns and (directory_times or not stat.S_ISDIR(sa.st_mode)):
            yield path, f"mtime {sa.st_mtime_ns} and {sb.st_mtime_ns}"
        pa, pb = os.path.join(root_a, path), os.path.join(root_b, path)
        if stat.S_ISREG(sa.st_mode):
            if sa.st_size != sb.st_size:
                yield path, f"size {sa.st_size} and {sb.st_size}"
            elif not same_content(pa, pb):
                yield path, "content"
        elif stat.S_ISLNK(sa.st_mode) and os.readlink(pa) != os.readlink(pb):
            yield path, "link target"
        elif (stat.S_ISCHR(sa.st_mode) or stat.S_ISBLK(sa.st_mode)) and sa.st_rdev != sb.st_rdev:
            yield path, "device number"
        if attributes(pa) != attributes(pb):
            yield path, f"extended attributes {sorted(attributes(pa))} and {sorted(attributes(pb))}"
    if link_groups(a) != link_groups(b):
        yield b".", "hard links"


def main():
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    if len(arguments) != 2:
        sys.exit(__doc__)
    found = list(differences(os.fsencode(arguments[0]), os.fsencode(arguments[1]),
                             "--no-directory-times" not in sys.argv))
    for path, what in found[:20]:
        print(f"{os.fsdecode(path)!r}: {what}")
    print(f"{len(found)} differences")
    return 1 if found else 0


sys.exit(main())
