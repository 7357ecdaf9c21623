#!/usr/bin/env bash
# restore from each pair of sites into an empty directory equals the source; parts of the tree; from one site alone,
# into a directory that is not empty, and of a path that does not exist it fails with one clear line.
. "$(dirname "$0")/../lib.sh"
up
python3 "$here/make_tree.py" "$MNT" || fail 'make_tree'
cp -a "$MNT" "$WORK/expected" || fail 'copy of the source'
check 'the copy equals the mount' same_tree "$MNT" "$WORK/expected"
"$WARIFU" umount "$DIR" || fail 'umount'

for pair in site1,site2 site1,site3 site2,site3; do
    "$WARIFU" restore "$DIR" "$WORK/$pair" --from $pair --json >"$WORK/$pair.json" || fail "restore --from $pair"
    check "restored from $pair equals" same_tree "$WORK/expected" "$WORK/$pair"
    check "report of $pair" jq -e '.files > 600 and .bytes > 20000000 and .incomplete == 0' "$WORK/$pair.json"
    rm -rf "${WORK:?}/$pair"
done
check 'restore with the pads of another site' "$WARIFU" restore "$DIR" "$WORK/by2" --from site2,site3 --site site2
check 'which equals too' same_tree "$WORK/expected" "$WORK/by2"
summary=$("$WARIFU" restore "$DIR" "$WORK/part" --from site2,site3 names/with^caret /sizes links/elsewhere) ||
    fail 'restore of parts'
check 'it says what it restored' grep -qE '[0-9]+ files' <<<"$summary"
check 'only these parts' test "$(ls "$WORK/part" | tr '\n' ' ')" = 'links names sizes '
check 'one name of many' test "$(ls "$WORK/part/names")" = 'with^caret'
check 'a whole directory' same_tree "$WORK/expected/sizes" "$WORK/part/sizes"

refuses 6 'site2.*(fewer|2 sites|needs)|(fewer|2 sites|needs).*' "$WARIFU" restore "$DIR" "$WORK/one" --from site2
check 'nothing was made' test ! -e "$WORK/one" -o -z "$(ls -A "$WORK/one" 2>/dev/null)"
refuses 7 'not empty' "$WARIFU" restore "$DIR" "$WORK/part" --from site1,site2
refuses 2 'site9' "$WARIFU" restore "$DIR" "$WORK/none" --from site1,site9
refuses 1 'does not exist' "$WARIFU" restore "$DIR" "$WORK/none2" --from site1,site2 no/such/path

# Interrupted after some files, one of them half there; the rest comes slowly, then at full speed.
"$WARIFU" restore "$DIR" "$WORK/again" --from site2,site3 --limit-rate 2M &
restorer=$!
CLEANUP_PIDS=$restorer
sleep 4
kill -9 $restorer
wait $restorer 2>/dev/null
check 'it was not done yet' test "$(find "$WORK/again" -type f | wc -l)" -lt "$(find "$WORK/expected" -type f | wc -l)"
check 'restore --resume' "$WARIFU" restore "$DIR" "$WORK/again" --from site2,site3 --resume
check 'which equals' same_tree "$WORK/expected" "$WORK/again"
find "$WORK/again/sizes" -type f -size +3000c | head -3 | while read -r file; do : >"$file"; done
find "$WORK/again" -type l -delete
"$WARIFU" restore "$DIR" "$WORK/again" --from site2,site3 --resume --json >"$WORK/again.json" || fail 'restore --resume'
check 'which equals' same_tree "$WORK/expected" "$WORK/again"
check 'it fetched only what was missing' grep -qE '"files_kept": [1-9][0-9]{2,}' "$WORK/again.json"

# A site is really lost: its server and keyd are down, its store is gone. The mount machine's own site this time.
"$WARIFU" site stop "$DIR" site1 --keyd || fail 'site stop --keyd'
check 'restore after the loss of site1' "$WARIFU" restore "$DIR" "$WORK/lost" --from site2,site3 --site site3
check 'which equals' same_tree "$WORK/expected" "$WORK/lost"
pass
