//! `llm-gateway stub`: the stub provider alone, for load and for client suites.

use actix_rt::System;

use super::out;
use super::serve::Ended;
use crate::stub::Stub;

/// Runs until SIGINT or SIGTERM; gives the exit code.
pub fn run(listen: &str, workers: usize) -> u8 {
    let outcome = System::new().block_on(async {
        let mut ended = Ended::new().map_err(|error| error.to_string())?;
        let stub = Stub::start(listen, workers).map_err(|error| error.to_string())?;
        out::out(&format!("stub provider on http://{}/v1\n", stub.address()));
        ended.wait().await;
        stub.stop().await;
        Ok::<(), String>(())
    });
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            out::err(&format!("error: {error}\n"));
            super::serve::EXIT_FAILED
        }
    }
}
