//! Parquet: a column for each of the table's, none of them required. Whole numbers, floating ones, booleans,
//! dates and times keep their kind; all others are texts as PostgreSQL writes them.

use ::parquet::basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical};
use ::parquet::data_type::{
    BoolType, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::types::Type;
use chrono::{DateTime, NaiveDate, NaiveDateTime};
use std::io;
use std::sync::Arc;

/// How the file's name ends.
pub(super) const ENDING: &str = "parquet";

/// Texts of one row group; so many, and the group that is made of them, are in memory.
const GROUP: usize = 16 << 20;

/// A file that is being written.
pub(super) struct Parquet {
    writer: SerializedFileWriter<Vec<u8>>,
    columns: Vec<(String, Kind)>,
    /// Of the group that is being collected.
    rows: Vec<Vec<Option<String>>>,
    bytes: usize,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Boolean,
    Small,
    Integer,
    Big,
    Real,
    Double,
    Date,
    /// Microseconds, as clocks on the wall say them.
    Local,
    /// Microseconds in UTC.
    Instant,
    Text,
}

impl Kind {
    /// By the type as the server names it.
    fn of(sql_type: &str) -> Self {
        // timestamp(3) with time zone
        let plain = match sql_type.split_once('(') {
            Some((before, after)) => {
                let behind = after.split_once(')').map_or("", |(_, behind)| behind);
                format!("{before}{behind}")
            }
            None => sql_type.to_owned(),
        };
        match plain.as_str() {
            "boolean" => Self::Boolean,
            "smallint" => Self::Small,
            "integer" => Self::Integer,
            "bigint" => Self::Big,
            "real" => Self::Real,
            "double precision" => Self::Double,
            "date" => Self::Date,
            "timestamp without time zone" => Self::Local,
            "timestamp with time zone" => Self::Instant,
            _ => Self::Text,
        }
    }

    fn column(self, name: &str) -> Result<Type, ParquetError> {
        let whole = |bits| LogicalType::integer(bits, true);
        let time = |in_utc| LogicalType::timestamp(in_utc, TimeUnit::MICROS);
        let (physical, logical) = match self {
            Self::Boolean => (Physical::BOOLEAN, None),
            Self::Small => (Physical::INT32, Some(whole(16))),
            Self::Integer => (Physical::INT32, Some(whole(32))),
            Self::Big => (Physical::INT64, Some(whole(64))),
            Self::Real => (Physical::FLOAT, None),
            Self::Double => (Physical::DOUBLE, None),
            Self::Date => (Physical::INT32, Some(LogicalType::Date)),
            Self::Local => (Physical::INT64, Some(time(false))),
            Self::Instant => (Physical::INT64, Some(time(true))),
            Self::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    }
}

impl Parquet {
    /// With a schema of these columns, of names and types as the server says them.
    pub(super) fn new(columns: &[(String, String)]) -> io::Result<Self> {
        let columns = columns
            .iter()
            .map(|(name, of)| (name.clone(), Kind::of(of)));
        let columns: Vec<(String, Kind)> = columns.collect();
        let fields = columns
            .iter()
            .map(|(name, kind)| kind.column(name).map(Arc::new));
        let fields = fields.collect::<Result<_, _>>().map_err(io::Error::other)?;
        let schema = Type::group_type_builder("row").with_fields(fields).build();
        let schema = Arc::new(schema.map_err(io::Error::other)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::GZIP(Default::default()))
            .build();
        let writer = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties));
        Ok(Self {
            writer: writer.map_err(io::Error::other)?,
            columns,
            rows: Vec::new(),
            bytes: 0,
        })
    }

    /// Takes more rows; the bytes that are ready by now.
    pub(super) fn add(&mut self, rows: Vec<Vec<Option<String>>>) -> io::Result<Vec<u8>> {
        for row in rows {
            // A NULL takes up room too.
            self.bytes += row.iter().flatten().map(String::len).sum::<usize>() + row.len() * 24;
            self.rows.push(row);
            if self.bytes >= GROUP {
                self.group()?;
            }
        }
        self.writer.flush()?;
        Ok(std::mem::take(self.writer.inner_mut()))
    }

    /// The last bytes.
    pub(super) fn end(mut self) -> io::Result<Vec<u8>> {
        self.group()?;
        self.writer.into_inner().map_err(io::Error::other)
    }

    fn group(&mut self) -> io::Result<()> {
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group().map_err(io::Error::other)?;
        for (at, (name, kind)) in self.columns.iter().enumerate() {
            let Some(mut column) = group.next_column().map_err(io::Error::other)? else {
                return Err(io::Error::other(
                    "the schema has fewer columns than the table",
                ));
            };
            let levels: Vec<i16> = rows.iter().map(|row| row[at].is_some().into()).collect();
            let texts = rows.iter().filter_map(|row| row[at].as_deref());
            let unfit = || {
                io::Error::other(format!(
                    "the column {name} holds a value that Parquet cannot say: write format = \"csv.gz\""
                ))
            };
            kind.write(&mut column, texts, &levels)
                .map_err(io::Error::other)?
                .ok_or_else(unfit)?;
            column.close().map_err(io::Error::other)?;
        }
        group.close().map_err(io::Error::other)?;
        Ok(())
    }
}

