//! Tool calls of one streamed choice: which fragment belongs to which call, whatever the vendor leaves out.
//!
//! Vendors repeat id and name, leave index out, or give parallel calls the same index. What goes to the client
//! has one index per call, id and name once, arguments as fragments.

/// One call as far as it came.
#[derive(Clone, Debug)]
struct Call {
    upstream_index: Option<u32>,
    id: String,
}

/// The calls of one choice.
#[derive(Clone, Debug, Default)]
pub struct ToolCalls {
    calls: Vec<Call>,
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Index to the client.
    pub index: usize,
    /// The fragment opens the call: id and name go out with it.
    pub opens: bool,
}

impl ToolCalls {
    /// True once there was a call.
    pub fn any(&self) -> bool {
        !self.calls.is_empty()
    }

    /// True when a fragment may pass as it is: it opens the next call in full, or continues a known one bare.
    pub fn is_plain(&self, index: Option<u32>, id: &str, name: &str) -> bool {
        let Some(index) = index else { return false };
        match self.calls.get(index as usize) {
            Some(call) => call.upstream_index == Some(index) && id.is_empty() && name.is_empty(),
            None => index as usize == self.calls.len() && !id.is_empty() && !name.is_empty(),
        }
    }

    /// Finds the call of a fragment, or opens one. Empty `id` and `name` mean not given.
    pub fn place(&mut self, index: Option<u32>, id: &str, name: &str) -> Place {
        let known = match index {
            Some(_) => self.calls.iter().rposition(|call| call.upstream_index == index).filter(|at| {
                // The same index with another id and a name is another, parallel call.
                let other = self.calls.get(*at).is_some_and(|call| !id.is_empty() && call.id != id);
                !other || name.is_empty()
            }),
            None if !id.is_empty() => self.calls.iter().position(|call| call.id == id),
            None if name.is_empty() => self.calls.len().checked_sub(1),
            None => None,
        };
        if let Some(index) = known {
            return Place { index, opens: false };
        }
        self.calls.push(Call { upstream_index: index, id: id.to_owned() });
        Place { index: self.calls.len() - 1, opens: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_find_their_call() {
        type Fragment = (Option<u32>, &'static str, &'static str);
        let cases: &[(&[Fragment], &[usize])] = &[
            (
                &[(Some(0), "a", "f"), (Some(0), "", ""), (Some(1), "b", "g"), (Some(1), "", "")],
                &[0, 0, 1, 1],
            ),
            // id and name repeated on every fragment
            (
                &[(Some(0), "a", "f"), (Some(0), "a", "f"), (Some(1), "b", "f"), (Some(1), "b", "f")],
                &[0, 0, 1, 1],
            ),
            // no index at all
            (&[(None, "a", "f"), (None, "", ""), (None, "b", "g"), (None, "b", "")], &[0, 0, 1, 1]),
            // parallel calls under one index
            (&[(Some(0), "a", "f"), (Some(0), "b", "g"), (Some(0), "", "")], &[0, 1, 1]),
            // no ids
            (&[(None, "", "f"), (None, "", "g")], &[0, 1]),
            // indices that do not start at 0
            (&[(Some(1), "a", "f"), (Some(3), "b", "g"), (Some(1), "", "")], &[0, 1, 0]),
        ];
        for (fragments, expected) in cases {
            let mut calls = ToolCalls::default();
            let places: Vec<usize> =
                fragments.iter().map(|(index, id, name)| calls.place(*index, id, name).index).collect();
            assert_eq!(places, *expected, "{fragments:?}");
        }
    }
}
