//! The `tanglegate` program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    tanglegate::cli::run().await
}
