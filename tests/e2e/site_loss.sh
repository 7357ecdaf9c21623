#!/usr/bin/env bash
# A site dies under a running mount: reads and writes go on. It comes back and is healed; another is wiped and
# rebuilt; then a
# third one is lost, and everything is still there.
. "$(dirname "$0")/../lib.sh"
up
mkdir "$MNT/a"
python3 "$here/make_tree.py" "$MNT/a" 1 || fail 'make_tree'
cp -a "$MNT/a" "$WORK/a"

kill9 "$DIR/run/site3.server.pid" || fail 'kill of a share server'
start=$SECONDS
check 'a read without site3' same_tree "$WORK/a" "$MNT/a"
dd if=/dev/urandom of="$WORK/big" bs=1M count=40 status=none
check 'a write with fsync without site3' dd if="$WORK/big" of="$MNT/big" bs=1M conv=fsync status=none
echo "reads and writes with a dead site took $((SECONDS - start)) s"
check 'the view shrank' wait_for 30 bash -c \
    "[ \"\$('$WARIFU' status '$DIR' --json | jq -c .volume.view)\" = '[\"site1\",\"site2\"]' ]"
check 'status says degraded' test "$("$WARIFU" status "$DIR" >/dev/null; echo $?)" = 4
rm -r "$MNT/a/wide"
rm -r "$WORK/a/wide"
touch -r "$MNT/a" "$WORK/a"  # the folder itself changed at two times

"$WARIFU" site start "$DIR" site3 || fail 'site start'
check 'site3 is healed and a member again' wait_for 120 state_is site3 up
"$WARIFU" site stop "$DIR" site2 || fail 'site stop'
echo 3 >/proc/sys/vm/drop_caches
check 'site1 and site3 alone give everything back' same_tree "$WORK/a" "$MNT/a"
check 'and the file written in between' cmp "$WORK/big" "$MNT/big"
"$WARIFU" site start "$DIR" site2 || fail 'site start'
check 'site2 is back' wait_for 120 state_is site2 up

"$WARIFU" site wipe "$DIR" site2 || fail 'site wipe'
"$WARIFU" site start "$DIR" site2 || fail 'site start after wipe'
check 'the wiped site is rebuilt' wait_for 180 state_is site2 up
"$WARIFU" site stop "$DIR" site3 || fail 'site stop'
remount
check 'site1 and the rebuilt site2 give everything back' same_tree "$WORK/a" "$MNT/a"
check 'every byte' cmp "$WORK/big" "$MNT/big"
"$WARIFU" site start "$DIR" site3 || fail 'site start'
check 'all are up' wait_for 120 state_is site3 up
check 'audit' "$WARIFU" key audit "$DIR"
pass
