#!/usr/bin/env bash
# The commands of a real deployment, as the README shows them: sites made by hand, pads dealt and carried, grants, a
# volume, a mount from the first site, and a restore by a fourth machine.
. "$(dirname "$0")/../lib.sh"
ports=($(python3 -c "
import socket
s = [socket.socket() for _ in range(3)]
for x in s: x.bind(('127.0.0.1', 0))
print(*[x.getsockname()[1] for x in s])"))
cd "$WORK"
for n in 1 2 3; do
    peers=()
    for m in 1 2 3; do [ $n = $m ] || peers+=(--peer "site$m=127.0.0.1:${ports[m - 1]}"); done
    "$WARIFU" site init "real/site$n" --name "site$n" --listen "127.0.0.1:${ports[n - 1]}" \
        --store-size 256M "${peers[@]}" ||
        fail "site init site$n"
done
refuses 7 'site.json' "$WARIFU" site init real/site1 --name site1 --listen 127.0.0.1:1
mkdir courier
for pair in 'site1 site2' 'site1 site3' 'site2 site3'; do
    "$WARIFU" key deal $pair --size 64M --out courier || fail "key deal $pair"
done
for n in 1 2 3; do
    "$WARIFU" key import "real/site$n/site.json" courier/site$n/*.pad || fail "key import at site$n"
    "$WARIFU" keyd "real/site$n/site.json" >"keyd$n.log" 2>&1 &
    CLEANUP_PIDS="${CLEANUP_PIDS:-} $!"
    "$WARIFU" share-server "real/site$n/site.json" >"server$n.log" 2>&1 &
    CLEANUP_PIDS="$CLEANUP_PIDS $!"
done
for n in 1 2 3; do wait_for 30 test -S "real/site$n/run/server.sock"; done
"$WARIFU" volume create real/volume.json --name genomes --scheme 2,3 --sites site1,site2,site3 \
    --site real/site1/site.json \
    2>denied.err && fail 'a volume was created without grants'
check 'without a grant: one line' test "$(wc -l <denied.err)" = 1
id=$("$WARIFU" volume create real/volume.json --name genomes --scheme 2,3 --sites site1,site2,site3 \
    --site real/site1/site.json --id-only) || fail 'volume create --id-only'
for n in 1 2 3; do
    "$WARIFU" access grant "real/site$n/site.json" "$id" site1 write || fail "access grant at site$n"
done
check 'the grant is listed' bash -c "'$WARIFU' access list real/site2/site.json | grep -q 'site1.*write'"
"$WARIFU" volume create real/volume.json || { cat keyd?.log server?.log; fail 'volume create'; }
mkdir mnt
"$WARIFU" mount real/volume.json mnt || fail mount
check 'a file' bash -c 'echo genome >mnt/file && sync mnt/file && [ "$(cat mnt/file)" = genome ]'
check 'status' bash -c "'$WARIFU' status real/volume.json --json | jq -e '.volume.writable'"
"$WARIFU" umount mnt || fail umount
"$WARIFU" access grant real/site2/site.json "$id" site3 read || fail 'grant to site3'
"$WARIFU" access grant real/site1/site.json "$id" site3 read || fail 'grant to site3'
check 'another site restores with its grant' \
    "$WARIFU" restore real/volume.json out --from site1,site2 --site real/site3/site.json
check 'the content' test "$(cat out/file)" = genome
"$WARIFU" access revoke real/site2/site.json "$id" site3 || fail 'access revoke'
sleep 2
"$WARIFU" restore real/volume.json out2 --from site1,site2 --site real/site3/site.json 2>revoked.err &&
    fail 'a restore without a grant'
check 'revoked: one line' test "$(wc -l <revoked.err)" = 1
pass
