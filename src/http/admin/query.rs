//! The parameters of a query string, taken out one by one; whatever is left over is an error. Pure.

use actix_web::web::Query;

use crate::error::Error;
use crate::rfc3339;
use crate::store::{GroupBy, PAGE_DEFAULT, PAGE_MAX};

/// The parameters not yet taken.
#[derive(Debug)]
pub(super) struct Params {
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
}

impl Params {
    /// Reads a query string.
    pub(super) fn parse(query: &str) -> Result<Self, Error> {
        let pairs = Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| Error::invalid_code("The query string cannot be read.", None, "invalid_query"))?;
        Ok(Self { pairs: pairs.into_inner(), known: Vec::new() })
    }

    /// Takes a parameter; an empty one is as good as none.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.pairs.iter().position(|(key, _)| key == name)?;
        let (_, value) = self.pairs.remove(at);
        (!value.is_empty()).then_some(value)
    }

    /// Takes a time, in milliseconds since the epoch.
    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<i64>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // An unescaped `+` of an offset arrives as a blank.
        let ms = rfc3339::parse_ms(&text).or_else(|| rfc3339::parse_ms(&text.replace(' ', "+")));
        let wrong = || {
            Error::invalid(format!("`{name}` must be an RFC 3339 time such as 2030-01-31T00:00:00Z."), name)
        };
        ms.map(Some).ok_or_else(wrong)
    }

    /// Takes an HTTP status; 0 stands for none.
    pub(super) fn status(&mut self, name: &'static str) -> Result<Option<u16>, Error> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let status = text.parse().ok().filter(|status| *status == 0 || (100..=999).contains(status));
        let wrong = || Error::invalid(format!("`{name}` must be an HTTP status, or 0 for none."), name);
        status.map(Some).ok_or_else(wrong)
    }

    /// Takes one of several words.
    pub(super) fn word(&mut self, name: &'static str, words: &[&str]) -> Result<Option<String>, Error> {
        match self.text(name) {
            Some(text) if !words.contains(&text.as_str()) => {
                Err(Error::invalid(format!("`{name}` must be one of: {}.", words.join(", ")), name))
            }
            text => Ok(text),
        }
    }

    /// Takes the size of a page.
    pub(super) fn limit(&mut self) -> Result<u32, Error> {
        let Some(text) = self.text("limit") else { return Ok(PAGE_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=PAGE_MAX).contains(limit));
        limit.ok_or_else(|| {
            Error::invalid(format!("`limit` must be a whole number from 1 to {PAGE_MAX}."), "limit")
        })
    }

    /// Takes what to group by: words with commas between, each once.
    pub(super) fn groups(&mut self) -> Result<Vec<GroupBy>, Error> {
        let text = self.text("group_by").unwrap_or_default();
        let mut groups = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let known = GroupBy::ALL.iter().find(|(name, _)| *name == word).map(|(_, group)| *group);
            match known {
                Some(group) if !groups.contains(&group) => groups.push(group),
                _ => {
                    let words = GroupBy::ALL.map(|(name, _)| name).join(", ");
                    return Err(Error::invalid(format!("`group_by` takes, each once: {words}."), "group_by"));
                }
            }
        }
        Ok(groups)
    }

    /// As [`Self::finish`], where there are no pages.
    pub(super) fn finish_for_export(self) -> Result<(), Error> {
        for name in ["limit", "cursor"] {
            if self.pairs.iter().any(|(key, _)| key == name) {
                let text = format!("An export has all rows and no pages. Leave `{name}` out, or `format`.");
                return Err(Error::invalid(text, name));
            }
        }
        self.finish()
    }

    /// Refuses what nobody asked for, and what came twice.
    pub(super) fn finish(self) -> Result<(), Error> {
        let Some((name, _)) = self.pairs.first() else { return Ok(()) };
        let short: String = name.chars().take(64).collect();
        if self.known.contains(&short.as_str()) {
            return Err(Error::invalid(format!("`{short}` is given twice."), short));
        }
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        Err(Error::invalid(format!("Unknown parameter `{short}`. Known here: {known}."), short))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_the_wrong_ones_named() {
        let mut params =
            Params::parse("from=2026-01-31T10:30:00+01:00&status=503&group_by=key, day&limit=5&key=")
                .unwrap();
        assert_eq!(params.time("from"), Ok(Some(1_769_851_800_000)));
        assert_eq!(params.status("status"), Ok(Some(503)));
        assert_eq!(params.groups(), Ok(vec![GroupBy::Key, GroupBy::Day]));
        assert_eq!((params.limit(), params.text("key")), (Ok(5), None));
        params.finish().unwrap();
        let param = |error: Error| error.param().map(str::to_owned);
        let of = |query: &str| Params::parse(query).unwrap();
        assert_eq!(param(of("from=now").time("from").unwrap_err()).as_deref(), Some("from"));
        assert_eq!(param(of("status=7").status("status").unwrap_err()).as_deref(), Some("status"));
        assert_eq!(param(of("group_by=key,key").groups().unwrap_err()).as_deref(), Some("group_by"));
        assert_eq!(param(of("group_by=cost").groups().unwrap_err()).as_deref(), Some("group_by"));
        assert_eq!(param(of("outcome=x").word("outcome", &["a"]).unwrap_err()).as_deref(), Some("outcome"));
        for query in ["limit=0", "limit=1001", "limit=x", "limit=-1"] {
            assert_eq!(param(of(query).limit().unwrap_err()).as_deref(), Some("limit"));
        }
        let mut twice = of("limit=1&limit=2");
        twice.limit().unwrap();
        assert!(twice.finish().unwrap_err().to_string().contains("twice"));
        assert_eq!(param(of("colour=red").finish().unwrap_err()).as_deref(), Some("colour"));
    }
}
