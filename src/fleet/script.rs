//! The scripts that run in Redis, each atomic and on one key, called by digest.

use std::sync::LazyLock;

use redis::{Cmd, Script, Value};

/// A script and its digest.
pub struct Known(LazyLock<Script>, &'static str);

impl Known {
    /// Its text.
    pub fn text(&self) -> &'static str {
        self.1
    }
}

macro_rules! known {
    ($file:literal) => {
        Known(LazyLock::new(|| Script::new(include_str!($file))), include_str!($file))
    };
}

/// One tick of a lease.
pub static LEASE: Known = known!("scripts/lease.lua");
/// The end of a rebuild.
pub static SEED: Known = known!("scripts/seed.lua");
/// A replica is gone for good.
pub static DEPARTED: Known = known!("scripts/departed.lua");
/// Requests and tokens of one key.
pub static QUOTA: Known = known!("scripts/quota.lua");
/// A replica lives.
pub static BEAT: Known = known!("scripts/beat.lua");
/// All of them.
pub static ALL: [&Known; 5] = [&LEASE, &SEED, &DEPARTED, &QUOTA, &BEAT];

/// A script to run, with its key and arguments.
pub struct Call {
    script: &'static Known,
    key: String,
    arguments: Vec<String>,
}

impl Call {
    /// Without arguments.
    pub fn new(script: &'static Known, key: String) -> Self {
        Self { script, key, arguments: Vec::new() }
    }

    /// One more argument.
    #[must_use]
    pub fn text(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// One more argument, a number.
    #[must_use]
    pub fn number(mut self, argument: i64) -> Self {
        self.arguments.push(argument.to_string());
        self
    }

    /// The command that names the script by its digest.
    pub fn by_digest(&self) -> Cmd {
        self.command("EVALSHA", self.script.0.get_hash())
    }

    /// The command that brings the script.
    pub fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.1)
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(&self.key).arg(&self.arguments);
        command
    }
}

/// The numbers of an answer that is a list; a word in it counts as zero.
pub fn numbers(answer: &Value) -> Vec<i64> {
    let number = |value: &Value| if let Value::Int(number) = value { *number } else { 0 };
    match answer {
        Value::Array(values) => values.iter().map(number).collect(),
        Value::Int(number) => vec![*number],
        _ => Vec::new(),
    }
}

/// The word at a place of an answer that is a list.
pub fn word(answer: &Value, at: usize) -> String {
    let Value::Array(values) = answer else { return String::new() };
    match values.get(at) {
        Some(Value::BulkString(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        Some(Value::SimpleString(word)) => word.clone(),
        _ => String::new(),
    }
}
