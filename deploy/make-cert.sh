#!/bin/sh
# Makes a self-signed certificate for the WebSocket front of SkyKoi Gateway.
# Why self-signed: a VM often has an address and no name, and its client already
# knows the machine; the token, not the certificate, says who may come in.
set -euf

usage() {
    cat <<'TEXT'
Usage: make-cert.sh [--dir DIR] [--days N] [--force] [NAME|ADDRESS ...]

Writes DIR/cert.pem and DIR/key.pem (ECDSA P-256, key mode 0600) that are valid
for the names and IP addresses given, and always for localhost, 127.0.0.1, ::1.

  --dir DIR   where to write (default /etc/skykoi-gateway/tls)
  --days N    validity in days (default 825, the most that Apple clients accept)
  --force     replace an existing certificate
TEXT
}

fail() {
    echo "make-cert: $1" >&2
    exit "${2:-1}"
}

dir=/etc/skykoi-gateway/tls
days=825
force=no
names=
while [ $# -gt 0 ]; do
    case $1 in
        --dir) dir=${2:?--dir needs a directory}; shift 2 ;;
        --days) days=${2:?--days needs a number}; shift 2 ;;
        --force) force=yes; shift ;;
        -h | --help) usage; exit 0 ;;
        -*) usage >&2; fail "unknown option $1" 64 ;;
        *[!A-Za-z0-9.:*-]* | '') fail "'$1' is not a host name or an IP address" 64 ;;
        *) names="$names $1"; shift ;;
    esac
done
case $days in '' | *[!0-9]*) fail "--days wants a whole number, not '$days'" 64 ;; esac
command -v openssl >/dev/null || fail "openssl is not installed" 69
if [ -e "$dir/cert.pem" ] || [ -e "$dir/key.pem" ]; then
    [ "$force" = yes ] || fail "$dir already holds a certificate; --force replaces it" 73
fi

# One subjectAltName entry per name; what looks like an address goes in as one.
san=
for name in localhost 127.0.0.1 ::1 $names; do
    case $name in
        *:*) entry="IP:$name" ;;
        *[!0-9.]*) entry="DNS:$name" ;;
        *) entry="IP:$name" ;;
    esac
    case ",$san," in *",$entry,"*) ;; *) san="${san:+$san,}$entry" ;; esac
done

umask 077
mkdir -p "$dir"
work=$(mktemp -d "$dir/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
# A config of our own, because the system's openssl.cnf adds CA extensions.
cat >"$work/openssl.cnf" <<CONF
[req]
distinguished_name = subject
x509_extensions = extensions
prompt = no
[subject]
CN = skykoi-gateway
[extensions]
basicConstraints = critical,CA:FALSE
keyUsage = critical,digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = $san
CONF
openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days "$days" \
    -config "$work/openssl.cnf" -keyout "$work/key.pem" -out "$work/cert.pem" 2>"$work/log" || {
    cat "$work/log" >&2
    fail "openssl could not make the certificate"
}
chmod 0600 "$work/key.pem"
chmod 0644 "$work/cert.pem"
# Renames, so that a reader sees the old pair or the new one and never half a file.
mv -f "$work/key.pem" "$dir/key.pem"
mv -f "$work/cert.pem" "$dir/cert.pem"
chmod 0755 "$dir"
echo "certificate $dir/cert.pem for $san"
openssl x509 -in "$dir/cert.pem" -noout -fingerprint -sha256
