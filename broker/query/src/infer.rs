//! `ALTER STREAM … INFER SCHEMA`: looks at some events and prints the definition of columns that
//! they have. It changes nothing.

use crate::error::Error;
use crate::limits::{INFER_FIELDS_MAX, INFER_RECORDS};
use crate::rows::parse_text;
use crate::scan::{LogCursor, Visit};
use crate::statement::shown_name;
use anabranch_engine::{ColumnType, ItemType, Session as EngineSession, Stream, Until};
use anabranch_types::{Offset, PartitionIndex};
use jiter::{Jiter, Peek};
use std::collections::HashMap;

/// The lines of an `ALTER STREAM … ADD COLUMN` statement, or a comment that says why there is
/// none.
pub(crate) fn definition(engine: &EngineSession, stream: &Stream) -> Result<Vec<String>, Error> {
    let sample = Sample::take(engine, stream)?;
    let mut columns: Vec<(&str, &Field)> = sample
        .order
        .iter()
        .filter(|name| {
            stream.columns.iter().all(|column| column.field() != *name && &column.name != *name)
        })
        .filter_map(|name| Some((name.as_str(), sample.fields.get(name)?)))
        .collect();
    columns.retain(|(name, _)| !name.starts_with('_') && !name.is_empty());
    let name = shown_name(&stream.name);
    if columns.is_empty() {
        return Ok(vec![format!(
            "-- {name}: {} events were looked at; no JSON object among them has a field that is \
             not declared",
            sample.records
        )]);
    }
    let mut lines = vec![
        format!(
            "-- from {} of the events of {name}; fields that are left out stay in _json",
            sample.records
        ),
        format!("ALTER STREAM {name}"),
    ];
    let last = columns.len() - 1;
    for (number, (name, field)) in columns.into_iter().enumerate() {
        let end = if number == last { ";" } else { "," };
        let comment =
            field.comment(sample.objects).map_or(String::new(), |text| format!(" -- {text}"));
        lines.push(format!(
            "  ADD COLUMN {} {}{end}{comment}",
            shown_name(name),
            type_name(field.column_type())
        ));
    }
    // One row, so that psql's \gexec runs it as the one statement that it is.
    Ok(vec![lines.join("\n")])
}

/// What was seen.
#[derive(Default)]
struct Sample {
    records: usize,
    /// Records whose value is a JSON object.
    objects: usize,
    fields: HashMap<String, Field>,
    /// Names in the order in which they first came.
    order: Vec<String>,
}

/// What was seen of one field.
#[derive(Default)]
struct Field {
    present: usize,
    nulls: usize,
    booleans: usize,
    integers: usize,
    /// Largest number of bits an integer took.
    integer_bits: u32,
    floats: usize,
    dates: usize,
    timestamps: usize,
    /// Timestamps with an offset.
    zoned: usize,
    uuids: usize,
    texts: usize,
    documents: usize,
    arrays: usize,
    /// The items of all arrays.
    item: Option<Box<Field>>,
}

impl Sample {
    /// Looks at records from the beginning, the middle and the end of each partition.
    fn take(engine: &EngineSession, stream: &Stream) -> Result<Self, Error> {
        let mut sample = Self::default();
        let parts = 3 * stream.partitions.len().max(1);
        let share = (INFER_RECORDS / parts).max(1);
        for (number, &id) in (0..).zip(&stream.partitions) {
            let Some(log) = engine.partition(id) else {
                continue;
            };
            let (start, end) = (log.log_start().0, log.last_stable().0);
            let length = i64::try_from(share).unwrap_or(i64::MAX);
            let whole = end - start <= 3 * length;
            let slices = match whole {
                true => vec![(start, end)],
                false => {
                    let middle = start + (end - start) / 2;
                    vec![(start, start + length), (middle, middle + length), (end - length, end)]
                }
            };
            for (from, to) in slices {
                let mut cursor = LogCursor::new(
                    log.clone(),
                    PartitionIndex(number),
                    Offset(from),
                    Some(Offset(to)),
                    Until::Stable,
                );
                cursor.visit(|_, record| {
                    sample.look(record.value);
                    Visit::Continue
                })?;
            }
        }
        Ok(sample)
    }

    fn look(&mut self, value: Option<&[u8]>) {
        self.records += 1;
        let Some(value) = value else { return };
        if self.look_at_object(value).is_some() {
            self.objects += 1;
        }
    }

    fn look_at_object(&mut self, value: &[u8]) -> Option<()> {
        let mut json = Jiter::new(value).with_allow_inf_nan();
        if json.peek().ok()? != Peek::Object {
            return None;
        }
        let mut name = json.known_object().ok()?.map(str::to_owned);
        while let Some(field) = name {
            let peek = json.peek().ok()?;
            let start = json.current_index();
            json.known_skip(peek).ok()?;
            let raw = &value[start..json.current_index()];
            self.see(field, raw);
            name = json.next_key().ok()?.map(str::to_owned);
        }
        json.finish().ok()
    }

    fn see(&mut self, name: String, raw: &[u8]) {
        if !self.fields.contains_key(&name) {
            if self.fields.len() >= INFER_FIELDS_MAX {
                return;
            }
            self.order.push(name.clone());
        }
        self.fields.entry(name).or_default().see(raw);
    }
}

