//! Rows on their way into a table. They are written once, as `COPY … FROM STDIN (FORMAT binary)`
//! reads them (PostgreSQL 15, "COPY", Binary Format), and sent either so or as one array per
//! column: the fields of both look the same.

use super::copy;
use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgTypeInfo};
use sqlx::{Postgres, Type};
use std::fmt;
use std::slice;
use tanglegate_core::Timestamp;
use zeroize::Zeroize;

/// Where rows go.
pub(crate) struct Table {
    /// Its name with its schema.
    pub(crate) name: &'static str,
    /// Its columns, in the order of a row's fields.
    pub(crate) columns: &'static [(&'static str, Kind)],
    /// What is done with the rows.
    pub(crate) write: Write,
    /// Whether the rows are keys, of which nothing may stay in memory.
    pub(crate) secret: bool,
}

impl Table {
    /// The columns of the key, which are the first ones of a projection's table.
    pub(crate) fn key(&self) -> &'static str {
        match self.write {
            Write::Upsert { key, .. } => key,
            Write::Insert | Write::Delete => self.columns[0].0,
        }
    }
}

/// What is done with rows.
#[derive(Clone, Copy)]
pub(crate) enum Write {
    /// They are new.
    Insert,
    /// They are new, or replace these columns of the row with the same key.
    Upsert {
        key: &'static str,
        replaced: &'static [&'static str],
    },
    /// What equals them goes.
    Delete,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bool,
    Bytes,
    BigInt,
    SmallInt,
    Int,
    Text,
    Instant,
    Numeric,
    Uuid,
}

impl Kind {
    /// The type of an array of it and its own, as PostgreSQL numbers them (`pg_type.dat`).
    fn oids(self) -> (u32, u32) {
        match self {
            Self::Bool => (1000, 16),
            Self::Bytes => (1001, 17),
            Self::BigInt => (1016, 20),
            Self::SmallInt => (1005, 21),
            Self::Int => (1007, 23),
            Self::Text => (1009, 25),
            Self::Instant => (1185, 1184),
            Self::Numeric => (1231, 1700),
            Self::Uuid => (2951, 2950),
        }
    }
}

/// Some rows of one table.
pub(crate) struct Rows {
    table: &'static Table,
    count: usize,
    bytes: Vec<u8>,
}

impl Rows {
    pub(crate) fn new(table: &'static Table) -> Self {
        let bytes = copy::header();
        Self {
            table,
            count: 0,
            bytes,
        }
    }

