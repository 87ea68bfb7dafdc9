//! How long the answers of a model usually are for one payer: the bound that a reservation is made by when a request
//! says none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Models of one payer at most; the others are not learned.
const MODELS_MAX: usize = 64;
/// Answers that must be known before their lengths mean something.
const ANSWERS_MIN: u32 = 20;
/// Answers after which old ones begin to count less.
const ANSWERS_MAX: u32 = 4_096;
/// Powers of two that are told apart: up to two million tokens.
const CLASSES: usize = 22;

/// Lengths of answers, by powers of two.
#[derive(Debug, Default)]
struct Lengths {
    classes: [u32; CLASSES],
    answers: u32,
}

/// Lengths of answers by model.
#[derive(Debug, Default)]
pub struct Learned(Mutex<HashMap<Arc<str>, Lengths>>);

impl Learned {
    /// An answer of `model` had this many tokens.
    pub fn note(&self, model: &Arc<str>, tokens: u64) {
        let mut models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !models.contains_key(model) && models.len() >= MODELS_MAX {
            return;
        }
        let lengths = models.entry(Arc::clone(model)).or_default();
        let class = (u64::BITS - tokens.saturating_sub(1).leading_zeros()) as usize;
        if let Some(count) = lengths.classes.get_mut(class.min(CLASSES - 1)) {
            *count += 1;
        }
        lengths.answers += 1;
        if lengths.answers >= ANSWERS_MAX {
            lengths.classes.iter_mut().for_each(|count| *count /= 2);
            lengths.answers = lengths.classes.iter().sum();
        }
    }

    /// Tokens that 99 of 100 answers of `model` do not exceed, rounded up to a power of two; `None` while too few are
    /// known.
    pub fn usual_most(&self, model: &str) -> Option<u64> {
        let models = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lengths = models.get(model).filter(|lengths| lengths.answers >= ANSWERS_MIN)?;
        let mut beyond = lengths.answers;
        for (class, count) in lengths.classes.iter().enumerate() {
            beyond -= count;
            if beyond.saturating_mul(100) <= lengths.answers {
                return Some(1 << class);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_most_is_what_99_of_100_answers_stay_below() {
        let learned = Learned::default();
        let model: Arc<str> = "m".into();
        (0..19).for_each(|_| learned.note(&model, 100));
        assert_eq!(learned.usual_most("m"), None, "too few are known");
        (0..80).for_each(|_| learned.note(&model, 100));
        learned.note(&model, 5_000);
        assert_eq!(learned.usual_most("m"), Some(128));
        learned.note(&model, 5_000);
        assert_eq!(learned.usual_most("m"), Some(8_192));
        assert_eq!(learned.usual_most("n"), None);
    }

    #[test]
    fn odd_lengths_and_very_many_answers_do_no_harm() {
        let learned = Learned::default();
        let model: Arc<str> = "m".into();
        for tokens in [0, 1, 2, u64::MAX] {
            (0..3_000).for_each(|_| learned.note(&model, tokens));
        }
        assert_eq!(learned.usual_most("m"), Some(1 << (CLASSES - 1)));
        (0..200).for_each(|n| learned.note(&format!("m{n}").into(), 1));
        assert!(learned.0.lock().unwrap().len() <= MODELS_MAX);
    }
}
