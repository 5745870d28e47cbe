# Sourced by tests/run: installs the clients that the tests run, once, into the cache, and says
# where they are. Python, npm, Maven and Go packages are pinned by the lock files of tests/clients.
# Needs .ci/env.sh.

tests_dir=$anabranch_root/tests

# Debian's packages: kcat, psql and curl are clients under test, the others run the rest.
tests_packages() {
    local missing=()
    command -v kcat >/dev/null || missing+=(kcat)
    command -v curl >/dev/null || missing+=(curl)
    command -v psql >/dev/null || missing+=(postgresql-client)
    python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
    command -v npm >/dev/null || missing+=(nodejs npm)
    command -v javac >/dev/null || missing+=(default-jdk-headless)
    command -v mvn >/dev/null || missing+=(maven)
    command -v go >/dev/null || missing+=(golang-go)
    [ ${#missing[@]} = 0 ] || anabranch_apt "${missing[@]}"
}

# PostgreSQL 15, the oracle of SQL: its programs are in TEST_POSTGRESQL. Only the package that has
# no server of its own running is wanted, but Debian's makes a cluster: nothing here uses it.
tests_postgresql() {
    [ -x /usr/lib/postgresql/15/bin/initdb ] || anabranch_apt postgresql-15 || return 1
    export TEST_POSTGRESQL=/usr/lib/postgresql/15/bin
}

tests_python() {
    local lock=$tests_dir/clients/python/requirements.txt key
    key=$(python3 -VV | anabranch_key "$lock") || return 1
    anabranch_once "$ANABRANCH_CACHE/python-$key" tests_install_python "$lock" || return 1
    export TEST_PYTHON=$ANABRANCH_CACHE/python-$key/bin/python
}

tests_install_python() {
    # Programs are started through this interpreter, never through scripts that name its place.
    python3 -m venv "$2" &&
        "$2/bin/python" -m pip install -q --require-hashes --only-binary :all: -r "$1"
}

tests_node() {
    local at=$tests_dir/clients/node key
    key=$(node --version | anabranch_key "$at/package-lock.json") || return 1
    anabranch_once "$ANABRANCH_CACHE/node-$key" tests_install_node "$at" || return 1
    export TEST_NODE_PATH=$ANABRANCH_CACHE/node-$key/node_modules
}

tests_install_node() {
    cp "$1/package.json" "$1/package-lock.json" "$2" &&
        (cd "$2" && npm ci --silent --no-audit --no-fund)
}

tests_java() {
    local at=$tests_dir/clients/java key
    key=$(javac --version | anabranch_key "$at/pom.xml" "$at"/*.java) || return 1
    anabranch_once "$ANABRANCH_CACHE/java-$key" tests_install_java "$at" || return 1
    export TEST_CLASSPATH="$ANABRANCH_CACHE/java-$key/classes:$ANABRANCH_CACHE/java-$key/lib/*"
}

tests_install_java() {
    mvn -B -q -C -f "$1/pom.xml" dependency:copy-dependencies \
        -DoutputDirectory="$2/lib" >&2 &&
        javac -Xlint:all -Werror -cp "$2/lib/*" -d "$2/classes" "$1"/*.java
}

# A program of Go's driver for PostgreSQL, TEST_PGX.
tests_go() {
    local at=$tests_dir/clients/go key
    key=$(go version | anabranch_key "$at"/*) || return 1
    anabranch_once "$ANABRANCH_CACHE/go-$key" tests_install_go "$at" || return 1
    export TEST_PGX=$ANABRANCH_CACHE/go-$key/pgx
}

tests_install_go() {
    (cd "$1" && CGO_ENABLED=0 go build -buildvcs=false -mod=readonly -o "$2/pgx" .) >&2
}

# Kafka's command line tools.
tests_tools() {
    . "$tests_dir/kafka.sh" && kafka_fetch && export TEST_KAFKA_LIBS=$kafka_home/libs
}

# Prometheus, whose programs are in TEST_PROMETHEUS. Debian's package is unpacked only: installed, it
# would run as a service.
tests_prometheus() {
    anabranch_once "$ANABRANCH_CACHE/prometheus" tests_unpack_prometheus || return 1
    export TEST_PROMETHEUS=$ANABRANCH_CACHE/prometheus/usr/bin
}

tests_unpack_prometheus() {
    (cd "$1" && apt-get download -qq prometheus && dpkg -x prometheus_*.deb . &&
        rm prometheus_*.deb) >&2
}

# tests_setup: everything above, and the flights.
tests_setup() {
    tests_packages && tests_postgresql && tests_python && tests_node && tests_java && tests_go && tests_tools && tests_prometheus &&
        TEST_FLIGHTS=$("$tests_dir/tour/fetch") && export TEST_FLIGHTS
}
