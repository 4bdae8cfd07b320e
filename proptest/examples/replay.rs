//! Plays a saved world and tells what happened.

#![allow(
    clippy::print_stderr,
    reason = "what a program says to whoever started it"
)]

use std::process::ExitCode;
use tanglegate_proptest::{Run, legend, read_world};

fn main() -> ExitCode {
    let Some(path) = std::env::args().nth(1) else {
        eprintln!("name a saved world, for example proptest/worlds/a-payment-buys-an-hour.world");
        return ExitCode::from(2);
    };
    let world = match std::fs::read_to_string(&path) {
        Ok(text) => read_world(&text).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let world = match world {
        Ok(world) => world,
        Err(error) => {
            eprintln!("{path}: {error}");
            return ExitCode::from(2);
        }
    };
    let (story, outcome) = Run::told(&world);
    println!("{}\n\n{story}", legend());
    match outcome {
        Ok(()) => {
            println!("every promise was kept");
            ExitCode::SUCCESS
        }
        Err(broken) => {
            println!("BROKEN: {broken}");
            ExitCode::FAILURE
        }
    }
}
