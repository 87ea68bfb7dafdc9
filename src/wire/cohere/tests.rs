//! The format as a whole: recorded traffic, requests and answers by table, a long conversation, hostile bytes.

mod agent;
mod answers;
mod hostile;
mod requests;

use crate::wire::testing::Target;
use crate::wire::{WireFormat, recorded};

const FORMAT: WireFormat = WireFormat::Cohere;

#[test]
fn recorded_answers_are_read_as_expected() {
    assert_eq!(recorded::answers(FORMAT, "cohere", &[]), 32);
}

#[test]
fn recorded_requests_are_made_again_from_what_a_client_asked() {
    let made = recorded::requests(FORMAT, "cohere", &[], |_| Target::default(), |_, _| {});
    assert_eq!(made, 21);
}
