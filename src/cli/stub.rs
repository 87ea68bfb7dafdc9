//! `llm-gateway stub`: the stub provider alone, for load and tests.

use actix_rt::System;

use super::out;
use super::serve::{EXIT_FAILED, Ended};
use crate::stub::Stub;

/// How it listens.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Address; port 0 asks the system for one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: String,
    /// Worker threads
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: u16,
}

/// Runs until SIGINT or SIGTERM; gives the exit code. The one line on standard output ends with the stub's base URL.
pub fn run(arguments: &Arguments) -> u8 {
    let outcome = System::new().block_on(async {
        let mut ended = Ended::new().map_err(|error| error.to_string())?;
        let stub = Stub::start(&arguments.listen, usize::from(arguments.workers))
            .map_err(|error| format!("--listen {} cannot be opened: {error}", arguments.listen))?;
        out::out(&format!("stub provider on http://{}/v1\n", stub.address()));
        ended.wait().await;
        stub.stop().await;
        Ok::<(), String>(())
    });
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            out::err(&format!("error: {error}\n"));
            EXIT_FAILED
        }
    }
}
