#!/usr/bin/env bash
# The main job, told as a story: a private PostgreSQL, the demo company in it, the real program.
#
#   make demo               everything is gone afterwards
#   make demo KEEP=1        the server stays up, and this prints how to look inside
#   CUSTOMERS=500 make demo a smaller company
#
# Ctrl-C at any moment leaves no process and no folder behind. How: job control (set -m) puts each
# step into a process group of its own, so that the terminal's Ctrl-C reaches this shell only, at
# once, and `clean_up` then ends the groups, stops the server by its data directory and removes the
# one folder that all of it lives in.
set -euo pipefail
set -m
cd "$(dirname "$0")/.."
repository=$PWD

# Named before it is made: a signal in between finds nothing or everything.
work=$(mktemp -u /tmp/erasured-demo.XXXXXXXX)
data=$work/data
keep=""

clean_up() {
    local status=$?
    # From here on nothing interrupts.
    trap '' INT TERM HUP
    trap - EXIT
    set +e
    if [[ -z $keep ]]; then
        {
            # The server's group is among these; TERM alone would make it wait for its clients.
            for group in $(jobs -p); do kill -TERM -- "-$group"; done
            [[ -f $data/postmaster.pid ]] && "${as_postgres[@]}" "$bin/pg_ctl" -D "$data" -m immediate -t 20 stop
            for group in $(jobs -p); do kill -QUIT -- "-$group"; done
            # Whoever does not listen: a second is enough for everybody who does.
            for _ in {1..10}; do
                [[ -n $(jobs -pr) ]] || break
                sleep 0.1
            done
            for group in $(jobs -p); do kill -KILL -- "-$group"; done
            wait
            for _ in {1..20}; do
                rm -rf "$work"
                [[ -e $work ]] || break
                sleep 0.1
            done
        } >/dev/null 2>&1
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# Runs one step so that a signal is answered at once and not when the step has ended.
step() {
    "$@" </dev/null &
    wait "$!"
}

# PostgreSQL does not run as root; and its user need not be able to enter this folder.
as_postgres=(env -C /)
if ((EUID == 0)); then
    as_postgres+=(setpriv --reuid=postgres --regid=postgres --clear-groups)
fi

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

# ── What is needed ───────────────────────────────────────────────────────────────────────────────

step scripts/install.sh demo
step cargo build --release --locked
bin=$(scripts/postgres.sh 15)
erasured=${CARGO_TARGET_DIR:-$repository/target}/release/erasured
started=$SECONDS

# ── A server of our own ──────────────────────────────────────────────────────────────────────────

mkdir -m 0711 "$work"
mkdir -m 0700 "$data"
: >"$work/postgres.log"
if ((EUID == 0)); then
    mkdir -m 0755 "$work/socket"
    chown postgres:postgres "$data" "$work/socket"
else
    mkdir -m 0700 "$work/socket"
fi
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 54329)
metrics_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 9187)

say "A private PostgreSQL in $work (port $port of 127.0.0.1 and a socket of its own)"
step "${as_postgres[@]}" "$bin/initdb" -D "$data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >"$work/initdb.log"
"${as_postgres[@]}" "$bin/postgres" -D "$data" -k "$work/socket" -p "$port" -c listen_addresses=127.0.0.1 \
    -c shared_buffers=256MB -c max_wal_size=2GB </dev/null >>"$work/postgres.log" 2>&1 &
server=$!
disown -h "$server"
export PGHOST=$work/socket PGPORT=$port PGUSER=postgres
for _ in {1..300}; do
    step psql -d postgres -qAtc 'SELECT 1' >/dev/null 2>&1 && break
    kill -0 "$server" 2>/dev/null || {
        cat "$work/postgres.log" >&2
        exit 3
    }
    step sleep 0.1
done

# ── The demo company ─────────────────────────────────────────────────────────────────────────────

customers=${CUSTOMERS:-10000}
say "Tabiji Travel: $customers customers in two databases"
for system in shop loyalty; do
    step psql -d postgres -qc "CREATE DATABASE $system"
    PGOPTIONS="-c demo.customers=$customers" \
        step psql -d "$system" -q -v ON_ERROR_STOP=1 -f "demo/$system.sql" -f "demo/${system}_data.sql"
done
step psql -d postgres -qc "CREATE DATABASE erasured_control"

mkdir -m 0700 "$work/state" "$work/keys"
cp -r policies/travel "$work/policies"
umask 077
openssl genpkey -algorithm ed25519 -out "$work/keys/signing.pem"
openssl pkey -in "$work/keys/signing.pem" -pubout -out "$work/keys/signing.pub.pem"
openssl rand -base64 32 >"$work/keys/hash.key"
openssl rand -hex 24 >"$work/keys/http.token"
url() { echo "postgresql:///$1?host=$work/socket&port=$port&user=postgres"; }
cat >"$work/erasured.toml" <<TOML
state_dir = "state"
policies  = "policies"

[control]
url = "$(url erasured_control)"

[system.shop]
url = "$(url shop)"

[system.loyalty]
url = "$(url loyalty)"

[keys]
signing = { file = "keys/signing.pem" }
hash    = { file = "keys/hash.key" }

[http]
listen = "127.0.0.1:$metrics_port"
token  = { file = "keys/http.token" }
TOML
export ERASURED_CONFIG=$work/erasured.toml
step psql -d shop -qAt -F ' ' -c "
    SELECT 'shop: ' || sum(n_live_tup) || ' rows in ' || count(*) || ' tables' FROM pg_stat_user_tables"
step psql -d loyalty -qAt -F ' ' -c "
    SELECT 'loyalty: ' || sum(n_live_tup) || ' rows in ' || count(*) || ' tables' FROM pg_stat_user_tables"

# ═════════════════════════════════════════════════════════════════════════════════════════════════
# THE STORY GOES HERE. Use `step "$erasured" …` for what takes time, `"$erasured" run … &` for the
# daemon (clean_up ends it), ERASURED_CONFIG is set. $work/policies/customer.toml is a copy:
# `cat demo/audit_log_rule.toml >>"$work/policies/customer.toml"` mends it.
# Customers with number % 100 = 7 stand in audit_log, those with % 100 = 13 in others' call notes.
# ═════════════════════════════════════════════════════════════════════════════════════════════════
: "$erasured"

# ── The end ──────────────────────────────────────────────────────────────────────────────────────

say "Done in $((SECONDS - started)) seconds after the build."
if [[ -n ${KEEP:-} ]]; then
    keep=1
    cat <<TEXT
The server stays up. To look inside:
    psql -h $work/socket -p $port -U postgres shop        (or loyalty, erasured_control)
    ERASURED_CONFIG=$work/erasured.toml $erasured ticket list
To end it:
    ${as_postgres[*]} $bin/pg_ctl -D $data -m fast stop && rm -rf $work
TEXT
fi
