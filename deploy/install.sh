#!/bin/sh
# Turns a bare Debian or Ubuntu machine into a running SkyKoi Gateway, from a
# built binary and the files beside this script. Running it again upgrades:
# every step looks first and changes only what differs, and nothing of the
# user's (config, token, certificate, workspace) is ever overwritten.
set -euf

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
top=$(dirname -- "$here")
bin=/usr/bin/skykoi-gateway
short=/usr/bin/skg
unit=/etc/systemd/system/skykoi-gateway.service
site=/etc/nginx/conf.d/skykoi-gateway.conf
etc=/etc/skykoi-gateway

usage() {
    cat <<'TEXT'
Usage: install.sh [options]        (as root)
       install.sh --uninstall [--purge]

  --binary FILE     the built program (default: skykoi-gateway beside deploy/,
                    else target/skykoi-gateway, which `make build` makes)
  --user NAME       who the gateway and its runs are (default ubuntu; made if absent)
  --workspace DIR   where runs work (default ~/koi of that user)
  --name HOST       a name or address that clients use; may be given several times
                    (default: this machine's own names and addresses)
  --allow-sudo      let runs use sudo (the hardening that prevents it is lifted)
  --sandbox         make sandbox level "strict" possible: bubblewrap, and the
                    drop-in with which the unit lets it work; the level itself
                    is set in the config (agents.defaults.sandbox.level)
  --no-nginx        leave nginx and the certificate out
  --no-start        install and enable, start nothing
  --uninstall       stop the gateway and its runs, remove what was installed
  --purge           with --uninstall: also remove the certificate directory;
                    config, runs and workspace in the user's home always stay
  -h, --help        this text
TEXT
}

say() { echo "install: $*"; }
fail() {
    echo "install: $1" >&2
    exit "${2:-1}"
}

# Puts stdin at $1 with mode $2 when the content differs. Always by rename: a
# reader, or a running program, never sees half a file.
put() {
    new=$(mktemp "$(dirname -- "$1")/.skykoi.XXXXXX")
    cat >"$new"
    chmod "$2" "$new"
    if [ -f "$1" ] && cmp -s "$new" "$1"; then
        rm -f "$new"
    else
        mv -f "$new" "$1"
        say "wrote $1"
    fi
}

as_user() {
    runuser -u "$user" -- env -i -C "$home" HOME="$home" USER="$user" LOGNAME="$user" PATH=/usr/local/bin:/usr/bin:/bin "$@"
}

# The same for a file in the user's home, written with the user's own rights, so
# that nothing found there (a link, a foreign owner) can lead root astray.
put_for_user() {
    # shellcheck disable=SC2016
    as_user sh -c 'umask 077 && cat >"$1.new" && mv -f "$1.new" "$1"' sh "$1"
}

install_packages() {
    missing=
    wanted=
    [ "$nginx" = no ] || wanted="nginx:nginx openssl:openssl"
    [ "$sandbox" = no ] || wanted="$wanted bwrap:bubblewrap"
    # The list is made of fixed words, so it may be split.
    # shellcheck disable=SC2086
    for pair in $wanted; do
        command -v "${pair%%:*}" >/dev/null || missing="$missing ${pair#*:}"
    done
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null || fail "these are missing and there is no apt-get:$missing" 69
    say "apt-get install$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # The list is made of fixed words above, so it may be split.
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

install_binary() {
    [ -n "$binary" ] || for binary in "$top/skykoi-gateway" "$top/target/skykoi-gateway" ''; do
        [ -z "$binary" ] || [ ! -f "$binary" ] || break
    done
    [ -f "$binary" ] || fail "no binary found; build it (make build) or give --binary FILE" 69
    # The stage has the right name already, and a binary for another machine is
    # found here, before anything is changed.
    stage=$(mktemp -d /usr/bin/.skykoi.XXXXXX)
    cp -- "$binary" "$stage/skykoi-gateway"
    chmod 0755 "$stage" "$stage/skykoi-gateway"
    if ! version=$("$stage/skykoi-gateway" version 2>&1); then
        rm -rf "$stage"
        fail "$binary does not run here: $version"
    fi
    if ! cmp -s "$stage/skykoi-gateway" "$bin"; then
        # Never in place: a running program's file cannot be written, and the
        # hosts of running runs keep using the old one.
        mv -f "$stage/skykoi-gateway" "$bin"
        say "installed $bin ($version)"
    fi
    rm -rf "$stage"
    if [ ! -e "$short" ] && [ ! -L "$short" ]; then
        ln -s skykoi-gateway "$short"
    fi
}

install_user() {
    if ! id "$user" >/dev/null 2>&1; then
        useradd --create-home --shell /bin/bash "$user"
        say "made the user $user"
    fi
    home=$(getent passwd "$user" | cut -d: -f6)
    group=$(id -gn "$user")
    [ -d "$home" ] || fail "the home directory of $user ($home) does not exist"
    [ -n "$workspace" ] || workspace=$home/koi
    case $workspace in
        *[!A-Za-z0-9_./-]* | [!/]*) fail "--workspace wants an absolute path of plain characters, not '$workspace'" 64 ;;
    esac
    [ -d "$workspace" ] || install -d -o "$user" -g "$group" -m 0700 "$workspace"
}

# Names and addresses of this machine, as clients may know it. A cloud machine's
# public address is known to its metadata service only.
own_names() {
    hostname -f 2>/dev/null || hostname
    hostname -I 2>/dev/null | tr ' ' '\n'
    command -v curl >/dev/null || return 0
    metadata=http://169.254.169.254/latest
    key=$(curl -fs -m 1 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' "$metadata/api/token" 2>/dev/null) || return 0
    for what in public-ipv4 public-hostname; do
        curl -fs -m 1 -H "X-aws-ec2-metadata-token: $key" "$metadata/meta-data/$what" 2>/dev/null || continue
        echo
    done
}

# The config is the user's. Our part of it is one line that includes
# public.json5, which is ours and is written anew each time.
write_config() {
    state=$home/.skykoi
    config=$state/skykoi.json
    [ -e "$config" ] || as_user "$bin" init
    [ "$nginx" = yes ] || return 0
    urls=
    for name in $names; do
        case $name in *:*) name="[$name]" ;; esac
        urls="$urls\"https://$name\", "
    done
    old=$(cat "$config")
    put_for_user "$state/public.json5" <<TEXT
// Written by install.sh: how clients reach this gateway through nginx.
// Give other names with: install.sh --name HOST [--name HOST ...]
{
  gateway: {
    publicUrls: [${urls%, }],
    trustedProxies: ["127.0.0.1", "::1"],
  },
}
TEXT
    # The line goes after the brace that opens the file. A file that does not
    # begin so, or that includes others already, is for its owner to change.
    # shellcheck disable=SC2016
    if ! grep -q 'public\.json5' "$config" && ! grep -q '\$include' "$config"; then
        sed '0,/^[[:space:]]*{/s//{\n  $include: "public.json5",/' "$config" | put_for_user "$config"
    fi
    grep -q 'public\.json5' "$config" || say "NOTE: add \$include: \"public.json5\" to $config, or nobody gets in through nginx"
    as_user "$bin" config check && return 0
    printf '%s\n' "$old" | put_for_user "$config"
    fail "the config does not pass with the lines above; $config is as it was" 78
}

write_site() {
    cert=$etc/tls/cert.pem
    mkdir -p "$etc"
    if [ ! -e "$cert" ]; then
        # shellcheck disable=SC2086
        "$here/make-cert.sh" --dir "$etc/tls" $names
    elif ! openssl x509 -in "$cert" -noout -checkend 2592000 >/dev/null; then
        # Only a certificate of our own making is replaced when it runs out.
        case $(openssl x509 -in "$cert" -noout -issuer) in
            *CN*=*skykoi-gateway*)
                # shellcheck disable=SC2086
                "$here/make-cert.sh" --dir "$etc/tls" --force $names
                ;;
            *) say "NOTE: $cert runs out within 30 days" ;;
        esac
    fi
    before=
    [ ! -e "$site" ] || before=$(cat "$site")
    # A kernel without IPv6 refuses the second listener, and nginx with it.
    if [ -e /proc/net/if_inet6 ]; then
        put "$site" 0644 <"$top/nginx/skykoi-gateway.conf"
    else
        sed '/listen \[::\]/d' "$top/nginx/skykoi-gateway.conf" | put "$site" 0644
    fi
    if ! nginx -t -q; then
        if [ -n "$before" ]; then printf '%s\n' "$before" | put "$site" 0644; else rm -f "$site"; fi
        fail "nginx refuses the site (above); its configuration is as it was"
    fi
}

