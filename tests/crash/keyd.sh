#!/usr/bin/env bash
# Key managers under everything that can happen to them, while a writer fsyncs numbered files: kill -9 of keyds, mounts,
# share servers and KMEs, one site's key directory put back from an older copy, a full key disk, a clock that jumps. A
# recorder sees every frame of every connection and proves that no byte of pad served twice; what was fsynced is there;
# everything recovers without a person.
#
#   tests/crash/keyd.sh              8 rounds
#   ROUNDS=1000 SEED=7 DISK=2G tests/crash/keyd.sh
#                                    a keyd that dies every few seconds never comes to give up what its peers have lost:
#                                    over many rounds the stores grow
KEY_SOURCE=kme
PAD_SIZE=32M
STORE_SIZE=8G
. "$(dirname "$0")/../lib.sh"
ROUNDS=${ROUNDS:-8}
DISK=${DISK:-1G}
RANDOM=${SEED:-1}
echo "seed ${SEED:-1}, $ROUNDS rounds"
command -v tcpdump >/dev/null || fail 'tcpdump is not installed (ci/packages)'
preload=/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1
[ -e "$preload" ] || fail 'libfaketime is not installed (ci/packages)'

# Key on a disk of its own that can be filled.
mount -t tmpfs -o size="$DISK" warifu-crash "$PADS" || fail 'a tmpfs for the pads'
cleanup_more() { umount -l "$PADS"; }
# The clock of every process of the deployment; timers keep their own. It jumps back and forth, always ahead of the real
# one: libfaketime takes a timer that is to end at once (asio's, at 1 ns of the monotonic clock) for one in the far
# future when its offset is negative and greater than the machine's uptime.
clock_base=140000
echo "+$clock_base" >"$WORK/clock"
export LD_PRELOAD=$preload FAKETIME_TIMESTAMP_FILE=$WORK/clock FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
export DONT_FAKE_MONOTONIC=1
up
unset LD_PRELOAD
warifu() { LD_PRELOAD=$preload "$WARIFU" "$@"; }

ports=$(jq -r '.server.listen' "$DIR"/sites/*/site.json | sed 's/.*://')
warifu umount "$DIR" || fail 'umount'
capture() {
    tcpdump -i lo -s 0 -B 524288 -w "$WORK/capture" "tcp and ($(echo "$ports" | sed 's/^/port /' | paste -sd'|' |
        sed 's/|/ or /g'))" >"$WORK/tcpdump.log" 2>&1 &
    tcpdump_pid=$!
    CLEANUP_PIDS=$tcpdump_pid
    sleep 0.5
    wait_for 10 grep -q listening "$WORK/tcpdump.log" || fail 'tcpdump does not start'
}
capture
warifu mount "$DIR" "$MNT" || fail 'mount'

acknowledged=$WORK/acknowledged
: >"$acknowledged"
export NUMBERED_MAX=60  # in a round: a site that missed something heals at the rate of its key
# Started without a function around it, so that $WRITER is the writer itself.
start_writer() {
    python3 "$here/e2e/numbered_files.py" write "$MNT" "$acknowledged" &
    WRITER=$!
    CLEANUP_PIDS="$tcpdump_pid $WRITER"
}
numbered() { python3 "$here/e2e/numbered_files.py" "$1" "$MNT" "$acknowledged"; }
# Not $(any_site): a subshell's RANDOM begins anew, whatever the seed.
any_site() { site=site$((RANDOM % 3 + 1)); }
start_site() { warifu site start "$DIR" "$1" --keyd >/dev/null 2>&1 || fail "start of $1"; }

kill_mount() {
    kill9 "$DIR/run/mount.pid"
    wait $WRITER
    umount -l "$MNT" 2>/dev/null
    wait_for 60 warifu mount "$DIR" "$MNT" 2>>"$WORK/mounts" || fail "mount: $(tail -1 "$WORK/mounts")"
}
kill_keyd() {
    local site
    any_site
    kill9 "$DIR/run/$site.keyd.pid"
    start_site "$site"
}
kill_server() {
    local site
    any_site
    kill9 "$DIR/run/$site.server.pid"
    start_site "$site"
}
kill_network() {
    kill9 "$DIR/run/kme-sim.pid"
    sleep 0.5
    warifu up "$DIR" >/dev/null || fail 'up'
}
copied=
copy_back() {
    # The first time a copy is taken; the next time it is put back, as an administrator would with an old backup.
    local site=$copied at
    [ -n "$site" ] || any_site
    at=$(realpath "$DIR/sites/$site/pads")
    kill9 "$DIR/run/$site.keyd.pid"
    if [ -z "$copied" ]; then
        cp -a "$at" "$WORK/copy" || fail 'the copy'
        copied=$site
    else
        find "$at" -mindepth 1 -delete && cp -a "$WORK/copy/." "$at/" && rm -rf "$WORK/copy" || fail 'the copy back'
        copied=
        rollbacks=$((rollbacks + 1))
    fi
    start_site "$site"
}
fill_disk() {
    head -c "$DISK" /dev/zero >"$PADS/filler" 2>/dev/null
    sleep 1
    rm "$PADS/filler"
    for site in site1 site2 site3; do start_site $site; done
}
step_clock() {
    echo "+$((clock_base + (RANDOM % 2 ? 1 : -1) * (100000 + RANDOM)))" >"$WORK/clock.new"
    mv "$WORK/clock.new" "$WORK/clock"
    sleep 0.3
}
rollbacks=0
explain() {
    warifu status "$DIR"
    warifu key status "$DIR"
}
actions=(kill_mount kill_keyd kill_keyd kill_server kill_network copy_back copy_back fill_disk step_clock)

more() { [ "$(wc -l <"$acknowledged")" -gt "$1" ]; }
# Starts a writer, whose first file tells that the mount has recovered from the round before.
start_round() {
    local before
    before=$(wc -l <"$acknowledged")
    start_writer
    wait_for 60 more "$before" || {
        explain
        fail "round $1: files can still be written"
    }
}

for round in $(seq "$ROUNDS"); do
    if ((round % 2)); then start_round "$round"; else start_writer; fi
    ms=$((RANDOM % 700 + 100))
    sleep "$(printf '0.%03d' $ms)"
    action=${actions[RANDOM % ${#actions[@]}]}
    $action
    sleep 0.3
    kill $WRITER 2>/dev/null
    wait $WRITER
    CLEANUP_PIDS=$tcpdump_pid
    wait_for 240 all_up || {
        explain
        fail "round $round, $action: not everything is up again"
    }
    numbered check-last || {
        explain
        fail "round $round, $action: a file that was fsynced"
    }
done
all="all $(wc -l <"$acknowledged") files after $ROUNDS rounds, $rollbacks old copies put back"
numbered check || {
    explain
    fail "$all"
}
echo "ok: $all"
start_round "$((ROUNDS + 1))"
kill $WRITER
wait $WRITER
warifu umount "$DIR" || fail 'umount'
kill $tcpdump_pid
wait $tcpdump_pid
CLEANUP_PIDS=
tail -3 "$WORK/tcpdump.log"
check 'no byte of pad carried two things' python3 "$here/crash/pad_recorder.py" "$WORK/capture" $ports
# A frame that does not verify would mean that the ends disagree about a byte.
check 'the ends agreed on every byte' bash -c "! grep -hE 'bad_tag|does not verify' '$DIR'/sites/*/log"
pass
