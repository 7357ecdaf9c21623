#!/usr/bin/env python3
"""posix_smoke.py DIRECTORY: the calls that programs make most, with the outcomes that POSIX and Linux promise, on a
mounted
directory. Exit 1 at the first broken promise."""
import errno
import fcntl
import mmap
import os
import random
import stat
import sys
import threading


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


def raises(number, call, *arguments, **keywords):
    try:
        call(*arguments, **keywords)
    except OSError as e:
        expect(e.errno == number,
               f"{call.__name__}{arguments}: {errno.errorcode[e.errno]}, not {errno.errorcode[number]}")
        return
    raise AssertionError(f"{call.__name__}{arguments} succeeded, expected {errno.errorcode[number]}")


def put(path, data):
    with open(path, "wb") as f:
        f.write(data)


def get(path):
    with open(path, "rb") as f:
        return f.read()


def names_and_errors():
    put("a", b"1")
    raises(errno.EEXIST, os.open, "a", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    raises(errno.ENOENT, os.stat, "missing")
    raises(errno.ENOTDIR, os.stat, "a/b")
    os.mkdir("d")
    raises(errno.EEXIST, os.mkdir, "d")
    raises(errno.EISDIR, os.unlink, "d")
    raises(errno.ENOTDIR, os.rmdir, "a")
    put("d/x", b"x")
    raises(errno.ENOTEMPTY, os.rmdir, "d")
    raises(errno.ENAMETOOLONG, put, "n" * 256, b"")
    put("n" * 255, b"long")
    expect("n" * 255 in os.listdir("."), "a name of 255 bytes is listed")
    raises(errno.EINVAL, os.rename, "d", "d/inside")
    os.unlink("d/x")
    os.rmdir("d")


def renames():
    put("from", b"new")
    put("to", b"old")
    inode = os.stat("from").st_ino
    os.rename("from", "to")
    expect(get("to") == b"new" and not os.path.exists("from"), "rename replaces")
    expect(os.stat("to").st_ino == inode, "rename keeps the inode number")
    os.makedirs("r1/sub")
    os.mkdir("r2")
    os.rename("r1", "r2")
    expect(os.path.isdir("r2/sub"), "a directory replaces an empty one")
    put("r2/f", b"")
    os.mkdir("r3")
    raises(errno.ENOTEMPTY, os.rename, "r3", "r2")


def links():
    put("one", b"data")
    os.link("one", "two")
    expect(os.stat("one").st_nlink == 2, "link count")
    os.unlink("one")
    expect(get("two") == b"data" and os.stat("two").st_nlink == 1, "the other name keeps the data")
    os.symlink("two", "soft")
    expect(os.readlink("soft") == "two" and get("soft") == b"data", "symbolic link")
    expect(os.lstat("soft").st_size == 3, "size of a symbolic link")
    os.symlink("loop", "loop")
    raises(errno.ELOOP, os.stat, "loop")


def unlinked_while_open():
    fd = os.open("gone", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"still here")
    os.unlink("gone")
    expect(os.fstat(fd).st_nlink == 0, "no links")
    os.write(fd, b" and more")
    expect(os.pread(fd, 100, 0) == b"still here and more", "an unlinked open file lives")
    os.close(fd)


def offsets_and_sizes():
    rng = random.Random(3)
    model = bytearray()
    fd = os.open("model", os.O_CREAT | os.O_RDWR)
    for step in range(400):
        kind = rng.randrange(10)
        if kind < 6:
            offset, data = rng.randrange(3 << 20), rng.randbytes(rng.randrange(1, 200_000 if step % 20 == 0 else 9000))
            if len(model) < offset + len(data):
                model.extend(bytes(offset + len(data) - len(model)))
            model[offset:offset + len(data)] = data
            expect(os.pwrite(fd, data, offset) == len(data), "pwrite")
        elif kind == 6:
            size = rng.randrange(3 << 20)
            os.ftruncate(fd, size)
            model = model[:size] + bytes(max(0, size - len(model)))
        elif kind == 7:
            offset, size = rng.randrange(3 << 20), rng.randrange(1, 300_000)
            expect(os.pread(fd, size, offset) == bytes(model[offset:offset + size]), f"pread at step {step}")
        elif kind == 8:
            os.fsync(fd)
        else:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        expect(os.fstat(fd).st_size == len(model), f"size at step {step}")
    os.close(fd)
    expect(get("model") == bytes(model), "the whole file")


def append_and_truncate():
    fd = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    other = os.open("log", os.O_WRONLY | os.O_APPEND)
    for i in range(100):
        os.write(fd if i % 2 else other, b"%04d\n" % i)
    os.close(fd)
    os.close(other)
    expect(get("log") == b"".join(b"%04d\n" % i for i in range(100)), "appends from two descriptors keep their order")
    os.close(os.open("log", os.O_WRONLY | os.O_TRUNC))
    expect(os.stat("log").st_size == 0, "O_TRUNC")


def holes():
    fd = os.open("holes", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 64 << 20)
    expect(os.fstat(fd).st_blocks < 64, "a hole takes no space")
    os.pwrite(fd, b"x" * 4096, 32 << 20)
    expect(os.lseek(fd, 0, os.SEEK_DATA) <= 32 << 20, "SEEK_DATA")
    expect(os.lseek(fd, 32 << 20, os.SEEK_HOLE) >= (32 << 20) + 4096, "SEEK_HOLE")
    raises(errno.ENXIO, os.lseek, fd, 64 << 20, os.SEEK_DATA)
    expect(os.pread(fd, 10, 0) == bytes(10), "a hole reads as zeros")
    os.posix_fallocate(fd, 0, 1 << 20)
    os.close(fd)


def times_and_modes():
    put("times", b"")
    os.utime("times", ns=(1234567890123456789, 987654321987654321))
    status = os.stat("times")
    expect(status.st_atime_ns == 1234567890123456789 and status.st_mtime_ns == 987654321987654321, "nanosecond times")
    before = status.st_ctime_ns
    os.chmod("times", 0o4751)
    status = os.stat("times")
    expect(stat.S_IMODE(status.st_mode) == 0o4751 and status.st_ctime_ns > before, "chmod moves ctime only")
    expect(status.st_mtime_ns == 987654321987654321, "chmod leaves mtime")
    os.chown("times", 1234, 5678)
    status = os.stat("times")
    expect((status.st_uid, status.st_gid) == (1234, 5678), "chown")
    # A late flush must not move a time that was set after the write.
    with open("late", "wb") as f:
        f.write(b"z" * 100_000)
        f.flush()
        os.utime("late", ns=(5, 5))
        os.fsync(f.fileno())
    expect(os.stat("late").st_mtime_ns == 5, "a late flush leaves mtime")


def attributes():
    put("xattr", b"")
    os.setxattr("xattr", "user.a", b"1")
    raises(errno.EEXIST, os.setxattr, "xattr", "user.a", b"2", os.XATTR_CREATE)
    raises(errno.ENODATA, os.setxattr, "xattr", "user.b", b"2", os.XATTR_REPLACE)
    raises(errno.ENODATA, os.getxattr, "xattr", "user.b")
    os.setxattr("xattr", "user.big", b"b" * 2_000)
    expect(os.getxattr("xattr", "user.big") == b"b" * 2_000, "a large attribute")
    expect(sorted(os.listxattr("xattr")) == ["user.a", "user.big"], "listxattr")
    os.removexattr("xattr", "user.a")
    expect(os.listxattr("xattr") == ["user.big"], "removexattr")


def directories():
    os.mkdir("many")
    for i in range(3000):
        os.close(os.open(f"many/{i:05}", os.O_CREAT | os.O_WRONLY))
    expect(sorted(os.listdir("many")) == [f"{i:05}" for i in range(3000)], "3000 entries are listed once each")
    # Entries that vanish while the directory is read disturb nobody else.
    with os.scandir("many") as entries:
        seen = []
        for index, entry in enumerate(entries):
            seen.append(entry.name)
            if index % 3 == 0:
                os.unlink(f"many/{entry.name}")
    expect(len(seen) == len(set(seen)) and len(seen) == 3000, "readdir with concurrent unlink")
    expect(len(os.listdir("many")) == 2000, "what was not unlinked stays")
    expect(os.stat("many").st_nlink == 2, "link count of a directory")


def memory_maps():
    put("map", bytes(100_000))
    with open("map", "r+b") as f:
        with mmap.mmap(f.fileno(), 0) as m:
            m[50_000:50_005] = b"hello"
            m.flush()
    expect(get("map")[50_000:50_005] == b"hello", "a shared map is written back")


def locks():
    put("lock", b"")
    a = os.open("lock", os.O_RDWR)
    fcntl.lockf(a, fcntl.LOCK_EX, 10, 0)
    pid = os.fork()
    if pid == 0:
        b = os.open("lock", os.O_RDWR)
        try:
            fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5)
        except OSError as e:
            os._exit(0 if e.errno in (errno.EAGAIN, errno.EACCES) else 1)
        os._exit(1)
    expect(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "byte-range locks exclude other processes")
    os.close(a)


