#!/usr/bin/env bash
# kill -9 of the mount, of share servers and of keyds at random moments while a writer fsyncs numbered files: after a
# new start every fsynced file is there and right. ROUNDS=N for another number of rounds.
STORE_SIZE=8G  # every 25th file has 5 MB, and a fast machine writes thousands in between the kills
. "$(dirname "$0")/../lib.sh"
ROUNDS=${ROUNDS:-50}
up
acknowledged=$WORK/acknowledged
: >"$acknowledged"
check_all() { python3 "$here/e2e/numbered_files.py" check "$MNT" "$acknowledged"; }
writer() { python3 "$here/e2e/numbered_files.py" write "$MNT" "$acknowledged" & WRITER=$!; CLEANUP_PIDS=$WRITER; }

RANDOM=42
for round in $(seq "$ROUNDS"); do
    writer
    ms=$((RANDOM % 700 + 50))
    sleep "$(printf '0.%03d' $ms)"
    kill9 "$DIR/run/mount.pid" || fail "kill of the mount in round $round"
    wait $WRITER
    umount -l "$MNT" 2>/dev/null
    mount_again
    # Every file each tenth time and at the end; the newest ones always.
    if [ $((round % 10)) = 0 ] || [ "$round" = "$ROUNDS" ]; then check_all || fail "round $round of mount kills"
    else
        python3 "$here/e2e/numbered_files.py" check-last "$MNT" "$acknowledged" || fail "round $round of mount kills"
    fi
done
echo "ok: $ROUNDS kills of the mount, $(wc -l <"$acknowledged") fsynced files"

for part in server keyd; do
    for round in $(seq $((ROUNDS / 5))); do
        site=site$((RANDOM % 3 + 1))
        writer
        ms=$((RANDOM % 700 + 50))
        sleep "$(printf '0.%03d' $ms)"
        kill9 "$DIR/run/$site.$part.pid" || fail "kill of $site's $part"
        sleep 0.3
        kill $WRITER 2>/dev/null
        wait $WRITER
        if [ $part = keyd ]; then
            "$WARIFU" site start "$DIR" $site --keyd
        else
            "$WARIFU" site start "$DIR" $site
        fi ||
            fail "site start $site in round $round of $part kills"
        wait_for 60 state_is $site up || fail "$site is not up again in round $round of $part kills"
        python3 "$here/e2e/numbered_files.py" check-last "$MNT" "$acknowledged" || fail "round $round of $part kills"
    done
    check "all files after the kills of ${part}s" check_all
done
remount
check 'all files after a remount' check_all
check 'audit' "$WARIFU" key audit "$DIR"
pass