write_unit() {
    # A workspace outside the home is to be written to as well.
    writable="/tmp /var/tmp"
    case $workspace in "$home"/*) ;; *) writable="$writable $workspace" ;; esac
    sed -e "s#^User=.*#User=$user#" -e "s#^WorkingDirectory=.*#WorkingDirectory=$workspace#" \
        -e "s#^BindPaths=.*#BindPaths=-$home#" -e "s#^ReadWritePaths=.*#ReadWritePaths=$writable#" \
        "$top/systemd/skykoi-gateway.service" | put "$unit" 0644
    if [ "$sudo" = yes ]; then
        mkdir -p "$unit.d"
        put "$unit.d/sudo.conf" 0644 <"$top/systemd/skykoi-gateway-sudo.conf"
    fi
    if [ "$sandbox" = yes ]; then
        mkdir -p "$unit.d"
        put "$unit.d/sandbox.conf" 0644 <"$top/systemd/skykoi-gateway-sandbox.conf"
        userns=/proc/sys/kernel/apparmor_restrict_unprivileged_userns
        if [ "$(cat "$userns" 2>/dev/null)" = 1 ]; then
            say "NOTE: AppArmor closes user namespaces here; bwrap needs a profile that allows them (deploy/README.md)"
        fi
    fi
    systemctl daemon-reload
    systemctl enable -q skykoi-gateway.service
}

start_all() {
    if [ "$nginx" = yes ]; then
        systemctl enable -q nginx
        systemctl reload-or-restart nginx
    fi
    # Type=notify: this returns once connections are accepted, or says why not.
    # A restart leaves the runs alone, so an upgrade needs no quiet moment.
    systemctl restart skykoi-gateway.service || {
        journalctl -u skykoi-gateway.service -n 20 --no-pager >&2 || true
        fail "the gateway did not start; its last lines are above" 70
    }
}

uninstall() {
    if [ -e "$unit" ]; then
        systemctl disable -q skykoi-gateway.service || true
        # TERM to all of the unit: the daemon stops, and the host of each run
        # ends its work. Whatever is left after ten seconds is killed.
        systemctl kill --signal=TERM skykoi-gateway.service 2>/dev/null || true
        systemctl stop skykoi-gateway.service || true
        left=100
        while [ $left -gt 0 ] && unit_has_processes; do
            left=$((left - 1))
            sleep 0.1
        done
        ! unit_has_processes || systemctl kill --signal=KILL skykoi-gateway.service 2>/dev/null || true
        rm -rf "$unit" "$unit.d"
        systemctl daemon-reload
        systemctl reset-failed skykoi-gateway.service 2>/dev/null || true
    fi
    if [ -e "$site" ]; then
        rm -f "$site"
        ! systemctl -q is-active nginx || systemctl reload nginx || true
    fi
    [ ! -L "$short" ] || [ "$(readlink "$short")" != skykoi-gateway ] || rm -f "$short"
    rm -f "$bin"
    if [ "$purge" = yes ]; then
        rm -rf "$etc"
    fi
    say "removed; config, runs and workspace are still in the user's home (~/.skykoi, ~/koi)"
}

unit_has_processes() {
    group_path=$(find /sys/fs/cgroup -type d -path '*/system.slice/skykoi-gateway.service' 2>/dev/null | head -n 1)
    [ -n "$group_path" ] && [ -n "$(cat "$group_path/cgroup.procs" 2>/dev/null)" ]
}

