#!/bin/bash
# Starts MariaDB as the official image does: MARIADB_ROOT_PASSWORD, MARIADB_ROOT_HOST, MARIADB_DATABASE,
# MARIADB_USER, MARIADB_PASSWORD, each also under its MYSQL_ name; arguments that begin with a dash go to
# the server.
set -euo pipefail

[[ ${1:-} == -* ]] && set -- mariadbd "$@"
[[ ${1:-} == mariadbd ]] || exec "$@"

run_as_mysql=(setpriv --reuid=mysql --regid=mysql --init-groups)
root_password=${MARIADB_ROOT_PASSWORD:-${MYSQL_ROOT_PASSWORD:-}}
root_host=${MARIADB_ROOT_HOST:-${MYSQL_ROOT_HOST:-%}}
database=${MARIADB_DATABASE:-${MYSQL_DATABASE:-}}
user=${MARIADB_USER:-${MYSQL_USER:-}}
password=${MARIADB_PASSWORD:-${MYSQL_PASSWORD:-}}

text() { local s=${1//\\/\\\\}; printf "'%s'" "${s//\'/\'\'}"; }
name() { printf '`%s`' "${1//\`/\`\`}"; }

if [[ ! -d /var/lib/mysql/mysql ]]; then
  [[ -n $root_password || -n ${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD:-} ]] || {
    echo 'MARIADB_ROOT_PASSWORD must be set' >&2
    exit 1
  }
  chown mysql:mysql /var/lib/mysql  # what is mounted there belongs to root
  mariadb-install-db --user=mysql --datadir=/var/lib/mysql --auth-root-authentication-method=normal \
    --skip-test-db > /dev/null
  {
    # Set-up is not for replicas to repeat.
    echo "SET SESSION sql_log_bin = 0;"
    # The package's script makes root accounts without a password for every name of this machine.
    echo "DELETE FROM mysql.global_priv WHERE user IN ('root', '') AND host <> 'localhost';"
    echo "FLUSH PRIVILEGES;"
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(text "$root_password");"
    root="'root'@$(text "$root_host")"
    echo "CREATE USER IF NOT EXISTS $root IDENTIFIED BY $(text "$root_password");"
    echo "GRANT ALL ON *.* TO $root WITH GRANT OPTION;"
    if [[ -n $database ]]; then
      echo "CREATE DATABASE IF NOT EXISTS $(name "$database");"
    fi
    if [[ -n $user ]]; then
      echo "CREATE USER IF NOT EXISTS $(text "$user")@'%' IDENTIFIED BY $(text "$password");"
      if [[ -n $database ]]; then
        echo "GRANT ALL ON $(name "${database//_/\\_}").* TO $(text "$user")@'%';"
      fi
    fi
  } > /var/lib/mysql-init.sql
  # The server runs this file before it lets the first client in, so no second start is needed.
  set -- "$@" --init-file=/var/lib/mysql-init.sql
fi

exec "${run_as_mysql[@]}" "$@"
