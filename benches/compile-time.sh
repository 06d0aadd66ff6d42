#!/bin/sh
# How long an interface of 50 methods takes to compile, each with an argument and an error of types of its own, with a struct that implements them
# and a call of each; and the same as a plain trait, called directly. Only the package itself, three times each; the least counts.
#   sh benches/compile-time.sh [METHODS [HOW…]]     HOW: check, build, "build --release"
set -eu
methods=${1:-50}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- check build "build --release"
root=$(cd "$(dirname "$0")/.." && pwd)
place=$root/target/compile-time
mkdir -p "$place/src"
cat > "$place/Cargo.toml" <<END
[package]
name = "compile-time"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
pb-server = { path = "$root/pb-server" }
serde = { version = "1", features = ["derive"] }
tokio = { version = "1", features = ["macros", "rt"] }
END
cp "$root/Cargo.lock" "$place/Cargo.lock"

write() {
    exec 3> "$place/src/main.rs"
    echo "use serde::{Deserialize, Serialize};" >&3
    for n in $(seq "$1"); do
        echo "#[derive(Serialize, Deserialize)] pub struct A$n { name: String, count: u64 }" >&3
        echo "#[derive(Serialize, Deserialize)] pub enum E$n { No, Short { missing: u64 } }" >&3
    done
    [ "$2" = plain ] || echo "#[pb_server::remote_interface]" >&3
    echo "pub trait Wide {" >&3
    for n in $(seq "$1"); do
        if [ "$2" = plain ]; then
            echo "fn m$n(&self, a: A$n, b: Option<u64>) -> impl Future<Output = Result<A$n, E$n>> + Send;" >&3
        else
            echo "async fn m$n(&self, a: A$n, b: Option<u64>) -> Result<A$n, E$n>;" >&3
        fi
    done
    echo "}" >&3
    [ "$2" = plain ] || echo "#[derive(pb_server::Referenceable)]" >&3
    echo "pub struct It; impl Wide for It {" >&3
    for n in $(seq "$1"); do
        echo "async fn m$n(&self, a: A$n, _b: Option<u64>) -> Result<A$n, E$n> { Ok(a) }" >&3
    done
    echo "}" >&3
    echo "#[tokio::main(flavor = \"current_thread\")] async fn main() {" >&3
    if [ "$2" = plain ]; then echo "let it = It;" >&3; else echo "let it = WideRef::new(It);" >&3; fi
    for n in $(seq "$1"); do
        echo "let _ = it.m$n(A$n { name: String::new(), count: 1 }, None).await.map(|a| a.name.len() as u64 + a.count);" >&3
    done
    echo "}" >&3
    exec 3>&-
}

# The least of three times in milliseconds that the last package alone takes.
measure() {
    least=
    for _ in 1 2 3; do
        touch "$place/src/main.rs"
        start=$(date +%s%N)
        (cd "$place" && CARGO_INCREMENTAL=0 cargo $1 --quiet --offline)
        took=$((($(date +%s%N) - start) / 1000000))
        if [ -z "$least" ] || [ "$took" -lt "$least" ]; then least=$took; fi
    done
    echo "$least"
}

for how in "$@"; do
    write "$methods" plain
    (cd "$place" && CARGO_INCREMENTAL=0 cargo $how --quiet --offline)
    plain=$(measure "$how")
    write "$methods" remote
    remote=$(measure "$how")
    echo "cargo $how: $methods methods of a plain trait $plain ms, of an interface $remote ms"
done
