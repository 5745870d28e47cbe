#!/usr/bin/env bash
# PostgreSQL 15 beside Anabranch: pgbench with the same scripts on both, one after the other, on the
# same machine and disk. Both sync what they commit. Everything is on 127.0.0.1 and is stopped at the
# end, whatever happens.
#
#   loadgen/compare-postgres.sh [--seconds N] [--clients N] [--scale N] [--cells REGEX]
#                               [--profile dev|dist] [--bin DIR] [--dir DIR] [--port N]
#
# A cell is a script of pgbench, how it sends statements, and how many clients there are; each is
# measured for 10 s on both after 3 s of warm-up. Results: a table on standard output. Ports N to
# N + 3 are used, 38092 and following by default; the data stands in a new folder in --dir
# (/var/tmp), which has to be on a disk.
#
# In `tpcb-like` all clients write one row of pgbench_branches: PostgreSQL has them wait for each
# other, here who comes second is told to try again, and pgbench does (--max-tries).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. .ci/env.sh
. tests/setup.sh

seconds=10 clients=8 scale=1 cells=. profile=dev bin= dir= port=38092
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=$2 ;;
        --clients) clients=$2 ;;
        --scale) scale=$2 ;;
        --cells) cells=$2 ;;
        --profile) profile=$2 ;;
        --bin) bin=$2 ;;
        --dir) dir=$2 ;;
        --port) port=$2 ;;
        -h | --help) sed -n '2,15s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) echo "unknown argument: $1 (see --help)" >&2; exit 2 ;;
    esac
    [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
    shift 2
done
tests_postgresql
pg=$TEST_POSTGRESQL
if [ -z "$bin" ]; then
    anabranch_build "$profile"
    bin=$ANABRANCH_BIN
fi
work=$(mktemp -d "${dir:-/var/tmp}/compare-postgres.XXXXXX")
pids=()
finish() {
    local pid
    for pid in "${pids[@]}"; do
        kill -INT "$pid" 2>/dev/null || true
        timeout 20 tail --pid="$pid" -f /dev/null || kill -9 "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

# PostgreSQL does not run as root.
as_user=()
if [ "$(id -u)" = 0 ]; then
    chmod 755 "$work"
    install -d -o postgres "$work/postgresql"
    as_user=(setpriv --reuid postgres --regid postgres --clear-groups)
fi
"${as_user[@]}" "$pg/initdb" -D "$work/postgresql/data" -U tester -A trust -E UTF8 >/dev/null
"${as_user[@]}" "$pg/postgres" -D "$work/postgresql/data" -p "$port" -k "$work/postgresql" \
    -c listen_addresses=127.0.0.1 -c shared_buffers=1GB 2>"$work/postgresql.log" &
pids+=($!)
ANABRANCH_DATA_DIR=$work/anabranch ANABRANCH_KAFKA_LISTEN=127.0.0.1:$((port + 1)) \
    ANABRANCH_POSTGRES_LISTEN=127.0.0.1:$((port + 2)) \
    ANABRANCH_WEB_LISTEN=127.0.0.1:$((port + 3)) "$bin/anabranch" serve >"$work/anabranch.log" 2>&1 &
pids+=($!)

postgres_at=(-h 127.0.0.1 -p "$port" -U tester)
broker_at=(-h 127.0.0.1 -p "$((port + 2))" -U tester)
ready() {
    local tries
    for tries in $(seq 100); do
        psql -XAtqc 'SELECT 1' "$@" >/dev/null 2>&1 && return
        sleep 0.2
    done
    echo "nothing answers at $*" >&2
    tail -n 5 "$work"/*.log >&2
    return 1
}
ready "${postgres_at[@]}" postgres
ready "${broker_at[@]}" anabranch

# pgbench's tables, with their keys from the beginning.
for at in "${postgres_at[*]} postgres" "${broker_at[*]} anabranch"; do
    read -ra at <<<"$at"
    {
        echo "CREATE TABLE pgbench_branches (bid int PRIMARY KEY, bbalance int, filler text);"
        echo "CREATE TABLE pgbench_tellers (tid int PRIMARY KEY, bid int, tbalance int, filler text);"
        echo "CREATE TABLE pgbench_accounts (aid int PRIMARY KEY, bid int, abalance int, filler text);"
        echo "CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler text);"
        echo "INSERT INTO pgbench_branches SELECT n, 0, '' FROM generate_series(1, $scale) n;"
        echo "INSERT INTO pgbench_tellers SELECT n, (n - 1) / 10 + 1, 0, '' FROM generate_series(1, 10 * $scale) n;"
        for branch in $(seq "$scale"); do
            echo "INSERT INTO pgbench_accounts SELECT n, $branch, 0, '' FROM generate_series(($branch - 1) * 100000 + 1, $branch * 100000) n;"
        done
    } | psql -Xq -v ON_ERROR_STOP=1 "${at[@]}"
done
psql -Xqc 'VACUUM ANALYZE' "${postgres_at[@]}" postgres

# bench SCRIPT MODE CLIENTS SECONDS AT...: transactions a second and milliseconds: mean, p99
bench() {
    local script=$1 mode=$2 clients=$3 seconds=$4
    shift 4
    rm -f "$work"/log.*
    "$pg/pgbench" -n -s "$scale" -b "$script" -M "$mode" -c "$clients" -j 1 -T "$seconds" \
        --max-tries=0 -l --log-prefix "$work/log" "$@" >"$work/said" 2>"$work/errors" ||
        { cat "$work/said" "$work/errors" >&2; return 1; }
    awk '/^tps/ { tps = $3 } /^latency average/ { ms = $4 } END { printf "%.0f %.2f ", tps, ms }' "$work/said"
    cat "$work"/log.* | awk '{ print $3 }' | sort -n |
        awk '{ all[NR] = $1 } END { printf "%.2f\n", all[int(NR * 0.99)] / 1000 }'
}

echo "| cell | a second: PostgreSQL | Anabranch | ratio | mean ms: PostgreSQL | Anabranch | p99 ms: PostgreSQL | Anabranch |"
echo "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
for script in select-only simple-update tpcb-like; do
    for mode in simple prepared; do
        name="$script, $mode, $clients clients"
        [[ $name =~ $cells ]] || continue
        bench "$script" "$mode" "$clients" 3 "${postgres_at[@]}" postgres >/dev/null
        bench "$script" "$mode" "$clients" 3 "${broker_at[@]}" anabranch >/dev/null
        read -r tps ms p99 < <(bench "$script" "$mode" "$clients" "$seconds" "${postgres_at[@]}" postgres)
        read -r our_tps our_ms our_p99 < <(bench "$script" "$mode" "$clients" "$seconds" "${broker_at[@]}" anabranch)
        echo "| $name | $tps | $our_tps | $(awk "BEGIN { printf \"%.2f\", $our_tps / $tps }") | $ms | $our_ms | $p99 | $our_p99 |"
    done
done
