#!/usr/bin/env bash
# Memory and key stay bounded however large the tree is and however much is written: many files, a sparse file of 64 GiB
# with many extents, many open files, a full find, gigabytes over themselves; mounting the tree takes little key.
# bounds.sh [FILES [EXTENTS [OPEN [GIB]]]]
#
#   tests/e2e/bounds.sh 1000000 100000 10000 20       the sizes that are promised
FILES=${1:-5000} EXTENTS=${2:-2000} OPEN=${3:-1000} GIB=${4:-3}
STORE_SIZE=6G
[ "$FILES" -gt 100000 ] && STORE_SIZE=16G PAD_SIZE=512M
. "$(dirname "$0")/../lib.sh"
up
make() { python3 "$here/e2e/large_tree.py" "$@"; }
# The most that the mount ever had in memory, MiB; --memory is 512, and 64 are what it may have besides.
peak() {
    local pid
    read -r pid _ <"$DIR/run/mount.pid"
    awk '/VmHWM/ {print int($2 / 1024)}' "/proc/$pid/status"
}
bounded() {
    local now
    now=$(peak)
    echo "$1: at most $now MiB in memory so far"
    [ "$now" -le 576 ]
}
used() { field '[.links[].pad_used_bytes] | add'; }

check "$FILES files" make files "$MNT/tree" "$FILES"
check 'durable' sync "$MNT/tree"
check 'memory' bounded 'after the files were made'
check "a sparse file of $EXTENTS extents" make extents "$MNT/sparse" "$EXTENTS"
check 'memory' bounded 'after the extents'
"$WARIFU" umount "$DIR" || fail umount
before=$(used)
start=$(date +%s.%N)
mount_again
took=$(python3 -c "import time; print(f'{time.time() - $start:.2f}')")
pad=$(($(used) - before))
echo "mounted in $took s for $((pad / 1024)) KiB of pad"
check 'mounting takes at most 64 MiB of pad' test "$pad" -le $((64 << 20))
start=$SECONDS
found=$(find "$MNT/tree" -type f | wc -l)
check "find sees $found files in $((SECONDS - start)) s" test "$found" = "$FILES"
check 'memory' bounded 'after find'
start=$SECONDS
found=$(find "$MNT/tree" -type f -size -2 -newermt 2000-01-01 | wc -l)
check "find that asks for attributes sees $found in $((SECONDS - start)) s" test "$found" = "$FILES"
check 'memory' bounded 'after find with attributes'
check "$OPEN open files" make open "$MNT/tree" "$OPEN"
check 'the extents and holes' make check "$MNT/sparse" "$EXTENTS"
check 'memory' bounded 'at the end'
head -c 256M /dev/urandom >"$WORK/part"
write_one_gib() { cat "$WORK"/part{,,,} >"$MNT/large" && sync "$MNT/large"; }
for i in $(seq "$GIB"); do
    check 'one GiB' write_one_gib
    check 'memory' bounded "after $i GiB"
done
check 'removed' rm "$MNT/sparse"
remount
check 'gone' test ! -e "$MNT/sparse"
pass
