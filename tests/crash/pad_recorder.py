#!/usr/bin/env python3
"""pad_recorder.py CAPTURE PORT...: reads a capture (pcap of loopback) of all share connections to these ports and
checks that no byte of pad ever carried two different things:

- every sealed frame (fs/otp/FORMAT.md) takes pad [offset, offset + length + 16): two frames of one pad stream either
  are the same bytes or do not overlap, over all connections;
- a hello slot (fs/wire/FORMAT.md) authenticates one greeting only.

Prints what it saw. Exit 1: a byte was used twice. 2: the capture is not whole, so that it proves nothing."""
import bisect
import hashlib
import struct
import sys

GREETING_MAGIC = b"WRFU"
OTP = 1


def packets(path):
    """Link-layer packets of a pcap file."""
    with open(path, "rb") as file:
        header = file.read(24)
        order = "<" if header[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") else ">"
        if struct.unpack(order + "I", header[20:24])[0] != 1:
            sys.exit("pad_recorder: not a capture of Ethernet frames")
        while True:
            head = file.read(16)
            if len(head) < 16:
                return
            size = struct.unpack(order + "IIII", head)[2]
            yield file.read(size)


class Direction:
    """Bytes of one direction of one connection, in order as far as they came."""

    def __init__(self):
        self.next = None
        self.early = {}
        self.fresh = bytearray()

    def start(self, sequence):
        self.next = (sequence + 1) & 0xFFFFFFFF

    def add(self, sequence, data):
        if self.next is None:
            return
        ahead = (sequence - self.next) & 0xFFFFFFFF
        if ahead >= 1 << 31:  # begins with bytes that were seen before
            known = (1 << 32) - ahead
            if known >= len(data):
                return
            data, ahead = data[known:], 0
        if ahead:
            if len(data) > len(self.early.get(ahead + self.next & 0xFFFFFFFF, b"")):
                self.early[ahead + self.next & 0xFFFFFFFF] = data
            return
        self.fresh += data
        self.next = (self.next + len(data)) & 0xFFFFFFFF
        for at in sorted(self.early, key=lambda s: (s - self.next) & 0xFFFFFFFF):
            behind = (self.next - at) & 0xFFFFFFFF
            if behind < 1 << 31:
                data = self.early.pop(at)
                if behind < len(data):
                    self.fresh += data[behind:]
                    self.next = (self.next + len(data) - behind) & 0xFFFFFFFF


class Recorder:
    def __init__(self):
        self.frames = {}  # pad stream -> {offset: (end, digest)}
        self.slots = {}  # pad stream -> {slot offset: digest of what it authenticated}
        self.reused = []
        self.frame_count = 0
        self.byte_count = 0

    def frame(self, stream, offset, size, content):
        digest = hashlib.blake2b(content, digest_size=16).digest()
        self.frame_count += 1
        self.byte_count += size
        at = self.frames.setdefault(stream, {})
        seen = at.get(offset)
        if seen is None:
            at[offset] = (offset + size, digest)
        elif seen != (offset + size, digest):
            self.reused.append(f"{stream}: two different frames at {offset}")

    def slot(self, stream, offset, content):
        digest = hashlib.blake2b(content, digest_size=16).digest()
        if self.slots.setdefault(stream, {}).setdefault(offset, digest) != digest:
            self.reused.append(f"{stream}: hello slot {offset} authenticated two greetings")

    def overlaps(self):
        for stream, frames in self.frames.items():
            end = 0
            for offset in sorted(frames):
                if offset < end:
                    self.reused.append(f"{stream}: frames overlap at {offset}")
                end = max(end, frames[offset][0])
        for stream, slots in self.slots.items():
            frames = self.frames.get(stream, {})
            starts = sorted(frames)
            for offset in slots:
                i = bisect.bisect_right(starts, offset) - 1
                if i >= 0 and frames[starts[i]][0] > offset:
                    self.reused.append(f"{stream}: hello slot {offset} lies in a frame")


class Connection:
    """Parses both directions: greeting messages, then frames."""

    def __init__(self, recorder):
        self.recorder = recorder
        self.directions = (Direction(), Direction())  # from the initiator, to it
        self.greeted = [False, False]
        self.names = None
        self.plain = False
        self.transcript = bytearray()

    def advance(self):
        moved = True
        while moved and not self.plain:
            moved = self.step(0) or self.step(1)

    def step(self, index):
        data = self.directions[index].fresh
        if data[:4] == GREETING_MAGIC and not self.greeted[index]:
            return self.greeting(index, data)
        if len(data) < 12 or self.names is None:
            return False
        self.greeted[index] = True
        offset, length = struct.unpack(">QI", data[:12])
        if not 1 <= length <= 262144:
            raise ValueError("a frame of impossible length")
        if len(data) < 12 + length + 16:
            return False
        stream = "->".join(self.names if index == 0 else self.names[::-1])
        self.recorder.frame(stream, offset, length + 16, bytes(data[12 : 12 + length + 16]))
        del data[: 12 + length + 16]
        return True

    def greeting(self, index, data):
        if len(data) < 10:
            return False
        kind, size = data[6], struct.unpack(">H", data[8:10])[0]
        if len(data) < 10 + size:
            return False
        body = bytes(data[10 : 10 + size])
        if kind == 1:
            self.plain = body[0] != OTP
            at = 1 + 4 * 16
            initiator = body[at + 1 : at + 1 + body[at]].decode()
            at += 1 + body[at]
            self.names = (initiator, body[at + 1 : at + 1 + body[at]].decode())
        self.transcript += data[: 10 + size]
        if kind == 3:
            self.recorder.slot("->".join(self.names), struct.unpack(">Q", body[:8])[0], bytes(self.transcript))
        del data[: 10 + size]
        return True


def main():
    ports = {int(port) for port in sys.argv[2:]}
    recorder, connections, torn, count = Recorder(), {}, 0, 0
    for packet in packets(sys.argv[1]):
        if packet[12:14] != b"\x08\x00" or packet[23] != 6:
            continue
        ip = packet[14:]
        tcp = ip[(ip[0] & 15) * 4 : struct.unpack(">H", ip[2:4])[0]]
        source, target, sequence = struct.unpack(">HHI", tcp[:8])
        if not (target in ports or source in ports):
            continue
        to_server = target in ports
        key = (source, target) if to_server else (target, source)
        index = 0 if to_server else 1
        flags, data = tcp[13], tcp[(tcp[12] >> 4) * 4 :]
        if flags & 2:
            if to_server:
                torn += finish(connections.pop(key, None))
                connections[key] = Connection(recorder)
                count += 1
            if key in connections:
                connections[key].directions[index].start(sequence)
            continue
        connection = connections.get(key)
        if connection is None or not data:
            continue
        connection.directions[index].add(sequence, data)
        try:
            connection.advance()
        except ValueError as error:
            sys.exit(f"pad_recorder: {error}: the parser or the capture is wrong")
    torn += sum(finish(one) for one in connections.values())
    recorder.overlaps()
    slots = sum(len(one) for one in recorder.slots.values())
    print(f"{count} connections, {recorder.frame_count} frames, {recorder.byte_count} bytes of pad, {slots} greetings")
    for line in recorder.reused[:20]:
        print("REUSED", line)
    if torn:
        print(f"{torn} directions have holes: the capture lost packets")
    sys.exit(1 if recorder.reused else 2 if torn or recorder.frame_count == 0 else 0)


def finish(connection):
    """How many directions miss bytes in the middle."""
    if connection is None or connection.plain:
        return 0
    return sum(bool(one.early) for one in connection.directions)


main()