    /// Where they go.
    pub(crate) fn table(&self) -> &'static Table {
        self.table
    }

    /// Every row as COPY sends it, behind the contents of its first `keys` fields, at most four.
    pub(crate) fn keyed(&self, keys: usize) -> impl Iterator<Item = ([&[u8]; 4], &[u8])> {
        let (mut rest, columns) = (&self.bytes[copy::HEADER..], self.table.columns.len());
        std::iter::from_fn(move || {
            let (mut key, mut length) = ([&[][..]; 4], 2);
            rest.first()?;
            for (at, field) in fields(rest).take(columns).enumerate() {
                length += field.len();
                if at < keys {
                    key[at] = &field[4..];
                }
            }
            let (row, behind) = rest.split_at(length);
            rest = behind;
            Some((key, row))
        })
    }

    /// How many.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// True when no row replaces or removes another, so that they may be copied.
    pub(crate) fn is_new(&self) -> bool {
        matches!(self.table.write, Write::Insert)
    }

    /// True when the rows say what goes.
    pub(crate) fn is_removal(&self) -> bool {
        matches!(self.table.write, Write::Delete)
    }

    /// Begins a row; every field has to be written before the next one begins.
    pub(crate) fn row(&mut self) -> Row<'_> {
        self.count += 1;
        let width = i16::try_from(self.table.columns.len()).expect("tables are not so wide");
        self.bytes.extend_from_slice(&width.to_be_bytes());
        Row {
            bytes: &mut self.bytes,
            columns: self.table.columns.iter(),
        }
    }

    /// The statement that reads them with [`Rows::into_copy`].
    pub(crate) fn copy_statement(&self, table: &str) -> String {
        format!(
            "copy {table} ({}) from stdin (format binary)",
            self.column_names()
        )
    }

    /// Everything that COPY reads, from the header to the end mark.
    pub(crate) fn into_copy(mut self) -> Vec<u8> {
        copy::end(&mut self.bytes);
        std::mem::take(&mut self.bytes)
    }

    /// What writes them in a statement where `batch` names another table expression that is
    /// evaluated first and has one row. Parameters are numbered from `first` on: the fields of a
    /// single row, or else one array per column, from [`Rows::parameters`].
    pub(crate) fn expression(&self, first: usize) -> String {
        let Table {
            name,
            columns,
            write,
            ..
        } = self.table;
        let names = self.column_names();
        let parameters: Vec<String> = (first..first + columns.len())
            .map(|it| format!("${it}"))
            .collect();
        let parameters = parameters.join(", ");
        let source = if self.count == 1 {
            format!("batch, (select {parameters}) as it ({names})")
        } else {
            format!("batch, unnest({parameters}) as it ({names})")
        };
        let insert = || format!("insert into {name} ({names}) select it.* from {source}");
        match write {
            Write::Insert => insert(),
            Write::Upsert { key, replaced } => {
                let replaced: Vec<String> = replaced
                    .iter()
                    .map(|it| format!("{it} = excluded.{it}"))
                    .collect();
                format!(
                    "{} on conflict ({key}) do update set {}",
                    insert(),
                    replaced.join(", ")
                )
            }
            Write::Delete => {
                let equal: Vec<String> = columns
                    .iter()
                    .map(|(it, _)| format!("gone.{it} = it.{it}"))
                    .collect();
                format!(
                    "delete from {name} as gone using {source} where {}",
                    equal.join(" and ")
                )
            }
        }
    }

    fn column_names(&self) -> String {
        let names: Vec<&str> = self.table.columns.iter().map(|it| it.0).collect();
        names.join(", ")
    }

    /// What [`Rows::expression`] refers to.
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let columns = self.table.columns.iter();
        let mut parameters: Vec<Parameter> = match self.count {
            1 => columns
                .map(|(_, kind)| Parameter::field(*kind, self))
                .collect(),
            _ => columns
                .map(|(_, kind)| Parameter::array(*kind, self))
                .collect(),
        };
        let mut rest = &self.bytes[copy::HEADER..];
        while let Some((_, fields)) = rest.split_first_chunk::<2>() {
            rest = parameters
                .iter_mut()
                .fold(fields, |fields, it| it.take(fields));
        }
        parameters
    }
}

/// The fields of a row, and of those behind it up to the next row: each with its length before it.
pub(crate) fn fields(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = row.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (length, _) = rest.split_first_chunk()?;
        let content = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
        let (field, behind) = rest.split_at(4 + content);
        rest = behind;
        Some(field)
    })
}

impl Drop for Rows {
    fn drop(&mut self) {
        if self.table.secret {
            self.bytes.zeroize();
        }
    }
}

/// The fields of one row, in the order of the table's columns. Each is its length and its bytes.
pub(crate) struct Row<'a> {
    bytes: &'a mut Vec<u8>,
    columns: slice::Iter<'static, (&'static str, Kind)>,
}

impl Row<'_> {
    fn next(&mut self, kinds: &[Kind]) {
        let column = self
            .columns
            .next()
            .expect("a row has as many fields as its table columns");
        assert!(
            kinds.contains(&column.1),
            "column {} is {:?}",
            column.0,
            column.1
        );
    }

    fn field(&mut self, field: &[u8]) {
        let length = i32::try_from(field.len()).expect("a field is far below 2 GiB");
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(field);
    }

    fn null(&mut self) {
        self.columns
            .next()
            .expect("a row has as many fields as its table columns");
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    /// Writes the field, or null where there is none.
    pub(crate) fn optional<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => put(self, value),
            None => self.null(),
        }
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.next(&[Kind::Bool]);
        self.field(&[u8::from(value)]);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.next(&[Kind::Bytes, Kind::Uuid]);
        self.field(value);
    }

    pub(crate) fn small(&mut self, value: i16) {
        self.next(&[Kind::SmallInt]);
        self.field(&value.to_be_bytes());
    }

    pub(crate) fn int(&mut self, value: i32) {
        self.next(&[Kind::Int]);
        self.field(&value.to_be_bytes());
    }

    /// A position or a version.
    pub(crate) fn big(&mut self, value: u64) {
        self.next(&[Kind::BigInt]);
        let value = i64::try_from(value).expect("positions and versions stay far below 2⁶³");
        self.field(&value.to_be_bytes());
    }

    pub(crate) fn text(&mut self, value: &str) {
        self.next(&[Kind::Text]);
        self.field(value.as_bytes());
    }

    /// The text that `value` displays as.
    pub(crate) fn display(&mut self, value: impl fmt::Display) {
        use std::io::Write as _;
        self.next(&[Kind::Text]);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        write!(self.bytes, "{value}").expect("a vector takes every byte");
        let length = i32::try_from(self.bytes.len() - at - 4).expect("a text is far below 2 GiB");
        self.bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    pub(crate) fn instant(&mut self, value: Timestamp) {
        self.next(&[Kind::Instant]);
        self.field(&copy::micros(value).to_be_bytes());
    }

    /// An amount in NANOS, or another number of up to 64 bits.
    pub(crate) fn numeric(&mut self, value: u64) {
        self.next(&[Kind::Numeric]);
        let (field, length) = numeric(value);
        self.field(&field[..length]);
    }
}

