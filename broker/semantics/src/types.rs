//! PostgreSQL's types, and the Arrow types that stand for them.
//!
//! DataFusion drops the metadata of fields in CASE, UNION and elsewhere, so a type that Arrow has
//! not gets an Arrow type of its own that nothing else uses: `LargeBinary` is numeric,
//! `LargeUtf8` is jsonb, sixteen fixed bytes are a uuid.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalUnit, TimeUnit};
use std::collections::HashMap;
use std::sync::Arc;

/// A type of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PgType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Time,
    Uuid,
    Json,
    Jsonb,
    Array(&'static PgType),
    /// A string constant or NULL whose type its surroundings say.
    Unknown,
    /// Of a signature: any type at all.
    Any,
    /// Of a signature: one type for all that are so marked.
    AnyElement,
    /// Of a signature: an array of [`PgType::AnyElement`].
    AnyArray,
    /// What PostgreSQL has no type for.
    Other,
}

use PgType::*;

/// The types that values and items of arrays have.
pub(crate) static PLAIN: [PgType; 17] = [
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Date,
    Timestamp,
    Timestamptz,
    Interval,
    Time,
    Uuid,
    Json,
    Jsonb,
];

/// Categories of `pg_type.typcategory`, as far as they matter for choosing functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Category {
    Boolean,
    Number,
    String,
    Time,
    Span,
    Array,
    User,
}

/// Whether a text field holds JSON.
#[must_use]
pub fn is_json(field: &Field) -> bool {
    field.metadata().get("ARROW:extension:name").is_some_and(|name| name == "arrow.json")
}

impl PgType {
    /// The type that an Arrow field holds.
    pub(crate) fn of_field(field: &Field) -> Self {
        if is_json(field) && field.data_type() != &DataType::LargeUtf8 {
            return Json;
        }
        Self::of(field.data_type())
    }

