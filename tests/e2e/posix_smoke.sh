#!/usr/bin/env bash
# Brings a deployment up, uses it as programs do, takes it down and brings it up again: nothing is lost, everything is
# idempotent.
. "$(dirname "$0")/../lib.sh"
up
check 'mounted' mountpoint -q "$MNT"
for file in mnt sites/site1/store sites/site1/site.json sites/site1/log sites/site3/store run/mount.pid \
    run/volume.json \
    run/site1.keyd.pid run/site1.server.pid run/site3.keyd.pid run/site3.server.pid run/dealer.pid; do
    check "layout: $file" test -e "$DIR/$file"
done
mkdir "$MNT/posix"
check 'POSIX calls' python3 "$here/e2e/posix_smoke.py" "$MNT/posix"
chmod 755 "$WORK" "$DIR"
check 'the tables of calls' "$(dirname "$WARIFU")/tests/posix/posix_check" "$MNT" --entries 2000

status=$("$WARIFU" status "$DIR" --json) || fail 'status of a healthy deployment'
for path in volume.k volume.n volume.epoch volume.writable volume.claim volume.view volume.restorable_bytes \
    volume.writable_bytes; do
    check "status has $path" jq -e ".$path != null" <<<"$status" >/dev/null
done
check 'all sites are up' jq -e '[.sites[].state] == ["up", "up", "up"]' <<<"$status"
check 'the view has all sites' jq -e '.volume.view == ["site1", "site2", "site3"]' <<<"$status"
check 'the claim is the weakest link' jq -e '.volume.claim == "computational"' <<<"$status"
check 'links tell stock and use' jq -e '.links | length > 0 and all(.[];
    (.from | type) == "string" and (.to | type) == "string"
    and .pad_available_bytes >= 0 and .pad_used_bytes >= 0)' <<<"$status"
check 'a table for people' grep -q site2 <("$WARIFU" status "$DIR")

cp -a "$MNT/posix" "$WORK/before"
check 'up again changes nothing' "$WARIFU" up "$DIR"
remount
check 'the tree survives a remount' same_tree "$WORK/before" "$MNT/posix"
check 'down' "$WARIFU" down "$DIR"
check 'not mounted any more' bash -c "! mountpoint -q '$MNT'"
for file in "$DIR"/run/*.pid; do
    if [ -f "$file" ] && process_runs "$file"; then fail "$file still runs"; fi
done
check 'down is idempotent' "$WARIFU" down "$DIR"
"$WARIFU" status "$DIR" --json >"$WORK/status.down" && fail 'status of a stopped deployment must not be 0'
check 'status works with everything down' jq -e '[.sites[].state] == ["down", "down", "down"]' "$WORK/status.down"
check 'up starts it again' "$WARIFU" up "$DIR"
check 'the tree survives down and up' same_tree "$WORK/before" "$MNT/posix"
pass
