//! How an answer ended.

use serde_json::value::RawValue;

use crate::wire::translate::{Answer, Ending};
use crate::wire::{DecodeError, Fault, openai};

/// Status that stands for an answer which the vendor gave up for want of time.
const TIMED_OUT: u16 = 504;

/// Tells an answer how it ended.
///
/// # Errors
/// The generation failed: what came of it is no answer.
pub fn tell(reason: Option<&str>, error: Option<&RawValue>, answer: &mut Answer) -> Result<(), DecodeError> {
    let native = reason.unwrap_or_default();
    if error.is_some() || matches!(native, "ERROR" | "TIMEOUT") {
        return Err(DecodeError::Fault(failure(native, error)));
    }
    answer.finish(0, ending(native));
    Ok(())
}

fn ending(native: &str) -> Ending {
    match native {
        "COMPLETE" | "STOP_SEQUENCE" => Ending::known("stop", native),
        "TOOL_CALL" => Ending::known("tool_calls", native),
        "MAX_TOKENS" | "ERROR_LIMIT" => Ending::known("length", native),
        "ERROR_TOXIC" | "CONTENT_FILTER" => Ending::known("content_filter", native),
        other => Ending::unknown(other),
    }
}

/// What the vendor says of a failure inside its answer.
pub fn failure(native: &str, error: Option<&RawValue>) -> Fault {
    let mut fault = match error.map(RawValue::get) {
        Some(text) if text.starts_with('"') => {
            let message = serde_json::from_str(text).unwrap_or_default();
            Fault { message, ..Fault::default() }
        }
        Some(object) => openai::decode_error(0, object.as_bytes()),
        None => Fault { message: format!("its answer ended with {native}"), ..Fault::default() },
    };
    if native == "TIMEOUT" {
        fault.status = TIMED_OUT;
    }
    fault
}