    /// The type that an Arrow type stands for.
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            DataType::Null => Unknown,
            DataType::Boolean => Bool,
            DataType::Int8 | DataType::UInt8 | DataType::Int16 => Int2,
            DataType::UInt16 | DataType::Int32 => Int4,
            DataType::UInt32 | DataType::UInt64 | DataType::Int64 => Int8,
            DataType::LargeBinary
            | DataType::Decimal32(..)
            | DataType::Decimal64(..)
            | DataType::Decimal128(..)
            | DataType::Decimal256(..) => Numeric,
            DataType::Float16 | DataType::Float32 => Float4,
            DataType::Float64 => Float8,
            DataType::Utf8 | DataType::Utf8View => Text,
            DataType::LargeUtf8 => Jsonb,
            DataType::FixedSizeBinary(16) => Uuid,
            DataType::Binary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Bytea,
            DataType::Date32 | DataType::Date64 => Date,
            DataType::Timestamp(_, None) => Timestamp,
            DataType::Timestamp(_, Some(_)) => Timestamptz,
            DataType::Interval(_) | DataType::Duration(_) => Interval,
            DataType::Time32(_) | DataType::Time64(_) => Time,
            DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                Self::of(item.data_type()).array()
            }
            DataType::Dictionary(_, value) => Self::of(value),
            _ => Other,
        }
    }

    /// The Arrow type that results have.
    pub(crate) fn arrow(self) -> DataType {
        match self {
            Bool => DataType::Boolean,
            Int2 => DataType::Int16,
            Int4 => DataType::Int32,
            Int8 => DataType::Int64,
            Float4 => DataType::Float32,
            Float8 => DataType::Float64,
            Numeric => DataType::LargeBinary,
            Text | Json | Other | Any | AnyElement => DataType::Utf8View,
            Jsonb => DataType::LargeUtf8,
            Bytea => DataType::BinaryView,
            Uuid => DataType::FixedSizeBinary(16),
            Date => DataType::Date32,
            Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Timestamptz => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Time => DataType::Time64(TimeUnit::Microsecond),
            Array(item) => DataType::List(Arc::new(Field::new_list_field(item.arrow(), true))),
            AnyArray => DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true))),
            Unknown => DataType::Null,
        }
    }

    /// A nullable field of the type.
    pub(crate) fn field(self, name: &str) -> FieldRef {
        let field = Field::new(name, self.arrow(), true);
        Arc::new(match self {
            Json => field.with_metadata(HashMap::from([(
                "ARROW:extension:name".to_owned(),
                "arrow.json".to_owned(),
            )])),
            _ => field,
        })
    }

    /// The array type of this item type.
    pub(crate) fn array(self) -> Self {
        match self {
            // Arrays of arrays are arrays of more dimensions.
            Array(_) => self,
            Unknown => Array(&Text),
            item => PLAIN.iter().find(|other| **other == item).map_or(Other, Array),
        }
    }

    /// The name that messages and `pg_typeof` give.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Bool => "boolean",
            Int2 => "smallint",
            Int4 => "integer",
            Int8 => "bigint",
            Float4 => "real",
            Float8 => "double precision",
            Numeric => "numeric",
            Text => "text",
            Bytea => "bytea",
            Date => "date",
            Timestamp => "timestamp without time zone",
            Timestamptz => "timestamp with time zone",
            Interval => "interval",
            Time => "time without time zone",
            Uuid => "uuid",
            Json => "json",
            Jsonb => "jsonb",
            Array(item) => match item {
                Bool => "boolean[]",
                Int2 => "smallint[]",
                Int4 => "integer[]",
                Int8 => "bigint[]",
                Float4 => "real[]",
                Float8 => "double precision[]",
                Numeric => "numeric[]",
                Bytea => "bytea[]",
                Date => "date[]",
                Timestamp => "timestamp without time zone[]",
                Timestamptz => "timestamp with time zone[]",
                Interval => "interval[]",
                Time => "time without time zone[]",
                Uuid => "uuid[]",
                Json => "json[]",
                Jsonb => "jsonb[]",
                _ => "text[]",
            },
            Unknown => "unknown",
            Any => "any",
            AnyElement => "anyelement",
            AnyArray => "anyarray",
            Other => "record",
        }
    }

    pub(crate) fn category(self) -> Category {
        match self {
            Bool => Category::Boolean,
            Int2 | Int4 | Int8 | Float4 | Float8 | Numeric => Category::Number,
            Text | Unknown => Category::String,
            Date | Timestamp | Timestamptz | Time => Category::Time,
            Interval => Category::Span,
            Array(_) | AnyArray => Category::Array,
            _ => Category::User,
        }
    }

    /// `pg_type.typispreferred`.
    pub(crate) fn is_preferred(self) -> bool {
        matches!(self, Bool | Float8 | Text | Timestamptz | Interval)
    }

    /// Whether a value of this type is taken where `to` is wanted (`pg_cast.castcontext` 'i').
    pub(crate) fn casts_implicitly(self, to: Self) -> bool {
        if self == to || matches!((self, to), (Unknown, _) | (_, Any | AnyElement)) {
            return true;
        }
        if let (Array(from), Array(to)) = (self, to) {
            return from.casts_implicitly(*to);
        }
        matches!(
            (self, to),
            (Array(_), AnyArray)
                | (Int2, Int4 | Int8 | Numeric | Float4 | Float8)
                | (Int4, Int8 | Numeric | Float4 | Float8)
                | (Int8, Numeric | Float4 | Float8)
                | (Numeric, Float4 | Float8)
                | (Float4, Float8)
                | (Date, Timestamp | Timestamptz)
                | (Timestamp, Timestamptz)
                | (Time, Interval)
        )
    }

    /// The type that values of all these are brought to (UNION, CASE, and so on; PostgreSQL 15,
    /// 10.5); none if there is no such type.
    pub(crate) fn common(types: impl IntoIterator<Item = Self>) -> Option<Self> {
        let mut found = Unknown;
        for next in types {
            if next == Unknown || next == found {
                continue;
            }
            if found == Unknown {
                found = next;
                continue;
            }
            if found.category() != next.category() {
                return None;
            }
            if found.casts_implicitly(next) && !found.is_preferred() {
                found = next;
            } else if !next.casts_implicitly(found) {
                return None;
            }
        }
        Some(found)
    }
}
