#!/usr/bin/env bash
# With a 64-byte marker in contents and names: a capture of all loopback traffic and the raw bytes of every store, pad
# directory, log and run-time file hold no 8-byte piece of it; one site's share of a highly structured file looks
# random.
STORE_SIZE=256M
PAD_SIZE=160M
. "$(dirname "$0")/../lib.sh"
command -v tcpdump >/dev/null || fail 'tcpdump is not installed (ci/packages)'
random_letters() { LC_ALL=C tr -dc 'A-Za-z0-9' </dev/urandom | head -c "$1"; }
marker=$(random_letters 64)
control=$(random_letters 64)
search() { python3 "$here/e2e/search_marker.py" "$@"; }

# The search finds what it should: otherwise nothing below would mean anything.
printf 'x%s' "$marker" >"$WORK/plain"
search "$marker" "$WORK/plain" >/dev/null && fail 'the search does not find the marker in a plain file'
printf 'xx%s' "${marker:20:8}" >"$WORK/plain"
search "$marker" "$WORK/plain" >/dev/null && fail 'the search does not find a piece of the marker'
rm "$WORK/plain"

mkdir -p "$DIR"
tcpdump -i lo -s 0 -B 262144 -U -w "$WORK/capture" >"$WORK/tcpdump.log" 2>&1 &
tcpdump_pid=$!
CLEANUP_PIDS=$tcpdump_pid
wait_for 10 grep -q listening "$WORK/tcpdump.log" || fail 'tcpdump does not start'
up
# The capture sees loopback: a control text sent in clear must be in it.
python3 - "$control" <<'P'
import socket, sys
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
client.sendall(sys.argv[1].encode())
server.accept()[0].recv(100)
P

mkdir "$MNT/$marker"
for i in $(seq 50); do printf '%s %d\n' "$marker" "$i" >"$MNT/$marker/$marker.$i"; done
yes "$marker" | head -c 6000000 >"$MNT/many"
ln -s "$marker" "$MNT/link"
setfattr -n "user.$marker" -v "$marker" "$MNT/many"
mv "$MNT/$marker/$marker.1" "$MNT/$marker/renamed-$marker"
sync "$MNT/many"
check 'content is there' grep -q "$marker 7" "$MNT/$marker/$marker.7"
remount
check 'content after a remount' grep -q "$marker 9" "$MNT/$marker/$marker.9"
"$WARIFU" restore "$DIR" "$WORK/restored" --from site2,site3 many || fail 'restore'
check 'restore brought it back' cmp "$WORK/restored/many" "$MNT/many"
rm -r "$WORK/restored"

# Structured content for the statistics: zeros, and a short period.
"$WARIFU" umount "$DIR" || fail umount
for n in 1 2 3; do cp --sparse=always "$DIR/sites/site$n/store" "$WORK/before$n"; done
mount_again
head -c 12000000 /dev/zero >"$MNT/zeros"
yes GATTACA | head -c 12000000 >"$MNT/period"
sync "$MNT/zeros"
"$WARIFU" down "$DIR" || fail down
for n in 1 2 3; do
    check "site$n's share of structured files looks random" \
        python3 "$here/e2e/share_statistics.py" "$WORK/before$n" "$DIR/sites/site$n/store"
    rm "$WORK/before$n"
done

kill -INT $tcpdump_pid
wait $tcpdump_pid
grep -qE '^0 packets dropped by kernel' "$WORK/tcpdump.log" || fail "the capture has gaps: $(cat "$WORK/tcpdump.log")"
search "$control" "$WORK/capture" >/dev/null && fail 'the capture did not see the control text'
check 'no piece on the network' search "$marker" "$WORK/capture"
check 'no piece in stores, logs, configuration' search "$marker" "$DIR/sites" "$DIR/run"
check 'no piece in the pad directories' search "$marker" "$PADS"
check 'up again' "$WARIFU" up "$DIR"
check 'audit' "$WARIFU" key audit "$DIR"
pass
