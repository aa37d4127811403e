#!/usr/bin/env bash
# Makes the schema of a real application in an empty database, by the application's own migrations:
#
#   scripts/schemas.sh NAME URL      NAME is one of those below; URL a libpq URL
#
# The package comes from PyPI into target/schemas/NAME-venv and stays there. Nothing of it is ours.
set -euo pipefail
cd "$(dirname "$0")/.."

# The one place for versions.
declare -A packages=(
    [django]="Django==5.2.19 django-taggit==6.1.0 psycopg[binary]==3.2.13"
    [oscar]="django-oscar==3.2.6 sorl-thumbnail==13.4.0 Django==4.2.30 psycopg2-binary==2.9.13"
    [pretix]="pretix==2026.8.0 Django==5.2.19 psycopg2-binary==2.9.13"
    [pretalx]="pretalx==2025.2.2 Django==5.2.19 psycopg2-binary==2.9.13"
    [superset]="apache-superset==6.1.0 Flask-Caching==2.3.1 psycopg2-binary==2.9.13"
)

name=${1:-}
url=${2:-}
if [[ -z $url || -z ${packages[$name]:-} ]]; then
    echo "usage: scripts/schemas.sh $(IFS='|' && echo "${!packages[*]}" | tr ' ' '|') URL" >&2
    exit 2
fi

place=$PWD/target/schemas
venv=$place/$name-venv
mkdir -p "$place"
export PIP_CACHE_DIR=$PWD/target/pip-cache PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
# A stamp, so that half an installation is not taken for one, nor another version.
if [[ $(cat "$venv/.installed" 2>/dev/null) != "${packages[$name]}" ]]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    # shellcheck disable=SC2086 # a list of packages
    "$venv/bin/pip" install --quiet --prefer-binary ${packages[$name]} >&2 || {
        echo "$name: not installed. Is PyPI reachable?" >&2
        exit 1
    }
    echo "${packages[$name]}" >"$venv/.installed"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export DATABASE=$url PYTHONPATH=$PWD/scripts/schemas HOME=$work
cd "$work"
exec 3>&1 >"$place/$name.log" 2>&1
"$venv/bin/python" -m "migrate_$name" || {
    tail -20 "$place/$name.log" >&3
    echo "$name: its migrations failed; all of it in target/schemas/$name.log" >&3
    exit 1
}
