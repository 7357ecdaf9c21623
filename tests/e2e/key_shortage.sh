#!/usr/bin/env bash
# Key runs out in the middle of a copy: the copy goes on at the key's rate and the reason can be seen; it resumes when
# the rate is raised; without any key it fails cleanly at the time-out, names are still served, nothing is lost.
#
#   tests/e2e/key_shortage.sh [MIB]      the size of the copies, 128 MiB: more than the keyds and KMEs may have in stock
KEY_SOURCE=kme
PAD_SIZE=24M
. "$(dirname "$0")/../lib.sh"
size=${1:-128}
up --link-rate 200M
network() { "$WARIFU" kme-sim fault "$DIR/run/kme-sim.sock" "$@" >/dev/null; }
head -c "${size}M" /dev/urandom >"$WORK/source"
mkdir "$MNT/dir" && seq 1000 >"$MNT/dir/old" && sync "$MNT" || fail 'first files'

check 'the links become slow: 10 Mbit/s per direction' network rate value=20000000
cp "$WORK/source" "$MNT/slow" && sync "$MNT" &
copy=$!
tells_shortage() { field '.mount.upload.waits_for_key[]' | grep -q site; }
check 'the reason can be seen' wait_for 30 tells_shortage
check 'the copy goes on' kill -0 $copy
check 'names are served meanwhile' timeout 20 ls -l "$MNT/dir"
check 'the rate is raised' network clear
check 'the copy ends well' wait $copy
check 'and equals' cmp "$WORK/source" "$MNT/slow"

plenty() { "$WARIFU" status "$DIR" --json | jq -e '.volume.writable_bytes > 16000000' >/dev/null; }
check 'the links fill' wait_for 60 plenty
check 'the links go down' network link_down
timeout 300 dd if="$WORK/source" of="$MNT/never" bs=1M 2>"$WORK/dd"
check 'a copy without key fails, and says so' grep -q 'No space left' "$WORK/dd"
cat "$WORK/dd"
check 'what was accepted of it has its key' timeout 60 sync "$MNT/never"
accepted=$(stat -c %s "$MNT/never")
check "which are $accepted bytes" test "$accepted" -gt 4000000
check 'names are still served' timeout 20 ls -l "$MNT/dir"
check 'and removed' timeout 20 rm "$MNT/slow"
check 'the links come back' network clear
check 'the mount has recovered' wait_for 120 bash -c "seq 1000 >'$MNT/new' && sync '$MNT/new'"
remount
check 'what was accepted is right' cmp -n "$accepted" "$WORK/source" "$MNT/never"
check 'and all of it' test "$(stat -c %s "$MNT/never")" = "$accepted"
check 'nothing was lost' cmp "$MNT/dir/old" "$MNT/new"
check 'what was removed is gone' test ! -e "$MNT/slow"
check 'no byte was used twice' "$WARIFU" key audit "$DIR"
pass
