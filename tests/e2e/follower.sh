#!/usr/bin/env bash
# A writer at one site, a follower (mount -o ro) at another: the follower sees commits soon, and never a gap, a mix of
# two states or something that vanishes again; also when a site falls silent, and when another writer takes over.
# follower.sh [SECONDS]
. "$(dirname "$0")/../lib.sh"
SECONDS_EACH=${1:-${SECONDS_EACH:-15}}
up
id=$(jq -r .volume "$DIR/run/volume.json")
for n in 1 2 3; do
    "$WARIFU" access grant "$DIR/sites/site$n/site.json" "$id" site2 read || fail "grant at site$n"
done
follower=$DIR/mnt-site2
mkdir "$follower"
"$WARIFU" mount "$DIR" "$follower" --site site2 -o ro || fail 'the mount of the follower'
watch() { # WHAT: writer and watcher side by side
    rm -f "$MNT"/records "$MNT"/whole "$MNT"/file-*
    wait_for 30 test ! -e "$follower/records" || fail "$1: the follower does not see that files went"
    python3 "$here/e2e/follower.py" write "$MNT" "$SECONDS_EACH" &
    CLEANUP_PIDS=$!
    python3 "$here/e2e/follower.py" watch "$follower" "$SECONDS_EACH" || fail "$1"
    wait "$CLEANUP_PIDS" || fail "$1: the writer"
    wait_for 30 same_tree "$MNT" "$follower" >/dev/null || fail "$1: in the end the follower sees another tree"
    echo "ok: $1"
}
watch 'all sites up'
check 'nobody writes through a follower' bash -c "! touch '$follower/x' 2>/dev/null"
"$WARIFU" site stop "$DIR" site3 || fail 'site stop'
watch 'without the third site'
"$WARIFU" site start "$DIR" site3 || fail 'site start'
remount
watch 'after a remount of the writer'
# Idle, it asks its own site and costs next to nothing.
used() { "$WARIFU" status "$DIR/run/site2/volume.json" --json | jq '[.mount.pads[].sent_bytes] | add'; }
before=$(used)
sleep 20
after=$(used)
check 'an idle follower saves its pads' test "$before" -gt 0 -a $((after - before)) -lt 20000
echo "idle for 20 s: $((after - before)) pad bytes sent"
check 'umount of the follower' "$WARIFU" umount "$follower"
pass
