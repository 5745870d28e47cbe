# Sourced by every script of this project: where build products live, and RocksDB compiled once.
#
# Build products stand outside the checkout, so that a fresh clone reuses them. RocksDB, 343 C++
# files, is compiled once into the same cache, keyed by what it depends on, and linked from there by
# every profile and clone.

anabranch_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ANABRANCH_CACHE=${ANABRANCH_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/anabranch}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$ANABRANCH_CACHE/target}
mkdir -p "$ANABRANCH_CACHE" "$CARGO_TARGET_DIR"

# Checkouts share their build products, and cargo takes a source for built if it is older than
# these: what another checkout than the last one holds is new.
if [ "$(cat "$CARGO_TARGET_DIR/checkout" 2>/dev/null)" != "$anabranch_root" ]; then
    find "$anabranch_root"/{broker,client,loadgen,tests} -type f -exec touch {} +
    echo "$anabranch_root" >"$CARGO_TARGET_DIR/checkout"
fi

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
    # Of RocksDB's binding. Not libclang-cpp, which comes with LLVM's own library.
    compgen -G '/usr/lib/llvm-*/lib/libclang[.-][s0-9]*' >/dev/null ||
        compgen -G '/usr/lib/*/libclang[.-][s0-9]*' >/dev/null || missing+=(libclang-dev)
    [ ${#missing[@]} = 0 ] || anabranch_apt "${missing[@]}"
}

# RocksDB as a library that is linked by every build (`ROCKSDB_LIB_DIR`).
anabranch_rocksdb() {
    local key lib
    key=$( { grep -A2 -E '^name = "(librocksdb-sys|lz4-sys|zstd-sys)"' "$anabranch_root/Cargo.lock"
             grep '^rocksdb = ' "$anabranch_root/Cargo.toml"
             cat "$anabranch_root/.cargo/config.toml"
             declare -f anabranch_compile_rocksdb anabranch_compile_rocksdb_in_pieces
             c++ -dumpfullversion -dumpmachine; } | anabranch_key)
    lib=$ANABRANCH_CACHE/rocksdb-$key
    anabranch_once "$lib" anabranch_compile_rocksdb || return 1
    export ROCKSDB_LIB_DIR=$lib ROCKSDB_STATIC=1
}

anabranch_compile_rocksdb() {
    echo "compiling RocksDB, once for all later builds" >&2
    case $(uname -sm) in
        "Linux x86_64") anabranch_compile_rocksdb_in_pieces "$1" ;;
        # Elsewhere as its crate does it.
        *) (cd "$anabranch_root" && env -u ROCKSDB_LIB_DIR -u ROCKSDB_STATIC \
            CARGO_TARGET_DIR="$1/build" cargo build --locked -p librocksdb-sys) &&
            cp "$(find "$1/build" -name librocksdb.a | head -1)" "$1/" ;;
    esac && rm -rf "$1/build"
}

# Most of the time goes into headers that all files include: compiled some files at a time, the
# whole takes a third of it. Flags: those of librocksdb-sys 0.19 (build.rs) with lz4 and zstd.
anabranch_compile_rocksdb_in_pieces() {
    local out=$1 source lz4 zstd flags
    source=$(anabranch_crate librocksdb-sys) lz4=$(anabranch_crate lz4-sys) || return 1
    zstd=$(anabranch_crate zstd-sys) || return 1
    flags="-std=c++20 -O2 -g0 -w -fPIC -ffunction-sections -march=x86-64-v2 -msse4.2 -DNDEBUG
        -DHAVE_ALIGNED_NEW -DHAVE_UINT128_EXTENSION -DLZ4=1 -DZSTD=1 -DOS_LINUX
        -DROCKSDB_PLATFORM_POSIX -DROCKSDB_LIB_IO_POSIX -DROCKSDB_SCHED_GETCPU_PRESENT
        -DROCKSDB_AUXV_GETAUXVAL_PRESENT -DROCKSDB_FALLOCATE_PRESENT -DROCKSDB_RANGESYNC_PRESENT
        -I$source -I$source/rocksdb/include -I$source/rocksdb -I$lz4/liblz4/lib -I$zstd/zstd/lib"
    mkdir -p "$out/build"
    { grep -v util/build_version.cc "$source/rocksdb_lib_sources.txt" | sed 's|^|rocksdb/|'
      echo build_version.cc; } | awk -v source="$source" -v out="$out/build" '
        { print "#include \"" source "/" $1 "\"" > (out "/" int((NR - 1) / 12) ".cc") }'
    # shellcheck disable=SC2086
    (cd "$out/build" && ls -- *.cc | xargs -P "$(nproc)" -I {} c++ $flags -c {} -o {}.o) &&
        ar rcs "$out/librocksdb.a" "$out"/build/*.o
}

# anabranch_crate NAME: where cargo has put the sources of a dependency, fetched if need be.
anabranch_crate() {
    (cd "$anabranch_root" && cargo metadata --locked --quiet --format-version 1 \
        --filter-platform "$(rustc -vV | sed -n 's/^host: //p')") |
        grep -o '"manifest_path":"[^"]*/'"$1"'-[0-9][^"/]*/Cargo.toml"' | head -1 |
        sed 's|.*:"||; s|/Cargo.toml"||' | grep .
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
