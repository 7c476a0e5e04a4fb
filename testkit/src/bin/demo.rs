//! The demo as a program: see `fpaas_testkit::demo`.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    fpaas_testkit::demo::run(std::env::args().skip(1)).await
}
