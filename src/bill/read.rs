//! Reading a bill: CSV with a header row, or JSON lines, row by row.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufRead;

use serde_json::value::RawValue;

use super::columns::{self, Trouble};
use super::{Measure, NO_MODEL, Totals};
use crate::csv::{CsvError, Reader};

/// Days and models of one bill at most.
const PLACES_MAX: usize = 1_000_000;

/// What a bill says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bill {
    /// Sums by day and by the bill's own names of models.
    pub totals: Totals,
    /// What it tells; the rest cannot be compared.
    pub measures: BTreeSet<Measure>,
    /// True when a row names a model.
    pub by_model: bool,
}

/// Why a bill cannot be read: nothing of it is used then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillError {
    /// Line, from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// Name of the column, or its number.
    pub column: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for BillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line > 0 {
            write!(f, "line {}", self.line)?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        write!(f, "{}{}", if self.line > 0 { ": " } else { "" }, self.message)
    }
}

impl std::error::Error for BillError {}

impl From<CsvError> for BillError {
    fn from(error: CsvError) -> Self {
        let column = (error.cell > 0).then(|| error.cell.to_string());
        Self { line: error.line, column, message: error.message }
    }
}

impl Trouble {
    fn at(self, line: usize) -> BillError {
        BillError { line, column: self.column, message: self.message }
    }
}

/// Reads a whole bill.
///
/// # Errors
/// The first row that cannot be read, by line and column; a file without columns that tell anything.
pub fn read(mut input: impl BufRead) -> Result<Bill, BillError> {
    let start = input.fill_buf().map_err(|error| whole(format!("cannot be read: {error}")))?;
    let start = start.strip_prefix("\u{feff}".as_bytes()).unwrap_or(start);
    match start.iter().find(|byte| !byte.is_ascii_whitespace()) {
        None => Err(whole("the file is empty".to_owned())),
        Some(b'[') => Err(whole("a JSON array; JSON lines are taken, one object a line".to_owned())),
        Some(b'{') => read_json(Reader::new(input)),
        Some(_) => read_csv(Reader::new(input)),
    }
}

fn whole(message: String) -> BillError {
    BillError { line: 0, column: None, message }
}

fn read_csv<R: BufRead>(mut reader: Reader<R>) -> Result<Bill, BillError> {
    let header = reader.next()?.ok_or_else(|| whole("the file is empty".to_owned()))?;
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (at, cell) in header.cells.iter().enumerate() {
        let name = columns::name(cell);
        if columns::is_read(&name) && places.insert(name.clone(), at).is_some() {
            let message = "the header has it twice".to_owned();
            return Err(BillError { line: header.line, column: Some(name), message });
        }
    }
    let measures = columns::measures(&|name| places.contains_key(name)).map_err(|t| t.at(header.line))?;
    let mut bill = Bill { measures, ..Bill::default() };
    while let Some(record) = reader.next()? {
        let (has, needs) = (record.cells.len(), header.cells.len());
        if has != needs {
            let message = format!("{has} cells, where the header has {needs}");
            return Err(BillError { line: record.line, column: None, message });
        }
        let value = |name: &str| record.cells.get(*places.get(name)?).map(String::as_str);
        bill.add(record.line, &value)?;
    }
    Ok(bill)
}

fn read_json<R: BufRead>(mut reader: Reader<R>) -> Result<Bill, BillError> {
    let mut bill = Bill::default();
    while let Some(text) = reader.line()? {
        let line = reader.lines_read();
        if text.trim().is_empty() {
            continue;
        }
        let members = flat(&text).map_err(|error| {
            let message = format!("not a JSON object: {error}");
            BillError { line, column: Some(error.column().to_string()), message }
        })?;
        bill.measures.extend(columns::measures(&|name| members.contains_key(name)).map_err(|t| t.at(line))?);
        bill.add(line, &|name: &str| members.get(name).map(String::as_str))?;
    }
    Ok(bill)
}

