# Sourced by every script of this project: where build products live, and RocksDB compiled once.
#
# Build products stand outside the checkout, so that a fresh clone reuses them. RocksDB is 343 C++
# files and two thirds of a cold build: it is compiled once into the same cache, keyed by what it
# depends on, and linked from there by every profile and clone.

anabranch_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ANABRANCH_CACHE=${ANABRANCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/anabranch}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ANABRANCH_CACHE/target}
mkdir -p "$ANABRANCH_CACHE"

# anabranch_apt PACKAGE...: installs Debian packages where we may, else says exactly which.
anabranch_apt() {
    echo "missing Debian packages: $*" >&2
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "$@"; } </dev/null >&2 ||
            { echo "could not install them; please run: apt-get install $*" >&2; return 1; }
    else
        echo "please run: sudo apt-get install $*" >&2
        return 1
    fi
}

# anabranch_once DIRECTORY COMMAND...: runs the command with a fresh directory as its last
# argument, and keeps that as DIRECTORY once the command has succeeded. Scripts that want the same
# wait for each other.
anabranch_once() {
    local done=$1 new=$1.new
    shift
    [ ! -d "$done" ] || return 0
    (
        flock 9
        [ ! -d "$done" ] || exit 0
        rm -rf "$new" && mkdir -p "$new" && "$@" "$new" 9>&- && mv "$new" "$done"
    ) 9>"$done.lock"
}

# anabranch_key FILE...: a short name for what the files and the remaining standard input say.
anabranch_key() {
    { cat "$@"; cat; } | sha256sum | cut -c1-16
}

# What compiling the broker needs.
anabranch_toolchain() {
    local missing=()
    command -v cargo >/dev/null || { echo "Rust is missing: see https://rustup.rs" >&2; return 1; }
    command -v c++ >/dev/null || missing+=(g++)
    command -v make >/dev/null || missing+=(make)
    compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
        compgen -G '/usr/lib/*/libclang*.so*' >/dev/null || missing+=(libclang-dev)
    [ ${#missing[@]} = 0 ] || anabranch_apt "${missing[@]}"
}

# RocksDB as a library that is linked by every build (`ROCKSDB_LIB_DIR`).
anabranch_rocksdb() {
    local key lib
    key=$( { grep -A2 -E '^name = "(librocksdb-sys|lz4-sys|zstd-sys)"' "$anabranch_root/Cargo.lock"
             grep '^rocksdb = ' "$anabranch_root/Cargo.toml"
             cat "$anabranch_root/.cargo/config.toml"
             c++ -dumpfullversion -dumpmachine; } | anabranch_key)
    lib=$ANABRANCH_CACHE/rocksdb-$key
    anabranch_once "$lib" anabranch_compile_rocksdb || return 1
    export ROCKSDB_LIB_DIR=$lib ROCKSDB_STATIC=1
}

anabranch_compile_rocksdb() {
    echo "compiling RocksDB, once for all later builds" >&2
    (cd "$anabranch_root" && env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC \
        CARGO_TARGET_DIR="$1/build" cargo build --locked -p librocksdb-sys) &&
        cp "$(find "$1/build" -name librocksdb.a | head -1)" "$1/" && rm -rf "$1/build"
}

# anabranch_build [PROFILE]: the programs, into ANABRANCH_BIN. The whole workspace at once: of a
# part of it, cargo would choose other features of the dependencies and compile them again.
anabranch_build() {
    local profile=${1:-dev}
    anabranch_toolchain && anabranch_rocksdb || return 1
    (cd "$anabranch_root" && cargo build --locked --profile "$profile" --workspace --bins) ||
        return 1
    [ "$profile" != dev ] || profile=debug
    ANABRANCH_BIN=$CARGO_TARGET_DIR/$profile
}
