#!/bin/bash
# The shipped unit under a real systemd: a Debian container is booted with the
# binary given, deploy/install.sh installs it there, and then the daemon is
# killed, restarted, hung, misconfigured and stopped while runs go on.
#
#   tests/systemd/run.sh BINARY
#
# Needs root (or password-less sudo), systemd-nspawn and mmdebstrap; where the
# container cannot be made or booted, it says SKIPPED with the reason and exits 0.
# SKYKOI_TEST_STRICT=1 makes such a skip a failure.
set -euo pipefail

repo=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cache=${SKYKOI_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/skykoi-gateway}
unit=skykoi-gateway.service

skip() {
    echo "SKIPPED systemd test: $1"
    [ "${SKYKOI_TEST_STRICT:-}" != 1 ] || exit 1
    exit 0
}
fail() {
    echo "FAILED systemd test: $1" >&2
    if [ -n "${init_pid:-}" ]; then
        inside systemctl status --no-pager -l "$unit" >&2 || true
        inside journalctl -u "$unit" -n 40 --no-pager >&2 || true
    fi
    exit 1
}
pass() { printf 'ok  %s\n' "$1"; }

binary=${1:-}
[ -f "$binary" ] || { echo "usage: tests/systemd/run.sh BINARY" >&2; exit 64; }
binary=$(realpath -- "$binary")
if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || skip "needs root or password-less sudo"
    exec sudo -n env SKYKOI_TEST_CACHE="$cache" SKYKOI_TEST_STRICT="${SKYKOI_TEST_STRICT:-}" "$0" "$binary"
fi
for tool in systemd-nspawn mmdebstrap nsenter pgrep; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
# The container is of the machine's own release, so that the binary finds the
# same C library in it.
# shellcheck source=/dev/null
suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[ -n "$suite" ] || skip "the machine's release has no code name"

work=
nspawn_pid=
init_pid=
clean_up() {
    if [ -n "$nspawn_pid" ] && kill -0 "$nspawn_pid" 2>/dev/null; then
        [ -z "$init_pid" ] || inside systemctl poweroff --force >/dev/null 2>&1 || true
        if ! until_true 15 process_is_gone "$nspawn_pid"; then
            [ -z "$init_pid" ] || kill -KILL "$init_pid" 2>/dev/null || true
            kill -KILL "$nspawn_pid" 2>/dev/null || true
        fi
        wait "$nspawn_pid" 2>/dev/null || true
    fi
    [ -z "$work" ] || rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'echo "FAILED systemd test: line $LINENO: $BASH_COMMAND" >&2' ERR

# until_true SECONDS COMMAND...: polls, and fails when the time is over.
until_true() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.1
    done
}
process_is_gone() { ! kill -0 "$1" 2>/dev/null; }

# --- the container -----------------------------------------------------------
packages=systemd,systemd-sysv,dbus,iproute2,procps,sudo,ca-certificates,nginx,openssl,curl,bubblewrap
# The name tells what is in it, so that a root made for an older list is not used.
root=$cache/nspawn-root-$suite-$(echo "$packages" | cksum | cut -d ' ' -f 1)
mkdir -p "$cache"
if [ ! -x "$root/usr/lib/systemd/systemd" ] && [ ! -x "$root/lib/systemd/systemd" ]; then
    echo "making the container's root (once): $root"
    rm -rf --one-file-system "$root" "$root.new"
    timeout 600 mmdebstrap --quiet --variant=minbase \
        --include="$packages" "$suite" "$root.new" \
        >"$cache/mmdebstrap.log" 2>&1 || {
        rm -rf --one-file-system "$root.new"
        skip "mmdebstrap failed: $(tail -n 1 "$cache/mmdebstrap.log")"
    }
    mv "$root.new" "$root"
fi
work=$(mktemp -d "$cache/systemd-test.XXXXXX")
cp -a --reflink=auto "$root" "$work/root"
mkdir -p "$work/root/opt/skykoi"
cp -r "$repo/deploy" "$repo/nginx" "$repo/systemd" "$work/root/opt/skykoi/"
cp "$binary" "$work/root/opt/skykoi/skykoi-gateway"
# The container finds its own name without a name server: sudo complains on
# stderr when it cannot.
echo koi-test >"$work/root/etc/hostname"
echo '127.0.0.1 localhost koi-test' >"$work/root/etc/hosts"

