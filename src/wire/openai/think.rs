//! `<think>` tags: reasoning that some models put into the text, taken out again.
//!
//! Only a tag that opens the answer counts: a model that writes about the tag later is quoted, not obeyed.
//! Invariant: the same split comes out whatever the chunk boundaries.

/// Splits one choice's text into reasoning and answer as it streams.
#[derive(Clone, Debug, Default)]
pub struct ThinkSplitter {
    state: State,
    /// Text held back because it may be the start of a tag.
    held: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but white space so far.
    #[default]
    Start,
    /// Between the tags.
    Thinking,
    /// After the closing tag: white space before the answer is dropped.
    Between,
    /// In the answer.
    Answer,
}

const OPEN: &str = "<think>";
const CLOSE: &str = "</think>";

/// A piece of text, told apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Reasoning.
    pub reasoning: String,
    /// Answer.
    pub text: String,
}

impl ThinkSplitter {
    /// Takes a piece of text; gives what is certain by now.
    pub fn push(&mut self, piece: &str) -> Parts {
        self.held.push_str(piece);
        let mut parts = Parts::default();
        while self.step(&mut parts) {}
        parts
    }

    /// At the end: what was held back is what it looks like.
    pub fn finish(&mut self) -> Parts {
        let held = std::mem::take(&mut self.held);
        match self.state {
            State::Thinking => Parts { reasoning: held, text: String::new() },
            _ => Parts { reasoning: String::new(), text: held },
        }
    }

    /// One step; true when there may be another.
    fn step(&mut self, parts: &mut Parts) -> bool {
        match self.state {
            State::Start => {
                let trimmed = self.held.trim_start();
                if let Some(rest) = trimmed.strip_prefix(OPEN) {
                    self.held = rest.to_owned();
                    self.state = State::Thinking;
                    return true;
                }
                if OPEN.starts_with(trimmed) {
                    return false; // Too little to tell, or nothing but white space.
                }
                self.state = State::Answer;
                true
            }
            State::Thinking => {
                if let Some(at) = self.held.find(CLOSE) {
                    let rest = self.held.split_off(at);
                    parts.reasoning.push_str(&self.held);
                    self.held = rest.get(CLOSE.len()..).unwrap_or("").to_owned();
                    self.state = State::Between;
                    return true;
                }
                let certain = self.held.len() - partial_tag(&self.held);
                let rest = self.held.split_off(certain);
                parts.reasoning.push_str(&std::mem::replace(&mut self.held, rest));
                false
            }
            State::Between => {
                self.held = self.held.trim_start().to_owned();
                if self.held.is_empty() {
                    return false;
                }
                self.state = State::Answer;
                true
            }
            State::Answer => {
                parts.text.push_str(&std::mem::take(&mut self.held));
                false
            }
        }
    }
}

/// Bytes at the end of `text` that may be the start of the closing tag.
fn partial_tag(text: &str) -> usize {
    (1..CLOSE.len()).rev().find(|length| text.ends_with(CLOSE.get(..*length).unwrap_or(CLOSE))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&str]) -> (String, String) {
        let mut splitter = ThinkSplitter::default();
        let mut all = Parts::default();
        for piece in pieces {
            let parts = splitter.push(piece);
            all.reasoning.push_str(&parts.reasoning);
            all.text.push_str(&parts.text);
        }
        let rest = splitter.finish();
        (all.reasoning + &rest.reasoning, all.text + &rest.text)
    }

    #[test]
    fn only_a_tag_that_opens_the_answer_counts() {
        for (text, reasoning, answer) in [
            ("<think>a</think>b", "a", "b"),
            ("\n<think>\na</think>\n\nb", "\na", "b"),
            ("say <think>a</think>", "", "say <think>a</think>"),
            ("<think>never closed </thi", "never closed </thi", ""),
            ("<th", "", "<th"),
            ("plain", "", "plain"),
            ("<think></think>", "", ""),
        ] {
            assert_eq!(split(&[text]), (reasoning.to_owned(), answer.to_owned()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_parts(text in "[ \n]{0,2}(<think>)?[a-z</ é]{0,8}(</think>)?[ a<é]{0,4}") {
            let single: Vec<String> = text.chars().map(String::from).collect();
            let single: Vec<&str> = single.iter().map(String::as_str).collect();
            prop_assert_eq!(split(&single), split(&[&text]));
        }
    }
}
