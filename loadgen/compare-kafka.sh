#!/usr/bin/env bash
# Apache Kafka beside Anabranch: the same load from the same load generator, one broker after the
# other on the same machine and disk, in one run. Everything is on 127.0.0.1 and is stopped at the
# end, whatever happens.
#
#   loadgen/compare-kafka.sh [--seconds N] [--warmup N] [--cells REGEX] [--profile dev|dist]
#                            [--bin DIR] [--out DIR] [--dir DIR] [--port N] [--restart-gb N]
#
# A cell is one kind of load. By default each is measured for 10 s after 8 s of warm-up; the JVM
# is warmed up before the first. What Kafka takes in its first seconds only fills the page cache;
# from then on the system has it write at the disk's pace, and that is what is measured. Each measurement has a topic of its own, and its files are gone
# and everything is written before the next begins: nobody pays for what came before. `--profile
# dist` builds as releases are built, which is what published figures come from; the default is
# the everyday profile; `--bin` takes the programs as they are in DIR. `--restart-gb` is how much
# log there is when the brokers are killed (10). Results: tables on standard output, as they stand
# in RESULTS.md; in --out compare.json, both brokers' logs, and one JSON and one SVG a measurement.
#
# Ports N to N + 4 are used, 39092 and following by default; both logs stand in a new folder in
# --dir, which has to be on a disk: in memory, syncs would cost nothing. Reading from a cold cache
# needs root, to empty it.
#
# Kafka 4.3.0 comes from Maven once, into $ANABRANCH_CACHE. Needs Java 17, Maven, jq.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
. .ci/env.sh
kafka_java_options="-Xms1g -Xmx1g -XX:+UseG1GC"
. tests/kafka.sh

seconds=10 warmup=8 cells=. profile=dev bin= out= dir= port=39092 restart_gb=10
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
        --restart-gb) restart_gb=$2 ;;
        -h | --help) sed -n '2,27s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
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
    # A minute by default: the files would go at somebody else's cost.
    kafka_start "$work/kafka" "$kafka_port" log.segment.delete.delay.ms=500 || { cp "$work/kafka/kafka.log" "$out/"; return 1; }
}

launch_broker() {
    ANABRANCH_DATA_DIR=$work/anabranch ANABRANCH_KAFKA_LISTEN=127.0.0.1:$broker_port \
        ANABRANCH_POSTGRES_LISTEN=127.0.0.1:$((port + 3)) \
        ANABRANCH_WEB_LISTEN=127.0.0.1:$((port + 4)) \
        "$broker" serve >>"$out/anabranch.log" 2>&1 &
    broker_pid=$!
}

