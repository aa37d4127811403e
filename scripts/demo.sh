#!/usr/bin/env bash
# The main job, told as a story: a private PostgreSQL, the demo company in it, the real program.
#
#   make demo               everything is gone afterwards
#   make demo KEEP=1        the server stays up, and this prints how to look inside
#   CUSTOMERS=500 make demo a smaller company
#   make demo STORIES=1     and then the five stories of make stories
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
bin=$(scripts/postgres.sh 15)
# Tests bring the program that they test.
erasured=${ERASURED_BIN:-${CARGO_TARGET_DIR:-$repository/target}/release/erasured}
[[ -n ${ERASURED_BIN:-} ]] || step cargo build --release --locked
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
for key in "signing signing.pem" "hash hash.key" "token http.token"; do
    step "$erasured" keygen ${key% *} "$work/keys/${key#* }" >/dev/null
done
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

# ── The story ────────────────────────────────────────────────────────────────────────────────────

# Shows what is typed, then does it.
show() {
    printf '\033[2m$ %s\033[0m\n' "$*"
    step env PATH="$(dirname "$erasured"):$PATH" "$@"
}
# Those who find something end with 1; here that is the point of the story.
show_finding() { show "$@" || (($? == 1)); }
as() { echo "postgresql:///erasured_control?host=$work/socket&port=$port&user=$1"; }
# A statement of the CRM's, in its own transaction.
crm() { step psql -d erasured_control -U hana -qAt -v ON_ERROR_STOP=1 -c "$1"; }
open_tickets() {
    psql -d erasured_control -qAtc "SELECT count(*) FROM erasured.ticket_status
        WHERE state NOT IN ('completed', 'deferred', 'rejected', 'failed')"
}
until_closed() {
    for _ in {1..600}; do
        [[ $(open_tickets) == 0 ]] && return
        step sleep 0.1
    done
    echo "the tickets are not closed after a minute: see $work/daemon.log" >&2
    tail -n 20 "$work/daemon.log" >&2
    exit 1
}

