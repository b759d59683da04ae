#!/bin/sh
# Puts the third-party suites into target/suites (or $SUITES), from crates.io, PyPI and Debian; what is there stays.
# `install.sh NAME…` installs some: httpwg, python, autobahn, grpc, go.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
suites=${SUITES:-$here/../../target/suites}
mkdir -p "$suites/bin"
suites=$(cd "$suites" && pwd)
sudo=
[ "$(id -u)" = 0 ] || sudo=sudo

say() { echo "suites: $*"; }

debian() {
  missing=
  for package in "$@"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
  done
  [ -z "$missing" ] && return
  say "installing$missing"
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get update -q
  # shellcheck disable=SC2086
  $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

# httpwg-cli 0.2.5 does not build as published: its buffet 0.3.3 uses a feature of socket2 that it does not ask for. So
# its main file is built in a package of our own, which asks for that feature; nothing of it is changed.
httpwg() {
  [ -x "$suites/bin/httpwg" ] && return
  say "building httpwg-cli"
  work=$suites/httpwg
  mkdir -p "$work/empty"
  : >"$work/empty/lib.rs"
  cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "suite-httpwg"
version = "0.0.0"
edition = "2021"

[workspace]

[lib]
path = "empty/lib.rs"

[[bin]]
name = "httpwg"
path = "vendor/httpwg-cli/src/main.rs"

[dependencies]
buffet = "=0.3.3"
color-eyre = "0.6.3"
eyre = "0.6.12"
httpwg = "=0.2.7"
httpwg-cli = "=0.2.5"
httpwg-macros = "=0.2.5"
lexopt = "0.3.0"
libc = "0.2.155"
socket2 = { version = "0.5.7", features = ["all"] }
tokio = { version = "1.39.2", features = ["time"] }
tracing = "0.1.40"
tracing-subscriber = "0.3.18"
TOML
  (
    cd "$work"
    mkdir -p vendor/httpwg-cli/src
    [ -s vendor/httpwg-cli/src/main.rs ] || echo 'fn main() {}' >vendor/httpwg-cli/src/main.rs
    cargo vendor --quiet vendor >/dev/null
    # A binary is no dependency; it was named above so that its source came along.
    sed -i '/^httpwg-cli/d' Cargo.toml
    cargo build --quiet --bin httpwg --target-dir build
  )
  cp "$work/build/debug/httpwg" "$suites/bin/"
}

python() {
  [ "$suites/python/installed" -nt "$here/requirements.txt" ] && return
  say "installing what $here/requirements.txt names"
  python3 -c 'import ensurepip' 2>/dev/null || debian python3-venv
  rm -rf "$suites/python"
  python3 -m venv "$suites/python"
  "$suites/python/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"
  touch "$suites/python/installed"
}

# The suite is written for Python 2.7, which Debian no longer has: pyenv does, or $PYTHON2 names it.
autobahn() {
  [ -e "$suites/autobahn/installed" ] && return
  python2=
  for candidate in ${PYTHON2:-python2.7 "$HOME"/.pyenv/versions/2.7*/bin/python2.7}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null; then
      python2=$(command -v "$candidate")
      break
    fi
  done
  if [ -z "$python2" ]; then
    say "no Python 2.7 for Autobahn: set PYTHON2"
    return
  fi
  say "installing autobahntestsuite"
  rm -rf "$suites/autobahn"
  "$python2" -m pip install --quiet --disable-pip-version-check --target "$suites/autobahn" autobahntestsuite==25.10.1
  ln -sf "$python2" "$suites/bin/python2"
  touch "$suites/autobahn/installed"
}

# Unpacks a Debian source package into the current directory, with package lists of our own.
debian_source() {
  state=$suites/debian
  mkdir -p "$state/lists/partial"
  cat >"$state/list" <<LIST
deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
LIST
  options="-q -o Dir::Etc::SourceList=$state/list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$state/lists"
  # shellcheck disable=SC2086
  apt-get $options update >/dev/null
  # shellcheck disable=SC2086
  apt-get $options -o APT::Sandbox::User=root source --download-only "$1" >/dev/null
}

# gRPC's interoperability client and service in Python: its own tests, with the messages compiled by grpcio-tools.
grpc() {
  [ -e "$suites/grpc/installed" ] && return
  python
  say "installing gRPC's Python interop tests"
  rm -rf "$suites/grpc" && mkdir -p "$suites/grpc/gen"
  (
    cd "$suites/grpc"
    debian_source grpc
    tar xzf grpc_*.orig.tar.gz --strip-components=1 --wildcards '*/src/proto/grpc/testing/*.proto' \
      '*/src/python/grpcio_tests/tests/*.py' '*/src/python/grpcio_tests/tests/interop' '*/src/python/grpcio_tests/tests/unit'
    rm -f grpc_*
    protos=src/proto/grpc/testing
    "$suites/python/bin/python" -m grpc_tools.protoc -I. --python_out=gen --grpc_python_out=gen \
      $protos/empty.proto $protos/messages.proto $protos/test.proto
  )
  touch "$suites/grpc/installed"
}

# The same in Go. Debian's library leaves the directory `interop` out; its source package has it.
go() {
  [ -x "$suites/bin/grpc-interop-client" ] && return
  say "building grpc-go's interop programs"
  debian golang-go golang-google-grpc-dev golang-google-protobuf-dev golang-goprotobuf-dev golang-golang-x-oauth2-dev \
    golang-golang-x-oauth2-google-dev golang-google-genproto-dev golang-google-cloud-dev protobuf-compiler
  rm -rf "$suites/go" && mkdir -p "$suites/go/src/google.golang.org"
  (
    cd "$suites/go/src/google.golang.org"
    cp -r /usr/share/gocode/src/google.golang.org/grpc .
    debian_source golang-google-grpc
    tar xJf golang-google-grpc_*.orig.tar.xz --strip-components=1 --directory grpc --wildcards '*/interop'
    rm -f golang-google-grpc_*
    # Messages as Debian's older library reads them; the services stay as published.
    cd "$suites/go/src"
    protoc --go_out=. google.golang.org/grpc/interop/grpc_testing/test.proto
    cd google.golang.org/grpc
    export GO111MODULE=off GOFLAGS= GOPATH="$suites/go:/usr/share/gocode"
    for program in client server; do
      command go build -o "$suites/bin/grpc-interop-$program" "./interop/$program"
    done
  )
}

programs() {
  debian sslscan slowhttptest testssl.sh chromium wget curl nghttp2-client nginx-light openssl
}

for part in ${*:-programs httpwg python autobahn grpc go}; do
  "$part"
done
