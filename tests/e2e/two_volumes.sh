#!/usr/bin/env bash
# Two hospitals: each writes a volume of its own and follows the other's (up --volumes).
. "$(dirname "$0")/../lib.sh"
refuses 2 "no site 'site9'" "$WARIFU" up "$DIR" --volumes site1,site9 --key-source "$KEY_SOURCE"
up --volumes site1,site2
own=("$MNT" "$DIR/mnt-site2")
seen=("$DIR/seen/site2/site1" "$DIR/seen/site1/site2")
other=$DIR/volumes/site2/volume.json
same() { same_tree "${own[0]}" "${seen[0]}" && same_tree "${own[1]}" "${seen[1]}"; }
fill() { # SEED: both write at the same time
    mkdir "${own[0]}/$1" "${own[1]}/$1"
    python3 "$here/make_tree.py" "${own[0]}/$1" "$1" &
    local first=$!
    python3 "$here/make_tree.py" "${own[1]}/$1" "$1$1" || fail 'the tree of site2'
    wait $first || fail 'the tree of site1'
    sync "${own[0]}/$1" "${own[1]}/$1" || fail 'fsync'
}

fill 1
check 'each sees what the other wrote' wait_for 60 same
check 'they are two volumes' bash -c "! cmp -s '${own[0]}/1/sizes/65536' '${own[1]}/1/sizes/65536'"
for place in "${seen[@]}"; do
    check "nobody writes at ${place#"$DIR"/}" bash -c "! touch '$place/x' 2>/dev/null"
done
check 'the second volume has a status' bash -c \
    "'$WARIFU' status '$other' --json | jq -e '.volume.writable and (.healthy // true)' >/dev/null"
rm -r "${own[1]:?}/1"
check 'what was removed goes' wait_for 60 test ! -e "${seen[1]}/1"

# With a site lost both go on.
"$WARIFU" site stop "$DIR" site3 || fail 'site stop'
fill 2
check 'each sees the other without the third site' wait_for 60 same
"$WARIFU" site start "$DIR" site3 || fail 'site start'

check 'down' "$WARIFU" down "$DIR"
for place in "${own[@]}" "${seen[@]}"; do
    mountpoint -q "$place" && fail "$place is still mounted"
done
check 'up brings all four mounts back' "$WARIFU" up "$DIR"
for place in "${own[@]}" "${seen[@]}"; do
    check "mounted: ${place#"$DIR"/}" mountpoint -q "$place"
done
check 'with what was written' same
# A mount whose daemon died is mounted again.
kill9 "$DIR/volumes/site2/mount.pid" || fail 'kill'
check 'up again' "$WARIFU" up "$DIR"
check 'it is there again' wait_for 30 same
pass
