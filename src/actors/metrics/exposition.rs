//! Series with labels as text, Prometheus text format 0.0.4.
//!
//! Why not the registry's own: with a model and a provider on every histogram a scrape has 100,000 lines, and the
//! registry copies and formats each label of each line anew. Here a series keeps its labels as text, a line is three
//! copies, a number that is the same as in the line before is not formatted again, and a series that nothing was added to
//! since the last scrape is copied as it was.
//!
//! Invariants: names and labels come from the table in [`names`](super::names), labels in the order of the alphabet with
//! `le` last; a metric without series still has its head.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::names::{Kind, Metric, Spec};

/// The series of one metric.
#[derive(Debug)]
pub struct Family<V> {
    spec: Spec,
    rows: Vec<Row<V>>,
    places: HashMap<Box<str>, usize>,
    /// Each bucket's end of a line, from its bound on.
    bounds: Vec<String>,
}

#[derive(Debug)]
struct Row<V> {
    /// `a="x",b="y"`.
    labels: Box<str>,
    value: V,
    /// Its lines, as they were last written.
    text: String,
    /// The value may be another one by now.
    changed: bool,
}

/// What a series holds.
pub trait Value {
    /// Nothing counted yet.
    fn of(spec: &Spec) -> Self;
    /// Its lines; `bounds` as in [`Family`].
    fn write(&self, name: &str, labels: &str, bounds: &[String], out: &mut String);
}

/// A distribution over the buckets of its metric.
#[derive(Debug)]
pub struct Distribution {
    bounds: &'static [f64],
    /// Of each bucket alone; the last is of what is above all bounds.
    counts: Box<[u64]>,
    sum: f64,
}

impl<V: Value> Family<V> {
    /// Without series.
    pub fn new(metric: Metric) -> Self {
        let spec = metric.spec();
        let bounds = match spec.kind {
            Kind::Histogram(bounds) => {
                bounds.iter().chain([&f64::INFINITY]).map(|bound| ends(*bound)).collect()
            }
            Kind::Counter | Kind::Gauge => Vec::new(),
        };
        Self { spec, rows: Vec::new(), places: HashMap::new(), bounds }
    }

    /// The place of the series with these values of its labels, in the order of the table; made if need be.
    pub fn at(&mut self, values: &[&str]) -> usize {
        let labels = labelled(self.spec.labels, values);
        if let Some(at) = self.places.get(labels.as_str()) {
            return *at;
        }
        let (at, labels) = (self.rows.len(), labels.into_boxed_str());
        self.places.insert(labels.clone(), at);
        self.rows.push(Row { labels, value: V::of(&self.spec), text: String::new(), changed: true });
        at
    }

    /// What the series at a place holds, to be changed.
    pub fn value(&mut self, at: usize) -> Option<&mut V> {
        let row = self.rows.get_mut(at)?;
        row.changed = true;
        Some(&mut row.value)
    }

    /// Sets a series.
    pub fn set(&mut self, values: &[&str], value: V) {
        let at = self.at(values);
        if let Some(place) = self.value(at) {
            *place = value;
        }
    }

    /// Forgets every series: what is not set again is gone. Places are void.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.places.clear();
    }

    /// Writes the head and every series.
    pub fn write(&mut self, out: &mut String) {
        let Spec { name, help, kind, .. } = self.spec;
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        };
        // What is written to a string cannot fail.
        let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for row in &mut self.rows {
            if std::mem::take(&mut row.changed) {
                row.text.clear();
                row.value.write(name, &row.labels, &self.bounds, &mut row.text);
            }
            out.push_str(&row.text);
        }
    }
}

/// Labels in the order of the alphabet, as text.
fn labelled(names: &[&str], values: &[&str]) -> String {
    let mut pairs: Vec<_> = names.iter().zip(values).collect();
    pairs.sort_unstable();
    let mut text = String::with_capacity(64);
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// The end of a bucket's line.
fn ends(bound: f64) -> String {
    let mut text = String::from("le=\"");
    number(bound, &mut text);
    text.push_str("\"} ");
    text
}

/// A number as Prometheus writes it.
fn number(value: f64, out: &mut String) {
    let _ = match value {
        f64::INFINITY => write!(out, "+Inf"),
        f64::NEG_INFINITY => write!(out, "-Inf"),
        finite => write!(out, "{finite}"),
    };
}

/// A whole number: a third of what the formatter of the language takes, and most of a scrape's lines have one.
fn whole(value: u64, out: &mut String) {
    let (mut digits, mut left, mut first) = ([0_u8; 20], value, 20);
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b'0' + (left % 10) as u8;
        (left, first) = (left / 10, at);
        if left == 0 {
            break;
        }
    }
    out.push_str(digits.get(first..).and_then(|digits| std::str::from_utf8(digits).ok()).unwrap_or("0"));
}

/// What stands before the number of a line.
fn line(name: &str, suffix: &str, labels: &str, out: &mut String) {
    out.push_str(name);
    out.push_str(suffix);
    if !labels.is_empty() {
        out.push('{');
        out.push_str(labels);
        out.push('}');
    }
    out.push(' ');
}

