#!/usr/bin/env bash
# Apache Kafka beside Anabranch: the same load from the same load generator, one broker after the
# other on the same machine and disk, in one run. Everything is on 127.0.0.1 and is stopped at the
# end, whatever happens.
#
#   loadgen/compare-kafka.sh [--seconds N] [--warmup N] [--cells REGEX] [--profile dev|dist]
#                            [--bin DIR] [--out DIR] [--dir DIR] [--port N]
#
# A cell is one kind of load. By default each is measured for 10 s after 3 s of warm-up; the JVM
# is warmed up before the first. `--profile dist` builds as releases are built, which is what
# published figures come from; the default is the everyday profile; `--bin` takes the programs as
# they are in DIR. Results: a table of ratios on standard output; in --out compare.json, both
# brokers' logs, and one JSON and one SVG a measurement.
#
# Ports N to N + 4 are used, 39092 and following by default; both logs stand in a new folder in
# --dir, which has to be on a disk: in memory, syncs would cost nothing.
#
# Kafka 4.3.0 comes from Maven once, into $ANABRANCH_CACHE. Needs Java 17, Maven, jq.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. .ci/env.sh
kafka_java_options="-Xms1g -Xmx1g -XX:+UseG1GC"
. tests/kafka.sh

seconds=10 warmup=3 cells=. profile=dev bin= out= dir= port=39092
while [ $# -gt 0 ]; do
    case $1 in
        --seconds) seconds=$2 ;;
        --warmup) warmup=$2 ;;
        --cells) cells=$2 ;;
        --profile) profile=$2 ;;
        --bin) bin=$2 ;;
        --out) out=$2 ;;
        --dir) dir=$2 ;;
        --port) port=$2 ;;
        -h | --help) sed -n '2,20s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
        *) echo "unknown argument: $1 (see --help)" >&2; exit 2 ;;
    esac
    [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
    shift 2
done
out=${out:-$ANABRANCH_CACHE/compare}
mkdir -p "$out"
work=$(mktemp -d "${dir:-$ANABRANCH_CACHE}/compare.XXXXXX")

kafka_port=$port broker_port=$((port + 2))
broker_pid=

# stop PID: asks, waits up to 20 s, then insists.
stop() {
    [ -n "$1" ] && kill -0 "$1" 2>/dev/null || return 0
    kill "$1" 2>/dev/null || true
    timeout 20 tail --pid="$1" -f /dev/null || kill -9 "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}
finish() {
    kafka_stop
    stop "$broker_pid"
    [ ! -e "$work/kafka/kafka.log" ] || cp "$work/kafka/kafka.log" "$out/"
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM

need() {
    local missing=()
    command -v jq >/dev/null || missing+=(jq)
    [ ${#missing[@]} = 0 ] || anabranch_apt "${missing[@]}"
}

build() {
    if [ -n "$bin" ]; then
        broker=$bin/anabranch loadgen=$bin/anabranch-loadgen
        return
    fi
    anabranch_build "$profile"
    broker=$ANABRANCH_BIN/anabranch loadgen=$ANABRANCH_BIN/anabranch-loadgen
}

start_kafka() {
    kafka_start "$work/kafka" "$kafka_port" || { cp "$work/kafka/kafka.log" "$out/"; return 1; }
}

start_broker() {
    ANABRANCH_DATA_DIR=$work/anabranch ANABRANCH_KAFKA_LISTEN=127.0.0.1:$broker_port \
        ANABRANCH_POSTGRES_LISTEN=127.0.0.1:$((port + 3)) \
        ANABRANCH_WEB_LISTEN=127.0.0.1:$((port + 4)) \
        "$broker" serve >"$out/anabranch.log" 2>&1 &
    broker_pid=$!
    await_port "$broker_port" "$broker_pid" "$out/anabranch.log"
}

is_open() {
    (exec 4<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# Another program's answers would be taken for a broker's.
need_ports() {
    local one
    for one in $(seq "$port" $((port + 4))); do
        ! is_open "$one" || { echo "port $one is taken: choose others with --port" >&2; exit 1; }
    done
}

# await_port PORT PID LOG: until it is open, for up to 60 s.
await_port() {
    local tries
    for tries in $(seq 300); do
        is_open "$1" && return
        kill -0 "$2" 2>/dev/null || break
        sleep 0.2
    done
    echo "nothing listens on port $1; its log ends:" >&2
    tail -20 "$3" >&2
    return 1
}

# measure NAME PORT PID FILE ARGUMENT...: one run; its result as JSON in FILE.
measure() {
    local name=$1 at=$2 pid=$3 file=$4
    shift 4
    echo "  $name: $*" >&2
    rm -f "$file".*
    timeout $((seconds + warmup + 180)) "$loadgen" "$@" --bootstrap "127.0.0.1:$at" \
        --topic compare --recreate --server-pid "$pid" --quiet --duration "$seconds" \
        --warmup "$warmup" --json "$file.json" --plot "$file.svg" >"$file.txt" 2>&1 || {
        # With some events failed there is a result, and its "failed" says so.
        echo "  failed: $(tail -1 "$file.txt")" >&2
        [ -e "$file.json" ] || { failures=$((failures + 1)); return 1; }
    }
}

warm_up_kafka() {
    echo "warming up the JVM" >&2
    local arguments
    for arguments in "" "--batch 1" "--connections 200 --in-flight 1 --batch 1"; do
        # shellcheck disable=SC2086
        timeout 120 "$loadgen" ingest $arguments --bootstrap "127.0.0.1:$kafka_port" \
            --topic warm-up --recreate --quiet --duration 8 --warmup 1 >/dev/null
    done
}

failures=0
results=$work/results.jsonl
: >"$results"

# cell NAME KAFKA-CONFIGS ARGUMENT...: the same load on both, Anabranch always synced.
cell() {
    local name=$1 kafka_configs=$2
    shift 2
    [[ $name =~ $cells ]] || return 0
    echo "$name" >&2
    local file=$out/${name//[^a-z0-9]/-}
    # shellcheck disable=SC2086
    # What was left to the page cache is not to be written at the cost of who comes next.
    sync
    measure Kafka "$kafka_port" "$kafka_pid" "$file-kafka" ingest "$@" $kafka_configs || return 0
    sync
    measure Anabranch "$broker_port" "$broker_pid" "$file-anabranch" ingest "$@" || return 0
    jq -cn --arg cell "$name" --slurpfile kafka "$file-kafka.json" \
        --slurpfile anabranch "$file-anabranch.json" \
        '{cell: $cell, kafka: $kafka[0], anabranch: $anabranch[0]}' >>"$results"
}

synced="--topic-config flush.messages=1"

need
need_ports
kafka_fetch
build
start_kafka
start_broker
warm_up_kafka

cell "batches 100 bytes native" "" --size 100
cell "batches 100 bytes native, 16 in flight" "" --size 100 --in-flight 16
cell "batches 100 bytes librdkafka" "" --size 100 --driver librdkafka
cell "batches 1 KB native" "" --size 1024
cell "batches 1 KB librdkafka" "" --size 1024 --driver librdkafka
cell "one event a request native, kafka unsynced" "" --batch 1
cell "one event a request native, kafka synced" "$synced" --batch 1
cell "one event a request librdkafka, kafka synced" "$synced" --batch 1 --driver librdkafka
cell "1000 connections, kafka unsynced" "" --batch 1 --connections 1000 --in-flight 1
cell "1000 connections, kafka synced" "$synced" --batch 1 --connections 1000 --in-flight 1
cell "open loop 100000 a second, kafka unsynced" "" --rate 100000
cell "open loop 100000 a second, kafka synced" "$synced" --rate 100000

jq -s '{cells: .}' "$results" >"$out/compare.json"
jq -rs '
  def n(x): if x >= 100 then (x | round | tostring) else (x * 100 | round / 100 | tostring) end;
  def ratio(a; b): if b > 0 then n(a / b) else "-" end;
  (["cell", "events/s Kafka", "Anabranch", "ratio", "CPU s/M Kafka", "Anabranch", "ratio",
    "memory MB Kafka", "Anabranch", "ratio", "p99 ms Kafka", "Anabranch", "ratio"] | @tsv),
  (.[] | .kafka as $k | .anabranch as $a | [.cell,
    n($k.events_per_s), n($a.events_per_s), ratio($a.events_per_s; $k.events_per_s),
    n($k.server.cpu_s_per_million), n($a.server.cpu_s_per_million),
    ratio($a.server.cpu_s_per_million; $k.server.cpu_s_per_million),
    n($k.server.anonymous_mb_max), n($a.server.anonymous_mb_max),
    ratio($a.server.anonymous_mb_max; $k.server.anonymous_mb_max),
    n($k.latencies[0].p99_ms), n($a.latencies[0].p99_ms),
    ratio($a.latencies[0].p99_ms; $k.latencies[0].p99_ms)] | @tsv)' "$results" |
    column -t -s "$(printf '\t')"
echo "details: $out" >&2
[ "$failures" = 0 ] || { echo "$failures measurements failed" >&2; exit 1; }
