//! One statement for either database: its text with `$1`, `$2` .. for values, which both understand.
//!
//! Invariant: a value never becomes part of the text.

use std::fmt::Display;

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::sqlite::{Sqlite, SqliteArguments, SqliteRow};
use sqlx::{AssertSqlSafe, Decode, Executor, Row as _, Transaction, Type};

use super::super::error::StoreError;
use super::super::{postgres, sqlite};

/// A value of a column.
#[derive(Clone, Debug)]
pub enum Value {
    /// A number, or NULL.
    Int(Option<i64>),
    /// A text, or NULL.
    Text(Option<String>),
    /// Bytes.
    Bytes(Vec<u8>),
    /// True or false.
    Flag(bool),
}

/// Ways to write a [`Value`].
macro_rules! values {
    ($($from:ty, $value:ident => $to:expr;)*) => {
        $(impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

values! {
    i64, value => Self::Int(Some(value));
    Option<i64>, value => Self::Int(value);
    u32, value => Self::Int(Some(i64::from(value)));
    u16, value => Self::Int(Some(i64::from(value)));
    &str, value => Self::Text(Some(value.to_owned()));
    Option<&str>, value => Self::Text(value.map(str::to_owned));
    &String, value => Self::Text(Some(value.clone()));
    &Option<String>, value => Self::Text(value.clone());
    String, value => Self::Text(Some(value));
    Option<String>, value => Self::Text(value);
    &[u8], value => Self::Bytes(value.to_vec());
    bool, value => Self::Flag(value);
}

/// A text without NUL, which PostgreSQL cannot hold: else one such name would keep a batch out of the ledger for ever.
pub fn clean(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

/// A statement and its values.
#[derive(Debug)]
pub struct Query {
    text: String,
    values: Vec<Value>,
}

impl Query {
    /// From its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// Gives the next value that the text names.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Adds to the text.
    pub fn push(&mut self, text: impl Display) -> &mut Self {
        self.text.push_str(&text.to_string());
        self
    }

    /// Adds a value and its place in the text.
    pub fn push_bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        let number = self.values.len();
        self.push(format_args!("${number}"))
    }

    /// All rows that it gives in SQLite.
    pub async fn in_sqlite<'e>(
        self,
        executor: impl Executor<'e, Database = Sqlite>,
    ) -> Result<Vec<Row>, StoreError> {
        let query = self.values.into_iter().fold(sqlx::query(AssertSqlSafe(self.text)), bind_sqlite);
        let rows = query.fetch_all(executor).await.map_err(sqlite::unavailable)?;
        Ok(rows.into_iter().map(Row::Sqlite).collect())
    }

    /// All rows that it gives in PostgreSQL.
    pub async fn in_postgres<'e>(
        self,
        executor: impl Executor<'e, Database = Postgres>,
    ) -> Result<Vec<Row>, StoreError> {
        let query = self.values.into_iter().fold(sqlx::query(AssertSqlSafe(self.text)), bind_postgres);
        let rows = query.fetch_all(executor).await.map_err(postgres::unavailable)?;
        Ok(rows.into_iter().map(Row::Postgres).collect())
    }
}

/// A statement of SQLite's with one more value.
pub fn bind_sqlite(
    query: sqlx::query::Query<'static, Sqlite, SqliteArguments>,
    value: Value,
) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value),
        Value::Bytes(value) => query.bind(value),
        Value::Flag(value) => query.bind(value),
    }
}

/// A statement of PostgreSQL's with one more value.
fn bind_postgres(
    query: sqlx::query::Query<'static, Postgres, PgArguments>,
    value: Value,
) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    match value {
        Value::Int(value) => query.bind(value),
        Value::Text(value) => query.bind(value.map(clean)),
        Value::Bytes(value) => query.bind(value),
        Value::Flag(value) => query.bind(value),
    }
}

/// A transaction. Dropped without [`Tx::commit`] it never was.
pub enum Tx {
    /// Of SQLite.
    Sqlite(Transaction<'static, Sqlite>),
    /// Of PostgreSQL.
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    /// Runs a statement; gives its rows.
    pub async fn run(&mut self, query: Query) -> Result<Vec<Row>, StoreError> {
        match self {
            Self::Sqlite(tx) => query.in_sqlite(&mut **tx).await,
            Self::Postgres(tx) => query.in_postgres(&mut **tx).await,
        }
    }

    /// Makes it last.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(tx) => tx.commit().await.map_err(sqlite::unavailable),
            Self::Postgres(tx) => tx.commit().await.map_err(postgres::unavailable),
        }
    }
}

/// A row that was read.
pub enum Row {
    /// From SQLite.
    Sqlite(SqliteRow),
    /// From PostgreSQL.
    Postgres(PgRow),
}

/// A type that both databases can give.
pub trait Stored:
    for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl<T> Stored for T where
    T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>
{
}

impl Row {
    /// A column, as the type asked for.
    pub fn get<T: Stored>(&self, name: &str) -> Result<T, StoreError> {
        match self {
            Self::Sqlite(row) => row.try_get(name).map_err(sqlite::unavailable),
            Self::Postgres(row) => row.try_get(name).map_err(postgres::unavailable),
        }
    }

    /// A count that was stored as `i64`; what does not fit is the default.
    pub fn count<T: TryFrom<i64> + Default>(&self, name: &str) -> Result<T, StoreError> {
        Ok(T::try_from(self.get(name)?).unwrap_or_default())
    }
}
