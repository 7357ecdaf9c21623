#!/usr/bin/env bash
# A mount as the machine's citizen: mount(8), fstab and umount(8) through the helpers, systemd's units, stale mounts,
# maps of users, the alarm, uploads that status tells of, and Ctrl-C in calls that wait for lost sites.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WARIFU=${WARIFU:-$here/../build/dev/warifu}
if [ "$(id -u)" = 0 ] && [ -z "${WARIFU_OWN_NAMESPACE:-}" ]; then
    # The helpers are installed in a mount name space of this test alone, so that nothing of it stays.
    export WARIFU_OWN_NAMESPACE=1 WARIFU
    exec unshare --mount --propagation private "$0" "$@"
fi
. "$here/lib.sh"
mkdir -p "$WORK/layer/up" "$WORK/layer/work"
mount -t tmpfs none "$WORK/layer" && mkdir "$WORK/layer/up" "$WORK/layer/work" &&
    mount -t overlay none -o "lowerdir=/usr/sbin,upperdir=$WORK/layer/up,workdir=$WORK/layer/work" /usr/sbin ||
    skip 'no private /usr/sbin (overlayfs)'
leave() {
    umount -l /usr/sbin "$WORK/layer" 2>/dev/null
}
trap 'leave; cleanup' EXIT
for name in mount.fuse.warifu umount.fuse.warifu mount.warifu umount.warifu; do
    install -m 755 "$here/../tools/mount.fuse.warifu" "/usr/sbin/$name"
done

units() {
    mkdir "$WORK/units"
    for unit in "$here"/../tools/systemd/*; do
        sed "s#@CMAKE_INSTALL_FULL_BINDIR@/warifu#$WARIFU#" "$unit" >"$WORK/units/$(basename "$unit")"
    done
    (cd "$WORK/units" && systemd-analyze verify ./*.service ./*.mount) >"$WORK/units.log" 2>&1
    ! grep -E 'warifu|mnt-genomes' "$WORK/units.log"
}
if command -v systemd-analyze >/dev/null; then check "systemd's units" units; else echo 'no systemd-analyze'; fi

up
VOLUME=$DIR/run/volume.json
echo first >"$MNT/file"
"$WARIFU" umount "$DIR" || fail 'warifu umount'
check 'mount(8) with words of fstab' mount -t fuse.warifu "$VOLUME" "$MNT" -o \
    nosuid,_netdev,nofail,x-systemd.automount,default_permissions
check 'what was written is there' grep -qx first "$MNT/file"
check 'mount shows type and options' bash -c "findmnt -no FSTYPE,OPTIONS '$MNT' | grep -q '^fuse.warifu .*nosuid'"
mount -t fuse.warifu "$VOLUME" "$MNT" -o remount,ro 2>"$WORK/remount.err" && fail 'a remount was accepted'
check 'a remount is refused in words' grep -q 'cannot be remounted' "$WORK/remount.err"
mount -t fuse.warifu "$VOLUME" "$WORK" -o nonsense 2>"$WORK/option.err" && fail 'an unknown option was accepted'
check 'an unknown option is named' grep -q "unknown mount option 'nonsense'" "$WORK/option.err"
echo second >"$MNT/second"
check 'umount(8) drains through the helper' umount "$MNT"
check 'the daemon has ended when it returns' test ! -e "$DIR/run/mount.pid"
check 'nothing of it stays in the table of mounts' bash -c "! grep -sF '$MNT' /run/mount/utab"

printf '%s %s fuse.warifu _netdev,nofail,uidmap=0:0:1,uidmap=1000:7000:10,gidmap=0:0:1 0 0\n' \
    "$VOLUME" "$MNT" >"$WORK/fstab"
check 'mount -a with fstab' mount -T "$WORK/fstab" -a
touch "$MNT/mine" && chown 7003:0 "$MNT/mine"
check 'a mapped user' test "$(stat -c %u "$MNT/mine")" = 7003
chown 1003 "$MNT/mine" 2>"$WORK/chown.err" && fail 'a number outside of the map was accepted'
check 'mount by its mount point alone' bash -c "umount '$MNT' && mount -T '$WORK/fstab' '$MNT' && umount '$MNT'"
check 'mount -t warifu' mount -t warifu "$VOLUME" "$MNT" -o "alarm=$WORK/alarm,alarm_key=1"
check 'the volume has the number before the map' test "$(stat -c %u "$MNT/mine")" = 1003

# The alarm (the program comes after the mount: it is looked for when it is needed).
printf '#!/bin/sh\necho "$1 $2" >>%s/alarms\n' "$WORK" >"$WORK/alarm"
chmod +x "$WORK/alarm"
"$WARIFU" site stop "$DIR" site3 || fail 'site stop'
check 'alarm: a site is lost' wait_for 60 grep -sqx 'site_lost site3' "$WORK/alarms"
"$WARIFU" site start "$DIR" site3 || fail 'site start'
check 'alarm: it is back' wait_for 120 grep -sqx 'site_back site3' "$WORK/alarms"

# Uploads, and calls that wait for sites which do not answer.
upload_finished() { [ "$(field .mount.upload.finished)" = true ]; }
head -c 5000000 /dev/urandom >"$MNT/data"
check 'status: the upload is finished' wait_for 60 upload_finished
check 'status tells people' grep -q 'upload *finished' <("$WARIFU" status "$DIR")
servers=()
for name in site1 site2 site3; do
    read -r pid _ <"$DIR/run/$name.server.pid"
    servers+=("$pid")
done
kill -STOP "${servers[@]}"
trap 'kill -CONT "${servers[@]}" 2>/dev/null; leave; cleanup' EXIT
# interrupted WHAT COMMAND: SIGINT ends the command while the sites are still silent.
interrupted() {
    local pid what=$1
    shift
    python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$@" >/dev/null 2>&1 &
    pid=$!
    sleep 1.5
    kill -0 "$pid" 2>/dev/null || fail "$what did not wait for the sites"
    kill -INT "$pid"
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || { echo "ok: Ctrl-C ends $what"; return 0; }
        sleep 0.1
    done
    fail "$what goes on after Ctrl-C"
}
echo more >"$MNT/more"
interrupted 'an fsync' sync "$MNT/more"
check 'status: the upload is under way' test "$(field .mount.upload.finished)" = false
interrupted 'a large copy' cp /dev/zero "$MNT/zero"
kill -CONT "${servers[@]}"
rm -f "$MNT/zero"
check 'everything goes on' wait_for 120 upload_finished
check 'what was written meanwhile' grep -qx more "$MNT/more"

# A daemon that died leaves a mount that answers nothing; mounting again puts it away.
kill9 "$DIR/run/mount.pid" || fail 'kill -9'
ls "$MNT" >/dev/null 2>&1 && fail 'a dead mount answered'
check 'mount(8) over the mount of a dead daemon' mount -t fuse.warifu "$VOLUME" "$MNT"
check 'one mount is there' test "$(grep -c " $MNT fuse.warifu" /proc/self/mounts)" = 1
check 'what was durable' grep -qx more "$MNT/more"
check 'a lazy umount returns at once' umount -l "$MNT"
pass
