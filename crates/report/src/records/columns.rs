//! Records as columns: what a Parquet file is made of.
//!
//! A row group is gathered column by column and written when it is full, so memory is bounded by its size. Instants come
//! nearly in order: their differences are small, and that is how they are encoded.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::Arc;

use metrics::{Gaps, RecordLine};
use parquet::basic::{Compression, Encoding, GzipLevel};
use parquet::data_type::{ByteArray, ByteArrayType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;

/// Rows of a row group.
const ROWS: usize = 32_768;
/// Gaps of a row group, where they are listed.
const GAPS: usize = 4_000_000;
/// Beyond it a little smaller takes much longer.
const GZIP_LEVEL: u32 = 3;

/// Where a column's values come from.
#[derive(Clone, Copy)]
enum Source {
    Number(fn(&RecordLine<'_>) -> Option<u64>),
    Text(for<'a> fn(&'a RecordLine<'_>) -> Option<&'a str>),
}

/// Every column but the list of gaps, by the names of the lines.
const COLUMNS: [(&str, Source); 30] = [
    ("request", Source::Number(|line| Some(line.request))),
    ("turn", Source::Number(|line| line.turn.map(u64::from))),
    ("worker", Source::Number(|line| Some(line.worker.into()))),
    ("lane", Source::Number(|line| Some(line.lane.into()))),
    ("stage", Source::Text(|line| Some(&line.stage))),
    ("stageIndex", Source::Number(|line| Some(line.stage_index.into()))),
    ("class", Source::Text(|line| line.class.as_deref())),
    ("target", Source::Text(|line| line.target.as_deref())),
    ("outcome", Source::Text(|line| Some(&line.outcome))),
    ("reason", Source::Text(|line| line.reason.as_deref())),
    ("status", Source::Number(|line| line.status.map(u64::from))),
    ("scheduledNs", Source::Number(|line| Some(line.scheduled_ns))),
    ("permittedNs", Source::Number(|line| Some(line.permitted_ns))),
    ("sentNs", Source::Number(|line| line.sent_ns)),
    ("headersNs", Source::Number(|line| line.headers_ns)),
    ("firstTokenNs", Source::Number(|line| line.first_token_ns)),
    ("firstOutputNs", Source::Number(|line| line.first_output_ns)),
    ("lastTokenNs", Source::Number(|line| line.last_token_ns)),
    ("endedNs", Source::Number(|line| line.ended_ns)),
    ("connectNs", Source::Number(|line| line.connect_ns)),
    ("inputTokens", Source::Number(|line| line.input_tokens)),
    ("inputTokensAsked", Source::Number(|line| line.input_tokens_asked)),
    ("outputTokens", Source::Number(|line| Some(line.output_tokens))),
    ("streamedTokens", Source::Number(|line| Some(line.streamed_tokens))),
    ("firstEventTokens", Source::Number(|line| Some(line.first_event_tokens))),
    ("outputTokensOrdered", Source::Number(|line| line.output_tokens_ordered)),
    ("cachedTokens", Source::Number(|line| line.cached_tokens)),
    ("events", Source::Number(|line| Some(line.events))),
    ("iclP50Us", Source::Number(|line| line.icl_p50_us.map(u64::from))),
    ("iclMaxUs", Source::Number(|line| line.icl_max_us.map(u64::from))),
];
/// The list of gaps, where it is kept.
const LIST: &str = "iclUs";

/// A column of the row group that is being gathered. A level says whether a row has a value.
enum Column {
    Numbers { values: Vec<i64>, levels: Vec<i16> },
    Texts { values: Vec<ByteArray>, levels: Vec<i16>, known: HashMap<String, ByteArray> },
}

/// The gaps of all rows: whether an element is there, and whether it goes on with the row of the one before.
#[derive(Default)]
struct Lists {
    values: Vec<i32>,
    levels: Vec<i16>,
    repeated: Vec<i16>,
}

/// A Parquet file that is being written.
pub(crate) struct Table<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<(Source, Column)>,
    lists: Option<Lists>,
    rows: usize,
}

impl<W: Write + Send> Table<W> {
    /// Writes the beginning.
    pub(crate) fn begin(file: W, gaps: Gaps) -> io::Result<Self> {
        let schema = Arc::new(parse_message_type(&schema(gaps)).map_err(other)?);
        let level = GzipLevel::try_new(GZIP_LEVEL).map_err(other)?;
        let mut properties = WriterProperties::builder()
            .set_created_by(format!("tokenstorm {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::GZIP(level))
            .set_dictionary_enabled(false)
            .set_encoding(Encoding::DELTA_BINARY_PACKED);
        for (name, _) in COLUMNS.iter().filter(|(_, source)| matches!(source, Source::Text(_))) {
            let path = ColumnPath::from(*name);
            properties = properties
                .set_column_dictionary_enabled(path.clone(), true)
                .set_column_encoding(path, Encoding::PLAIN);
        }
        let writer = SerializedFileWriter::new(file, schema, Arc::new(properties.build()));
        let column = |(_, source): &(&str, Source)| {
            let column = match source {
                Source::Number(_) => Column::Numbers { values: Vec::new(), levels: Vec::new() },
                Source::Text(_) => {
                    Column::Texts { values: Vec::new(), levels: Vec::new(), known: HashMap::new() }
                }
            };
            (*source, column)
        };
        Ok(Self {
            writer: writer.map_err(other)?,
            columns: COLUMNS.iter().map(column).collect(),
            lists: (gaps == Gaps::Listed).then(Lists::default),
            rows: 0,
        })
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, line: &RecordLine<'_>) -> io::Result<()> {
        for (source, column) in &mut self.columns {
            column.push(*source, line);
        }
        if let Some(lists) = &mut self.lists {
            lists.push(&line.icl_us);
        }
        self.rows += 1;
        let gaps = self.lists.as_ref().map_or(0, |lists| lists.values.len());
        if self.rows >= ROWS || gaps >= GAPS { self.write_group() } else { Ok(()) }
    }

    /// Writes what is left, and the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.write_group()?;
        self.writer.into_inner().map_err(other)
    }

    fn write_group(&mut self) -> io::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        self.rows = 0;
        self.try_write_group().map_err(other)
    }

    fn try_write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for (_, column) in &mut self.columns {
            if let Some(writer) = group.next_column()? {
                column.write(writer)?;
            }
        }
        if let (Some(lists), Some(writer)) = (&mut self.lists, group.next_column()?) {
            lists.write(writer)?;
        }
        let _metadata = group.close()?;
        Ok(())
    }
}

impl Column {
    fn push(&mut self, source: Source, line: &RecordLine<'_>) {
        match (self, source) {
            (Self::Numbers { values, levels }, Source::Number(of)) => {
                let value = of(line).map(|value| i64::try_from(value).unwrap_or(i64::MAX));
                levels.push(i16::from(value.is_some()));
                values.extend(value);
            }
            (Self::Texts { values, levels, known }, Source::Text(of)) => {
                let text = of(line);
                levels.push(i16::from(text.is_some()));
                values.extend(text.map(|text| match known.get(text) {
                    Some(same) => same.clone(),
                    None => {
                        let fresh = ByteArray::from(text.as_bytes().to_vec());
                        let _none = known.insert(text.to_owned(), fresh.clone());
                        fresh
                    }
                }));
            }
            (Self::Numbers { .. }, Source::Text(_)) | (Self::Texts { .. }, Source::Number(_)) => {
                unreachable!("a column is made for its source")
            }
        }
    }

    fn write(&mut self, mut writer: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        match self {
            Self::Numbers { values, levels } => {
                let typed = writer.typed::<Int64Type>();
                let _written = typed.write_batch(values, Some(levels.as_slice()), None)?;
                values.clear();
                levels.clear();
            }
            Self::Texts { values, levels, known } => {
                let typed = writer.typed::<ByteArrayType>();
                let _written = typed.write_batch(values, Some(levels.as_slice()), None)?;
                values.clear();
                levels.clear();
                known.clear();
            }
        }
        writer.close()
    }
}

impl Lists {
    fn push(&mut self, gaps_us: &[u32]) {
        if gaps_us.is_empty() {
            self.levels.push(0);
            self.repeated.push(0);
        }
        for (place, gap) in gaps_us.iter().enumerate() {
            self.values.push(i32::try_from(*gap).unwrap_or(i32::MAX));
            self.levels.push(2);
            self.repeated.push(i16::from(place > 0));
        }
    }

    fn write(&mut self, mut writer: SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let typed = writer.typed::<Int32Type>();
        let _written = typed.write_batch(&self.values, Some(&self.levels), Some(&self.repeated))?;
        self.values.clear();
        self.levels.clear();
        self.repeated.clear();
        writer.close()
    }
}

/// In the words of Parquet's own schema language.
fn schema(gaps: Gaps) -> String {
    let column = |(name, source): &(&str, Source)| match source {
        Source::Number(_) => format!("optional int64 {name}; "),
        Source::Text(_) => format!("optional binary {name} (UTF8); "),
    };
    let columns: String = COLUMNS.iter().map(column).collect();
    let list = match gaps {
        Gaps::Summed => String::new(),
        Gaps::Listed => {
            format!(
                "optional group {LIST} (LIST) {{ repeated group list {{ required int32 element; }} }}"
            )
        }
    };
    format!("message requests {{ {columns}{list} }}")
}

fn other(error: ParquetError) -> io::Error {
    io::Error::other(error)
}