impl Value for u64 {
    fn of(_: &Spec) -> Self {
        0
    }

    fn write(&self, name: &str, labels: &str, _: &[String], out: &mut String) {
        line(name, "", labels, out);
        whole(*self, out);
        out.push('\n');
    }
}

impl Value for f64 {
    fn of(_: &Spec) -> Self {
        0.0
    }

    fn write(&self, name: &str, labels: &str, _: &[String], out: &mut String) {
        line(name, "", labels, out);
        number(*self, out);
        out.push('\n');
    }
}

impl Distribution {
    /// Counts one.
    pub fn observe(&mut self, value: f64) {
        let at = self.bounds.partition_point(|bound| value > *bound);
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += value;
    }

    /// Takes over what was counted elsewhere, bucket by bucket.
    pub fn take(&mut self, counts: &[u64], sum: f64) {
        for (own, count) in self.counts.iter_mut().zip(counts) {
            *own = *count;
        }
        self.sum = sum;
    }
}

impl Value for Distribution {
    fn of(spec: &Spec) -> Self {
        let bounds = if let Kind::Histogram(bounds) = spec.kind { bounds } else { &[] };
        Self { bounds, counts: vec![0; bounds.len() + 1].into(), sum: 0.0 }
    }

    fn write(&self, name: &str, labels: &str, bounds: &[String], out: &mut String) {
        // What all lines begin with, made once.
        let comma = if labels.is_empty() { "" } else { "," };
        let head = [name, "_bucket{", labels, comma].concat();
        let (mut total, mut text) = (0_u64, String::from("0\n"));
        for (count, bound) in self.counts.iter().zip(bounds) {
            if *count > 0 {
                total += count;
                text.clear();
                whole(total, &mut text);
                text.push('\n');
            }
            out.push_str(&head);
            out.push_str(bound);
            out.push_str(&text);
        }
        line(name, "_sum", labels, out);
        number(self.sum, out);
        out.push('\n');
        line(name, "_count", labels, out);
        out.push_str(&text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<V: Value>(family: &mut Family<V>) -> String {
        let mut out = String::new();
        family.write(&mut out);
        out.lines().filter(|line| !line.starts_with('#')).fold(String::new(), |all, line| all + line + "\n")
    }

    #[test]
    fn whatever_a_label_holds_stays_within_its_quotes() {
        let mut family = Family::<f64>::new(Metric::KeyInfo);
        family.set(&["k", "a \"b\" \\ c\nd", ""], 1.0);
        assert_eq!(
            text(&mut family),
            "llm_gateway_key_info{key=\"k\",name=\"a \\\"b\\\" \\\\ c\\nd\",project=\"\"} 1\n"
        );
        family.clear();
        assert_eq!(text(&mut family), "");
    }

    #[test]
    fn buckets_are_sums_and_the_last_is_the_count() {
        let mut family = Family::<Distribution>::new(Metric::QueueWait);
        let at = family.at(&["p"]);
        for seconds in [0.001, 0.002, 61.0] {
            family.value(at).unwrap().observe(seconds);
        }
        let lines = text(&mut family);
        for line in [
            r#"_bucket{provider="p",le="0.001"} 1"#,
            r#"_bucket{provider="p",le="0.005"} 2"#,
            r#"_bucket{provider="p",le="60"} 2"#,
            r#"_bucket{provider="p",le="+Inf"} 3"#,
            r#"_sum{provider="p"} 61.003"#,
            r#"_count{provider="p"} 3"#,
        ] {
            let line = format!("llm_gateway_queue_wait_seconds{line}");
            assert!(lines.lines().any(|shown| shown == line), "{line} is not in\n{lines}");
        }
    }

    #[test]
    fn whole_numbers_are_written_digit_by_digit() {
        for value in [0, 7, 10, 99, 1_234_567_890, u64::MAX] {
            let mut out = String::new();
            whole(value, &mut out);
            assert_eq!(out, value.to_string());
        }
    }

    #[test]
    fn what_changes_between_two_scrapes_is_written_anew() {
        let mut family = Family::<Distribution>::new(Metric::QueueWait);
        let at = family.at(&["p"]);
        let first = text(&mut family);
        assert_eq!(text(&mut family), first);
        family.value(at).unwrap().observe(0.01);
        assert!(
            first.ends_with("_count{provider=\"p\"} 0\n")
                && text(&mut family).ends_with("_count{provider=\"p\"} 1\n")
        );
        family.value(at).unwrap().take(&[2], 1.5);
        assert!(text(&mut family).contains("le=\"0.001\"} 2\n"));
    }

    #[test]
    fn one_series_has_one_place() {
        let mut family = Family::<u64>::new(Metric::Hedges);
        let at = family.at(&["p", "won"]);
        assert_eq!((family.at(&["p", "lost"]), family.at(&["p", "won"])), (at + 1, at));
        *family.value(at).unwrap() += 2;
        assert_eq!(
            text(&mut family),
            "llm_gateway_hedges_total{provider=\"p\",result=\"won\"} 2\nllm_gateway_hedges_total{provider=\"p\",result=\"lost\"} 0\n"
        );
    }
}