start_broker() {
    : >"$out/anabranch.log"
    launch_broker
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

# rest: waits until both brokers have removed what was deleted, and everything is written.
rest() {
    local tries kb
    for tries in $(seq 300); do
        kb=$(used_kb)
        [ "$kb" -gt $((empty_kb + 100000)) ] || break
        sleep 0.2
    done
    sync
}

used_kb() {
    # Files go meanwhile.
    { du -sk "$work/kafka" "$work/anabranch" 2>/dev/null || true; } | awk '{ sum += $1 } END { print sum }'
}

# measure NAME PORT PID FILE COMMAND ARGUMENT...: one run; its result as JSON in FILE.json.
topics=0
measure() {
    local name=$1 at=$2 pid=$3 file=$4
    shift 4
    echo "  $name: $*" >&2
    rm -f "$file".*
    timeout $((seconds + warmup + 300)) "$loadgen" "$@" --bootstrap "127.0.0.1:$at" \
        --server-pid "$pid" --quiet --json "$file.json" --plot "$file.svg" >"$file.txt" 2>&1 || {
        # With some events failed there is a result, and its "failed" says so.
        echo "  failed: $(tail -1 "$file.txt")" >&2
        [ -e "$file.json" ] || { failures=$((failures + 1)); return 1; }
    }
}

# forget PORT TOPIC: deletes it.
forget() {
    timeout 120 "$loadgen" delete --bootstrap "127.0.0.1:$1" --topic "$2" >&2 ||
        echo "  $2 was not deleted" >&2
    rest
}

warm_up_kafka() {
    echo "warming up the JVM" >&2
    local arguments
    for arguments in "" "--batch 1" "--connections 200 --in-flight 1 --batch 1"; do
        # shellcheck disable=SC2086
        timeout 120 "$loadgen" ingest $arguments --bootstrap "127.0.0.1:$kafka_port" \
            --topic warm-up --recreate --quiet --duration 8 --warmup 1 >/dev/null
    done
    forget "$kafka_port" warm-up
}

failures=0
results=$work/results.jsonl
: >"$results"

# record NAME FILE: a cell's two results, for the table.
record() {
    jq -cn --arg cell "$1" --slurpfile kafka "$2-kafka.json" \
        --slurpfile anabranch "$2-anabranch.json" \
        '{cell: $cell, kafka: $kafka[0], anabranch: $anabranch[0]}' >>"$results"
}

# cell NAME KAFKA-CONFIGS COMMAND ARGUMENT...: the same load on both, Anabranch always synced.
cell() {
    local name=$1 kafka_configs=$2
    shift 2
    [[ $name =~ $cells ]] || return 0
    echo "$name" >&2
    local file=$out/${name//[^A-Za-z0-9]/-} topic ok=yes time=()
    case $1 in
        ingest | transactions) time=(--duration "$seconds" --warmup "$warmup") ;;
    esac
    topics=$((topics + 1)) topic=compare-$topics
    # shellcheck disable=SC2086
    measure Kafka "$kafka_port" "$kafka_pid" "$file-kafka" "$@" "${time[@]}" --topic "$topic" \
        $kafka_configs || ok=no
    forget "$kafka_port" "$topic"
    measure Anabranch "$broker_port" "$broker_pid" "$file-anabranch" "$@" "${time[@]}" \
        --topic "$topic" || ok=no
    forget "$broker_port" "$topic"
    [ $ok = no ] || record "$name" "$file"
}

# fill PORT PID TOPIC BYTES
fill() {
    timeout 600 "$loadgen" ingest --bootstrap "127.0.0.1:$1" --topic "$2" --size 1024 --quiet \
        --in-flight 16 --events $(($3 / 1024)) >/dev/null
}

# reads: consumers that catch up, with what they read in the page cache and not.
reads() {
    local bytes=2000000000 topic=compare-reads driver heat name
    for driver in native librdkafka; do
        for heat in cached cold; do
            name="catching up, $heat, $driver"
            [[ $name =~ $cells ]] || continue
            if [ $heat = cold ] && [ "$(id -u)" != 0 ]; then
                echo "$name: left out, only root can empty the page cache" >&2
                continue
            fi
            read_cell "$name" "$heat" "$topic" "$bytes" --driver "$driver"
        done
    done
}

# read_cell NAME HEAT TOPIC BYTES ARGUMENT...
read_cell() {
    local name=$1 heat=$2 topic=$3 bytes=$4 which at pid
    local file=$out/${name//[^A-Za-z0-9]/-}
    shift 4
    echo "$name" >&2
    for which in kafka anabranch; do
        at=$kafka_port pid=$kafka_pid
        [ $which = kafka ] || { at=$broker_port pid=$broker_pid; }
        fill "$at" "$topic" "$bytes"
        sync
        [ "$heat" = cached ] || echo 3 >/proc/sys/vm/drop_caches
        measure $which "$at" "$pid" "$file-$which" consume --topic "$topic" "$@" || return 0
        forget "$at" "$topic"
    done
    record "$name" "$file"
}

# acked PORT: milliseconds until an event is acknowledged.
acked() {
    local began now
    began=$(date +%s%N)
    until timeout 30 "$loadgen" ingest --bootstrap "127.0.0.1:$1" --topic after --batch 1 \
        --events 1 --quiet >/dev/null 2>&1; do
        now=$(date +%s%N)
        [ $(((now - began) / 1000000)) -lt 120000 ] || { echo "no answer in 120 s" >&2; return 1; }
        sleep 0.02
    done
    now=$(date +%s%N)
    echo $(((now - began) / 1000000))
}

# restarts: killed with so much log, how long until an event is acknowledged again.
restarts() {
    local name="killed with $restart_gb GB, until an event is acknowledged" kafka anabranch
    [[ $name =~ $cells ]] || return 0
    echo "$name" >&2
    fill "$kafka_port" filled $((restart_gb * 1000000000))
    kill -9 "$kafka_pid"
    wait "$kafka_pid" 2>/dev/null || true
    # shellcheck disable=SC2086
    kafka_java "$work/kafka" $kafka_java_options kafka.Kafka "$work/kafka/server.properties" \
        >>"$work/kafka/kafka.log" 2>&1 &
    kafka_pid=$!
    kafka=$(acked "$kafka_port") || { failures=$((failures + 1)); return 0; }
    forget "$kafka_port" filled
    fill "$broker_port" filled $((restart_gb * 1000000000))
    kill -9 "$broker_pid"
    wait "$broker_pid" 2>/dev/null || true
    launch_broker
    anabranch=$(acked "$broker_port") || { failures=$((failures + 1)); return 0; }
    forget "$broker_port" filled
    jq -cn --arg cell "$name" --argjson kafka "$kafka" --argjson anabranch "$anabranch" \
        '{cell: $cell, kafka_ms: $kafka, anabranch_ms: $anabranch}' >>"$results"
}

synced="--topic-config flush.messages=1"

need
need_ports
kafka_fetch
build
start_kafka
start_broker
machine=$out/machine.json
"$loadgen" machine --dir "$work" --json "$machine" >&2
empty_kb=$(used_kb)
warm_up_kafka

cell "batches" "" ingest
cell "batches, 16 in flight" "" ingest --in-flight 16
cell "batches, librdkafka" "" ingest --driver librdkafka
cell "batches, Kafka synced" "$synced" ingest
cell "batches, idempotent" "" ingest --idempotent
cell "batches, acks 1" "" ingest --acks 1
cell "batches, acks 0" "" ingest --acks 0
cell "batches, 1 partition" "" ingest --partitions 1
cell "batches, 256 partitions" "" ingest --partitions 256
cell "batches, 1000 partitions" "" ingest --partitions 1000
cell "batches, 16 bytes" "" ingest --size 16 --payload random
cell "batches, 1 KB" "" ingest --size 1024
cell "batches, 1 KB, librdkafka" "" ingest --size 1024 --driver librdkafka
cell "batches, 10 KB" "" ingest --size 10240
cell "batches, 100 KB" "" ingest --size 102400 --batch-bytes 900000
cell "batches, 10 producers" "" ingest --producers 10
cell "batches, 100 producers" "" ingest --producers 100 --buffer-bytes 2097152
cell "batches, 1000 producers" "" ingest --producers 1000 --buffer-bytes 262144 --batch-bytes 65536
cell "batches of 10 events" "" ingest --batch 10
cell "batches of 100 events" "" ingest --batch 100
cell "gzip" "" ingest --compression gzip
cell "snappy" "" ingest --compression snappy
cell "lz4" "" ingest --compression lz4
cell "zstd" "" ingest --compression zstd
cell "one event a request" "" ingest --batch 1
cell "one event a request, Kafka synced" "$synced" ingest --batch 1
cell "one event a request, librdkafka, Kafka synced" "$synced" \
    ingest --batch 1 --driver librdkafka
cell "1000 connections, one event a request" "" ingest --batch 1 --connections 1000 --in-flight 1
cell "1000 connections, one event a request, Kafka synced" "$synced" \
    ingest --batch 1 --connections 1000 --in-flight 1
cell "100000 events a second" "" ingest --rate 100000
cell "100000 events a second, Kafka synced" "$synced" ingest --rate 100000
cell "transactions of 1 record, 1 producer" "" transactions
cell "transactions of 10 records, 8 producers" "" transactions --producers 8 --records 10
cell "at the tail, 100000 events a second" "" end-to-end --duration "$seconds"
reads
cell "rebalances of 100 members, classic" "" rebalance --partitions 100
cell "rebalances of 100 members, consumer" "" rebalance --partitions 100 --protocol consumer
restarts

jq -s --slurpfile machine "$machine" '{machine: $machine[0], cells: .}' "$results" \
    >"$out/compare.json"
jq -r '
  def n(x): if x == null then "-" elif x >= 100 then (x | round | tostring)
    elif x >= 10 then (x * 10 | round / 10 | tostring)
    else (x * 100 | round / 100 | tostring) end;
  def ratio(a; b): if a != null and b != null and b > 0 then n(a / b) else "-" end;
  def row: "| " + join(" | ") + " |";
  # Of several latencies the last is the furthest.
  def p99: if (.latencies | length) > 0 then .latencies[-1].p99_ms else null end;
  (["this machine", ""] | row), (["---", "---:"] | row),
  (.machine[] | [.what, n(.value) + " " + .unit] | row), "",
  (["cell", "a second: Kafka", "Anabranch", "ratio", "CPU s/M: Kafka", "Anabranch", "ratio",
    "MB: Kafka", "Anabranch", "p99 ms: Kafka", "Anabranch", "ratio"] | row),
  (["---"] + [range(11) | "---:"] | row),
  (.cells[] | select(.kafka and .kafka.command != "rebalance") | .kafka as $k | .anabranch as $a |
    [.cell, n($k.events_per_s), n($a.events_per_s), ratio($a.events_per_s; $k.events_per_s),
     n($k.server.cpu_s_per_million), n($a.server.cpu_s_per_million),
     ratio($a.server.cpu_s_per_million; $k.server.cpu_s_per_million),
     n($k.server.anonymous_mb_max), n($a.server.anonymous_mb_max),
     n($k | p99), n($a | p99), ratio($a | p99; $k | p99)] | row), "",
  (["time", "ms: Kafka", "Anabranch", "ratio"] | row), (["---", "---:", "---:", "---:"] | row),
  (.cells[] | select(.kafka.command == "rebalance") | .kafka.latencies[0] as $k |
    .anabranch.latencies[0] as $a |
    [.cell + ": one leaves", n($k.p50_ms), n($a.p50_ms), ratio($a.p50_ms; $k.p50_ms)],
    [.cell + ": all join", n($k.max_ms), n($a.max_ms), ratio($a.max_ms; $k.max_ms)] | row),
  (.cells[] | select(.kafka_ms) |
    [.cell, n(.kafka_ms), n(.anabranch_ms), ratio(.anabranch_ms; .kafka_ms)] | row)
' "$out/compare.json"
echo "details: $out" >&2
[ "$failures" = 0 ] || { echo "$failures measurements failed" >&2; exit 1; }