impl Field {
    fn see(&mut self, raw: &[u8]) {
        self.present += 1;
        match raw.first() {
            Some(b'n') => self.nulls += 1,
            Some(b't' | b'f') => self.booleans += 1,
            Some(b'{') => self.documents += 1,
            Some(b'[') => self.see_array(raw),
            Some(b'"') => self.see_text(raw),
            _ => match std::str::from_utf8(raw).ok().and_then(|text| text.parse::<i64>().ok()) {
                Some(integer) => {
                    self.integers += 1;
                    let magnitude = if integer < 0 { !integer } else { integer };
                    self.integer_bits = self.integer_bits.max(65 - magnitude.leading_zeros());
                }
                None => self.floats += 1,
            },
        }
    }

    /// An array says what its items are.
    fn see_array(&mut self, raw: &[u8]) {
        self.arrays += 1;
        let item = self.item.get_or_insert_default();
        let mut json = Jiter::new(raw).with_allow_inf_nan();
        let mut next = json.next_array().ok().flatten();
        while let Some(peek) = next {
            let start = json.current_index();
            if json.known_skip(peek).is_err() {
                return;
            }
            match raw.get(start..json.current_index()) {
                // Of arrays in arrays nothing is said.
                Some([b'[', ..]) | None => item.documents += 1,
                Some(value) => item.see(value),
            }
            next = json.array_step().ok().flatten();
        }
    }

    fn has_values(&self) -> bool {
        self.present > self.nulls && self.documents == 0
    }

    fn see_text(&mut self, raw: &[u8]) {
        let mut json = Jiter::new(raw);
        let Ok(text) = json.next_str() else {
            self.texts += 1;
            return;
        };
        if parse_text(ColumnType::Date, text) {
            self.dates += 1;
        } else if text.len() >= 16 && parse_text(ColumnType::Timestamp, text) {
            self.timestamps += 1;
            let time = &text[11..];
            self.zoned += usize::from(time.ends_with('Z') || time.contains(['+', '-']));
        } else if parse_text(ColumnType::Uuid, text) {
            self.uuids += 1;
        } else {
            self.texts += 1;
        }
    }

    fn column_type(&self) -> ColumnType {
        let values = self.present - self.nulls;
        let only = |count: usize| values > 0 && count == values;
        if only(self.booleans) {
            ColumnType::Boolean
        } else if only(self.integers) {
            if self.integer_bits <= 32 { ColumnType::Integer } else { ColumnType::Bigint }
        } else if only(self.integers + self.floats) {
            ColumnType::Double
        } else if only(self.dates) {
            ColumnType::Date
        } else if only(self.timestamps + self.dates) && self.zoned == self.timestamps {
            ColumnType::Timestamptz
        } else if only(self.timestamps + self.dates) && self.zoned == 0 {
            ColumnType::Timestamp
        } else if only(self.uuids) {
            ColumnType::Uuid
        } else if only(self.arrays) && self.item.as_deref().is_some_and(Self::has_values) {
            let item = self.item.as_deref().map(Self::column_type);
            item.and_then(ItemType::of).map_or(ColumnType::Json, ColumnType::Array)
        } else if self.documents + self.arrays > 0 {
            ColumnType::Json
        } else {
            ColumnType::Text
        }
    }

    fn comment(&self, objects: usize) -> Option<String> {
        let missing = objects - self.present.min(objects) + self.nulls;
        if self.present == self.nulls {
            return Some("always null".to_owned());
        }
        if missing == 0 || objects == 0 {
            return None;
        }
        Some(format!("{:.1} % null or missing", missing as f64 * 100.0 / objects as f64))
    }
}

/// A column's type, as it is declared.
pub(crate) fn type_name(column: ColumnType) -> String {
    match column {
        ColumnType::Boolean => "boolean".to_owned(),
        ColumnType::Smallint => "smallint".to_owned(),
        ColumnType::Integer => "integer".to_owned(),
        ColumnType::Bigint => "bigint".to_owned(),
        ColumnType::Real => "real".to_owned(),
        ColumnType::Double => "double precision".to_owned(),
        ColumnType::Numeric { precision, scale } => format!("numeric({precision},{scale})"),
        ColumnType::Text => "text".to_owned(),
        ColumnType::Bytea => "bytea".to_owned(),
        ColumnType::Date => "date".to_owned(),
        ColumnType::Timestamp => "timestamp".to_owned(),
        ColumnType::Timestamptz => "timestamptz".to_owned(),
        ColumnType::Time => "time".to_owned(),
        ColumnType::Interval => "interval".to_owned(),
        ColumnType::Uuid => "uuid".to_owned(),
        ColumnType::Json => "json".to_owned(),
        ColumnType::Jsonb => "jsonb".to_owned(),
        ColumnType::Array(item) => format!("{}[]", item_name(item)),
    }
}

fn item_name(item: ItemType) -> &'static str {
    match item {
        ItemType::Boolean => "boolean",
        ItemType::Smallint => "smallint",
        ItemType::Integer => "integer",
        ItemType::Bigint => "bigint",
        ItemType::Real => "real",
        ItemType::Double => "double precision",
        ItemType::Numeric => "numeric",
        ItemType::Text => "text",
        ItemType::Bytea => "bytea",
        ItemType::Date => "date",
        ItemType::Timestamp => "timestamp",
        ItemType::Timestamptz => "timestamptz",
        ItemType::Time => "time",
        ItemType::Interval => "interval",
        ItemType::Uuid => "uuid",
        ItemType::Jsonb => "jsonb",
    }
}