binary=
user=ubuntu
workspace=
names=
nginx=yes
start=yes
sudo=no
sandbox=no
action=install
purge=no
while [ $# -gt 0 ]; do
    case $1 in
        --binary) binary=${2:?--binary needs a file}; shift 2 ;;
        --user) user=${2:?--user needs a name}; shift 2 ;;
        --workspace) workspace=${2:?--workspace needs a directory}; shift 2 ;;
        --name)
            case ${2:-} in '' | *[!A-Za-z0-9.:-]*) fail "--name wants a host name or an IP address, not '${2:-}'" 64 ;; esac
            names="$names $2"
            shift 2
            ;;
        --allow-sudo) sudo=yes; shift ;;
        --sandbox) sandbox=yes; shift ;;
        --no-nginx) nginx=no; shift ;;
        --no-start) start=no; shift ;;
        --uninstall) action=uninstall; shift ;;
        --purge) purge=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; fail "unknown option $1" 64 ;;
    esac
done
case $user in '' | -* | *[!a-z0-9_-]*) fail "'$user' is not a user name" 64 ;; esac
[ "$(id -u)" = 0 ] || fail "run me as root (sudo $0 ...)" 77
command -v systemctl >/dev/null || fail "this machine has no systemd" 69
if [ "$action" = uninstall ]; then
    uninstall
    exit 0
fi

install_packages
if [ "$nginx" = yes ] && [ -z "$names" ]; then
    names=$(own_names | sort -u | grep -E '^[A-Za-z0-9.:-]+$' | grep -v '^fe80' || true)
fi
install_binary
install_user
write_config
[ "$nginx" = no ] || write_site
write_unit
if [ "$start" = yes ]; then
    start_all
fi

token_place="gateway.auth.token in $home/.skykoi/skykoi.json"
if [ "$nginx" = yes ]; then
    for name in $names; do
        case $name in *:*) name="[$name]" ;; esac
        say "reach it at wss://$name/"
    done
else
    say "reach it at ws://127.0.0.1:18789/"
fi
say "the token is $token_place"
say "try: sudo -iu $user skg agent 'uname -a && df -h /'"
