//! An answer cut into what single events of a stream carry.

use std::ops::Range;

use super::answer::{Answer, Words};

/// Texts up to this length are cut at blanks, longer ones into equal lengths, bytes.
const WORDS_MAX: usize = 64 * 1024;
/// Longest piece of a short text, bytes.
const PIECE_MAX: usize = 24;
/// Pieces of a long text, about.
const PIECES: usize = 1000;

/// What one event carries; ranges are of the text in question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A piece of the reasoning.
    Reasoning(Range<usize>),
    /// A piece of the text.
    Text(Range<usize>),
    /// The event of this number of a drip.
    Drip(u64),
    /// Id and name of a call.
    CallStart(usize),
    /// A piece of a call's arguments.
    Arguments(usize, Range<usize>),
    /// A picture.
    Image,
}

/// The parts of an answer, in order.
#[derive(Clone, Debug)]
pub enum Parts {
    /// All of them.
    List(Vec<Part>),
    /// So many events of a drip, made when they are due.
    Drip(u64),
}

impl Parts {
    /// Cuts an answer.
    pub fn of(answer: &Answer) -> Self {
        let Words::Text(text) = &answer.words else {
            return Self::Drip(answer.words.count());
        };
        let mut parts: Vec<Part> = pieces(&answer.reasoning).map(Part::Reasoning).collect();
        parts.extend(pieces(text).map(Part::Text));
        for (at, call) in answer.calls.iter().enumerate() {
            parts.push(Part::CallStart(at));
            parts.extend(pieces(&call.arguments).map(|piece| Part::Arguments(at, piece)));
        }
        parts.extend(answer.image.then_some(Part::Image));
        Self::List(parts)
    }

    /// The part at a place.
    pub fn get(&self, at: u64) -> Option<Part> {
        match self {
            Self::List(parts) => parts.get(usize::try_from(at).ok()?).cloned(),
            Self::Drip(events) => (at < *events).then_some(Part::Drip(at)),
        }
    }
}

/// The pieces of a text: together they are the whole of it.
pub fn pieces(text: &str) -> impl Iterator<Item = Range<usize>> {
    let long = text.len() > WORDS_MAX;
    let most = if long { text.len() / PIECES } else { PIECE_MAX };
    let mut from = 0;
    std::iter::from_fn(move || {
        let rest = text.get(from..).filter(|rest| !rest.is_empty())?;
        let blank = if long { None } else { rest.find([' ', '\n']).map(|at| at + 1) };
        let mut length = blank.unwrap_or(rest.len()).min(rest.len());
        if length > most {
            // Up, not down: a piece is never empty, whatever the text.
            length = (most..=length).find(|at| rest.is_char_boundary(*at)).unwrap_or(length);
        }
        let piece = from..from + length;
        from = piece.end;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_words_of_bounded_length_and_make_up_the_whole() {
        let cut = |text: &str| pieces(text).map(|piece| text[piece].to_owned()).collect::<Vec<_>>();
        assert_eq!(cut("a bc  d\n"), ["a ", "bc ", " ", "d\n"]);
        assert_eq!(cut(""), [""; 0]);
        let odd = format!("a{}", "\u{20ac}".repeat(20));
        assert_eq!((cut(&odd).len(), cut(&odd).concat() == odd), (3, true));
        let long = "ab ".repeat(100_000);
        assert!(cut(&long).len() <= PIECES + 1 && cut(&long).concat() == long);
    }
}
