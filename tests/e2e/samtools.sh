#!/usr/bin/env bash
# Aligns real reads straight onto the mount, indexes, and reads 100 random regions: equal to the same on a local disk,
# with each site stopped in turn, and after a remount.
. "$(dirname "$0")/../lib.sh"
for tool in bwa samtools; do command -v $tool >/dev/null || fail "$tool is not installed (ci/packages)"; done
up
local=$WORK/local
genome_data "$local"
genome_data "$MNT/run"
check 'reads are the same' cmp "$local/r1.fq" "$MNT/run/r1.fq"

align() { # DIRECTORY
    (cd "$1" && bwa index ref.fa 2>bwa.log && bwa mem ref.fa r1.fq r2.fq 2>>bwa.log |
        samtools sort -m 16M -o x.bam - 2>>bwa.log && samtools index x.bam && samtools faidx ref.fa)
}
align "$local" || fail 'bwa and samtools on the local disk'
align "$MNT/run" || fail 'bwa and samtools on the mount'
check 'quickcheck' samtools quickcheck "$MNT/run/x.bam"
check 'the same alignments' cmp <(samtools view "$local/x.bam") <(samtools view "$MNT/run/x.bam")
check 'CRAM round trip' bash -c "cd '$MNT/run' && samtools view -C -T ref.fa -o x.cram x.bam &&
    cmp <(samtools view x.bam | cut -f1-6) <(samtools view -T ref.fa x.cram | cut -f1-6)"

name=$(cut -f1 "$local/ref.fa.fai" | head -1)
length=$(cut -f2 "$local/ref.fa.fai" | head -1)
RANDOM=20
for _ in $(seq 100); do
    start=$(((RANDOM * 32768 + RANDOM) % length + 1))
    echo "$name:$start-$((start + RANDOM % 2000))"
done >"$WORK/regions"
regions() { # DIRECTORY
    while read -r region; do samtools view "$1/x.bam" "$region" || return 1; done <"$WORK/regions" | sha256sum
}
expected=$(regions "$local")
same_regions() { [ "$(regions "$MNT/run")" = "$expected" ]; }
# The mount must really fetch: a remount drops every cache.
check '100 regions' same_regions
remount
check '100 regions after a remount' same_regions
for site in site1 site2 site3; do
    "$WARIFU" site stop "$DIR" $site || fail "site stop $site"
    echo 3 >/proc/sys/vm/drop_caches
    check "100 regions without $site" same_regions
    check "quickcheck without $site" samtools quickcheck "$MNT/run/x.bam"
    "$WARIFU" site start "$DIR" $site || fail "site start $site"
    check "$site comes back" wait_for 60 state_is $site up
done
pass
