#!/bin/sh
# Installs what the tests and the demo need and this machine lacks: a Postgres
# server with its tools, redis-server and pgbouncer. Does nothing if all are found.
#
# On Debian and Ubuntu it uses apt, as root or through sudo without a password, and
# makes no service of them: no cluster is created, nothing is started, now or at
# boot. Elsewhere it prints the command to run and exits with 69.
set -eu

# These look where devstack looks (programs.go).
has_postgres() {
    if [ -n "${OUTBOX_PG_BIN:-}" ]; then
        set -- "$OUTBOX_PG_BIN"
    else
        set -- /usr/lib/postgresql/*/bin \
            "$(dirname "$(command -v postgres || echo /nowhere/postgres)")" \
            /opt/homebrew/opt/postgresql@*/bin /opt/homebrew/opt/postgresql/bin \
            /usr/local/opt/postgresql@*/bin /usr/local/opt/postgresql/bin \
            /Applications/Postgres.app/Contents/Versions/*/bin
    fi
    for dir in "$@"; do
        if [ -x "$dir/postgres" ] && [ -x "$dir/initdb" ]; then return 0; fi
    done
    return 1
}

has_redis() {
    if [ -n "${OUTBOX_REDIS_BIN:-}" ]; then
        set -- "$OUTBOX_REDIS_BIN" "$OUTBOX_REDIS_BIN/redis-server"
    else
        set -- "$(command -v redis-server || echo /nowhere)" /opt/homebrew/bin/redis-server \
            /opt/homebrew/opt/redis/bin/redis-server /usr/local/opt/redis/bin/redis-server
    fi
    for program in "$@"; do
        if [ -f "$program" ] && [ -x "$program" ]; then return 0; fi
    done
    return 1
}

has_pgbouncer() {
    if [ -n "${OUTBOX_PGBOUNCER_BIN:-}" ]; then
        set -- "$OUTBOX_PGBOUNCER_BIN" "$OUTBOX_PGBOUNCER_BIN/pgbouncer"
    else
        set -- "$(command -v pgbouncer || echo /nowhere)" /usr/sbin/pgbouncer /opt/homebrew/bin/pgbouncer \
            /opt/homebrew/opt/pgbouncer/bin/pgbouncer /usr/local/opt/pgbouncer/bin/pgbouncer
    fi
    for program in "$@"; do
        if [ -f "$program" ] && [ -x "$program" ]; then return 0; fi
    done
    return 1
}

give_up() {
    cat >&2 <<END
$1
  Debian, Ubuntu  sudo apt-get install -y postgresql redis-server pgbouncer
  Fedora          sudo dnf install -y postgresql-server postgresql-contrib redis pgbouncer
  macOS           brew install postgresql@17 redis pgbouncer
END
    exit 69
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"
}

# The package lists may be absent or older than the archive.
install() {
    apt-cache show "$@" >/dev/null 2>&1 || apt update
    apt install -y --no-install-recommends "$@" || { apt update && apt install -y --no-install-recommends "$@"; }
}

policy=/usr/sbin/policy-rc.d
cluster=/etc/postgresql-common/createcluster.conf
made_policy=
changed_cluster=

restore() {
    if [ -n "$made_policy" ]; then as_root rm -f "$policy"; fi
    if [ -n "$changed_cluster" ]; then as_root mv "$cluster.outbox-saved" "$cluster"; fi
}

forbid_services() {
    trap restore EXIT
    trap 'exit 130' HUP INT TERM
    if [ ! -e "$policy" ]; then
        made_policy=yes
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
    fi
}

forbid_cluster() {
    if [ ! -e "$cluster" ]; then install postgresql-common; fi
    as_root cp -p "$cluster" "$cluster.outbox-saved"
    changed_cluster=yes
    printf '\ncreate_main_cluster = false\n' | as_root tee -a "$cluster" >/dev/null
}

missing=
if ! has_postgres; then
    if [ -n "${OUTBOX_PG_BIN:-}" ]; then give_up "OUTBOX_PG_BIN=$OUTBOX_PG_BIN has no postgres and initdb: correct or unset it, or install:"; fi
    missing="postgresql"
fi
if ! has_redis; then
    if [ -n "${OUTBOX_REDIS_BIN:-}" ]; then give_up "OUTBOX_REDIS_BIN=$OUTBOX_REDIS_BIN is no redis-server: correct or unset it, or install:"; fi
    missing="${missing:+$missing }redis-server"
fi
if ! has_pgbouncer; then
    if [ -n "${OUTBOX_PGBOUNCER_BIN:-}" ]; then give_up "OUTBOX_PGBOUNCER_BIN=$OUTBOX_PGBOUNCER_BIN is no pgbouncer: correct or unset it, or install:"; fi
    missing="${missing:+$missing }pgbouncer"
fi
if [ -z "$missing" ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then give_up "Not found: $missing. Install:"; fi
if ! as_root true 2>/dev/null; then give_up "Not found: $missing, and neither root nor sudo without a password. Install:"; fi

echo "installing: $missing"
forbid_services
case $missing in *postgresql*) forbid_cluster ;; esac
# shellcheck disable=SC2086 # several words
install $missing
for service in redis-server pgbouncer; do
    case " $missing " in
    *" $service "*)
        if command -v systemctl >/dev/null; then as_root systemctl --quiet disable "$service.service"; fi
        ;;
    esac
done
has_postgres && has_redis && has_pgbouncer
