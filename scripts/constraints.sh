#!/bin/sh
# Write the exact versions of everything that is installed for one version of Airflow:
#   scripts/constraints.sh FILE AIRFLOW_VERSION GROUP...
set -eu
file=$1 airflow=$2
shift 2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$PYTHON" -m venv "$scratch/venv"
python=$scratch/venv/bin/python
"$python" -m pip install --quiet --upgrade pip
groups=
for group in "$@"; do groups="$groups --group $group"; done
# shellcheck disable=SC2086 # the groups are words
"$python" -m pip install --quiet "apache-airflow==$airflow" '.[common-messaging]' $groups
{
    "$python" -m pip freeze --all --exclude setuptools --exclude airflow-provider-messaging
    echo 'pyyaml-ft==8.0.0' # libcst wants it on Python 3.13 only, so that a freeze elsewhere misses it
} | LC_ALL=C sort -f >"$scratch/versions"
mv "$scratch/versions" "$file"
