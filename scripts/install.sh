#!/usr/bin/env bash
# Installs what the demo, the tests and the checks need and Debian 12 with Rust lacks. What is there
# already is left alone.
#
#   scripts/install.sh          for `make demo`
#   scripts/install.sh test     for `make test`, too
#   scripts/install.sh ci       for `.ci/run`, too
set -euo pipefail
cd "$(dirname "$0")/.."

what=${1:-demo}
declare -A package_of=(
    [/usr/lib/postgresql/15/bin/postgres]=postgresql-15
    [psql]=postgresql-client-15
    [cc]=build-essential
    [setpriv]=util-linux
    [openssl]=openssl
    [curl]=curl
    [redis-server]=redis-server
    [/usr/sbin/mariadbd]=mariadb-server-core
    [mariadb-install-db]=mariadb-server-core
    [mariadb]=mariadb-client-core
)
case $what in
demo) ;;
test | ci)
    package_of+=([promtool]=prometheus [gdb]=gdb [gcore]=gdb [npm]=npm [python3]=python3
        [systemd-analyze]=systemd [/usr/sbin/pgbouncer]=pgbouncer [memcached]=memcached
        [patroni]=patroni [etcd]=etcd-server)
    ;;
*)
    echo "usage: scripts/install.sh [demo|test|ci]" >&2
    exit 2
    ;;
esac

missing=()
for program in "${!package_of[@]}"; do
    command -v "$program" >/dev/null || missing+=("${package_of[$program]}")
done
# For the auditor's twenty lines of Python.
if [[ $what != demo ]] && command -v python3 >/dev/null && ! python3 -c 'import cryptography' 2>/dev/null; then
    missing+=(python3-cryptography)
fi

# For retention beside pg_partman; no program tells that it is there.
if [[ $what != demo && ! -e /usr/share/postgresql/15/extension/pg_partman.control ]]; then
    missing+=(postgresql-15-partman)
fi

# For the packages of scripts/schemas.sh; Debian's python3 comes without.
if [[ $what != demo ]] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    missing+=(python3-venv)
fi

if ((${#missing[@]})); then
    as_root=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || {
            echo "missing: ${missing[*]}. Install them as root, there is no sudo here." >&2
            exit 1
        }
        as_root=(sudo)
    fi
    echo "installing ${missing[*]}" >&2
    # Debian would create and start a cluster for every server it installs; ours are private.
    if [[ " ${missing[*]} " == *" postgresql-15 "* && ! -e /etc/postgresql-common/createcluster.conf ]]; then
        "${as_root[@]}" mkdir -p /etc/postgresql-common
        echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    "${as_root[@]}" apt-get update -qq </dev/null >&2
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends \
        -o Dpkg::Options::=--force-confold "${missing[@]}" </dev/null >&2
fi

# The stranger that tries the HTTP API, from PyPI, in a place of its own.
schemathesis=4.32.5
if [[ $what != demo ]] && ! .cache/schemathesis/bin/python -c "import importlib.metadata as m, sys; sys.exit(m.version('schemathesis') != '$schemathesis')" 2>/dev/null; then
    echo "installing schemathesis $schemathesis" >&2
    python3 -m venv .cache/schemathesis
    .cache/schemathesis/bin/pip install --quiet --disable-pip-version-check "schemathesis==$schemathesis" >&2
fi

# A server that speaks S3, and what reads Parquet, in tests, from PyPI too.
moto=5.2.5 pyarrow=26.0.1
if [[ $what != demo ]] && ! .cache/moto/bin/python -c "import importlib.metadata as m, sys; sys.exit((m.version('moto'), m.version('pyarrow')) != ('$moto', '$pyarrow'))" 2>/dev/null; then
    echo "installing moto $moto and pyarrow $pyarrow" >&2
    python3 -m venv .cache/moto
    .cache/moto/bin/pip install --quiet --disable-pip-version-check "moto[s3,server]==$moto" "pyarrow==$pyarrow" >&2
fi

# A server that speaks as Google Cloud Storage does, from PyPI.
gcs=2026.7.19
if [[ $what != demo ]] && ! .cache/gcs/bin/python -c "import importlib.metadata as m, sys; sys.exit(m.version('gcp-storage-emulator') != '$gcs')" 2>/dev/null; then
    echo "installing gcp-storage-emulator $gcs" >&2
    python3 -m venv .cache/gcs
    .cache/gcs/bin/pip install --quiet --disable-pip-version-check "gcp-storage-emulator==$gcs" >&2
fi

# A server that speaks as Azure's Blob Storage does, from npm; later ones want a newer Node than Debian's.
azurite=3.35.0
if [[ $what != demo && $(cat .cache/azurite/version 2>/dev/null) != "$azurite" ]]; then
    echo "installing azurite $azurite" >&2
    rm -rf .cache/azurite
    npm install --prefix .cache/azurite --silent --no-audit --no-fund --ignore-scripts "azurite@$azurite" >&2
    echo "$azurite" >.cache/azurite/version
fi

if [[ $what == ci ]]; then
    rustup component list --installed 2>/dev/null | grep -q '^clippy' || rustup component add clippy rustfmt
    if ! command -v cargo-deny >/dev/null; then
        echo "building cargo-deny (once on a machine)" >&2
        # Not our target folder: its profile and lock are other ones.
        CARGO_TARGET_DIR=$PWD/.cache/cargo-deny cargo install --locked --debug --quiet cargo-deny
        rm -rf .cache/cargo-deny
    fi
fi
