#!/usr/bin/env bash
# A mount with -o resume, whose daemon is killed again and again (kill -9) under programs that check everything they do:
# dd, rsync, random operations compared with a local disk, SQLite, an appender, exclusive creates and renames. None may
# see an error or a wrong byte, and everything is there after a plain remount. Then `mount --upgrade`.
#
#   ROUNDS=200 LONG_LIFE=12 tests/e2e/daemon_crash.sh
#
# A daemon that lives for seconds frees nothing: what is deleted stays for 10 s. So that many rounds have room, every
# fourth daemon may live LONG_LIFE seconds longer.
. "$(dirname "$0")/../lib.sh"
ROUNDS=${ROUNDS:-5}
LONG_LIFE=${LONG_LIFE:-0}
MODEL=$(dirname "$WARIFU")/tests/posix/model_check
[ -x "$MODEL" ] || fail "no $MODEL: ci/build dev model_check"
printf '6.9\n%s\n' "$(uname -r)" | sort -CV || skip "Linux $(uname -r) does not send requests again: 6.9 does"
STORE_SIZE=12G PAD_SIZE=512M
up
"$WARIFU" umount "$DIR" || fail umount
check 'mount with -o resume' "$WARIFU" mount "$DIR" "$MNT" -o resume
daemon() { field .mount.pid; }
daemons() { field .mount.resume.daemons; }

another_daemon() {
    local now
    now=$(daemons 2>/dev/null)
    [ -n "$now" ] && [ "$now" != null ] && [ "$now" != "$1" ]
}

mkdir -p "$WORK/tree" && cp -a /usr/include/linux "$WORK/tree/"
head -c 20000000 /dev/urandom >"$WORK/source"
stop=$WORK/stop

