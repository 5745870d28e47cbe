//! Arrow's types as PostgreSQL's.

use anabranch_query::is_json;
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, TimeUnit};
use pgwire::api::Type;
use std::sync::Arc;

/// The PostgreSQL type of a result column.
pub(crate) fn pg_type(field: &Field) -> Type {
    // Oids and one-byte characters of the system catalogue are marked by datafusion-pg-catalog.
    // All are numbers, and printed as such; functions are named.
    if field.data_type() == &DataType::Int32 && field.metadata().contains_key("pg.oid_alias") {
        return Type::OID;
    }
    if field.metadata().contains_key("pg.char") {
        return Type::CHAR;
    }
    if is_json(field) {
        return Type::JSON;
    }
    of_data_type(field.data_type())
}

/// The PostgreSQL type of an Arrow type.
pub(crate) fn of_data_type(data_type: &DataType) -> Type {
    match data_type {
        DataType::Boolean => Type::BOOL,
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => Type::INT2,
        DataType::Int32 | DataType::UInt16 => Type::INT4,
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => Type::INT8,
        // LargeBinary is numeric, LargeUtf8 jsonb (anabranch_query's semantics).
        DataType::LargeBinary | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            Type::NUMERIC
        }
        DataType::LargeUtf8 => Type::JSONB,
        DataType::FixedSizeBinary(16) => Type::UUID,
        DataType::Float16 | DataType::Float32 => Type::FLOAT4,
        DataType::Float64 => Type::FLOAT8,
        DataType::Binary | DataType::BinaryView | DataType::FixedSizeBinary(_) => Type::BYTEA,
        DataType::Date32 | DataType::Date64 => Type::DATE,
        DataType::Time32(_) | DataType::Time64(_) => Type::TIME,
        DataType::Timestamp(_, None) => Type::TIMESTAMP,
        DataType::Timestamp(_, Some(_)) => Type::TIMESTAMPTZ,
        DataType::Interval(_) | DataType::Duration(_) => Type::INTERVAL,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            array_of(&of_data_type(item.data_type()))
        }
        DataType::Dictionary(_, value) => of_data_type(value),
        _ => Type::TEXT,
    }
}

/// The same in a statement about the system catalogue: its arrays of integers are arrays of oids,
/// which is lost where they are gathered.
pub(crate) fn of_catalogue(of: Type) -> Type {
    if of == Type::INT4_ARRAY { Type::OID_ARRAY } else { of }
}

/// Types, and the types of arrays of them.
const ARRAYS: [(Type, Type); 19] = [
    (Type::TEXT, Type::TEXT_ARRAY),
    (Type::BOOL, Type::BOOL_ARRAY),
    (Type::INT2, Type::INT2_ARRAY),
    (Type::INT4, Type::INT4_ARRAY),
    (Type::INT8, Type::INT8_ARRAY),
    (Type::NUMERIC, Type::NUMERIC_ARRAY),
    (Type::FLOAT4, Type::FLOAT4_ARRAY),
    (Type::FLOAT8, Type::FLOAT8_ARRAY),
    (Type::BYTEA, Type::BYTEA_ARRAY),
    (Type::DATE, Type::DATE_ARRAY),
    (Type::TIME, Type::TIME_ARRAY),
    (Type::TIMESTAMP, Type::TIMESTAMP_ARRAY),
    (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    (Type::INTERVAL, Type::INTERVAL_ARRAY),
    (Type::UUID, Type::UUID_ARRAY),
    (Type::JSONB, Type::JSONB_ARRAY),
    (Type::JSON, Type::JSON_ARRAY),
    (Type::VARCHAR, Type::VARCHAR_ARRAY),
    (Type::OID, Type::OID_ARRAY),
];

fn array_of(item: &Type) -> Type {
    let found = ARRAYS.into_iter().find(|(one, _)| one == item);
    found.map_or(Type::TEXT_ARRAY, |(_, array)| array)
}

/// The type of the items of an array type.
pub(crate) fn item_of(array: &Type) -> Option<Type> {
    ARRAYS.into_iter().find(|(_, all)| all == array).map(|(item, _)| item)
}

/// `pg_type.typlen`.
pub(crate) fn length(of: &Type) -> i16 {
    match *of {
        Type::BOOL | Type::CHAR => 1,
        Type::INT2 => 2,
        Type::INT4
        | Type::FLOAT4
        | Type::DATE
        | Type::OID
        | Type::REGCLASS
        | Type::REGTYPE
        | Type::REGNAMESPACE => 4,
        Type::INT8 | Type::FLOAT8 | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ => 8,
        Type::INTERVAL | Type::UUID => 16,
        _ => -1,
    }
}

/// `atttypmod`: precision and scale of numeric (PostgreSQL 15, numeric.c), else −1.
pub(crate) fn modifier(field: &Field) -> i32 {
    match field.data_type() {
        DataType::Decimal128(precision, scale) => {
            ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4
        }
        _ => -1,
    }
}

/// The Arrow type of a parameter that the client says is of this type; `None` for "find out".
pub(crate) fn hint(oid: u32) -> Option<DataType> {
    Some(match Type::from_oid(oid)? {
        Type::BOOL => DataType::Boolean,
        Type::INT2 => DataType::Int16,
        Type::INT4 => DataType::Int32,
        Type::INT8 | Type::OID => DataType::Int64,
        Type::FLOAT4 => DataType::Float32,
        Type::FLOAT8 => DataType::Float64,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::JSON => DataType::Utf8View,
        Type::JSONB => DataType::LargeUtf8,
        Type::UUID => DataType::FixedSizeBinary(16),
        Type::NUMERIC => DataType::LargeBinary,
        Type::TIME => DataType::Time64(TimeUnit::Microsecond),
        Type::INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        Type::BYTEA => DataType::BinaryView,
        Type::DATE => DataType::Date32,
        Type::TIMESTAMP => DataType::Timestamp(TimeUnit::Microsecond, None),
        Type::TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        array => {
            let item = hint(item_of(&array)?.oid())?;
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        }
    })
}
