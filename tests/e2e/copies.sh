#!/usr/bin/env bash
# rsync, tar, cp, git and SQLite on the mount: what they copied equals the source, a second rsync transfers nothing,
# and all of
# it survives a remount.
. "$(dirname "$0")/../lib.sh"
up
source=$WORK/source
mkdir "$source"
python3 "$here/make_tree.py" "$source" || fail 'make_tree'

rsync -aHAX "$source/" "$MNT/rsync/" || fail 'rsync -aHAX'
check 'rsync -aHAX equals the source' same_tree "$source" "$MNT/rsync"
second=$(rsync -aHAX --itemize-changes "$source/" "$MNT/rsync/")
check 'the second rsync transfers nothing' test -z "$second"
rsync -aHAXS --inplace "$source/" "$MNT/sparse/" || fail 'rsync -S --inplace'
check 'rsync -S --inplace equals the source' same_tree "$source" "$MNT/sparse"
check 'holes stay holes' test "$(stat -c %b "$MNT/sparse/sparse/only-hole")" -lt 2048

mkdir "$MNT/tar"
tar -C "$source" --xattrs --xattrs-include='*' -S -cf "$MNT/tree.tar" . || fail 'tar c'
tar -C "$MNT/tar" --xattrs --xattrs-include='*' -xpf "$MNT/tree.tar" || fail 'tar x'
# tar does not carry sockets.
rm "$source/special/socket" "$MNT/rsync/special/socket"
touch -r "$source/special" "$MNT/rsync/special"  # the folders changed at two times
python3 "$here/compare_tree.py" --no-directory-times "$source" "$MNT/tar" >"$WORK/tar.out" ||
    { cat "$WORK/tar.out"; fail 'tar round trip'; }
echo 'ok: tar round trip'
cp -a "$MNT/rsync" "$MNT/copied" || fail 'cp -a'
check 'cp -a equals' same_tree "$MNT/rsync" "$MNT/copied"

git_identity=(-c user.name=test -c user.email=test@example.org)
mkdir "$WORK/repository"
(cd "$WORK/repository" && git init -q . && cp -r "$here" . && git add -A && git "${git_identity[@]}" commit -qm one &&
    cp "$WARIFU" program && git add -A && git "${git_identity[@]}" commit -qm two) || fail 'a repository to clone'
git clone -q "$WORK/repository" "$MNT/clone" || fail 'git clone'
check 'git fsck' git -C "$MNT/clone" fsck --full --strict
(cd "$MNT/clone" && for i in $(seq 20); do echo "$i" >>file && git add file &&
    git "${git_identity[@]}" commit -qm "$i" || exit 1; done && git gc -q) || fail 'git commits on the mount'
check 'git fsck after commits and gc' git -C "$MNT/clone" fsck --full --strict

for mode in wal delete; do
    sqlite3 "$MNT/$mode.db" "PRAGMA journal_mode=$mode; CREATE TABLE t(a INTEGER PRIMARY KEY, b TEXT);
        CREATE INDEX i ON t(b);" >/dev/null || fail "sqlite $mode"
    for i in $(seq 20); do
        echo "BEGIN; INSERT INTO t(b) SELECT hex(randomblob(50)) FROM generate_series(1, 100); COMMIT;"
    done | sqlite3 "$MNT/$mode.db" || fail "sqlite $mode inserts"
    check "sqlite $mode integrity" test "$(sqlite3 "$MNT/$mode.db" 'PRAGMA integrity_check')" = ok
done
sums() { (cd "$MNT" && sqlite3 wal.db 'SELECT count(*), sum(length(b)) FROM t' &&
    sqlite3 delete.db 'SELECT count(*), sum(length(b)) FROM t' && git -C clone rev-parse HEAD); }
before=$(sums)
remount
check 'SQLite and git survive a remount' test "$(sums)" = "$before"
check 'sqlite integrity after a remount' test "$(sqlite3 "$MNT/wal.db" 'PRAGMA integrity_check')" = ok
check 'git fsck after a remount' git -C "$MNT/clone" fsck --full --strict
check 'the rsync tree after a remount' same_tree "$source" "$MNT/rsync"
check 'the copied tree after a remount' same_tree "$MNT/rsync" "$MNT/copied"
pass