/// A number as PostgreSQL sends and receives `numeric` (`numeric_recv`): the number of digits, the
/// weight of the first, sign, scale, then digits of base 10,000 without zeros at either end.
fn numeric(value: u64) -> ([u8; 18], usize) {
    const BASE: u64 = 10_000;
    let mut digits = [0_u16; 5];
    let (mut rest, mut first) = (value, 5);
    while rest > 0 {
        first -= 1;
        digits[first] = u16::try_from(rest % BASE).expect("below the base");
        rest /= BASE;
    }
    let last = digits
        .iter()
        .rposition(|it| *it != 0)
        .map_or(first, |it| it + 1);
    let digits = &digits[first..last];
    let (number, weight) = (digits.len(), 4_usize.saturating_sub(first));
    let mut field = [0; 18];
    field[1] = u8::try_from(number).expect("at most 5");
    field[3] = u8::try_from(weight).expect("at most 4");
    for (place, digit) in field[8..].chunks_exact_mut(2).zip(digits) {
        place.copy_from_slice(&digit.to_be_bytes());
    }
    (field, 8 + 2 * number)
}

/// One column of some rows as PostgreSQL receives an array (`array_recv`), or the field of one row.
pub(crate) struct Parameter {
    kind: Kind,
    is_array: bool,
    secret: bool,
    /// `None`: null.
    bytes: Option<Vec<u8>>,
}

impl Parameter {
    fn field(kind: Kind, rows: &Rows) -> Self {
        Self {
            kind,
            is_array: false,
            secret: rows.table.secret,
            bytes: None,
        }
    }

    fn array(kind: Kind, rows: &Rows) -> Self {
        let length = u32::try_from(rows.count).expect("a batch has few rows");
        let (dimensions, may_have_nulls, from) = (1, 1, 1);
        let header = [dimensions, may_have_nulls, kind.oids().1, length, from];
        let secret = rows.table.secret;
        // Growing would leave copies of a secret behind.
        let mut bytes = Vec::with_capacity(if secret {
            rows.bytes.len()
        } else {
            16 * rows.count
        });
        bytes.extend(header.into_iter().flat_map(u32::to_be_bytes));
        Self {
            kind,
            is_array: true,
            secret,
            bytes: Some(bytes),
        }
    }

    /// Takes the first of some fields and leaves the others.
    fn take<'a>(&mut self, fields: &'a [u8]) -> &'a [u8] {
        let (length, after) = fields.split_first_chunk().expect("rows are whole");
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        match (&mut self.bytes, length) {
            (Some(array), _) => array.extend_from_slice(&fields[..4 + length.unwrap_or(0)]),
            (None, Some(length)) => self.bytes = Some(after[..length].to_vec()),
            (None, None) => {}
        }
        &after[length.unwrap_or(0)..]
    }
}

impl Drop for Parameter {
    fn drop(&mut self) {
        if self.secret {
            self.bytes.zeroize();
        }
    }
}

impl Type<Postgres> for Parameter {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(Kind::Bytes.oids().1))
    }
}

