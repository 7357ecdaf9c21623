#!/usr/bin/env bash
# Every named step of a commit, of an opening and of a site's store (fs/base/failpoint.h): the process ends there by
# SIGKILL, under a writer that fsyncs numbered files; a new start needs no repair and has every file that was fsynced.
# failpoints.sh [ROUNDS]: in round R the (7 R)th time that the step is reached.
STORE_SIZE=4G
. "$(dirname "$0")/../lib.sh"
ROUNDS=${1:-${ROUNDS:-1}}
up
acknowledged=$WORK/acknowledged
: >"$acknowledged"
write() { python3 "$here/e2e/numbered_files.py" write "$MNT" "$acknowledged" & WRITER=$!; CLEANUP_PIDS=$WRITER; }
last_are_right() { python3 "$here/e2e/numbered_files.py" check-last "$MNT" "$acknowledged"; }
gone() { ! process_runs "$1"; }
kills=0

# What the mount comes to while it serves. Churn fills the journal, so that snapshots are taken and chunks removed.
churn() {
    local value
    value=$(printf '%060000d' 7)
    while setfattr -n user.a -v "$value" "$MNT/churn" 2>/dev/null; do
        seq 9000 >"$MNT/short" && sync "$MNT/short" && rm "$MNT/short" || break
    done 2>/dev/null
}
mount_dies_at() { # POINT COUNT SECONDS
    local pid
    "$WARIFU" umount "$DIR" || fail "$1: umount"
    WARIFU_FAILPOINT=$1:$2 "$WARIFU" mount "$DIR" "$MNT" || fail "$1: mount"
    touch "$MNT/churn"
    write
    churn & pid=$!
    CLEANUP_PIDS="$WRITER $pid"
    wait_for "$3" gone "$DIR/run/mount.pid" || fail "$1: not reached $2 times in $3 s"
    wait "$WRITER" "$pid"
    umount -l "$MNT" 2>/dev/null
    mount_again
    last_are_right || fail "$1, reached $2 times"
    kills=$((kills + 1))
}
for round in $(seq "$ROUNDS"); do
    for point in commit.captured put.one_member put.all_members append.sealed append.one_member append.durable \
        commit.done; do
        mount_dies_at $point $((7 * round)) 120
    done
    for point in snapshot.written snapshot.cut reap.removed; do mount_dies_at $point "$round" 240; done
done
echo "ok: $kills deaths of the mount, $(wc -l <"$acknowledged") fsynced files"

# What an opening comes to; the second one finds what the first left behind. The journal's tail is that of a killed
# writer, which a site lacks.
for round in $(seq "$ROUNDS"); do
    for point in open.promised open.restored append.sealed append.one_member append.new_view open.written; do
        write
        sleep 0.4
        kill9 "$DIR/run/mount.pid" || fail 'kill of the mount'
        wait "$WRITER"
        umount -l "$MNT" 2>/dev/null
        WARIFU_FAILPOINT=$point "$WARIFU" mount "$DIR" "$MNT" 2>/dev/null && fail "$point: it was not reached"
        umount -l "$MNT" 2>/dev/null
        mount_again
        last_are_right || fail "$point in an opening"
        kills=$((kills + 1))
    done
    # The view without a silent site is being made durable.
    "$WARIFU" umount "$DIR" || fail umount
    WARIFU_FAILPOINT=append.new_view:2 "$WARIFU" mount "$DIR" "$MNT" || fail mount
    write
    "$WARIFU" site stop "$DIR" site2 || fail 'site stop'
    wait_for 120 gone "$DIR/run/mount.pid" || fail 'no member was dropped'
    wait "$WRITER"
    umount -l "$MNT" 2>/dev/null
    mount_again
    last_are_right || fail 'death while a member was dropped'
    "$WARIFU" site start "$DIR" site2 || fail 'site start'
    wait_for 120 state_is site2 up || fail 'site2 does not come back'
    kills=$((kills + 1))
done
echo 'ok: deaths in openings and while a member is dropped'

for round in $(seq "$ROUNDS"); do
    for point in store.written store.flushed; do
        for site in site1 site3; do
            "$WARIFU" site stop "$DIR" $site || fail 'site stop'
            WARIFU_FAILPOINT=$point:$((40 * round)) "$WARIFU" site start "$DIR" $site || fail 'site start'
            write
            wait_for 120 gone "$DIR/run/$site.server.pid" || fail "$point: not reached at $site"
            sleep 0.3
            kill "$WRITER" 2>/dev/null
            wait "$WRITER"
            "$WARIFU" site start "$DIR" $site || fail 'site start after its death'
            wait_for 120 state_is $site up || fail "$site does not come back after $point"
            last_are_right || fail "$point at $site"
            kills=$((kills + 1))
        done
    done
done
remount
check "every fsynced file after $kills deaths" python3 "$here/e2e/numbered_files.py" check "$MNT" "$acknowledged"
check 'audit' "$WARIFU" key audit "$DIR"
pass