/// Members of an object and of the objects in it, as `outer.inner`. Numbers keep their digits, null is nothing.
fn flat(text: &str) -> Result<BTreeMap<String, String>, serde_json::Error> {
    let mut members = BTreeMap::new();
    for (name, value) in serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(text)? {
        if value.get().starts_with('{') {
            for (inner, value) in serde_json::from_str::<BTreeMap<String, Box<RawValue>>>(value.get())? {
                members.insert(format!("{name}.{inner}"), plain(&value)?);
            }
        } else {
            members.insert(name, plain(&value)?);
        }
    }
    Ok(members)
}

fn plain(value: &RawValue) -> Result<String, serde_json::Error> {
    match value.get() {
        "null" => Ok(String::new()),
        text if text.starts_with('"') => serde_json::from_str(text),
        text => Ok(text.to_owned()),
    }
}

impl Bill {
    fn add<'a>(&mut self, line: usize, value: &dyn Fn(&str) -> Option<&'a str>) -> Result<(), BillError> {
        let Some(entry) = columns::entry(value).map_err(|trouble| trouble.at(line))? else { return Ok(()) };
        self.by_model |= entry.model != NO_MODEL;
        self.totals.entry((entry.day_ms, entry.model)).or_default().add(&entry.sums);
        if self.totals.len() > PLACES_MAX {
            let message = format!("more than {PLACES_MAX} days and models");
            return Err(BillError { line, column: None, message });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bill::{DAY_MS, Sums};

    /// `day model input output cost` of what was read, the day counted from 2026-09-28.
    fn rows(text: &str) -> Result<Vec<String>, BillError> {
        let bill = read(text.as_bytes())?;
        let row = |((day_ms, model), sums): (&(i64, String), &Sums)| {
            let day = day_ms / DAY_MS - 20_724;
            format!("{day} {model} {} {} {}", sums.input, sums.output, sums.cost)
        };
        Ok(bill.totals.iter().map(row).collect())
    }

    const OPENAI_USAGE: &str = "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,user_id,\
        api_key_id,model,batch,service_tier,input_tokens,output_tokens,input_cached_tokens,input_audio_tokens\n\
        1790553600,1790640000,2026-09-28T00:00:00,2026-09-29T00:00:00,,3,,,gpt-5-mini-2025-08-07,,,1200,80,1000,0\n\
        1790640000,1790726400,2026-09-29T00:00:00,2026-09-30T00:00:00,,,,,,,,,,,\n";
    const OPENAI_COSTS: &str = "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item\n\
        1790553600,1790640000,2026-09-28T00:00:00+00:00,2026-09-29T00:00:00+00:00,0.003835980000000000000000000000,usd,\"gpt-5-mini-2025-08-07, input\"\n\
        1790553600,1790640000,2026-09-28T00:00:00+00:00,2026-09-29T00:00:00+00:00,1e-06,usd,\"gpt-5-mini-2025-08-07, output\"\n\
        1790640000,1790726400,2026-09-29T00:00:00+00:00,2026-09-30T00:00:00+00:00,,,\n";
    const ANTHROPIC_USAGE: &str = "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,\
        usage_input_tokens_no_cache,usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,\
        usage_input_tokens_cache_read,usage_output_tokens,web_search_count,inference_geo,speed\n\
        2026-09-28,claude-sonnet-4-5-20250929,a,Default,standard,≤ 200k,100,20,3,4000,50,0,global,\n\
        2026-09-28,claude-sonnet-4-5-20250929,b,Default,standard,≤ 200k,1,0,0,0,1,0,global,\n";
    const ANTHROPIC_COSTS: &str = "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,\
        list_price_usd,cost_type\n2026-09-28,Claude Sonnet 4.5,Default,a,message,≤ 200k,input_no_cache,0.05,0.05,token\n\
        2026-09-28,,Default,a,web_search,,,0.01,0.01,web_search\n";

    #[test]
    fn exports_are_read_by_the_names_of_their_columns() {
        let usage = [Measure::Input, Measure::Output];
        for (text, measures, expected) in [
            (
                "date,model,input_tokens,output_tokens,cost_usd\n2026-09-28,m,1,2,0.5\n2026-09-28,m,10,20,0.25\n2026-09-29,m,1,2,-0.5\n",
                &Measure::ALL[..],
                vec!["0 m 11 22 0.75", "1 m 1 2 -0.5"],
            ),
            (
                "\u{feff}Date,Model,Cost USD\r\n2026-09-28,\"a,b\",1\r\n",
                &Measure::ALL[2..],
                vec!["0 a,b 0 0 1"],
            ),
            (OPENAI_USAGE, &usage[..], vec!["0 gpt-5-mini-2025-08-07 1200 80 0"]),
            (OPENAI_COSTS, &Measure::ALL[2..], vec!["0 gpt-5-mini-2025-08-07 0 0 0.00383698"]),
            (ANTHROPIC_USAGE, &usage[..], vec!["0 claude-sonnet-4-5-20250929 4124 51 0"]),
            (ANTHROPIC_COSTS, &Measure::ALL[2..], vec!["0 (none) 0 0 0.01", "0 Claude Sonnet 4.5 0 0 0.05"]),
            (
                "{\"starting_at\":\"2026-09-28T00:00:00Z\",\"model\":\"c\",\"uncached_input_tokens\":1,\"cache_creation\":\
                 {\"ephemeral_5m_input_tokens\":10,\"ephemeral_1h_input_tokens\":100},\"cache_read_input_tokens\":1000,\
                 \"output_tokens\":5,\"server_tool_use\":{\"web_search_requests\":0}}\n\n",
                &usage[..],
                vec!["0 c 1111 5 0"],
            ),
            (
                "{\"start_time\":1790553600,\"amount\":{\"value\":0.100000000000000000001,\"currency\":\"usd\"},\"line_item\":null}",
                &Measure::ALL[2..],
                vec!["0 (none) 0 0 0.100000000000000000001"],
            ),
            ("date,cost_usd\n", &Measure::ALL[2..], vec![]),
        ] {
            assert_eq!(rows(text).unwrap(), expected, "{text}");
            let told: Vec<_> = read(text.as_bytes()).unwrap().measures.into_iter().collect();
            assert_eq!(told, measures, "{text}");
        }
    }

    #[test]
    fn a_bad_file_is_refused_with_line_and_column() {
        let head = "date,model,input_tokens,cost_usd\n2026-09-28,m,1,2\n";
        for (text, expected) in [
            (String::new(), "the file is empty"),
            (" \n\n".to_owned(), "the file is empty"),
            ("[{}]".to_owned(), "a JSON array; JSON lines are taken, one object a line"),
            (
                "model,cost_usd\n".to_owned(),
                "line 1: no column for the day; it would be called one of: date, day",
            ),
            ("date,model\n".to_owned(), "line 1: no column for tokens or money; it would be"),
            ("date,cost_usd,Cost_USD\n".to_owned(), "line 1, column `cost_usd`: the header has it twice"),
            (
                format!("{head}2026-09-28,m,1.5,2\n"),
                "line 3, column `input_tokens`: `1.5` is not a whole number of tokens",
            ),
            (format!("{head}2026-09-28,m,-1,2\n"), "line 3, column `input_tokens`: `-1` is not"),
            (format!("{head}2026-09-28,m,1,$2\n"), "line 3, column `cost_usd`: `$2` is not a decimal number"),
            (format!("{head}\n28/09/2026,m,1,2\n"), "line 4, column `date`: `28/09/2026` is not a day"),
            (format!("{head},m,1,2\n"), "line 3, column `date`: the day is missing"),
            (format!("{head}2026-09-28,m,1\n"), "line 3: 3 cells, where the header has 4"),
            (format!("{head}2026-09-28,\"m,1,2\n"), "line 3, column `2`: the file ends within a quoted cell"),
            (
                "date,amount_value,amount_currency\n2026-09-28,1,eur\n".to_owned(),
                "line 2, column `amount_currency`: `eur` is not USD",
            ),
            ("{\"date\":\"2026-09-28\",\"cost_usd\":1}\n{\"date\":\n".to_owned(), "line 2, column `"),
            ("{\"date\":\"2026-09-28\"}\n".to_owned(), "line 1: no column for tokens or money"),
        ] {
            let error = rows(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{text:?}: {error}");
        }
    }
}