impl Encode<'_, Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let Some(bytes) = &self.bytes else {
            return Ok(IsNull::Yes);
        };
        buffer.extend_from_slice(bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        let (array, one) = self.kind.oids();
        Some(PgTypeInfo::with_oid(Oid(if self.is_array {
            array
        } else {
            one
        })))
    }

    fn size_hint(&self) -> usize {
        self.bytes.as_ref().map_or(0, Vec::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::testing::TestDatabase;
    use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

    static ALL_KINDS: Table = Table {
        name: "all_kinds",
        columns: &[
            ("number", Kind::BigInt),
            ("truth", Kind::Bool),
            ("bytes", Kind::Bytes),
            ("small", Kind::SmallInt),
            ("int", Kind::Int),
            ("name", Kind::Text),
            ("at", Kind::Instant),
            ("amount", Kind::Numeric),
            ("uuid", Kind::Uuid),
        ],
        write: Write::Upsert {
            key: "number",
            replaced: &["name", "amount"],
        },
        secret: false,
    };

    static GONE: Table = Table {
        name: "all_kinds",
        columns: &[("number", Kind::BigInt)],
        write: Write::Delete,
        secret: false,
    };

    const AMOUNTS: [u64; 9] = [
        0,
        1,
        9_999,
        10_000,
        10_001,
        123_450_000,
        500_000_000,
        1 << 63,
        u64::MAX,
    ];

    fn rows(name: &str) -> Rows {
        let mut rows = Rows::new(&ALL_KINDS);
        (1..)
            .zip(AMOUNTS)
            .for_each(|it| row(&mut rows, name, it.0, it.1));
        rows
    }

    fn row(rows: &mut Rows, name: &str, number: u64, amount: u64) {
        let mut row = rows.row();
        row.big(number);
        row.bool(number.is_multiple_of(2));
        row.bytes(b"\x00\xff");
        row.small(-1);
        row.optional((number > 1).then_some(7), Row::int);
        row.display(format_args!("{name} {number}"));
        row.instant(Timestamp(1_763_820_300_250));
        row.numeric(amount);
        row.bytes(&[0xab; 16]);
    }

    async fn table() -> (TestDatabase, PgConnection) {
        let database = TestDatabase::create().await.expect("PostgreSQL runs");
        let mut connection = PgConnection::connect_with(&database.connect_options())
            .await
            .expect("it answers");
        let create = "create table all_kinds (number bigint primary key, truth boolean, \
            bytes bytea, small smallint, int integer, name text, at timestamptz, \
            amount numeric(20), uuid uuid)";
        connection.execute(create).await.expect("created");
        (database, connection)
    }

    async fn contents(connection: &mut PgConnection) -> Vec<String> {
        let rows = "select (all_kinds.*)::text from all_kinds order by number";
        connection
            .execute("set time zone 'UTC'")
            .await
            .expect("set");
        sqlx::query_scalar(rows)
            .fetch_all(connection)
            .await
            .expect("readable")
    }

    fn expected(name: &str) -> Vec<String> {
        let row = |(number, amount): (u64, u64)| {
            let (truth, int) = (
                if number % 2 == 0 { "t" } else { "f" },
                if number > 1 { "7" } else { "" },
            );
            format!(
                "({number},{truth},\"\\\\x00ff\",-1,{int},\"{name} {number}\",\
                 \"2025-11-22 14:05:00.25+00\",{amount},abababab-abab-abab-abab-abababababab)"
            )
        };
        (1..).zip(AMOUNTS).map(row).collect()
    }

    async fn write(connection: &mut PgConnection, rows: &Rows) {
        let statement = format!(
            "with batch as (select), it as ({}) select",
            rows.expression(1)
        );
        let mut query = sqlx::query(AssertSqlSafe(statement));
        for parameter in rows.parameters() {
            query = query.bind(parameter);
        }
        query.execute(connection).await.expect("written");
    }

    #[tokio::test]
    async fn copied_rows_arrays_and_single_fields_say_the_same_to_postgresql() {
        let (_database, mut connection) = table().await;
        let copied = rows("copied");
        let mut copy = connection
            .copy_in_raw(&copied.copy_statement(copied.table().name))
            .await
            .expect("begins");
        copy.send(copied.into_copy()).await.expect("sent");
        copy.finish().await.expect("understood");
        assert_eq!(contents(&mut connection).await, expected("copied"));
        write(&mut connection, &rows("upserted")).await;
        assert_eq!(contents(&mut connection).await, expected("upserted"));
        for (number, amount) in (1..).zip(AMOUNTS) {
            let mut one = Rows::new(&ALL_KINDS);
            row(&mut one, "alone", number, amount);
            write(&mut connection, &one).await;
        }
        assert_eq!(contents(&mut connection).await, expected("alone"));
    }

    #[tokio::test]
    async fn rows_that_equal_the_given_ones_are_deleted() {
        let (_database, mut connection) = table().await;
        write(&mut connection, &rows("here")).await;
        let mut gone = Rows::new(&GONE);
        for number in (1..).zip(AMOUNTS).map(|it| it.0).filter(|it| *it != 3) {
            gone.row().big(number);
        }
        write(&mut connection, &gone).await;
        assert_eq!(contents(&mut connection).await, expected("here")[2..3]);
    }

    #[test]
    #[should_panic(expected = "column truth is Bool")]
    fn a_field_of_another_type_is_a_defect() {
        let mut rows = Rows::new(&ALL_KINDS);
        let mut row = rows.row();
        row.big(1);
        row.text("no truth");
    }
}
