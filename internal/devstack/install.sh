#!/bin/sh
# Installs the programs that the tests and the demo need: a Postgres server with its tools, redis-server and pgbouncer.
# Does nothing if all of them are already installed.
#
# On Debian and Ubuntu it uses apt, as root or through sudo without a password. It sets up no services: it creates no
# Postgres cluster, and starts nothing, neither now nor at boot. On other systems it prints the command to run and exits
# with 69.
set -eu

# The functions has_… search the same locations as devstack (programs.go).
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

# has_program NAME SETTING DIR…: SETTING, if not empty, must be the program or its folder; otherwise PATH, then each DIR.
has_program() {
    name=$1 setting=$2
    shift 2
    if [ -n "$setting" ]; then
        is_program "$setting" || is_program "$setting/$name"
        return
    fi
    if command -v "$name" >/dev/null; then return 0; fi
    for dir in "$@"; do
        if is_program "$dir/$name"; then return 0; fi
    done
    return 1
}

is_program() { [ -f "$1" ] && [ -x "$1" ]; }

has_redis() {
    has_program redis-server "${OUTBOX_REDIS_BIN:-}" /opt/homebrew/bin /opt/homebrew/opt/redis/bin /usr/local/opt/redis/bin
}

has_pgbouncer() {
    has_program pgbouncer "${OUTBOX_PGBOUNCER_BIN:-}" /usr/sbin /opt/homebrew/bin /opt/homebrew/opt/pgbouncer/bin \
        /usr/local/opt/pgbouncer/bin
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

# The package lists may be missing or out of date: update them if a package is unknown or its download fails.
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
    if [ -n "${OUTBOX_PG_BIN:-}" ]; then give_up "OUTBOX_PG_BIN=$OUTBOX_PG_BIN must contain postgres and initdb. Correct or unset it, or install:"; fi
    missing="postgresql"
fi
if ! has_redis; then
    if [ -n "${OUTBOX_REDIS_BIN:-}" ]; then give_up "OUTBOX_REDIS_BIN=$OUTBOX_REDIS_BIN must be redis-server or its folder. Correct or unset it, or install:"; fi
    missing="${missing:+$missing }redis-server"
fi
if ! has_pgbouncer; then
    if [ -n "${OUTBOX_PGBOUNCER_BIN:-}" ]; then give_up "OUTBOX_PGBOUNCER_BIN=$OUTBOX_PGBOUNCER_BIN must be pgbouncer or its folder. Correct or unset it, or install:"; fi
    missing="${missing:+$missing }pgbouncer"
fi
if [ -z "$missing" ]; then exit 0; fi

if ! command -v apt-get >/dev/null; then give_up "Not found: $missing. Install:"; fi
if ! as_root true 2>/dev/null; then give_up "Not found: $missing. Installing needs root, or sudo without a password. Install:"; fi

echo "installing: $missing"
forbid_services
case $missing in *postgresql*) forbid_cluster ;; esac
# shellcheck disable=SC2086 # $missing is a list of words
install $missing
for service in redis-server pgbouncer; do
    case " $missing " in
    *" $service "*)
        if command -v systemctl >/dev/null; then as_root systemctl --quiet disable "$service.service"; fi
        ;;
    esac
done
has_postgres && has_redis && has_pgbouncer
