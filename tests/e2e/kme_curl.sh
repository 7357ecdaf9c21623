#!/usr/bin/env bash
# The simulator by hand: runs the lines of keyd/kme_sim/README.md with curl and checks what they leave.
. "$(dirname "$0")/../lib.sh"
command -v curl >/dev/null || skip 'no curl'
export QKD=$WORK/qkd
PATH=$(dirname "$WARIFU"):$PATH
sed -n '/^## By hand/,/^## /{/^```bash/,/^```/p}' "$here/../keyd/kme_sim/README.md" | grep -v '^```' >"$WORK/lines.sh"
check 'the README has lines to run' test "$(wc -l <"$WORK/lines.sh")" -gt 20
# Its simulation is ended whatever happens.
printf 'trap '\''kill "$KME_SIM" 2>/dev/null; wait'\'' EXIT\nset -e\n' | cat - "$WORK/lines.sh" >"$WORK/run.sh"
timeout 120 bash "$WORK/run.sh" >"$WORK/out" 2>&1 || { cat "$WORK/out"; fail 'the lines of the README'; }

same() { diff <(jq -S '[.keys[] | {key_ID, key}]' "$1") <(jq -S '[.keys[] | {key_ID, key}]' "$2"); }
says() { jq -e --arg what "$2" '.message == $what' "$1" >/dev/null; }
check 'status tells both KMEs' jq -e '.source_KME_ID == "kme-alice" and .target_KME_ID == "kme-bob"' "$QKD/status.json"
check 'status says that it is simulated' jq -e '.status_extension.warifu_claim == "simulated"' "$QKD/status.json"
check 'one key of 256 bits' test "$(jq -r '.keys[0].key' "$QKD/sent.json" | base64 -d | wc -c)" = 32
check 'the same at the other end' same "$QKD/sent.json" "$QKD/fetched.json"
check 'three keys' test "$(jq '.keys | length' "$QKD/sent3.json")" = 3
check 'the same at the other end' same "$QKD/sent3.json" "$QKD/fetched3.json"
check 'an odd size' says "$QKD/odd.json" 'size shall be a multiple of 8'
check 'a key is delivered once' says "$QKD/again.json" 'one or more keys specified are not found on KME'
check 'a link that is down' test "$(cat "$QKD/down.code")" = 503
check 'the network counts' jq -e '.kmes[0].keys_encrypted == 4 and .kmes[1].keys_decrypted == 4' "$QKD/admin.json"
check 'private keys are private' test "$(stat -c %a "$QKD/sae-alice.key")" = 600

# Without a certificate, with one of an unknown CA, and for an SAE that is not registered.
"$WARIFU" kme-sim certs "$QKD/other" --sae alice --quiet || fail certs
"$WARIFU" kme-sim certs "$QKD" --sae mallory --quiet || fail certs
"$WARIFU" kme-sim "$QKD/kme-sim.json" --ready-file "$QKD/ready.json" --rate 1000 >"$WORK/kme.out" 2>"$WORK/kme.err" &
CLEANUP_PIDS=$!
wait_for 30 test -s "$QKD/ready.json" || { cat "$WORK/kme.err"; fail 'kme-sim is not ready'; }
url=$(jq -r '.kmes[0].url' "$QKD/ready.json")/api/v1/keys/bob/status
ask() { curl -sS --cacert "$QKD/ca.pem" "$@" "$url" 2>/dev/null; }
as() { ask --cert "$QKD/$1.pem" --key "$QKD/$1.key"; }
check 'alice is answered' bash -c "[ -n '$(as sae-alice)' ]"
check 'nobody without a certificate' test -z "$(ask)"
check 'nobody with a certificate of another CA' test -z "$(as other/sae-alice)"
check 'an SAE that is not registered gets 401' jq -e '.message | test("not registered")' <(as sae-mallory)
check 'TLS 1.1 is refused' test -z "$(ask --tls-max 1.1 --cert "$QKD/sae-alice.pem" --key "$QKD/sae-alice.key")"
refuses 2 'no fault is named' "$WARIFU" kme-sim fault "$QKD/admin.sock" sloth
refuses 2 'no KME is named' "$WARIFU" kme-sim fault "$QKD/admin.sock" lost kme=nobody
port=$(sed 's/.*:\([0-9]*\)$/\1/' <<<"${url%%/api*}")
jq ".kmes[0].listen = \"127.0.0.1:$port\" | del(.admin)" "$QKD/kme-sim.json" >"$QKD/second.json"
# error_line CONFIG: runs a kme-sim, of whose messages only the program's last word stays; its exit code.
error_line() {
    "$WARIFU" kme-sim "$1" 2>&1 >/dev/null | grep ^warifu >&2
    return "${PIPESTATUS[0]}"
}
refuses 7 'in use' error_line "$QKD/second.json"
kill "$CLEANUP_PIDS"
wait "$CLEANUP_PIDS"
check 'SIGTERM ends it with 0' test $? = 0
CLEANUP_PIDS=
check 'the ready file is gone' test ! -e "$QKD/ready.json"

jq '.kmes[0].listen = 7' "$QKD/kme-sim.json" >"$QKD/bad.json"
refuses 3 'bad.json: \$\.kmes\[0\]\.listen: expected a string' "$WARIFU" kme-sim "$QKD/bad.json"
jq '.kmes[0].certificate = "nothing.pem"' "$QKD/kme-sim.json" >"$QKD/bad.json"
refuses 1 'nothing.pem: No such file' error_line "$QKD/bad.json"
refuses 2 'CONFIG' "$WARIFU" kme-sim
refuses 2 'options' "$WARIFU" kme-sim "$QKD/kme-sim.json" --key-size 7
for command in kme-sim 'kme-sim certs' 'kme-sim fault' 'kme-sim status'; do
    check "help of '$command'" bash -c "'$WARIFU' $command --help | grep -q Examples"
done
pass
