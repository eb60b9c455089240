#!/bin/sh
# A backend in a POSIX shell: `socat` listens, `openssl` checks signatures, `jq` reads and writes JSON, `curl` calls the API.
set -eu

if [ "${1:-}" != answer ]; then
    exec socat "TCP-LISTEN:$PORT,bind=127.0.0.1,reuseaddr,fork" "EXEC:sh $0 answer"
fi

# One request: its line, its headers until the empty line, its body.
read -r line
id='' timestamp='' signatures='' type='' length=0
while read -r header; do
    header=${header%"$(printf '\r')"}
    [ -n "$header" ] || break
    value=${header#*: }
    case $(printf %s "${header%%:*}" | tr A-Z a-z) in
        webhook-id) id=$value ;;
        webhook-timestamp) timestamp=$value ;;
        webhook-signature) signatures=$value ;;
        ce-type) type=$value ;;
        content-length) length=$value ;;
    esac
done
body=$(head -c "$length")

# Answers with a status and a body, and ends.
answer() {
    printf 'HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' "$1" "$(printf %s "$2" | wc -c)" "$2"
    exit
}

# Returns whether a holder of the secret signed the request in the last five minutes.
is_signed() {
    case $timestamp in ''|*[!0-9]*) return 1 ;; esac
    age=$(($(date +%s) - timestamp))
    [ "$age" -le 300 ] && [ "$age" -ge -300 ] || return 1
    key=$(printf %s "${WEBHOOK_SECRET#whsec_}" | base64 -d | od -An -v -tx1 | tr -d ' \n')
    expected=$(printf '%s.%s.%s' "$id" "$timestamp" "$body" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | base64)
    for signature in $signatures; do
        [ "$signature" = "v1,$expected" ] && return 0
    done
    return 1
}

# Calls an operation of the API. Further arguments are those of curl.
call() {
    operation=$1
    shift
    curl --silent --show-error --fail-with-body --header "Authorization: Bearer $API_KEY" "$@" "$API/$operation"
}

is_signed || answer '401 Unauthorized' '{}'
if [ "$type" = io.sociable.connect ]; then
    answer '200 OK' "$(printf %s "$body" | jq -c 'if (.auth.name? // "") != "" then {allow: true, data: {name: .auth.name}, join: ["everyone"]}
        else {allow: false, error: {message: "send a name", data: {backend: "curl"}}} end')"
fi
namespace=$(printf %s "$body" | jq -r .namespace)
call join --json "$(printf %s "$body" | jq -c '{namespace, rooms: [.socket], join: ["talkers"]}')" > /dev/null
count=$(call count --get --data-urlencode "namespace=$namespace" --data-urlencode room=talkers | jq .sockets)
event=$(printf %s "$body" | jq -c '{namespace, rooms: ["everyone"], event: "said", args: ["curl", .data.name, .args[0]]}')
call emit --json "$event" --header "Idempotency-Key: $id" > /dev/null
answer '200 OK' "{\"ack\":[$count]}"