systemd-nspawn -q -D "$work/root" --register=no --keep-unit --private-network \
    --kill-signal=SIGRTMIN+3 --console=pipe -b >"$work/console.log" 2>&1 </dev/null &
nspawn_pid=$!
find_init() { init_pid=$(pgrep -P "$nspawn_pid" | head -n 1) && [ -n "$init_pid" ]; }
inside() { nsenter -t "$init_pid" -m -u -i -n -p -C env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
as_user() { inside runuser -u ubuntu -- env HOME=/home/ubuntu USER=ubuntu "$@"; }
is_up() { [[ $(inside systemctl is-system-running) =~ ^(running|degraded)$ ]]; }
until_true 10 find_init || skip "systemd-nspawn does not start: $(tail -n 1 "$work/console.log")"
until_true 60 is_up || skip "systemd does not come up in the container: $(tail -n 1 "$work/console.log")"
pass "a container with $(inside systemctl --version | sed 's/ (.*//;q') is up"

# --- what the tests ask of it --------------------------------------------------
property() { inside systemctl show -P "$1" "$unit"; }
property_is() { [ "$(property "$1")" = "$2" ]; }
is_active_as_another() { property_is ActiveState active && ! property_is MainPID "$1" && ! property_is MainPID 0; }
# begin_run ID: starts a run that prints 1..150 in about 8 s. The idempotency key
# is the run's id on the wire, so the test knows it beforehand.
begin_run() {
    local script="for i in \$(seq 1 150); do echo \$i; echo \$i > /home/ubuntu/$1.at; sleep 0.05; done"
    as_user skg call agent --params "{\"message\": \"$script\", \"idempotencyKey\": \"$1\", \"sessionKey\": \"agent:main:$1\"}" \
        >"$work/$1.call" 2>&1 &
    until_true 10 run_has_passed "$1" 5 || fail "run $1 does not start: $(cat "$work/$1.call")"
}
run_has_passed() { [ "$(cat "$work/root/home/ubuntu/$1.at" 2>/dev/null || echo 0)" -ge "$2" ]; }
# The run's own output, as a client gets it that comes after all is over.
run_is_complete() {
    until_true 30 run_has_passed "$1" 150 || fail "run $1 did not go on: it is at $(cat "$work/root/home/ubuntu/$1.at")"
    as_user timeout 20 skg runs follow "$1" >"$work/$1.out" 2>"$work/$1.err" || fail "runs follow $1: $(cat "$work/$1.err")"
    seq 1 150 | cmp -s - "$work/$1.out" || fail "the output of $1 is not 1..150: $(head -c 300 "$work/$1.out")"
    as_user timeout 20 skg call agent.wait --params "{\"runId\": \"$1\"}" >"$work/$1.final" 2>&1 || fail "agent.wait $1: $(cat "$work/$1.final")"
    grep -qE '"status": ?"ok"' "$work/$1.final" || fail "the final of $1 is not ok: $(cat "$work/$1.final")"
}

# --- install -------------------------------------------------------------------
inside /opt/skykoi/deploy/install.sh --no-nginx >"$work/install.log" 2>&1 || fail "install.sh: $(cat "$work/install.log")"
property_is ActiveState active || fail "not active after install"
property_is Type notify || fail "the unit is not Type=notify"
property_is WatchdogUSec 30s || fail "the watchdog is not armed"
[ "$(property WatchdogTimestampMonotonic)" -gt 0 ] || fail "systemd does not count the watchdog"
[ "$(stat -c %a "$work/root/home/ubuntu/.skykoi/skykoi.json")" = 600 ] || fail "the config is not private"
pass "install.sh: active, Type=notify, watchdog armed"

first=$(property MainPID)
inside /opt/skykoi/deploy/install.sh --name koi.test >"$work/install.log" 2>&1 || fail "install.sh a second time: $(cat "$work/install.log")"
is_active_as_another "$first" || fail "not active, or not restarted, after a second install"
# The shipped site on its own ports, in front of the installed gateway. The
# certificate that was made is checked too: no -k here.
through_nginx() {
    inside curl -sS -i --http1.1 --cacert /etc/skykoi-gateway/tls/cert.pem --resolve koi.test:443:127.0.0.1 "$@"
}
through_nginx -f https://koi.test/healthz >"$work/healthz" || fail "healthz through nginx: $(cat "$work/healthz")"
# curl has no end to wait for after the upgrade, so it always ends by its time limit.
through_nginx -N -m 3 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' \
    -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' -H 'Origin: https://koi.test' https://koi.test/ >"$work/upgrade" 2>/dev/null || true
grep -q '^HTTP/1.1 101' "$work/upgrade" || fail "the upgrade through nginx: $(cat "$work/upgrade")"
grep -aq connect.challenge "$work/upgrade" || fail "no challenge through nginx: $(cat "$work/upgrade")"
pass "install.sh again, with nginx: restarted; https and WebSocket work on 443"

as_user skg agent 'grep NoNewPrivs /proc/self/status; sudo -n true' >"$work/nnp.out" 2>&1 || true
grep -q 'NoNewPrivs:[[:space:]]*1' "$work/nnp.out" || fail "a run may gain rights: $(cat "$work/nnp.out")"
pass "a run cannot gain rights (NoNewPrivs 1)"

# What the unit closes, and what it leaves to shell work.
as_user skg agent 'echo mine > ~/seen-by-the-user && cat ~/seen-by-the-user && echo temp > /tmp/shared-temp && echo temporary
    ls -ld / | grep -c " root root "; find /root /run/user -mindepth 1 2>/dev/null | wc -l; (echo x > /srv/no) 2>/dev/null || echo read-only
    getent hosts localhost >/dev/null && echo resolves; df -h / >/dev/null && uname -s' >"$work/full.out" 2>&1 || true
for line in mine temporary 1 0 read-only resolves Linux; do
    grep -qx "$line" "$work/full.out" || fail "a full run lacks '$line': $(cat "$work/full.out")"
done
[ "$(cat "$work/root/home/ubuntu/seen-by-the-user")" = mine ] && [ "$(cat "$work/root/tmp/shared-temp" 2>/dev/null || inside cat /tmp/shared-temp)" = temp ] ||
    fail "what a run writes is not where it belongs"
pass "a full run works in its home and in /tmp, and sees no other homes"

# --- isolated --------------------------------------------------------------------
isolate() { as_user skg config set agents.defaults.sandbox "$1" >"$work/isolate.out" 2>&1; }
isolate '{ level: "strict" }' && fail "a level that the shipped unit does not allow was taken"
grep -q 'cannot be given by this machine' "$work/isolate.out" || fail "the refusal does not say why: $(cat "$work/isolate.out")"
inside /opt/skykoi/deploy/install.sh --no-nginx --sandbox >"$work/install.log" 2>&1 || fail "install.sh --sandbox: $(cat "$work/install.log")"
isolate '{ level: "strict" }' || fail "level strict with its drop-in: $(cat "$work/isolate.out")"
as_user skg agent 'echo > strict-was-here; ls; ls /proc | grep -c "^[0-9]"; cat ~/.skykoi/skykoi.json /etc/shadow /proc/1/environ' \
    >"$work/strict.out" 2>&1 || true
grep -qx strict-was-here "$work/strict.out" || fail "a run on level strict does not work in its workspace: $(cat "$work/strict.out")"
[ -n "$(find "$work/root/home/ubuntu" -name strict-was-here)" ] || fail "what a run on level strict wrote is lost"
grep -qE 'token|root:' "$work/strict.out" && fail "a run on level strict sees too much: $(cat "$work/strict.out")"
isolate null || fail "isolation cannot be taken back: $(cat "$work/isolate.out")"
inside rm "/etc/systemd/system/$unit.d/sandbox.conf"
inside systemctl daemon-reload
inside systemctl restart "$unit"
pass "level strict: refused by the unit as shipped, works with its drop-in"

# --- a front that runs nothing ------------------------------------------------------
inside install -D -m 0644 /opt/skykoi/systemd/skykoi-gateway-no-exec.conf "/etc/systemd/system/$unit.d/no-exec.conf"
inside systemctl daemon-reload
inside systemctl restart "$unit" || fail "it does not start with the drop-in of a front"
as_user skg config set exec.security deny >"$work/front.out" 2>&1 || fail "exec.security: $(cat "$work/front.out")"
as_user skg agent 'echo no' >"$work/front.out" 2>&1 && fail "a front runs something: $(cat "$work/front.out")"
as_user skg sessions list >"$work/front.out" 2>&1 || fail "a front does not serve: $(cat "$work/front.out")"
as_user skg config set exec.security full >"$work/front.out" 2>&1 || fail "exec.security cannot be taken back: $(cat "$work/front.out")"
inside rm "/etc/systemd/system/$unit.d/no-exec.conf"
inside systemctl daemon-reload
inside systemctl restart "$unit"
pass "the drop-in of a front: it serves, writes its state, and runs nothing"

# --- killed ----------------------------------------------------------------------
begin_run killed
first=$(property MainPID)
inside systemctl kill --signal=KILL --kill-who=main "$unit"
until_true 15 is_active_as_another "$first" || fail "not restarted after kill -9"
property_is NRestarts 1 || fail "NRestarts is $(property NRestarts) after one kill"
run_has_passed killed 150 && fail "the run was over before the daemon was back; it proves nothing"
run_is_complete killed
pass "kill -9 of the daemon: restarted, the run went on, its output and final are complete"

# --- restarted -------------------------------------------------------------------
begin_run restarted
begin=$(date +%s%N)
inside systemctl restart "$unit" || fail "restart failed"
took=$((($(date +%s%N) - begin) / 1000000))
run_has_passed restarted 150 && fail "the run was over before the daemon was back; it proves nothing"
run_is_complete restarted
pass "restart during a run ($took ms): the run went on, its output and final are complete"

# --- stopped ---------------------------------------------------------------------
begin_run stopped
begin=$(date +%s%N)
inside systemctl stop "$unit"
took=$((($(date +%s%N) - begin) / 1000000))
[ "$took" -le 10000 ] || fail "stop took $took ms"
property_is Result success || fail "stop gave $(property Result)"
until_true 10 run_has_passed stopped 150 || fail "the run did not outlive the stop"
inside systemctl start "$unit" || fail "start after stop failed"
run_is_complete stopped
pass "stop ($took ms, clean): the run outlived it and was found again"

# --- reloaded --------------------------------------------------------------------
first=$(property MainPID)
inside systemctl reload "$unit" || fail "reload failed"
as_user skg status >/dev/null || fail "no status after reload"
property_is MainPID "$first" || fail "reload replaced the process"
pass "reload keeps the process"

# --- a change that only a start takes ----------------------------------------------
# The daemon executes itself anew: for systemd it is the same process all the
# while, which goes from active through reloading to active and is never ended.
begin_run reexecuted
first=$(property MainPID)
restarts=$(property NRestarts)
# How the daemon now at work differs from the one before, as its clients see it.
boot_id() { as_user skg status --json | grep -oE '"bootId": ?"[^"]+"'; }
boot=$(boot_id) || fail "no boot id before the change"
is_another_boot() { [ -n "$(boot_id)" ] && [ "$(boot_id)" != "$boot" ]; }
as_user skg config set logging.maxFileBytes 1000000 >"$work/set.out" 2>&1 || fail "config set: $(cat "$work/set.out")"
until_true 20 is_another_boot || fail "the gateway did not start anew for logging.maxFileBytes: $(cat "$work/set.out")"
run_has_passed reexecuted 150 && fail "the run was over before the daemon was back; it proves nothing"
until_true 10 property_is ActiveState active || fail "state after the daemon started anew: $(property ActiveState)"
property_is MainPID "$first" || fail "the main process is another one: $(property MainPID)"
property_is NRestarts "$restarts" || fail "systemd restarted it: $(property NRestarts)"
run_is_complete reexecuted
# Past the watchdog's time and the limit of a stop: systemd must wait for neither.
sleep 35
property_is ActiveState active && property_is MainPID "$first" || fail "later: $(property ActiveState), process $(property MainPID)"
is_another_boot || fail "later: it is not the gateway that started anew"
pass "a key that needs a start: the same process executes itself anew, the run goes on, systemd sees no end"

# --- hung ------------------------------------------------------------------------
inside mkdir -p "/run/systemd/system/$unit.d"
inside sh -c "printf '[Service]\nWatchdogSec=2\n' > /run/systemd/system/$unit.d/watchdog.conf"
inside systemctl daemon-reload
inside systemctl restart "$unit"
first=$(property MainPID)
inside systemctl kill --signal=STOP --kill-who=main "$unit"
until_true 20 is_active_as_another "$first" || fail "a hung daemon is not restarted"
# grep reads to the end: with -q the journal's writer would be cut off, and that counts as a failure.
inside journalctl -u "$unit" --no-pager | grep 'Watchdog timeout' >/dev/null || fail "the restart was not the watchdog's"
inside rm "/run/systemd/system/$unit.d/watchdog.conf"
inside systemctl daemon-reload
pass "a hung daemon is restarted by the watchdog"

# --- misconfigured ---------------------------------------------------------------
config=/home/ubuntu/.skykoi/skykoi.json
inside systemctl stop "$unit"
inside systemctl reset-failed "$unit" 2>/dev/null || true
inside cp -a "$config" "$config.good"
inside sh -c "echo '{ gatewy: { mode: \"local\" } }' > $config"
inside systemctl start "$unit" 2>/dev/null && fail "it starts with a bad config"
until_true 5 property_is ActiveState failed || fail "state after a bad config: $(property ActiveState)"
property_is ExecMainStatus 78 || fail "exit status $(property ExecMainStatus) with a bad config"
property_is NRestarts 0 || fail "it was restarted $(property NRestarts) times with a bad config"
inside journalctl -u "$unit" --no-pager -n 20 | grep gatewy >/dev/null || fail "the log does not name the wrong key"
inside mv "$config.good" "$config"
inside systemctl reset-failed "$unit"
inside systemctl start "$unit" || fail "it does not start with the good config again"
pass "a bad config: exit 78, no restart, the key is in the log"

# --- sudo allowed ----------------------------------------------------------------
inside sh -c 'echo "ubuntu ALL=(ALL) NOPASSWD:ALL" > /etc/sudoers.d/ubuntu && chmod 0440 /etc/sudoers.d/ubuntu'
inside /opt/skykoi/deploy/install.sh --no-nginx --allow-sudo >"$work/install.log" 2>&1 || fail "install.sh --allow-sudo: $(cat "$work/install.log")"
as_user skg agent 'sudo -n id -u 2>/dev/null' >"$work/sudo.out" 2>"$work/sudo.err" || fail "sudo in a run: $(cat "$work/sudo.out" "$work/sudo.err")"
grep -qx 0 "$work/sudo.out" || fail "sudo in a run gave: $(cat "$work/sudo.out")"
pass "with --allow-sudo a run may use sudo"

# --- removed ---------------------------------------------------------------------
begin_run removed
inside /opt/skykoi/deploy/install.sh --uninstall >"$work/install.log" 2>&1 || fail "uninstall: $(cat "$work/install.log")"
# The test's own client may still be looking for the daemon; it is not the unit's.
no_process_left() { ! inside pgrep -a -u ubuntu | grep -qv 'skg call agent'; }
until_true 10 no_process_left || fail "left after uninstall: $(inside ps -u ubuntu -o pid,args)"
for file in /usr/bin/skykoi-gateway /usr/bin/skg "/etc/systemd/system/$unit"; do
    [ ! -e "$work/root$file" ] || fail "$file is left after uninstall"
done
[ -e "$work/root$config" ] || fail "uninstall removed the user's config"
pass "uninstall: no process and no file of ours left, the user's state stays"
echo "systemd test: all passed"
