#!/usr/bin/env bash
# Sharing randomness from a site's random pool: filled from a file and from a device, used by the mount, shown in
# status; short randomness slows writing down and loses nothing.
. "$(dirname "$0")/../lib.sh"
site=$DIR/sites/site1/site.json
volume=$DIR/run/volume.json
sock_status() { "$WARIFU" key status "$site" --json; }
# edit FILE FILTER...: rewrites a JSON file.
edit() {
    local file=$1
    shift
    jq "$@" "$file" >"$WORK/edited.json" && cat "$WORK/edited.json" >"$file"
}
random_used() { sock_status | jq '[.[].streams[] | select(.direction == "random").used_bytes] | add // 0'; }
claim() { "$WARIFU" status "$DIR" --json | jq -r .volume.claim; }
alarmed() { sock_status | jq -e --arg what "$1" '.[].alarms | map(select(test($what))) | length > 0' >/dev/null; }

up
check 'drbg is computational' test "$(claim)" = computational
check 'down' "$WARIFU" down "$DIR"

# From a file: 24 MiB, used up from its end.
head -c $((24 << 20)) /dev/urandom >"$WORK/numbers"
cp "$WORK/numbers" "$WORK/numbers.before"
edit "$site" --arg file "$WORK/numbers" '.keyd.random = {device: $file, claim: "simulated", target: 8388608}' ||
    fail 'edit site.json'
edit "$volume" '.randomness = "pool"' || fail 'edit volume.json'
check 'up with randomness from the pool' "$WARIFU" up "$DIR"
check 'the claim of pool and pads' test "$(claim)" = simulated
is_shorter() { [ "$(stat -c %s "$WORK/numbers")" -lt $((24 << 20)) ]; }
check 'the file is used up from its end' wait_for 60 is_shorter
check 'its beginning is what it was' cmp -n $((4 << 20)) "$WORK/numbers" "$WORK/numbers.before"
used_before=$("$WARIFU" status "$DIR" --json | jq .volume.random_bytes)
head -c 4000000 /dev/urandom >"$WORK/data"
cp "$WORK/data" "$MNT/first" && sync "$MNT/first" || fail 'write with randomness from the pool'
check 'what was written' cmp "$WORK/data" "$MNT/first"
used_after=$("$WARIFU" status "$DIR" --json | jq .volume.random_bytes)
check 'a random byte for each byte' test $((used_after - used_before)) -ge 4000000
check 'keyd counts them' test "$(random_used)" -ge 4000000

# It runs dry in the middle of a copy: the copy waits and says why; unlink, reading and the rest go on.
head -c 40000000 /dev/urandom >"$WORK/large"
cp "$WORK/large" "$MNT/large" &
copy=$!
CLEANUP_PIDS="${CLEANUP_PIDS:-} $copy"
waits() { "$WARIFU" status "$DIR" --json | jq -e '.volume.reason | test("random")' >/dev/null; }
wait_for 120 waits || fail 'status does not tell that randomness is short'
echo 'ok: status tells that randomness is short'
check 'reading goes on' cmp "$WORK/data" "$MNT/first"
check 'the alarm names the file' wait_for 60 alarmed 'no random bytes are left in the file'
# More numbers arrive, at the end of the file.
head -c $((64 << 20)) /dev/urandom >>"$WORK/numbers"
wait $copy || fail 'the copy that waited'
sync "$MNT/large" || fail 'fsync of what waited'
check 'nothing was lost' cmp "$WORK/large" "$MNT/large"
check 'down again' "$WARIFU" down "$DIR"

# From a device, as a QRNG is one. The volume stays what it was.
edit "$site" '.keyd.random = {device: "/dev/urandom", claim: "simulated", target: 16777216}' || fail 'edit site.json'
check 'up with a device' "$WARIFU" up "$DIR"
check 'it reads back' cmp "$WORK/large" "$MNT/large"
cp "$WORK/large" "$MNT/again" && sync "$MNT/again" || fail 'write with randomness from a device'
check 'written' cmp "$WORK/large" "$MNT/again"
check 'the claim is the same' test "$(claim)" = simulated

# A device that is stuck brings nothing: keyd says so, and nothing of it is ever used.
check 'down before the stuck device' "$WARIFU" down "$DIR"
edit "$site" '.keyd.random = {device: "/dev/zero", claim: "information-theoretic", target: 1073741824}' ||
    fail 'edit site.json'
check 'up with a stuck device' "$WARIFU" up "$DIR"
stuck() { sock_status | jq -e '.[].failures.health_tests >= 1' >/dev/null; }
wait_for 60 stuck || fail 'a stuck device passed the health tests'
check 'a stuck device is an alarm' wait_for 60 alarmed 'repetition count test'
check 'the claim did not rise' test "$(claim)" = simulated
pass
