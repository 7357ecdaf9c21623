#!/usr/bin/env bash
# on_mount.sh MEMORY_MOUNT PROGRAM [ARGUMENT...]: mounts a volume in memory in a temporary directory, runs PROGRAM with
# the mount point as its first argument, unmounts. An argument REMOUNT stands for a command that unmounts and comes back
# when it is mounted again. The exit code is the program's; 77 without root or /dev/fuse.
set -uo pipefail
[ "$(id -u)" = 0 ] || { echo 'SKIP: not root'; exit 77; }
[ -e /dev/fuse ] || { echo 'SKIP: no /dev/fuse'; exit 77; }
mounter=$1 program=$2
shift 2
work=$(mktemp -d "${TMPDIR:-/tmp}/warifu-posix-XXXXXX")
chmod 755 "$work"
mkdir "$work/mnt"
touch "$work/again"
"$mounter" "$work/mnt" while="$work/again" >"$work/log" 2>&1 &
pid=$!
cleanup() {
    rm -f "$work/again"
    kill "$pid" 2>/dev/null
    wait "$pid" 2>/dev/null
    umount -l "$work/mnt" 2>/dev/null
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
for _ in $(seq 300); do
    grep -q ready "$work/log" && break
    kill -0 "$pid" 2>/dev/null || { cat "$work/log"; exit 1; }
    sleep 0.1
done
grep -q ready "$work/log" || { echo 'the mount did not come up'; exit 1; }
cat >"$work/remount" <<END
#!/bin/sh
umount "$work/mnt" || exit 1
for i in \$(seq 1000); do
    mountpoint -q "$work/mnt" && exit 0
    sleep 0.02
done
exit 1
END
chmod +x "$work/remount"
"$program" "$work/mnt" "${@/#REMOUNT/$work/remount}"
