# Sourced by scripts that run Apache Kafka beside Anabranch: fetches it once from Maven into
# $ANABRANCH_CACHE, starts one node on 127.0.0.1, stops it. Needs .ci/env.sh, Java 17 and Maven.

kafka_version=${kafka_version:-4.3.0}
kafka_home=$ANABRANCH_CACHE/kafka/$kafka_version
kafka_java_options=${kafka_java_options:--Xms512m -Xmx512m -XX:+UseG1GC}
# For `StorageTool format`, such as `--feature transaction.version=1`.
kafka_format_options=${kafka_format_options:-}
kafka_pid=

# kafka_fetch: installs Kafka in $kafka_home; its jars are in $kafka_home/libs.
kafka_fetch() {
    local missing=()
    command -v java >/dev/null || missing+=(default-jre-headless)
    command -v mvn >/dev/null || missing+=(maven)
    [ ${#missing[@]} = 0 ] || anabranch_apt "${missing[@]}" || return 1
    [ ! -e "$kafka_home/complete" ] || return 0
    echo "fetching Kafka $kafka_version" >&2
    mkdir -p "$kafka_home" && kafka_pom >"$kafka_home/pom.xml" &&
        timeout 900 mvn -q -B -f "$kafka_home/pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$kafka_home/libs" >&2 &&
        touch "$kafka_home/complete"
}

kafka_pom() {
    local one
    echo '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
        <groupId>anabranch</groupId><artifactId>kafka-beside</artifactId><version>1</version>
        <packaging>pom</packaging><dependencies>'
    for one in "org.apache.kafka:kafka_2.13:$kafka_version" \
        "org.apache.kafka:kafka-tools:$kafka_version" \
        org.apache.logging.log4j:log4j-slf4j-impl:2.24.3 \
        org.apache.logging.log4j:log4j-core:2.24.3; do
        IFS=: read -r group artifact release <<<"$one"
        echo "<dependency><groupId>$group</groupId><artifactId>$artifact</artifactId>" \
            "<version>$release</version></dependency>"
    done
    echo '</dependencies></project>'
}

kafka_properties() {
    local dir=$1 port=$2
    cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
}

kafka_logging() {
    cat <<PROPERTIES
appender.console.type = Console
appender.console.name = STDERR
appender.console.target = SYSTEM_ERR
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = WARN
rootLogger.appenderRef.console.ref = STDERR
PROPERTIES
}

# kafka_java DIR ARGUMENT...: replaces this shell, so that whoever stops it stops Java.
kafka_java() {
    exec java -cp "$kafka_home/libs/*" -Djava.io.tmpdir="$1" \
        -Dlog4j2.configurationFile="file:$1/log4j2.properties" "${@:2}"
}

# kafka_start DIR PORT [LINE...]: starts Kafka with everything in DIR, among it kafka.log, and
# returns when it listens. PORT + 1 is its controller's. LINEs are properties that are added.
kafka_start() {
    local dir=$1 port=$2 id tries
    # shellcheck disable=SC2086
    mkdir -p "$dir" && kafka_logging >"$dir/log4j2.properties" &&
        { kafka_properties "$dir" "$port" && printf '%s\n' "${@:3}"; } >"$dir/server.properties" &&
        id=$(kafka_java "$dir" kafka.tools.StorageTool random-uuid 2>/dev/null) &&
        (kafka_java "$dir" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" \
            $kafka_format_options) >/dev/null || return 1
    # shellcheck disable=SC2086
    kafka_java "$dir" $kafka_java_options kafka.Kafka "$dir/server.properties" \
        >"$dir/kafka.log" 2>&1 &
    kafka_pid=$!
    for tries in $(seq 300); do
        ! (exec 4<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
        kill -0 "$kafka_pid" 2>/dev/null || break
        sleep 0.2
    done
    echo "Kafka does not listen on port $port; its log ends:" >&2
    tail -20 "$dir/kafka.log" >&2
    return 1
}

# kafka_stop: asks, waits up to 20 s, then insists.
kafka_stop() {
    [ -n "$kafka_pid" ] || return 0
    kill "$kafka_pid" 2>/dev/null || true
    timeout 20 tail --pid="$kafka_pid" -f /dev/null || kill -9 "$kafka_pid" 2>/dev/null || true
    wait "$kafka_pid" 2>/dev/null || true
    kafka_pid=
}
