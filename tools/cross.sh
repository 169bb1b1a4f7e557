#!/usr/bin/env bash
# Compiles for systems that are not this one, without a warning: no other system is needed for that.
#
#     tools/cross.sh check TARGET...     core and bindings for each target
#     tools/cross.sh test [ARGUMENT...]  the core's tests for Windows, run under Wine
#     tools/cross.sh arm [ARGUMENT...]   the core's tests for 64-bit ARM, run under qemu
#     tools/cross.sh wheel FOLDER        the wheel for Windows; MATURIN names the maturin that builds it
#
# With Debian's rust-web-src the standard library is built for every target, so that nothing but Debian is needed; else
# rustup's targets are used. Everything is built in target/cross (CROSS_TARGET_DIR).
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CROSS_TARGET_DIR:-$PWD/target/cross}
# With musl a shared library asks for a C library that is shared too; elsewhere it is so anyway.
export RUSTFLAGS="-D warnings -C target-feature=-crt-static" PYO3_NO_PYTHON=1
windows=x86_64-pc-windows-gnu

# Install what is missing, where that is possible.
need() {
  local missing
  missing=$(for package; do dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"; done)
  [ -z "$missing" ] && return 0
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  apt-get update -qq || true
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

if need rustc-web cargo-web rust-web-src; then
  export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
  build() { local what=$1; shift; PATH=/usr/bin:$PATH /usr/bin/cargo "$what" -Zbuild-std=std,panic_unwind --locked "$@"; }
else
  build() { local what=$1; shift; cargo "$what" --locked "$@"; }
fi

case ${1:?check, test, arm or wheel} in
check)
  shift
  [ -n "${RUSTC_BOOTSTRAP:-}" ] || rustup target add "$@"
  # For Windows, rustc makes import libraries with dlltool, even where nothing is linked.
  case "$*" in *windows-gnu*) need binutils-mingw-w64-x86-64 || echo "expects mingw-w64's dlltool to be there" >&2 ;; esac
  targets=("${@/#/--target=}")
  # Nothing of it runs, so it need not be fast.
  export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0
  build check "${targets[@]}" --lib --no-default-features
  build check "${targets[@]}" --lib
  ;;
test)
  shift
  need gcc-mingw-w64-x86-64 wine64 || echo "expects mingw-w64 and Wine to be there" >&2
  [ -n "${RUSTC_BOOTSTRAP:-}" ] || rustup target add "$windows"
  # Before the tests run, their folder gets what Wine 8 lacks: where Rust's standard library takes random numbers from.
  mkdir -p "$CARGO_TARGET_DIR/$windows/debug/deps"
  x86_64-w64-mingw32-gcc -shared -o "$CARGO_TARGET_DIR/$windows/debug/deps/bcryptprimitives.dll" tools/wine/random.c -ladvapi32
  export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=$PWD/tools/wine/run
  export WINEPREFIX=${WINEPREFIX:-$CARGO_TARGET_DIR/wine} WINEDEBUG=-all
  # ICMP errors reach a socket of Wine only where Linux gives them to one that did not ask for them; Windows does.
  build test --target "$windows" --no-default-features --lib --tests "$@" -- --skip a_port_where_nobody_is_ends_it
  ;;
arm)
  shift
  arm=aarch64-unknown-linux-gnu
  need gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static || echo "expects a compiler for ARM and qemu to be there" >&2
  [ -n "${RUSTC_BOOTSTRAP:-}" ] || rustup target add "$arm"
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu"
  build test --target "$arm" --no-default-features --lib --tests "$@"
  ;;
wheel)
  need gcc-mingw-w64-x86-64 || echo "expects mingw-w64 to be there" >&2
  if [ -n "${RUSTC_BOOTSTRAP:-}" ]; then
    export PATH=/usr/bin:$PATH CARGO_UNSTABLE_BUILD_STD=std,panic_unwind
  else
    rustup target add "$windows"
  fi
  # No Python of that system is here to ask for its version.
  unset PYO3_NO_PYTHON
  PYO3_CROSS_PYTHON_VERSION=3.11 "${MATURIN:-maturin}" build --quiet --release --locked --target "$windows" --out "${2:?a folder}"
  ;;
*)
  echo "$1 is none of check, test, arm and wheel" >&2
  exit 2
  ;;
esac
