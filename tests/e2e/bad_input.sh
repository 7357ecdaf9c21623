#!/usr/bin/env bash
# Bad input of every kind: one clear line, the documented exit code, nothing changed.
. "$(dirname "$0")/../lib.sh"
for command in '' up down status restore mount umount site 'site init' volume 'volume create' access \
    key 'key audit' bench; do
    check "help of '$command'" bash -c "'$WARIFU' $command --help | grep -q Examples"
done
check 'version' bash -c "'$WARIFU' --version | grep -qE '^warifu [0-9]+[.]'"
refuses 2 'nonsense' "$WARIFU" nonsense
refuses 2 'scheme' "$WARIFU" up "$WORK/x" --scheme 1,3
refuses 2 'scheme' "$WARIFU" up "$WORK/x" --scheme 4,3
refuses 2 'size' "$WARIFU" up "$WORK/x" --pads many
check 'nothing was made' test ! -e "$WORK/x"
refuses 1 'no deployment|No such file' "$WARIFU" status "$WORK/x"
mkdir "$WORK/other"
echo mine >"$WORK/other/file"
refuses 7 'not empty|no deployment' "$WARIFU" up "$WORK/other"
check 'nothing was added' test "$(ls "$WORK/other")" = file

up
site=$DIR/sites/site1/site.json
saved=$WORK/site.json
cp "$site" "$saved"
"$WARIFU" down "$DIR" || fail down
state() { (cd "$DIR" && find . -type f -name '*.json' -exec sha256sum {} + | sort; stat -c %s sites/*/store); }
before=$(state)

# edit JQ: changes site1's configuration.
edit() { jq "$1" "$saved" >"$site"; }
edit '.server.listen = 7101'
refuses 3 'site1/site.json: \$\.server\.listen: expected a string' "$WARIFU" up "$DIR"
refuses 3 'site1/site.json: \$\.server\.listen' "$WARIFU" share-server "$site"
edit 'del(.keyd.pads)'
refuses 3 'site1/site.json: \$\.keyd\.pads: missing' "$WARIFU" up "$DIR"
refuses 3 'site1/site.json: \$\.keyd\.pads: missing' "$WARIFU" keyd "$site"
edit '.server.lisen = "x"'
refuses 3 'site1/site.json: \$\.server\.lisen: unknown key' "$WARIFU" up "$DIR"
printf '{"version": 1,' >"$site"
refuses 3 'site1/site.json: line 1, column [0-9]+: not valid JSON' "$WARIFU" up "$DIR"
cp "$saved" "$site"
jq '.k = 9' "$DIR/run/volume.json" >"$WORK/volume.json"
cp "$DIR/run/volume.json" "$WORK/volume.saved"
cp "$WORK/volume.json" "$DIR/run/volume.json"
refuses 3 'volume.json: \$\.k: expected an integer from 2 to 3' "$WARIFU" mount "$DIR" "$MNT"
cp "$WORK/volume.saved" "$DIR/run/volume.json"
check 'nothing changed' test "$(state)" = "$before"

# A port in use.
port=$(jq -r .server.listen "$site" | sed 's/.*://')
python3 -c "
import socket, time
s = socket.socket(); s.bind(('127.0.0.1', $port)); s.listen(); time.sleep(600)" &
CLEANUP_PIDS=$!
wait_for 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$port" 2>/dev/null
refuses 7 "127.0.0.1:$port.*(in use|Address already)" "$WARIFU" up "$DIR"
kill $CLEANUP_PIDS
wait $CLEANUP_PIDS 2>/dev/null
CLEANUP_PIDS=
check 'up when the port is free again' "$WARIFU" up "$DIR"

# Mount points and /dev/fuse.
echo kept >"$MNT/kept"
"$WARIFU" umount "$DIR" || fail umount
mkdir "$WORK/full"
echo x >"$WORK/full/x"
refuses 7 'not empty' "$WARIFU" mount "$DIR" "$WORK/full"
refuses 1 'No such file|not a directory|does not exist' "$WARIFU" mount "$DIR" "$WORK/nowhere"
unshare -m bash -c "mount --bind /dev/null /dev/fuse && exec '$WARIFU' mount '$DIR' '$MNT'" 2>"$WORK/nofuse"
code=$?
check 'a /dev/fuse that is none: exit code' test $code = 8 -o $code = 1
check 'a /dev/fuse that is none: one line' test "$(wc -l <"$WORK/nofuse")" = 1
check 'it names /dev/fuse' grep -q 'dev/fuse' "$WORK/nofuse"
# A user without permission.
if setpriv --reuid=65534 --regid=65534 --clear-groups "$WARIFU" --version >/dev/null 2>&1; then
    chmod 700 "$WORK"
    setpriv --reuid=65534 --regid=65534 --clear-groups "$WARIFU" status "$DIR" >/dev/null 2>"$WORK/denied"
    code=$?
    check 'no permission: exit code' test $code = 8
    check 'no permission: one line' test "$(wc -l <"$WORK/denied")" = 1
fi

# A store of another volume, and a store that is none.
"$WARIFU" down "$DIR" || fail down
OTHER=$WORK/second
MORE_DIRS=$OTHER
"$WARIFU" up "$OTHER" --store-size 64M --pads 16M || fail 'a second deployment'
"$WARIFU" down "$OTHER" || fail 'down of the second deployment'
for n in 2 3; do
    mv "$DIR/sites/site$n/store" "$WORK/store$n" && cp "$OTHER/sites/site$n/store" "$DIR/sites/site$n/store"
done
"$WARIFU" up "$DIR" >/dev/null 2>"$WORK/foreign"
code=$?
check "stores of another volume: exit code ($code)" test $code = 6
check 'stores of another volume: one line' test "$(wc -l <"$WORK/foreign")" = 1
"$WARIFU" down "$DIR" || fail down
for n in 2 3; do mv "$WORK/store$n" "$DIR/sites/site$n/store"; done
mv "$DIR/sites/site2/store" "$WORK/store2"
head -c 67108864 /dev/urandom >"$DIR/sites/site2/store"
refuses 3 'sites/site2/store' "$WARIFU" up "$DIR"
"$WARIFU" down "$DIR" || fail down
mv "$WORK/store2" "$DIR/sites/site2/store"

# A truncated pad file.
check 'up' "$WARIFU" up "$DIR"
check 'nothing was lost by any of this' test "$(cat "$MNT/kept")" = kept
mkdir "$WORK/courier"
"$WARIFU" key deal site1 site2 --size 1M --out "$WORK/courier" || fail 'key deal'
pad=$(find "$WORK/courier" -name '*.pad' | head -1)
truncate -s -100 "$pad"
refuses 3 "$(basename "$pad")" "$WARIFU" key import "$site" "$pad"
check 'audit' "$WARIFU" key audit "$DIR"
pass