load_dd() {
    while [ ! -e "$stop" ]; do
        dd if="$WORK/source" of="$MNT/dd" bs=64k conv=fsync status=none || return 1
        cmp "$WORK/source" "$MNT/dd" || return 1
        dd if="$WORK/source" of="$MNT/dd" bs=300k conv=notrunc status=none || return 1
        cmp "$WORK/source" "$MNT/dd" || return 1
    done
}
load_rsync() {
    while true; do
        rsync -aHAX "$WORK/tree/" "$MNT/tree/" || return 1
        diff -r "$WORK/tree" "$MNT/tree" || return 1
        [ -z "$(rsync -aHAXin "$WORK/tree/" "$MNT/tree/")" ] || return 1
        [ -e "$stop" ] && return 0
        rm -r "$MNT/tree" || return 1
    done
}
load_model() {
    local seed=1
    mkdir "$MNT/model"
    while [ ! -e "$stop" ]; do
        "$MODEL" "$MNT/model" --operations 1500 --seed $seed || return 1
        seed=$((seed + 1))
    done
}
load_sqlite() {
    python3 - "$MNT/base.db" "$stop" <<'END'
import os, sqlite3, sys
path, stop = sys.argv[1:]
base = sqlite3.connect(path)
base.execute("create table t (n integer primary key, text blob)")
n = 0
while not os.path.exists(stop):
    with base:
        for _ in range(20):
            n += 1
            base.execute("insert into t values (?, ?)", (n, os.urandom(n % 3000)))
    if n % 2000 == 0:
        with base:
            base.execute("delete from t where n < ?", (n - 1000,))
assert base.execute("pragma integrity_check").fetchone() == ("ok",)
assert base.execute("select max(n) from t").fetchone() == (n,)
END
}
load_calls() {
    python3 - "$MNT/calls" "$stop" <<'END'
import os, sys
place, stop = sys.argv[1:]
os.mkdir(place)
os.chdir(place)
log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
lost = os.open("unnamed", os.O_RDWR | os.O_CREAT)
os.unlink("unnamed")
n = 0
while not os.path.exists(stop):
    n += 1
    assert os.write(log, b"%09d\n" % n) == 10
    assert os.pwrite(lost, b"%09d\n" % n, 10 * n) == 10
    fd = os.open("new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    os.write(fd, b"x" * (n % 5000))
    os.close(fd)
    os.mkdir("d%d" % n)
    os.rename("new", "d%d/f" % n)
    os.link("d%d/f" % n, "hard")
    assert os.stat("hard").st_nlink == 2 and os.stat("hard").st_size == n % 5000
    os.unlink("hard")
    os.symlink("to%d" % n, "link")
    assert os.readlink("link") == "to%d" % n
    os.unlink("link")
    os.setxattr("d%d/f" % n, "user.n", b"%d" % n, os.XATTR_CREATE)
    os.utime("d%d/f" % n, ns=(n, n))
    if n > 30:
        old = "d%d" % (n - 30)
        assert os.stat(old + "/f").st_mtime_ns == n - 30
        assert os.getxattr(old + "/f", "user.n") == b"%d" % (n - 30)
        os.unlink(old + "/f")
        os.rmdir(old)
os.fsync(log)
with open("log", "rb") as back:
    assert back.read() == b"".join(b"%09d\n" % i for i in range(1, n + 1))
assert os.pread(lost, 10 * n + 10, 0) == bytes(10) + b"".join(b"%09d\n" % i for i in range(1, n + 1))
assert len(os.listdir(".")) == min(n, 30) + 1, os.listdir(".")
END
}

loads=()
for load in dd rsync model sqlite calls; do
    (load_$load >"$WORK/$load.out" 2>&1) &
    loads+=("$!:$load")
    CLEANUP_PIDS="${CLEANUP_PIDS:-} $!"
done
all_run() {
    local one
    for one in "${loads[@]}"; do
        kill -0 "${one%%:*}" 2>/dev/null && continue
        cat "$WORK/${one#*:}.out"
        fail "${one#*:} ended early in round $round"
    done
}
longest=0
for round in $(seq "$ROUNDS"); do
    sleep "$((5 + RANDOM % 3)).$((RANDOM % 10))"
    [ $((round % 4)) = 0 ] && sleep "$LONG_LIFE"
    all_run
    pid=$(daemon)
    before=$(daemons)
    begin=$(date +%s%N)
    kill -9 "$pid" || fail "no daemon $pid"
    wait_for 60 another_daemon "$before" || fail "no daemon came back in round $round"
    stat "$MNT/round$round" >/dev/null 2>&1
    pause=$((($(date +%s%N) - begin) / 1000000))
    [ $pause -gt $longest ] && longest=$pause
done
echo "$ROUNDS rounds; the longest pause was $longest ms"
sleep 2
all_run
touch "$stop"
for one in "${loads[@]}"; do
    wait "${one%%:*}" || { cat "$WORK/${one#*:}.out"; fail "${one#*:} saw an error"; }
    echo "ok: ${one#*:} noticed nothing"
done
check 'the redo log held everything' test "$(field .mount.resume.complete)" = true

before=$(daemons)
check 'mount --upgrade' "$WARIFU" mount "$DIR" "$MNT" --upgrade
check 'another daemon serves it' test "$(daemons)" -gt "$before"
check 'it is the same mount' cmp "$WORK/source" "$MNT/dd"
remount
check 'rsync: the tree after a remount' diff -r "$WORK/tree" "$MNT/tree"
check 'SQLite after a remount' test "$(sqlite3 "$MNT/base.db" 'pragma integrity_check')" = ok
refuses 2 'not mounted with -o resume' "$WARIFU" mount "$DIR" "$MNT" --upgrade

# Without its holder a daemon ends the mount in order.
"$WARIFU" umount "$DIR" && "$WARIFU" mount "$DIR" "$MNT" -o resume || fail 'mount -o resume'
echo late >"$MNT/late"
pid=$(daemon)
kill9 "$DIR/run/mount.pid" || fail 'kill the holder'
check 'the daemon ends without its holder' wait_for 60 eval '[ -z "$(start_time "$pid")" ]'
mount_again
check 'what was written last' grep -qx late "$MNT/late"
pass
