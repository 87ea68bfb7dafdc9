//! Writing rows.
//!
//! Invariants: what stands in a cell stays in it, whatever it holds; no text of a client becomes a formula. A
//! spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` (or with a blank that it skips before one) for a
//! formula, so such a text gets a leading `'`.

/// First characters of a cell that a spreadsheet may compute.
const FORMULA: [char; 6] = ['=', '+', '-', '@', '\t', '\r'];

/// One row in the making.
#[derive(Debug, Default)]
pub struct Row {
    text: String,
    cells: usize,
}

impl Row {
    /// A row without cells, to be written behind `text`.
    pub fn after(text: String) -> Self {
        Self { text, cells: 0 }
    }

    /// Adds a text that others had a hand in.
    #[must_use]
    pub fn text(self, cell: &str) -> Self {
        let bare = cell.trim_start_matches([' ', '\n', '\u{feff}']);
        if bare.starts_with(FORMULA) { self.cell(&format!("'{cell}")) } else { self.cell(cell) }
    }

    /// Adds what was written here: a number, a time, nothing.
    #[must_use]
    pub fn plain(self, cell: &str) -> Self {
        self.cell(cell)
    }

    fn cell(mut self, cell: &str) -> Self {
        if self.cells > 0 {
            self.text.push(',');
        }
        self.cells += 1;
        // A blank at either end is part of the cell, though not all readers keep it without quotes, and a tab parts
        // cells for some.
        let quoted = cell.contains(['"', ',', '\n', '\r', '\t']) || cell.trim() != cell;
        if quoted {
            self.text.push('"');
            self.text.push_str(&cell.replace('"', "\"\""));
            self.text.push('"');
        } else {
            self.text.push_str(cell);
        }
        self
    }

    /// Ends the row; gives everything written.
    pub fn end(mut self) -> String {
        self.text.push_str("\r\n");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn a_cell_is_quoted_where_it_must_be_and_never_a_formula() {
        for (cell, written) in [
            ("", ""),
            ("plain", "plain"),
            ("a,b", "\"a,b\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("two\rlines", "\"two\rlines\""),
            (" blank ", "\" blank \""),
            ("=1+1", "'=1+1"),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\"'\t=1\""),
            (" =1", "' =1"),
            ("\r=1", "\"'\r=1\""),
            ("a=b", "a=b"),
            ("'quoted", "'quoted"),
            ("günstig 東京", "günstig 東京"),
        ] {
            assert_eq!(Row::default().text(cell).end(), format!("{written}\r\n"), "{cell:?}");
        }
        assert_eq!(Row::default().plain("-0.5").plain("").text("x").end(), "-0.5,,x\r\n");
        assert_eq!(Row::after("a\r\n".to_owned()).plain("b").end(), "a\r\nb\r\n");
    }

    proptest::proptest! {
        #[test]
        fn every_row_is_read_as_it_was_written(cells in proptest::collection::vec("[ -~\r\n\t\"',=äß東]{0,12}", 1..6)) {
            let row = cells.iter().fold(Row::default(), |row, cell| row.plain(cell)).end();
            let mut reader = Reader::new(row.as_bytes());
            let record = reader.next().unwrap();
            // A row of one empty cell is a blank line, and there is none to read.
            if cells.iter().any(|cell| !cell.is_empty()) || cells.len() > 1 {
                proptest::prop_assert_eq!(record.unwrap().cells, cells);
            }
        }

        #[test]
        fn no_text_begins_a_formula(cell in "[ \t\r\n=+@a-]{0,6}") {
            let row = Row::default().text(&cell).end();
            let shown = row.trim_start_matches(['"', ' ', '\n']);
            proptest::prop_assert!(!shown.starts_with(['=', '+', '-', '@', '\t']), "{:?}", row);
        }
    }
}
