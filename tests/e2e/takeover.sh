#!/usr/bin/env bash
# Two machines (host names of their own) and one volume: the writer is paused (SIGSTOP) under load, the other one takes
# over at its site, the first is resumed. Nothing that was fsynced is lost, nothing of the old writer is accepted any
# more, its mount says EROFS and does not hang. Then the writer is killed, and the other machine mounts without any
# option once it was not heard of for ten seconds. takeover.sh [ROUNDS]
ROUNDS=${1:-${ROUNDS:-3}}
[ "$ROUNDS" -gt 20 ] && STORE_SIZE=8G
. "$(dirname "$0")/../lib.sh"
up
"$WARIFU" umount "$DIR" || fail umount
id=$(jq -r .volume "$DIR/run/volume.json")
for n in 1 2 3; do
    "$WARIFU" access grant "$DIR/sites/site$n/site.json" "$id" site2 write || fail "grant at site$n"
done
acknowledged=$WORK/acknowledged
: >"$acknowledged"
mnt() { echo "$DIR/mnt-$1"; }
pid_file() { echo "$DIR/run/$1/mount.pid"; }
mount_at() { # SITE OPTION...: as a machine of its own
    local site=$1
    shift
    mkdir -p "$(mnt "$site")"
    unshare --uts sh -c 'hostname "machine-of-$1" && shift && exec "$@"' - "$site" \
        "$WARIFU" mount "$DIR" "$(mnt "$site")" --site "$site" "$@"
}
status_of() { timeout 60 "$WARIFU" status "$DIR/run/$1/volume.json" --json | jq -r "$2"; }
signal() { # SIGNAL SITE
    local pid start
    read -r pid start <"$(pid_file "$2")"
    process_runs "$(pid_file "$2")" && kill "-$1" "$pid"
}
# The writer has fsynced some files more.
goes_well() {
    local before
    before=$(wc -l <"$acknowledged")
    wait_for 60 eval "[ \$(wc -l <'$acknowledged') -ge $((before + 5)) ]"
}
names_in() { (cd "$1" && find . | sort); }
# Not in a pipeline: the exit code of status says that something is wrong, and it is.
says_who() { [[ "$(status_of "$1" .volume.reason)" =~ process\ [0-9]+\ on\ machine-of-$2\ took\ over ]]; }

writer=site1 other=site2
mount_at $writer || fail 'the first mount'
refuses 7 'being written by process [0-9]+ on machine-of-site1' mount_at $other
RANDOM=${SEED:-7}
for round in $(seq "$ROUNDS"); do
    python3 "$here/e2e/numbered_files.py" write "$(mnt $writer)" "$acknowledged" &
    load=$!
    CLEANUP_PIDS=$load
    goes_well || fail "round $round: the load does not run"
    ms=$((RANDOM % 700))
    sleep "$(printf '0.%03d' $ms)"
    signal STOP $writer || fail "round $round: nothing to stop"
    cp "$acknowledged" "$WORK/before"
    mount_at $other --takeover || fail "round $round: takeover"
    python3 "$here/e2e/numbered_files.py" check-last "$(mnt $other)" "$WORK/before" ||
        fail "round $round: what was fsynced before the takeover"
    echo "round $round" >"$(mnt $other)/taken" && sync "$(mnt $other)/taken" || fail "round $round: the new writer"
    names_in "$(mnt $other)" >"$WORK/names"
    signal CONT $writer
    # What was acknowledged late (its record was durable before the takeover) must be in the new writer's history too.
    for _ in $(seq 600); do kill -0 $load 2>/dev/null || break; sleep 0.1; done
    kill -0 $load 2>/dev/null && fail "round $round: the old writer's programs hang"
    python3 "$here/e2e/numbered_files.py" check-last "$(mnt $other)" "$acknowledged" ||
        fail "round $round: the old writer was told that something is durable, and it is not"
    timeout 60 touch "$(mnt $writer)/late" 2>"$WORK/late" && fail "round $round: the old writer accepts files"
    grep -q 'Read-only file system' "$WORK/late" || fail "round $round: $(cat "$WORK/late")"
    [ "$(status_of $writer .volume.writable)" = false ] || fail "round $round: the old writer calls itself writable"
    wait_for 60 says_who $writer $other || fail "round $round: $(status_of $writer .volume.reason)"
    # Nothing changes at the new writer, and what it writes goes on being durable.
    names_in "$(mnt $other)" | diff "$WORK/names" - || fail "round $round: names came or went"
    echo "round $round, again" >"$(mnt $other)/taken" && sync "$(mnt $other)/taken" || fail "round $round: fsync"
    timeout 120 "$WARIFU" umount "$(mnt $writer)" --force
    wait_for 60 eval "! process_runs '$(pid_file $writer)'" || fail "round $round: the old writer does not end"
    last=$writer writer=$other other=$last
done
echo "ok: $ROUNDS takeovers, $(wc -l <"$acknowledged") fsynced files"
check 'every fsynced file' python3 "$here/e2e/numbered_files.py" check "$(mnt $writer)" "$acknowledged"

python3 "$here/e2e/numbered_files.py" write "$(mnt $writer)" "$acknowledged" &
CLEANUP_PIDS=$!
goes_well || fail 'the load does not run'
kill9 "$(pid_file $writer)" || fail 'kill of the writer'
start=$(date +%s.%N)
wait "$CLEANUP_PIDS"
mount_at $other || fail 'the volume of a dead machine is not taken over'
echo "ok: mounted at another site $(python3 -c "import time; print(f'{time.time() - $start:.1f}')") s after the kill"
check 'every fsynced file after the kill' \
    python3 "$here/e2e/numbered_files.py" check "$(mnt $other)" "$acknowledged"
umount -l "$(mnt $writer)" 2>/dev/null
check 'a clean umount' "$WARIFU" umount "$(mnt $other)"
check 'audit' "$WARIFU" key audit "$DIR"
pass
