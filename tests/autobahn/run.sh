#!/bin/sh
# m28_every_case_of_autobahns_fuzzing_client_is_ok
# Runs Autobahn's fuzzing client, cases 1 to 10, against the gateway's WebSocket sockets (examples/autobahn_echo.rs) and fails when a case fails.
# The suite exists only for Python 2.7. Where that cannot be found it is skipped with a line that says so.
# SKYKOI_AUTOBAHN_DIR: where the suite is installed and the reports go (default: target/autobahn). AUTOBAHN_CASES: space-separated patterns (default: all of 1 to 10).
set -eu
cd "$(dirname "$0")/../.."
dir=${SKYKOI_AUTOBAHN_DIR:-$PWD/target/autobahn}
cases=${AUTOBAHN_CASES:-1.* 2.* 3.* 4.* 5.* 6.* 7.* 9.* 10.*}

skip() {
    echo "SKIPPED: Autobahn: $1"
    exit 0
}

# A Python 2.7 of pyenv first, since it has pip; then one on the path.
python=
if command -v pyenv >/dev/null 2>&1; then
    version=$(pyenv versions --bare 2>/dev/null | grep '^2\.7' | tail -n 1 || true)
    [ -z "$version" ] || python=$(PYENV_VERSION=$version pyenv which python2.7 2>/dev/null || true)
fi
[ -n "$python" ] || python=$(command -v python2.7 || true)
[ -n "$python" ] || skip "no python2.7 (pyenv install 2.7.18)"
"$python" -m pip --version >/dev/null 2>&1 || skip "$python has no pip"

site=$dir/site
if [ ! -e "$site/.complete" ]; then
    rm -rf "$site"
    mkdir -p "$site"
    "$python" -m pip install --quiet --disable-pip-version-check --target "$site" \
        autobahntestsuite==25.10.1 autobahn==0.10.9 twisted==20.3.0 'jinja2<3' 'markupsafe<2' klein==20.6.0 \
        txaio==2.1.0 werkzeug==0.16.1 'zope.interface<6' >"$dir/install.log" 2>&1 || skip "the suite cannot be installed; see $dir/install.log"
    touch "$site/zope/__init__.py" "$site/.complete"
fi

cargo build --quiet --example autobahn_echo
work=$(mktemp -d)
echo_pid=
finish() {
    [ -z "$echo_pid" ] || kill "$echo_pid" 2>/dev/null || true
    rm -rf "$work"
}
trap finish EXIT INT TERM
target=${CARGO_TARGET_DIR:-target}
"$target/debug/examples/autobahn_echo" >"$work/address" 2>"$work/log" &
echo_pid=$!
tries=0
while [ ! -s "$work/address" ]; do
    tries=$((tries + 1))
    [ "$tries" -le 100 ] || { echo "the echo server did not start:"; cat "$work/log"; exit 1; }
    sleep 0.1
done

reports=$dir/reports
rm -rf "$reports"
quoted=$(printf '"%s",' $(set -f; echo $cases) | sed 's/,$//')
cat >"$work/fuzzingclient.json" <<JSON
{"outdir": "$reports", "servers": [{"agent": "skykoi", "url": "$(cat "$work/address")"}], "cases": [$quoted], "exclude-cases": [], "exclude-agent-cases": {}}
JSON
cd "$work"
PYTHONPATH=$site "$python" -c 'import sys; sys.argv = ["wstest", "-m", "fuzzingclient", "-s", sys.argv[1]]
from autobahntestsuite.wstest import run
run()' "$work/fuzzingclient.json" >"$dir/run.log" 2>&1 || { tail -n 20 "$dir/run.log"; exit 1; }
cd - >/dev/null
"$python" tests/autobahn/judge.py "$reports"