# Nobody is asked about any more whom a ticket names.
until_found() {
    until [[ $(psql -d erasured_control -qAtc "SELECT count(*) FROM erasured.ticket WHERE subject_hash IS NULL") == 0 ]]; do step sleep 0.1; done
}
# Each ticket is closed, failed or held.
until_settled() {
    for _ in {1..600}; do
        [[ $(psql -d erasured_control -qAtc "SELECT count(*) FROM erasured.ticket_status
            WHERE state NOT IN ('completed', 'deferred', 'rejected', 'failed', 'on_hold')") == 0 ]] && return
        step sleep 0.1
    done
    until_closed
}
# What the caller answers: the member number, and this as the date of birth.
answers() {
    psql -d shop -qAtc "SELECT 'member_no=' || member_no || E'\nbirth_date=' || to_char($2, 'YYYY/FMMM/FMDD') FROM customer WHERE id = $1" >"$work/answers"
}
hears() { printf '\n  The customer: "%s"\n' "$1"; }
note() { printf '\n%s\n' "$1"; }

say "1. The DBA: our own small schema in each database, rights for people and daemon, and a check"
show erasured migrate
step psql -d erasured_control -q -v ON_ERROR_STOP=1 -f sql/roles/control.sql -f demo/roles.sql
for system in shop loyalty; do
    step psql -d "$system" -q -v ON_ERROR_STOP=1 -f "demo/${system}_roles.sql"
done
# From here on the program is the daemon's own login, which may do the least it needs.
sed -i 's/user=postgres/user=erasured_demo/' "$work/erasured.toml"
show erasured check

say "2. What would happen to customer TM-0000005, in both databases? (nothing is locked or changed)"
show erasured plan --subject member_no=TM-0000005

say "3. The daemon starts, as systemd would start it"
RUST_BACKTRACE=0 "$erasured" run </dev/null 2>"$work/daemon.log" &
daemon=$!
for _ in {1..100}; do
    curl -fs "http://127.0.0.1:$metrics_port/readyz" >/dev/null && break
    step sleep 0.1
done
curl -fsS "http://127.0.0.1:$metrics_port/readyz"

say "4. A customer rings the privacy desk. Hana files the request, and the program tells her what to say"
export ERASURED_CONTROL
ERASURED_CONTROL=$(as hana)
hears 'Delete everything you have on me, now.'
show erasured ticket submit --reference CRM-1 --subject customer --scope account --ground appi-35-5 --language ja --identifier member_no=TM-0000005
until_found
hears "I am telling you it is me: why can't you delete it at once?"
show erasured ticket script CRM-1 --answer why-not-now --lang en
hears 'Call me back on this number and let that be your proof.'
show erasured ticket script CRM-1 --answer this-number
note "She calls back the number on file, and types what the caller says. The daemon compares: match or no match, no more."
note "A wrong date of birth first:"
answers 5 "'1901-02-03'::date"
show_finding erasured ticket prove CRM-1 --method callback_dob --as hana --answer-file "$work/answers" 2>&1
note "And the right one:"
answers 5 birth_date
show erasured ticket prove CRM-1 --method callback_dob --as hana --answer-file "$work/answers"
show erasured ticket verify CRM-1 --method callback_dob
note "What will be lost, in the words of the policy:"
show erasured ticket notice CRM-1 --kind consequences --lang en
hears 'Yes, go ahead.'

say "5. Two more requests. A court wants what there is of one customer kept, and Kenji approves all three"
phone=$(psql -d shop -qAtc "SELECT phone FROM customer WHERE id = 6")
show erasured ticket submit --reference CRM-2 --subject customer --scope account --ground policy --identifier "phone=$phone"
show erasured ticket submit --reference CRM-3 --subject customer --scope account --ground policy --identifier member_no=ｔｍ－００００１０７
until_found
for customer in 6 107; do
    ticket=CRM-$((customer == 107 ? 3 : 2))
    answers $customer birth_date
    show erasured ticket prove "$ticket" --method callback_dob --as hana --answer-file "$work/answers"
    show erasured ticket verify "$ticket" --method callback_dob
done
ERASURED_CONTROL=$(as kenji)
show erasured hold place --matter accident-2026 --reason court-order --subject customer --identifier member_no=TM-0000006
for ticket in CRM-1 CRM-2 CRM-3; do
    show erasured ticket approve "$ticket"
done
until_settled
ERASURED_CONTROL=$(as hana)
show erasured hold list
note "The customer of CRM-2 asks how it stands:"
show erasured ticket script CRM-2 --lang en
note "The case is settled. Nobody has to think of the ticket: it goes on by itself."
ERASURED_CONTROL=$(as kenji) show erasured hold release accident-2026
until_closed
show erasured ticket list
show erasured ticket show CRM-2
show erasured ticket notice CRM-1 --kind completion

say "6. CRM-3 gets no certificate: the sweep read every text column and found the person where no policy looks"
show erasured ticket show CRM-3

say "7. The DBA decides that table too, the daemon reads its policies again, the desk lets the ticket go on"
cat demo/audit_log_rule.toml
cat demo/audit_log_rule.toml >>"$work/policies/customer.toml"
show kill -HUP "$daemon"
step sleep 0.5
ERASURED_CONTROL=$(as hana) show erasured ticket retry CRM-3
until_closed
show erasured ticket show CRM-3

say "8. The auditor: the certificate, checked by erasured and by openssl alone"
ERASURED_CONTROL=$(as auditor)
show erasured certificate show CRM-1 --key "$work/keys/signing.pub.pem"
erasured_jws=$work/CRM-1.jws
"$erasured" certificate show CRM-1 --format jws --key "$work/keys/signing.pub.pem" >"$erasured_jws"
show erasured certificate verify "$erasured_jws" --key "$work/keys/signing.pub.pem"
cut -d. -f1,2 "$erasured_jws" | tr -d '\n' >"$work/signed"
cut -d. -f3 "$erasured_jws" | tr -d '\n' | tr '_-' '/+' | sed 's/$/==/' | openssl base64 -d -A >"$work/signature"
show openssl pkeyutl -verify -pubin -inkey "$work/keys/signing.pub.pem" -rawin -in "$work/signed" -sigfile "$work/signature"
unset ERASURED_CONTROL
show erasured certificate find --member-no TM-0000005
show erasured ledger verify

say "9. What an SRE watches (/metrics)"
curl -fsS "http://127.0.0.1:$metrics_port/metrics" |
    grep -E '^erasured_(tickets|subjects|rows|sla|sweep_(read|find)|failures|last_success|ledger|policies|system_up|build)' | grep -v _bucket | sort
kill -TERM "$daemon"
wait "$daemon" || true
tail -n 1 "$work/daemon.log"

say "10. Monday morning: the CRM files 500 requests by plain SQL, and the queue is drained"
crm "SELECT count(erasured.submit_ticket('MON-' || n, 'customer',
            jsonb_build_object('member_no', 'TM-' || lpad(n::text, 7, '0')), 'account', 'policy'))
       FROM generate_series(20, $customers) AS n
      WHERE n % 100 <> 13 AND n <= 20 + 505 AND n <> 107" >"$work/filed"
crm "SELECT count(erasured.verify_ticket(id, 'login_reauth'))
       FROM erasured.ticket_status WHERE state = 'received'" >/dev/null
step psql -d erasured_control -U kenji -qAt -c "SELECT count(erasured.approve_ticket(id))
       FROM erasured.ticket_status WHERE state = 'verified'" >/dev/null
echo "$(cat "$work/filed") requests filed, verified, approved"
before=$(date +%s%N)
# In a terminal this draws a progress bar, else it logs.
if [[ -t 2 ]]; then
    show erasured run --until-idle
else
    show erasured run --until-idle 2>"$work/daemon.log"
fi
awk -v n="$(cat "$work/filed")" -v ns="$(($(date +%s%N) - before))" \
    'BEGIN { printf "%d people erased from two databases, checked and certified in %.1f s\n", n, ns / 1e9 }'
step psql -d erasured_control -qAt -F ': ' -c "
    SELECT state, count(*) FROM erasured.ticket_status GROUP BY state ORDER BY state"

say "11. A customer is never in PostgreSQL alone: an old CRM (MariaDB), a cache (Redis) and a folder of files, in one ticket"
cache_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 56379)
mkdir "$work/cache" "$work/files"
redis-server --bind 127.0.0.1 --port "$cache_port" --dir "$work/cache" --save '' --daemonize no </dev/null >"$work/cache.log" 2>&1 &
crm_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 53306)
as_root=()
((EUID != 0)) || as_root=(--user=root)
step mariadb-install-db --no-defaults --datadir="$work/crm" --skip-test-db --force --auth-root-authentication-method=normal \
    "${as_root[@]}" >"$work/crm.log" 2>&1
