#!/bin/sh
# Fuzzes the whole interface from its OpenAPI document with schemathesis, against a server with a simulated cluster.
#
#   fuzz.sh PAAS [EXAMPLES]
#
# PAAS is the binary; EXAMPLES is how many examples each operation gets (100 if absent). What it needs is python3 with
# venv; schemathesis is installed, pinned, into a folder that is kept (PAAS_FUZZ_VENV, or below the user's cache).
set -eu

paas=$1
examples=${2:-100}
version=4.32.5
here=$(cd "$(dirname "$0")" && pwd)
venv=${PAAS_FUZZ_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/paas-fuzz/schemathesis-$version}
tool=$venv/bin/schemathesis

if ! "$tool" --version 2>/dev/null | grep -qF "$version"; then
    command -v python3 >/dev/null || { echo "python3 is missing: apt-get install python3 python3-venv" >&2; exit 77; }
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv" || { echo "python3-venv is missing: apt-get install python3-venv" >&2; exit 77; }
    "$venv/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi

dir=$(mktemp -d)
server=
cleanup() {
    if [ -n "$server" ]; then kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
    rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mkdir "$dir/data"
"$paas" server --dir "$dir/data" --listen 127.0.0.1:0 --backend memory >"$dir/greeting" 2>"$dir/log" &
server=$!
tries=0
until [ -s "$dir/data/server.json" ] && [ -s "$dir/greeting" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "the server did not start:" >&2; cat "$dir/log" >&2; exit 1; }
    sleep 0.1
done
api=$(sed -n 's/.*"api": "\(.*\)".*/\1/p' "$dir/data/server.json")
token=$(sed -n 's/^administrator token.*: //p' "$dir/greeting")

# Something to find: the names are those that the configuration gives to path parameters.
export PAAS_SERVER=$api PAAS_TOKEN=$token PAAS_ORG=shop PAAS_ENV=prod PAAS_CONFIG=$dir/login
"$paas" org create shop >/dev/null
"$paas" env create prod >/dev/null
"$paas" app create web >/dev/null
"$paas" deploy web --file "$here/app.yaml" --wait >/dev/null
"$paas" config set web GREETING=hello >/dev/null
printf secret | "$paas" secret set web PASSWORD >/dev/null
PAAS_FUZZ_SPARE_TOKEN=$("$paas" token create --user spare -o json | sed -n 's/.*"id": "\([^"]*\)".*/\1/p' | head -n 1)
export PAAS_FUZZ_SPARE_TOKEN

status=0
(cd "$dir" && PAAS_TOKEN=$token "$tool" --config-file "$here/schemathesis.toml" run "$api/openapi.json" \
    --header "Authorization: Bearer $token" --max-examples "$examples" --workers 1 --seed 20261121 --no-color) || status=$?

kill -0 "$server" 2>/dev/null || { echo "the server has died:" >&2; tail -50 "$dir/log" >&2; exit 1; }
"$paas" token list >/dev/null || { echo "the token is not valid any more: the fuzzing saw only refusals" >&2; exit 1; }
if grep -E "panicked|a request failed by a defect" "$dir/log" >&2; then exit 1; fi
exit "$status"