impl Kind {
    /// `None` if one of the texts is no value of this kind, such as a date that is `infinity`.
    fn write<'t>(
        self,
        column: &mut SerializedColumnWriter<'_>,
        texts: impl Iterator<Item = &'t str>,
        levels: &[i16],
    ) -> Result<Option<()>, ParquetError> {
        match self {
            Self::Boolean => typed::<BoolType>(column, texts.map(boolean), levels),
            Self::Small | Self::Integer => typed::<Int32Type>(column, texts.map(parsed), levels),
            Self::Big => typed::<Int64Type>(column, texts.map(parsed), levels),
            Self::Real => typed::<FloatType>(column, texts.map(parsed), levels),
            Self::Double => typed::<DoubleType>(column, texts.map(parsed), levels),
            Self::Date => typed::<Int32Type>(column, texts.map(date), levels),
            Self::Local => typed::<Int64Type>(column, texts.map(local), levels),
            Self::Instant => typed::<Int64Type>(column, texts.map(instant), levels),
            Self::Text => typed::<ByteArrayType>(column, texts.map(|t| Some(t.into())), levels),
        }
    }
}

fn typed<T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    values: impl Iterator<Item = Option<T::T>>,
    levels: &[i16],
) -> Result<Option<()>, ParquetError> {
    let Some(values) = values.collect::<Option<Vec<T::T>>>() else {
        return Ok(None);
    };
    column
        .typed::<T>()
        .write_batch(&values, Some(levels), None)?;
    Ok(Some(()))
}

fn parsed<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn date(text: &str) -> Option<i32> {
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    let days = day.signed_duration_since(NaiveDate::default()).num_days();
    i32::try_from(days).ok()
}

fn local(text: &str) -> Option<i64> {
    let at = NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok()?;
    Some(at.and_utc().timestamp_micros())
}

fn instant(text: &str) -> Option<i64> {
    let at = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%#z").ok()?;
    Some(at.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_the_servers_names() {
        for (name, kind) in [
            ("integer", Kind::Integer),
            ("timestamp(3) with time zone", Kind::Instant),
            ("timestamp without time zone", Kind::Local),
            ("character varying(20)", Kind::Text),
            ("numeric(10,2)", Kind::Text),
            ("integer[]", Kind::Text),
            ("time with time zone", Kind::Text),
        ] {
            assert_eq!(Kind::of(name), kind, "{name}");
        }
    }

    #[test]
    fn what_is_no_day_is_not_made_one() {
        assert_eq!(
            (date("1970-01-02"), date("1969-12-31")),
            (Some(1), Some(-1))
        );
        assert_eq!(instant("1970-01-01 00:00:00.000001+00"), Some(1));
        assert_eq!(instant("1970-01-01 09:00:00+09"), Some(0));
        assert_eq!(local("1970-01-01 00:00:01"), Some(1_000_000));
        for text in ["infinity", "-infinity", "0044-03-15 BC", "10000-01-01"] {
            assert_eq!(date(text), None, "{text}");
        }
        assert_eq!((instant("infinity"), local("infinity")), (None, None));
    }

    /// Groups are written when they are full, and all can be read again.
    #[test]
    fn a_large_file_is_written_group_by_group() {
        use ::parquet::file::reader::{FileReader, SerializedFileReader};
        use ::parquet::record::RowAccessor;
        let columns = [("id", "integer"), ("text", "text")];
        let columns = columns.map(|(name, of)| (name.to_owned(), of.to_owned()));
        let mut file = Parquet::new(&columns).unwrap();
        let mut bytes = Vec::new();
        for id in 0..40 {
            let text = (id % 3 > 0).then(|| id.to_string().repeat(500_000));
            bytes.extend(file.add(vec![vec![Some(id.to_string()), text]]).unwrap());
        }
        assert!(!bytes.is_empty(), "the first group is out");
        bytes.extend(file.end().unwrap());
        let read = SerializedFileReader::new(bytes::Bytes::from(bytes)).unwrap();
        assert!(read.num_row_groups() > 1);
        let rows: Vec<_> = read
            .get_row_iter(None)
            .unwrap()
            .map(Result::unwrap)
            .collect();
        assert_eq!(rows.len(), 40);
        for (id, row) in rows.iter().enumerate() {
            assert_eq!(row.get_int(0).unwrap() as usize, id);
            let text = row.get_string(1).ok();
            let expected = (id % 3 > 0).then(|| id.to_string().repeat(500_000));
            assert_eq!(text, expected.as_ref());
        }
    }
}
