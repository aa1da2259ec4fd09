#!/bin/bash
# Starts MySQL as the official image does: MYSQL_ROOT_PASSWORD, MYSQL_ROOT_HOST, MYSQL_DATABASE,
# MYSQL_USER, MYSQL_PASSWORD; arguments that begin with a dash go to the server.
set -euo pipefail

[[ ${1:-} == -* ]] && set -- mysqld "$@"
[[ ${1:-} == mysqld ]] || exec "$@"

run_as_mysql=(setpriv --reuid=mysql --regid=mysql --init-groups)

text() { local s=${1//\\/\\\\}; printf "'%s'" "${s//\'/\'\'}"; }
name() { printf '`%s`' "${1//\`/\`\`}"; }

if [[ ! -d /var/lib/mysql/mysql ]]; then
  [[ -n ${MYSQL_ROOT_PASSWORD:-} || -n ${MYSQL_ALLOW_EMPTY_PASSWORD:-} ]] || {
    echo 'MYSQL_ROOT_PASSWORD must be set' >&2
    exit 1
  }
  chown mysql:mysql /var/lib/mysql  # what is mounted there belongs to root
  "${run_as_mysql[@]}" "$@" --initialize-insecure
  {
    # Set-up is not for replicas to repeat.
    echo "SET SESSION sql_log_bin = 0;"
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY $(text "${MYSQL_ROOT_PASSWORD:-}");"
    root="'root'@$(text "${MYSQL_ROOT_HOST:-%}")"
    echo "CREATE USER IF NOT EXISTS $root IDENTIFIED BY $(text "${MYSQL_ROOT_PASSWORD:-}");"
    echo "GRANT ALL ON *.* TO $root WITH GRANT OPTION;"
    if [[ -n ${MYSQL_DATABASE:-} ]]; then
      echo "CREATE DATABASE IF NOT EXISTS $(name "$MYSQL_DATABASE");"
    fi
    if [[ -n ${MYSQL_USER:-} ]]; then
      echo "CREATE USER IF NOT EXISTS $(text "$MYSQL_USER")@'%' IDENTIFIED BY $(text "${MYSQL_PASSWORD:-}");"
      if [[ -n ${MYSQL_DATABASE:-} ]]; then
        echo "GRANT ALL ON $(name "${MYSQL_DATABASE//_/\\_}").* TO $(text "$MYSQL_USER")@'%';"
      fi
    fi
  } > /var/lib/mysql-init.sql
  # The server runs this file before it lets the first client in, so no second start is needed.
  set -- "$@" --init-file=/var/lib/mysql-init.sql
fi

exec "${run_as_mysql[@]}" "$@"
