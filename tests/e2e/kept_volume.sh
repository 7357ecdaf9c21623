#!/usr/bin/env bash
# A deployment that an earlier version made still opens, gives everything back, and takes new files. The kept ones lie
# in tests/data, one per format version; their unused pads are left out (keyd counts them as lost and takes new ones).
#
#   tests/e2e/kept_volume.sh                                  opens every kept deployment
#   tests/e2e/kept_volume.sh --make tests/data/volume-N.tar.xz    makes one with this version
. "$(dirname "$0")/../lib.sh"

# Names, types, modes, times, links, xattrs and contents of the tree, as text.
listing() {
    (cd "$1" && find . -mindepth 1 -printf '%P %y %m %s %T@ %n %l\n' | sort && find . -type f | sort | tr '\n' '\0' |
        xargs -0 sha256sum && getfattr -R -d -m - . 2>/dev/null)
}

if [ "${1:-}" = --make ]; then
    file=$(realpath -m "${2:?--make needs a file}")
    "$WARIFU" up "$DIR" --store-size 64M --pads 8M || fail 'up'
    mkdir -p "$MNT/runs/InterOp" && cd "$MNT" || fail 'the mount'
    for i in $(seq 40); do printf 'tile %d\n' "$i" >"runs/s_$i.filter"; done
    seq 5000 >runs/reads.fq
    truncate -s 40M sparse && printf end >>sparse
    ln runs/s_1.filter hard && ln -s runs/reads.fq soft && setfattr -n user.lane -v 3 hard
    printf caret >'with^caret ü' && rm runs/s_40.filter && mv runs/s_39.filter runs/renamed
    touch -d '2041-03-04 05:06:07.123456789' runs/s_2.filter && sync
    cd "$WORK" || fail 'the work directory'
    listing "$MNT" >"$WORK/listing"
    "$WARIFU" down "$DIR" || fail 'down'
    rm -rf "$DIR"/sites/*/pads/blocks/* "$DIR"/sites/*/pads/incoming/* "$DIR"/run/*.sock "$DIR"/sites/*/log
    mv "$WORK/listing" "$DIR/listing"
    tar -C "$WORK" --sparse --sort=name -cf - d | xz -9e >"$file" || fail 'the archive'
    ls -l "$file"
    pass
fi

kept=0
for archive in "$here"/data/volume-*.tar.xz; do
    tar -C "$WORK" --sparse -xf "$archive" || fail "unpack $archive"
    check "$(basename "$archive") comes up" "$WARIFU" up "$DIR"
    listing "$MNT" >"$WORK/listing"
    check 'it gives everything back' cmp "$DIR/listing" "$WORK/listing"
    check 'it takes a new file' bash -c "seq 1000 >'$MNT/new' && sync '$MNT/new'"
    check 'which a restore gives back' "$WARIFU" restore "$DIR" "$WORK/back" --from site2,site3 new runs
    check 'equal to what was written' cmp <(seq 1000) "$WORK/back/new"
    check 'the ledgers know of no byte used twice' "$WARIFU" key audit "$DIR"
    check 'it goes down' "$WARIFU" down "$DIR"
    rm -rf "${DIR:?}" "$WORK/back"
    kept=$((kept + 1))
done
check 'there are kept deployments' test $kept -gt 0
pass
