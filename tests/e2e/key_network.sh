#!/usr/bin/env bash
# `warifu up` as it is by default: every site's keyd gets its key from a (simulated) KME by ETSI GS QKD 014 and agrees
# with the other keyds on it. KMEs and keyds die and come back; the mount goes on; no byte serves twice.
KEY_SOURCE=kme
PAD_SIZE=64M
. "$(dirname "$0")/../lib.sh"
up
check 'the KMEs run' process_runs "$DIR/run/kme-sim.pid"
check 'status tells' test "$(field .kme_sim) $(field .dealer)" = 'up down'
check 'the claim says what it is' test "$(field .volume.claim)" = computational
mkdir "$MNT/tree"; python3 "$here/make_tree.py" "$MNT/tree" || fail 'make_tree'
cp -a "$MNT/tree" "$WORK/expected" && sync "$MNT" || fail 'the copy'

stock_is() { [ "$(field "[.links[].pad_available_bytes] | min")" -ge "$1" ]; }
check 'the stock is kept up' wait_for 60 stock_is 40000000

check 'the KMEs die' kill9 "$DIR/run/kme-sim.pid"
check 'what is in stock serves' bash -c "seq 100000 >'$MNT/without' && sync '$MNT/without'"
check 'up starts them again' "$WARIFU" up "$DIR"
check 'and the stock recovers' wait_for 60 stock_is 40000000
check 'a keyd dies' kill9 "$DIR/run/site2.keyd.pid"
check 'up starts it again' "$WARIFU" up "$DIR"
check 'and the stock recovers' wait_for 60 stock_is 40000000
check 'the mount has gone on' bash -c "seq 100000 >'$MNT/after' && sync '$MNT/after'"
remount
check 'everything is there' same_tree "$WORK/expected" "$MNT/tree"
check 'and what came later' cmp "$MNT/without" "$MNT/after"
"$WARIFU" umount "$DIR" || fail 'umount'
check 'a restore from two sites' "$WARIFU" restore "$DIR" "$WORK/back" --from site2,site3 tree
check 'which equals' same_tree "$WORK/expected" "$WORK/back/tree"
check 'no byte was used twice' "$WARIFU" key audit "$DIR"

# Two links' key passed one node: it could put the data together, so nothing more is written; reading goes on.
"$WARIFU" site stop "$DIR" site1 --keyd || fail 'site stop'
for peer in site2 site3; do
    jq -nc --arg to "$peer" '{block: "6f1d3a52-93b7-4c1e-8a55-0d9f2b6c7e10", from: "site1", to: $to, offset: 0,
        size: 4096, path: ["relay"]}' >>"$DIR/sites/site1/pads/links/$peer.paths"
done
"$WARIFU" site start "$DIR" site1 || fail 'site start'
refuses 8 'relay has seen the key of site2 and site3' "$WARIFU" mount "$DIR" "$MNT"
check 'a mount that only reads is let' "$WARIFU" mount "$DIR" "$MNT" -o ro
check 'and reads' same_tree "$WORK/expected" "$MNT/tree"
pass
