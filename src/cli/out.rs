//! Standard output and error of the commands: the one place that writes to a terminal.

use std::io::{self, Write};

use crate::telemetry;

/// Writes text to standard output; a closed pipe is not an error worth telling.
pub fn out(text: &str) {
    let mut stdout = io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// Writes text to standard error, after what was logged.
pub fn err(text: &str) {
    telemetry::flush();
    let _ = io::stderr().lock().write_all(text.as_bytes());
}
