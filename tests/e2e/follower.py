#!/usr/bin/env python3
"""follower.py write MNT SECONDS: appends numbered records (number and time) to MNT/records with an fsync each, replaces
MNT/whole by rename (every byte of a state is its number), creates and removes files named after their content.
follower.py watch MNT SECONDS: what a follower must never see is an error: a gap or a vanished record, a mix of two
states of the replaced file, a number that goes back. Prints the lag of records."""
import os
import sys
import time

RECORDS_MIN = 60  # also on a busy machine


def sync_write(path, data, flags=os.O_CREAT | os.O_WRONLY | os.O_TRUNC):
    fd = os.open(path, flags, 0o644)
    os.write(fd, data)
    os.fsync(fd)
    os.close(fd)


def write(mount, seconds):
    number = 0
    until = time.time() + seconds
    while time.time() < until or number < RECORDS_MIN:
        number += 1
        sync_write(f"{mount}/records", b"%08d %017.6f\n" % (number, time.time()),
                   os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        if number % 3 == 0:
            # Sizes differ, so that a mix shows as a wrong size or a wrong byte.
            sync_write(f"{mount}/whole.new", (b"%08d" % number) * (1000 + number % 7 * 3000))
            os.rename(f"{mount}/whole.new", f"{mount}/whole")
        if number % 5 == 0:
            sync_write(f"{mount}/file-{number}", b"%08d" % number)
        if number % 10 == 0 and number > 50:
            os.unlink(f"{mount}/file-{number - 50}")
    print(f"{number} records written")
    return 0


class watcher:
    def __init__(self, mount):
        self.mount = mount
        self.records = 0
        self.whole = 0
        self.lags = []
        self.looks = 0

    def check_records(self):
        with open(f"{self.mount}/records", "rb") as f:
            data = f.read()
        now = time.time()
        assert len(data) % 27 == 0, f"a torn record: {len(data)} bytes"
        count = len(data) // 27
        assert count >= self.records, f"records vanished: {self.records}, then {count}"
        for i in range(count):
            line = data[27 * i:27 * (i + 1)]
            assert int(line[:8]) == i + 1, f"record {i + 1} reads {line!r}"
            if i >= self.records and self.looks > 0:
                self.lags.append(now - float(line[9:26]))
        self.records = count

    def check_whole(self):
        try:
            with open(f"{self.mount}/whole", "rb") as f:
                data = f.read()
        except FileNotFoundError:
            assert self.whole == 0, "the replaced file vanished"
            return
        except OSError as e:
            if e.errno == 116:  # ESTALE: replaced between open and read
                return
            raise
        number = int(data[:8])
        assert data == (b"%08d" % number) * (1000 + number % 7 * 3000), f"a mix of states, {len(data)} bytes, {number}"
        assert number >= self.whole, f"state {self.whole}, then {number}"
        self.whole = number

    def check_files(self):
        for name in os.listdir(self.mount):
            if not name.startswith("file-"):
                continue
            try:
                with open(f"{self.mount}/{name}", "rb") as f:
                    data = f.read()
            except OSError as e:
                if e.errno in (2, 116):  # removed since the listing
                    continue
                raise
            assert data == b"%08d" % int(name[5:]), f"{name} holds {data!r}"

    def is_enough(self):
        return len(self.lags) > 20 and self.looks > 20

    def watch(self, seconds):
        start = time.time()
        while time.time() < start + seconds or (not self.is_enough() and time.time() < start + seconds + 180):
            if os.path.exists(f"{self.mount}/records"):
                self.check_records()
                self.check_whole()
                self.check_files()
                self.looks += 1
            time.sleep(0.05)
        lags = sorted(self.lags)
        assert self.is_enough(), f"{len(lags)} records in {self.looks} looks: nothing to judge"
        print(f"{self.looks} looks, {self.records} records; lag p50 {lags[len(lags) // 2] * 1000:.0f} ms, "
              f"p99 {lags[len(lags) * 99 // 100] * 1000:.0f} ms, most {lags[-1] * 1000:.0f} ms")


def main():
    mode, mount, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    if mode == "write":
        return write(mount, seconds)
    try:
        watcher(mount).watch(seconds)
    except AssertionError as e:
        print(f"the follower shows what it must not: {e}")
        return 1
    return 0


sys.exit(main())
