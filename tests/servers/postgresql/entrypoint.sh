#!/bin/bash
# Starts PostgreSQL as the official image does: POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB,
# POSTGRES_INITDB_ARGS, PGDATA; arguments that begin with a dash go to the server.
set -euo pipefail

[[ ${1:-} == -* ]] && set -- postgres "$@"
[[ ${1:-} == postgres ]] || exec "$@"

# PostgreSQL refuses to run as root.
[[ $(id -u) != 0 ]] || exec setpriv --reuid=postgres --regid=postgres --init-groups bash "$0" "$@"

if [[ ! -s $PGDATA/PG_VERSION ]]; then
  : "${POSTGRES_PASSWORD:?must be set}"
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  read -ra initdb_args <<< "${POSTGRES_INITDB_ARGS:-}"
  # --no-sync: what a test server loses in a power cut, nobody misses.
  initdb --no-sync -E UTF8 --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256 -D "$PGDATA" "${initdb_args[@]}"
  echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
  if [[ $database != postgres ]]; then
    # Single-user mode needs no server to start and stop; the official image starts one.
    printf 'CREATE DATABASE "%s"\n' "${database//\"/\"\"}" | postgres --single -j -D "$PGDATA" postgres > /dev/null
  fi
fi

exec "$@" -c listen_addresses='*'