/usr/sbin/mariadbd --no-defaults --datadir="$work/crm" --tmpdir="$work" --socket="$work/crm.sock" --port="$crm_port" --bind-address=127.0.0.1 \
    "${as_root[@]}" </dev/null >>"$work/crm.log" 2>&1 &
old_crm() { mariadb --no-defaults -S "$work/crm.sock" -u root --default-character-set=utf8mb4 -N "$@"; }
until old_crm -e 'SELECT 1' >/dev/null 2>&1; do step sleep 0.1; done
old_crm <demo/crm.sql
cache() { redis-cli -p "$cache_port" "$@"; }
until cache ping >/dev/null 2>&1; do step sleep 0.1; done
for n in {0000015..0000017}; do
    printf 'SET session:TM-%s %s\nSADD online-now TM-%s\n' "$n" "$RANDOM" "$n"
    mkdir -p "$work/files/avatars/TM-$n"
    for file in face thumb; do echo "$file" >"$work/files/avatars/TM-$n/$file.jpg"; done
done | cache >/dev/null
lies() {
    echo "MariaDB: $(old_crm -e "SELECT count(*) FROM crm.contact") contacts, $(old_crm -e "SELECT count(contact) FROM crm.visit") visits of theirs"
    echo "Redis: $(cache --raw keys 'session:*' | sort | tr '\n' ' ')and $(cache scard online-now) online; files: $(find "$work/files" -type f | wc -l)"
}
lies
cat demo/systems_rule.toml
cat demo/systems_rule.toml >>"$work/policies/customer.toml"
# Where a member number ends in a path must be known: none holds a slash.
sed -i '0,/^residual = true/s,,residual = true\nexcludes = "/",' "$work/policies/customer.toml"
cat >>"$work/erasured.toml" <<TOML

[system.crm]
kind = "mariadb"
url  = "mariadb://erasured@127.0.0.1:$crm_port/"

[system.cache]
kind = "redis"
url  = "redis://127.0.0.1:$cache_port/0"

[system.files]
kind   = "object-store"
folder = "$work/files"
TOML
show erasured migrate --only crm --url "mariadb://root@localhost/?socket=$work/crm.sock"
old_crm -e "GRANT SELECT, INSERT ON erasured.applied_step TO 'erasured'@'127.0.0.1'"
show erasured check
ERASURED_CONTROL=$(as hana) show erasured ticket submit --reference LAST-1 --subject customer --scope account --ground policy --identifier member_no=TM-0000015
crm "SELECT erasured.verify_ticket(id, 'login_reauth') FROM erasured.ticket_status WHERE reference = 'LAST-1'" >/dev/null
ERASURED_CONTROL=$(as kenji) show erasured ticket approve LAST-1
show erasured plan --ticket LAST-1
show erasured run --until-idle 2>"$work/daemon.log"
lies
show erasured certificate show LAST-1

# ── The end ──────────────────────────────────────────────────────────────────────────────────────

say "Done in $((SECONDS - started)) seconds after the build."
[[ -n ${STORIES:-} ]] || echo "Five days at the desk, told in Japanese from the first call to the proof: make demo STORIES=1, or make stories"
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
