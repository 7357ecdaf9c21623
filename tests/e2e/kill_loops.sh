#!/usr/bin/env bash
# kill -9 at random moments while a writer makes numbered files: of the mount, of any two share servers, of a server, of
# a keyd, of everything at once. After each the volume recovers without a person, and what the file system had promised
# is there: what was fsynced, renames before a later fsync, and data before its flag (D1 to D3).
#
#   tests/e2e/kill_loops.sh                 100 rounds
#   ROUNDS=1000 SEED=7 tests/e2e/kill_loops.sh
STORE_SIZE=8G  # every 25th file has 5 MB, and a fast machine writes thousands in between the kills
. "$(dirname "$0")/../lib.sh"
ROUNDS=${ROUNDS:-100}
RANDOM=${SEED:-42}
echo "seed ${SEED:-42}, $ROUNDS rounds"
up
acknowledged=$WORK/acknowledged
: >"$acknowledged"
# Started without a function around it, so that $WRITER is the writer itself.
writer() { python3 "$here/e2e/numbered_files.py" write "$MNT" "$acknowledged" & WRITER=$!; CLEANUP_PIDS=$WRITER; }
numbered() { python3 "$here/e2e/numbered_files.py" "$1" "$MNT" "$acknowledged"; }
start_site() { "$WARIFU" site start "$DIR" "$@" >/dev/null || fail "round $round: site start $*"; }
stop_writer() {
    sleep 0.3
    kill $WRITER 2>/dev/null
    wait $WRITER
}

mount_dies() {
    kill9 "$DIR/run/mount.pid" || fail "round $round: kill of the mount"
    wait $WRITER
    umount -l "$MNT" 2>/dev/null
    mount_again
}
servers_die() { # SITE...
    local pids=() site
    for site in "$@"; do pids+=("$DIR/run/$site.server.pid"); done
    kill9 "${pids[@]}" || fail "round $round: kill of the servers of $*"
    sleep 0.3
    for site in "$@"; do start_site "$site"; done
    stop_writer
}
any_site() { site=site$((RANDOM % 3 + 1)); }
server_dies() {
    any_site
    servers_die "$site"
}
two_servers_die() {
    any_site
    servers_die $(printf 'site1 site2 site3' | sed "s/$site//")
}
keyd_dies() {
    any_site
    kill9 "$DIR/run/$site.keyd.pid" || fail "round $round: kill of $site's keyd"
    stop_writer
    start_site "$site" --keyd
}
everything_dies() {
    kill9 "$DIR"/run/*.pid || fail "round $round: kill of everything"
    wait $WRITER
    umount -l "$MNT" 2>/dev/null
    "$WARIFU" up "$DIR" >/dev/null || fail "round $round: up"
}
deaths=(mount_dies mount_dies mount_dies mount_dies two_servers_die two_servers_die server_dies keyd_dies
    everything_dies everything_dies)

files=0
for round in $(seq "$ROUNDS"); do
    writer
    ms=$((RANDOM % 700 + 50))
    sleep "$(printf '0.%03d' $ms)"
    death=${deaths[RANDOM % ${#deaths[@]}]}
    $death
    wait_for 60 all_up || fail "round $round, $death: not everything is up again"
    # The newest files always, all of them each tenth time; each hundredth time they make room.
    numbered check-last >/dev/null || fail "round $round, $death"
    [ $((round % 10)) = 0 ] || continue
    numbered check || fail "round $round, $death"
    [ $((round % 100)) = 0 ] && [ "$round" != "$ROUNDS" ] || continue
    files=$((files + $(wc -l <"$acknowledged")))
    rm -r "$MNT/numbered" && sync "$MNT" && : >"$acknowledged" || fail "round $round: rm"
done
remount
check 'all files after a remount' numbered check
echo "ok: $ROUNDS deaths, $((files + $(wc -l <"$acknowledged"))) fsynced files"
check 'audit' "$WARIFU" key audit "$DIR"
pass
