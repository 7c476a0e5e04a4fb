//! Tests are linked as programs are: see `src/kafka/ffi/leaders.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux") {
        println!("cargo::rustc-link-arg-tests=-Wl,--wrap=rd_kafka_metadata_update_op");
    }
}