def copies():
    put("source", random.Random(9).randbytes(5_000_000))
    a, b = os.open("source", os.O_RDONLY), os.open("copy", os.O_CREAT | os.O_WRONLY)
    left = 5_000_000
    while left:
        done = os.copy_file_range(a, b, left)
        expect(done > 0, "copy_file_range")
        left -= done
    os.close(a)
    os.close(b)
    expect(get("source") == get("copy"), "copy_file_range copies")
    with open("source", "r+b") as f:
        f.write(b"changed")
    expect(get("copy")[:7] != b"changed", "a copy is no link")


def threads():
    def work(index):
        rng = random.Random(index)
        for i in range(60):
            data = rng.randbytes(rng.randrange(1, 40_000))
            put(f"t{index}-{i}", data)
            if get(f"t{index}-{i}") != data:
                failures.append(f"t{index}-{i}")
    failures = []
    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    expect(not failures, f"concurrent files: {failures[:3]}")


def space():
    status = os.statvfs(".")
    expect(status.f_blocks > 0 and 0 < status.f_bavail <= status.f_blocks, "statfs")
    expect(status.f_namemax == 255, "f_namemax")


def special_files():
    os.mkfifo("fifo", 0o600)
    expect(stat.S_ISFIFO(os.stat("fifo").st_mode), "fifo")
    os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    status = os.stat("null")
    expect(stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3), "device number")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    os.chdir(sys.argv[1])
    for part in (names_and_errors, renames, links, unlinked_while_open, offsets_and_sizes, append_and_truncate, holes,
                 times_and_modes, attributes, directories, memory_maps, locks, copies, threads, space, special_files):
        place = part.__name__
        os.mkdir(place)
        os.chdir(place)
        part()
        os.chdir("..")
        print("ok:", place)


main()
