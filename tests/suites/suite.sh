# Sourced by the suites' scripts: which broker a suite runs against, and what its results mean.
#
# A script calls suite_begin with its arguments, suite_result for each test, suite_end at the end.
# What passes on Apache Kafka, one node on the same machine, is the yardstick (`passes-on-kafka`):
# all of it has to pass here too, but for what `allow-list` names with a reason.

. "$(dirname "${BASH_SOURCE[0]}")/../../.ci/env.sh"

suite_home=$(cd "$(dirname "$0")" && pwd)
suite_name=$(basename "$suite_home")
suite_broker='' suite_port=29092 suite_kafka='' suite_record='' suite_bin=''
# The broker that was running already, and the one that was started here.
suite_foreign='' suite_pid=''
# Arguments that are the suite's own.
suite_args=()
# What each test's last result was.
declare -A suite_states=()
suite_names=()

# suite_begin ARGUMENT...: starts the broker that is asked for. Sets suite_broker, HOST:PORT;
# suite_work, a folder that goes away at the end; suite_logs, one that stays until the next run.
suite_begin() {
    while [ $# -gt 0 ]; do
        case $1 in
            -h | --help) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 0 ;;
            --kafka) suite_kafka=1 ;;
            --record) suite_kafka=1 suite_record=1 ;;
            --broker | --bin | --port)
                [ $# -ge 2 ] || { echo "$1 needs a value" >&2; exit 2; }
                printf -v "suite_${1#--}" %s "$2"
                shift ;;
            *) suite_args+=("$1") ;;
        esac
        shift
    done
    suite_foreign=$suite_broker
    suite_logs=$ANABRANCH_CACHE/suites/$suite_name${suite_kafka:+-on-kafka}
    suite_work=$(mktemp -d "$ANABRANCH_CACHE/suite.XXXXXX")
    trap suite_stop EXIT
    trap 'exit 130' INT TERM
    rm -rf "$suite_logs" && mkdir -p "$suite_logs"
}

# suite_start [AUTO-CREATE]: the broker, once what the tests need is there, because that takes a
# while; and then perhaps another, which does not create topics by itself ("false").
suite_start() {
    local create=${1:-true} tries
    [ -z "$suite_foreign" ] || return 0
    suite_halt
    suite_broker=127.0.0.1:$suite_port
    # Otherwise whoever listens there would be tested.
    ! (exec 4<>"/dev/tcp/127.0.0.1/$suite_port") 2>/dev/null ||
        { echo "port $suite_port is taken: --port takes another" >&2; return 1; }
    if [ -n "$suite_kafka" ]; then
        . "$anabranch_root/tests/kafka.sh"
        # The tests of access rules need an authorizer; nobody else is to notice it.
        kafka_fetch && kafka_start "$suite_work/kafka" "$suite_port" num.partitions=4 \
            "auto.create.topics.enable=$create" \
            authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer \
            allow.everyone.if.no.acl.found=true
        return
    fi
    [ -n "$suite_bin" ] || { anabranch_build && suite_bin=$ANABRANCH_BIN; } || return 1
    # The suites expect four partitions of a topic that was created because they named it.
    "$suite_bin/anabranch" serve --set "data_dir=$suite_work/data" --set streams.partitions=4 \
        --set "streams.auto_create=$create" --set "kafka.listen=$suite_broker" \
        --set "postgres.listen=127.0.0.1:$((suite_port + 1))" \
        --set "web.listen=127.0.0.1:$((suite_port + 2))" >>"$suite_logs/broker.log" 2>&1 &
    suite_pid=$!
    for tries in $(seq 300); do
        ! (exec 4<>"/dev/tcp/127.0.0.1/$suite_port") 2>/dev/null || return 0
        kill -0 "$suite_pid" 2>/dev/null || break
        sleep 0.2
    done
    echo "the broker does not listen; its log ends:" >&2
    tail -20 "$suite_logs/broker.log" >&2
    return 1
}

# suite_halt: stops what suite_start has started.
suite_halt() {
    if [ -n "$suite_pid" ]; then
        kill "$suite_pid" 2>/dev/null || true
        wait "$suite_pid" 2>/dev/null || true
        suite_pid=
    fi
    if [ -n "${kafka_pid:-}" ]; then
        kafka_stop
        cat "$suite_work/kafka/kafka.log" >>"$suite_logs/broker.log"
    fi
    rm -rf "$suite_work/data" "$suite_work/kafka"
}

suite_stop() {
    suite_halt
    rm -rf "$suite_work"
}

# suite_result passed|failed|skipped NAME [WHY]
suite_result() {
    [ -n "${suite_states[$2]:-}" ] || suite_names+=("$2")
    suite_states[$2]=$1
    printf '%-8s%s%s\n' "$1" "$2" "${3:+: $3}"
}

# The words of a list's lines that are no comments: names, or reasons.
suite_list() {
    [ ! -e "$suite_home/$1" ] || sed -e '/^#/d' -e '/^ *$/d' "$suite_home/$1"
}

# suite_end WHOLE: what it comes to. WHOLE is empty if only some tests were to run: those that did
# not are not missed then.
suite_end() {
    local whole=$1 name state reason passed=0 failed=0 skipped=0 wrong=0
    local -A allowed=()
    for name in "${suite_names[@]}"; do
        ((++${suite_states[$name]}))
    done
    if [ -n "$suite_record" ]; then
        # Of tests that did not run, what is known stays known.
        { while read -r name; do
              [ -n "${suite_states[$name]:-}" ] || echo "$name"
          done < <(suite_list passes-on-kafka)
          for name in "${suite_names[@]}"; do
              [ "${suite_states[$name]}" != passed ] || echo "$name"
          done; } | LC_ALL=C sort >"$suite_work/passes-on-kafka"
        mv "$suite_work/passes-on-kafka" "$suite_home/"
    fi
    # What Kafka is measured against is itself.
    if [ -z "$suite_kafka" ]; then
        while read -r name reason; do allowed[$name]=$reason; done < <(suite_list allow-list)
    fi
    echo
    while read -r name; do
        state=${suite_states[$name]:-}
        [ "$state" != passed ] && [ -z "${allowed[$name]:-}" ] || continue
        [ -n "$state" ] || [ -n "$whole" ] || continue
        echo "should pass: $name (${state:-did not run})"
        wrong=$((wrong + 1))
    done < <(suite_list passes-on-kafka)
    for name in "${suite_names[@]}"; do
        [ "${suite_states[$name]}" != passed ] || [ -z "${allowed[$name]:-}" ] ||
            echo "can leave the allow-list: $name"
    done
    echo "logs: $suite_logs"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "${#suite_names[@]}" != 0 ] || { echo "no test ran" >&2; return 1; }
    [ "$wrong" = 0 ] || { echo "$wrong that pass on Kafka do not pass here" >&2; return 1; }
}
