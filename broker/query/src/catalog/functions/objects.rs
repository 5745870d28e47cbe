//! Functions that look up what the catalogue describes: names to oids and back, definitions,
//! sizes, rights.

use crate::catalog::pg::{
    Constraint, Described, KNOWN, Key, OWNER_NAME, SYSTEM, constraints_of, namespace_oid, relations,
};
use crate::catalog::{DATABASE, PUBLIC, SCHEMAS, find};
use crate::error::{Error, sqlstate};
use crate::statement::shown_name;
use anabranch_engine::{Guarded, Operation, ResourceKind, Session as EngineSession};
use anabranch_semantics::cast_array;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, Int64Array, StringViewArray,
};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use std::cell::OnceCell;
use std::hash::{Hash, Hasher};

/// An argument, or a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Number(i64),
    Text(String),
}

type Body = fn(&Objects<'_>, &[Value]) -> Result<Value, Error>;

/// What is looked up, for all rows of a call.
struct Objects<'a> {
    engine: &'a EngineSession,
    relations: OnceCell<Vec<Described>>,
    keys: OnceCell<Vec<Key>>,
    constraints: OnceCell<Vec<Constraint>>,
}

impl<'a> Objects<'a> {
    fn new(engine: &'a EngineSession) -> Self {
        let (relations, keys) = (OnceCell::new(), OnceCell::new());
        Self { engine, relations, keys, constraints: OnceCell::new() }
    }

    fn relations(&self) -> &[Described] {
        self.relations.get_or_init(|| relations(self.engine))
    }

    fn relation(&self, oid: i64) -> Option<&Described> {
        self.relations().iter().find(|relation| i64::from(relation.oid) == oid)
    }

    fn keys(&self) -> &[Key] {
        self.keys.get_or_init(|| Key::all(self.engine))
    }

    fn constraints(&self) -> &[Constraint] {
        self.constraints.get_or_init(|| constraints_of(self.engine))
    }
}

/// Name, type of the result, and what it does. Oids are Int32.
const FUNCTIONS: [(&str, DataType, Body); 46] = [
    ("pg_oid", DataType::Int32, oid),
    ("pg_regclass", DataType::Int32, regclass),
    ("pg_regclass_name", DataType::Utf8View, regclass_name),
    ("to_regclass", DataType::Int32, to_regclass),
    ("pg_regtype", DataType::Int32, regtype),
    ("pg_regtype_name", DataType::Utf8View, regtype_name),
    ("to_regtype", DataType::Int32, to_regtype),
    ("pg_regnamespace", DataType::Int32, regnamespace),
    ("pg_regnamespace_name", DataType::Utf8View, regnamespace_name),
    ("to_regnamespace", DataType::Int32, to_regnamespace),
    ("pg_regrole", DataType::Int32, regrole),
    ("pg_regrole_name", DataType::Utf8View, regrole_name),
    ("pg_regproc", DataType::Utf8View, regproc),
    ("pg_get_userbyid", DataType::Utf8View, regrole_name),
    ("pg_get_indexdef", DataType::Utf8View, index_definition),
    ("pg_get_constraintdef", DataType::Utf8View, constraint_definition),
    ("pg_get_viewdef", DataType::Utf8View, view_definition),
    ("pg_relation_size", DataType::Int64, relation_size),
    ("pg_table_size", DataType::Int64, relation_size),
    ("pg_total_relation_size", DataType::Int64, relation_size),
    ("pg_indexes_size", DataType::Int64, index_size),
    ("pg_database_size", DataType::Int64, database_size),
    ("pg_tablespace_size", DataType::Int64, database_size),
    ("pg_size_pretty", DataType::Utf8View, size_pretty),
    ("pg_encoding_to_char", DataType::Utf8View, encoding_name),
    ("pg_char_to_encoding", DataType::Int32, char_to_encoding),
    ("getdatabaseencoding", DataType::Utf8View, database_encoding),
    ("current_setting", DataType::Utf8View, current_setting),
    ("pg_advisory_lock", DataType::Utf8View, no_locks),
    ("pg_advisory_lock_shared", DataType::Utf8View, no_locks),
    ("pg_advisory_xact_lock", DataType::Utf8View, no_locks),
    ("pg_advisory_xact_lock_shared", DataType::Utf8View, no_locks),
    ("pg_try_advisory_lock", DataType::Boolean, no_locks),
    ("pg_try_advisory_lock_shared", DataType::Boolean, no_locks),
    ("pg_try_advisory_xact_lock", DataType::Boolean, no_locks),
    ("pg_try_advisory_xact_lock_shared", DataType::Boolean, no_locks),
    ("pg_cancel_backend", DataType::Boolean, no_signals),
    ("pg_terminate_backend", DataType::Boolean, no_signals),
    ("has_table_privilege", DataType::Boolean, has_table_privilege),
    ("has_any_column_privilege", DataType::Boolean, has_table_privilege),
    ("has_column_privilege", DataType::Boolean, has_column_privilege),
    ("has_schema_privilege", DataType::Boolean, has_other_privilege),
    ("has_database_privilege", DataType::Boolean, has_other_privilege),
    ("has_function_privilege", DataType::Boolean, has_other_privilege),
    ("has_sequence_privilege", DataType::Boolean, has_other_privilege),
    ("pg_has_role", DataType::Boolean, has_other_privilege),
];

/// All of them, for what `engine` may see.
pub(super) fn udfs(engine: &EngineSession) -> impl Iterator<Item = ScalarUDF> {
    FUNCTIONS.into_iter().map(|(name, result, body)| {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        let signature = Signature::one_of(any, Volatility::Stable);
        ScalarUDF::from(Lookup { name, result, body, signature, engine: engine.clone() })
    })
}

struct Lookup {
    name: &'static str,
    result: DataType,
    body: Body,
    signature: Signature,
    engine: EngineSession,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("name", &self.name).finish_non_exhaustive()
    }
}

// Of one name there is one for an engine's session.
impl PartialEq for Lookup {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.engine.is_same(&other.engine)
    }
}

impl Eq for Lookup {}

impl Hash for Lookup {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Lookup {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = arguments.number_rows;
        let columns = arguments
            .args
            .iter()
            .map(|argument| Column::new(&argument.to_array(rows)?))
            .collect::<Result<Vec<_>>>()?;
        let objects = Objects::new(&self.engine);
        let mut values = Vec::with_capacity(rows);
        for row in 0..rows {
            let row: Vec<Value> = columns.iter().map(|column| column.value(row)).collect();
            values.push((self.body)(&objects, &row)?);
        }
        Ok(ColumnarValue::Array(array(&self.result, values)))
    }
}

/// A column of arguments in one of the types that are looked at.
enum Column {
    Bools(BooleanArray),
    Numbers(Int64Array),
    Texts(StringViewArray),
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Boolean => Self::Bools(array.as_boolean().clone()),
            of if of.is_integer() => {
                let numbers = cast_array(array, &DataType::Int64)?;
                Self::Numbers(numbers.as_primitive::<Int64Type>().clone())
            }
            _ => Self::Texts(cast_array(array, &DataType::Utf8View)?.as_string_view().clone()),
        })
    }

    fn value(&self, row: usize) -> Value {
        match self {
            Self::Bools(array) if array.is_valid(row) => Value::Bool(array.value(row)),
            Self::Numbers(array) if array.is_valid(row) => Value::Number(array.value(row)),
            Self::Texts(array) if array.is_valid(row) => Value::Text(array.value(row).to_owned()),
            _ => Value::Null,
        }
    }
}

fn array(of: &DataType, values: Vec<Value>) -> ArrayRef {
    let number = |value: &Value| match value {
        Value::Number(number) => Some(*number),
        _ => None,
    };
    match of {
        DataType::Boolean => std::sync::Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Value::Bool(value) => Some(*value),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        DataType::Int32 => std::sync::Arc::new(
            values
                .iter()
                .map(|value| number(value).and_then(|oid| i32::try_from(oid).ok()))
                .collect::<Int32Array>(),
        ),
        DataType::Int64 => std::sync::Arc::new(values.iter().map(number).collect::<Int64Array>()),
        _ => std::sync::Arc::new(
            values
                .iter()
                .map(|value| match value {
                    Value::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect::<StringViewArray>(),
        ),
    }
}

fn text(value: impl Into<String>) -> Result<Value, Error> {
    Ok(Value::Text(value.into()))
}

/// The number that a text is, where a name may stand.
fn as_number(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Text(text) if text == "-" => Some(0),
        Value::Text(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn oid(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    Ok(match values {
        [Value::Null] => Value::Null,
        [value] => match as_number(value) {
            Some(number) => Value::Number(number),
            // A function is known by its name here; that it is one is all that is asked.
            None => Value::Number(1),
        },
        _ => return Err(wrong("oid")),
    })
}

fn wrong(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_FUNCTION, format!("wrong arguments of {name}"))
}

/// A name in parts, unquoted and folded as SQL does.
fn parts(name: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut quoted = false;
    let mut chars = name.trim().chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                part.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(std::mem::take(&mut part)),
            c if quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    parts.push(part);
    parts
}

/// The relation of a name: without a schema, in `public` and then in `pg_catalog`.
fn relation_oid(objects: &Objects<'_>, name: &str) -> Option<i64> {
    let parts = parts(name);
    let (schema, name) = match parts.as_slice() {
        [name] => (None, name),
        [schema, name] | [_, schema, name] => (Some(schema.as_str()), name),
        _ => return None,
    };
    let ours = objects
        .relations()
        .iter()
        .find(|relation| &relation.name == name && relation.schema == schema.unwrap_or(PUBLIC));
    if let Some(relation) = ours {
        return Some(i64::from(relation.oid));
    }
    if schema.is_none_or(|schema| schema == "pg_catalog") {
        let system = SYSTEM.iter().find(|(_, system)| system == name);
        return system.map(|(oid, _)| i64::from(*oid));
    }
    None
}

/// The oid of what is named; `None` is none.
fn sought(values: &[Value], find: impl Fn(&str) -> Option<i64>) -> Result<Value, Error> {
    match values {
        [Value::Null] => Ok(Value::Null),
        [Value::Text(name)] => Ok(find(name).map_or(Value::Null, Value::Number)),
        _ => Err(wrong("the name of an object")),
    }
}

/// As [`sought`], of what must be there; numbers are oids already.
fn cast(
    values: &[Value],
    (code, what): (&'static str, &str),
    find: impl Fn(&str) -> Option<i64>,
) -> Result<Value, Error> {
    let [value] = values else {
        return Err(wrong(what));
    };
    match (as_number(value), value) {
        (Some(oid), _) => Ok(Value::Number(oid)),
        (None, Value::Null) => Ok(Value::Null),
        (None, Value::Text(name)) => {
            find(name).map(Value::Number).ok_or_else(|| missing(code, what, name))
        }
        (None, _) => Err(wrong(what)),
    }
}

fn to_regclass(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    sought(values, |name| relation_oid(objects, name))
}

fn regclass(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    cast(values, (sqlstate::UNDEFINED_TABLE, "relation"), |name| relation_oid(objects, name))
}

fn missing(code: &'static str, what: &str, name: &str) -> Error {
    Error::new(code, format!("{what} \"{name}\" does not exist"))
}

fn regclass_name(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let [Value::Number(oid)] = values else {
        return Ok(Value::Null);
    };
    if *oid == 0 {
        return text("-");
    }
    if let Some(relation) = objects.relation(*oid) {
        let name = shown_name(&relation.name);
        return text(match relation.schema {
            PUBLIC => name,
            schema => format!("{schema}.{name}"),
        });
    }
    let system = SYSTEM.iter().find(|(system, _)| i64::from(*system) == *oid);
    text(system.map_or_else(|| oid.to_string(), |(_, name)| (*name).to_owned()))
}

const PSEUDO: [(i64, &str); 6] = [
    (2275, "cstring"),
    (2276, "any"),
    (2277, "anyarray"),
    (2279, "trigger"),
    (2281, "internal"),
    (3838, "event_trigger"),
];

fn type_oid(name: &str) -> Option<i64> {
    let name = name.trim().to_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let (base, is_array) = match name.strip_suffix("[]") {
        Some(base) => (base.trim(), true),
        None => (name, false),
    };
    let base = match base {
        "int" => "int4",
        "decimal" => "numeric",
        "timestamp with time zone" => "timestamptz",
        other => other,
    };
    let all = KNOWN.iter();
    if let Some(item) = base.strip_prefix('_').filter(|_| !is_array) {
        return all.filter(|of| of.name == item).map(|of| i64::from(of.array)).next();
    }
    let base = base.trim_matches('"');
    // Types that only functions have.
    if let Some((oid, _)) = PSEUDO.iter().find(|(_, name)| *name == base) {
        return Some(*oid);
    }
    let found = all.into_iter().find(|of| of.name == base || of.sql_name == base)?;
    Some(i64::from(if is_array { found.array } else { found.oid }))
}

fn to_regtype(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    sought(values, type_oid)
}

fn regtype(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    cast(values, (sqlstate::UNDEFINED_OBJECT, "type"), type_oid)
}

fn regtype_name(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let [Value::Number(oid)] = values else {
        return Ok(Value::Null);
    };
    let item = KNOWN.iter().find(|of| i64::from(of.oid) == *oid);
    let array = KNOWN.iter().find(|of| of.array != 0 && i64::from(of.array) == *oid);
    text(match (item, array) {
        (Some(of), _) => of.sql_name.to_owned(),
        (None, Some(of)) => format!("{}[]", of.sql_name),
        (None, None) if *oid == 0 => "-".to_owned(),
        (None, None) => oid.to_string(),
    })
}

fn schema_oid(name: &str) -> Option<i64> {
    let parts = parts(name);
    let [name] = parts.as_slice() else {
        return None;
    };
    let known = SCHEMAS.contains(&name.as_str());
    known.then(|| i64::from(namespace_oid(name)))
}

fn to_regnamespace(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    sought(values, schema_oid)
}

fn regnamespace(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    cast(values, ("3F000", "schema"), schema_oid)
}

fn regnamespace_name(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let [Value::Number(oid)] = values else {
        return Ok(Value::Null);
    };
    let found = SCHEMAS.iter().find(|name| i64::from(namespace_oid(name)) == *oid);
    text(found.map_or_else(|| oid.to_string(), |name| (*name).to_owned()))
}

fn regrole(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let role = |name: &str| (name == OWNER_NAME).then_some(10);
    cast(values, (sqlstate::UNDEFINED_OBJECT, "role"), role)
}

/// Everything is owned by one role.
fn regrole_name(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    match values {
        [Value::Number(10)] => text(OWNER_NAME),
        [Value::Number(oid)] => text(format!("unknown (OID={oid})")),
        _ => Ok(Value::Null),
    }
}

/// Functions are named in the catalogue, not numbered.
fn regproc(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    match values {
        [Value::Text(name)] => {
            let name = name.split('(').next().unwrap_or(name);
            text(name.strip_prefix("pg_catalog.").unwrap_or(name))
        }
        [Value::Number(0)] => text("-"),
        [Value::Number(oid)] => text(oid.to_string()),
        _ => Ok(Value::Null),
    }
}

/// The whole definition, or one column of it (from 1).
fn index_definition(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let (oid, column) = match values {
        [Value::Number(oid)] => (*oid, 0),
        [Value::Number(oid), Value::Number(column), _] => (*oid, *column),
        _ => return Ok(Value::Null),
    };
    let Some(key) = objects.keys().iter().find(|key| i64::from(key.index_oid) == oid) else {
        return Ok(Value::Null);
    };
    if column == 0 {
        return text(key.index_definition());
    }
    let at = usize::try_from(column - 1).unwrap_or(usize::MAX);
    text(key.columns.get(at).map_or_else(String::new, |(name, _)| shown_name(name)))
}

fn constraint_definition(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let (Some(Value::Number(oid)), true) = (values.first(), values.len() <= 2) else {
        return Ok(Value::Null);
    };
    match objects.constraints().iter().find(|one| i64::from(one.oid) == *oid) {
        Some(constraint) => text(&constraint.definition),
        None => Ok(Value::Null),
    }
}

/// A view's query; by the view's oid or name, however it is to be laid out.
fn view_definition(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let Some(value) = values.first().filter(|value| **value != Value::Null) else {
        return Ok(Value::Null);
    };
    let Value::Number(oid) = regclass(objects, std::slice::from_ref(value))? else {
        return Ok(Value::Null);
    };
    match objects.relation(oid).and_then(Described::definition) {
        Some(query) => text(query),
        None => Ok(Value::Null),
    }
}

/// The stream's log in bytes: rows are folded from it, and have no other size.
fn relation_size(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let Some(relation) = named(objects, values.first())? else {
        return Ok(Value::Null);
    };
    let Some(stream) = find(objects.engine, &relation) else {
        return Ok(Value::Number(0));
    };
    let logs = stream.partitions.iter().filter_map(|id| objects.engine.marks(*id));
    let bytes: u64 = logs.map(|log| log.bytes()).sum();
    Ok(Value::Number(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

/// Keys have no index that takes place of its own.
fn index_size(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    Ok(named(objects, values.first())?.map_or(Value::Null, |_| Value::Number(0)))
}

/// The name of a relation that is given by its oid or name.
fn named(objects: &Objects<'_>, value: Option<&Value>) -> Result<Option<String>, Error> {
    let Some(value) = value.filter(|value| **value != Value::Null) else {
        return Ok(None);
    };
    let Value::Number(oid) = regclass(objects, std::slice::from_ref(value))? else {
        return Ok(None);
    };
    Ok(objects.relation(oid).map(|relation| relation.name.clone()))
}

/// Everything is in one database and one tablespace.
fn database_size(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    if let [Value::Text(name)] = values
        && name != DATABASE
        && !name.starts_with("pg_")
    {
        return Err(missing("3D000", "database", name));
    }
    let mut bytes = 0u64;
    for stream in crate::catalog::streams_of(objects.engine) {
        let logs = stream.partitions.iter().filter_map(|id| objects.engine.marks(*id));
        bytes = bytes.saturating_add(logs.map(|log| log.bytes()).sum());
    }
    Ok(Value::Number(i64::try_from(bytes).unwrap_or(i64::MAX)))
}

/// PostgreSQL 15, dbsize.c: the unit below which there would be five digits.
fn size_pretty(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let [value] = values else {
        return Err(wrong("pg_size_pretty"));
    };
    let Some(bytes) = as_number(value) else {
        return Ok(Value::Null);
    };
    const LIMIT: i64 = 10 * 1024;
    if bytes.saturating_abs() < LIMIT {
        return text(format!("{bytes} bytes"));
    }
    // Halves are kept to round by.
    let mut halves = bytes >> 9;
    let units = ["kB", "MB", "GB", "TB", "PB"];
    for (at, unit) in units.iter().enumerate() {
        if halves.saturating_abs() < LIMIT * 2 - 1 || at + 1 == units.len() {
            let rounded = (halves + i64::from(halves > 0)) / 2;
            return text(format!("{rounded} {unit}"));
        }
        halves >>= 10;
    }
    Ok(Value::Null)
}

fn char_to_encoding(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    Ok(match values {
        [Value::Text(name)] if name.eq_ignore_ascii_case("utf8") => Value::Number(6),
        [Value::Text(name)] if name.eq_ignore_ascii_case("utf-8") => Value::Number(6),
        [Value::Text(_)] => Value::Number(-1),
        _ => Value::Null,
    })
}

/// PostgreSQL 15, encnames.c: there is one encoding, and number 0.
fn encoding_name(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    match values {
        [Value::Number(6)] => text("UTF8"),
        [Value::Number(0)] => text("SQL_ASCII"),
        [Value::Number(_)] => text(""),
        _ => Ok(Value::Null),
    }
}

fn database_encoding(_: &Objects<'_>, _: &[Value]) -> Result<Value, Error> {
    text("UTF8")
}

/// Of a name that is computed: settings as they are where nobody has set them. A name that is
/// written down is answered with the session's own.
fn current_setting(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let Some(Value::Text(name)) = values.first() else {
        return Ok(Value::Null);
    };
    let all = crate::session::defaults();
    match all.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        Some((_, value)) => text(*value),
        None if values.get(1) == Some(&Value::Bool(true)) => Ok(Value::Null),
        None => Err(Error::new(
            sqlstate::UNDEFINED_OBJECT,
            format!("unrecognized configuration parameter \"{name}\""),
        )),
    }
}

fn no_locks(_: &Objects<'_>, _: &[Value]) -> Result<Value, Error> {
    Err(Error::unsupported("advisory locks are not supported")
        .hint("INSERT a row of a known key instead: of two at a time one fails with 23505"))
}

fn no_signals(_: &Objects<'_>, _: &[Value]) -> Result<Value, Error> {
    Err(Error::unsupported("statements of other sessions cannot be cancelled by a function")
        .hint("cancel with the protocol's own request, as drivers do; statement_timeout ends them"))
}

/// Of the session's own user: what others may do is in `sys.grants`.
fn has_table_privilege(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let (relation, privileges) = match values {
        [relation, Value::Text(privileges)] | [_, relation, Value::Text(privileges)] => {
            (relation, privileges)
        }
        _ => return Ok(Value::Null),
    };
    may(objects, relation, privileges)
}

fn has_column_privilege(objects: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    let (relation, privileges) = match values {
        [relation, _, Value::Text(privileges)] | [_, relation, _, Value::Text(privileges)] => {
            (relation, privileges)
        }
        _ => return Ok(Value::Null),
    };
    may(objects, relation, privileges)
}

/// Whether one of the privileges, with commas between, is held.
fn may(objects: &Objects<'_>, relation: &Value, privileges: &str) -> Result<Value, Error> {
    let Value::Number(oid) = regclass(objects, std::slice::from_ref(relation))? else {
        return Ok(Value::Null);
    };
    let found = objects.relation(oid);
    let mut held = false;
    for privilege in privileges.split(',') {
        let privilege = privilege.trim().to_uppercase();
        let privilege = privilege.strip_suffix(" WITH GRANT OPTION").unwrap_or(&privilege);
        let operation = match privilege {
            "SELECT" => Operation::Read,
            "INSERT" | "UPDATE" | "DELETE" => Operation::Write,
            "TRUNCATE" => Operation::Delete,
            // There are no references and no triggers to have a right to.
            "REFERENCES" | "TRIGGER" | "RULE" => continue,
            other => {
                return Err(Error::new(
                    sqlstate::INVALID_PARAMETER,
                    format!("unrecognized privilege type: \"{other}\""),
                ));
            }
        };
        held |= match found {
            Some(relation) if relation.schema == PUBLIC => {
                let guarded = Guarded { kind: ResourceKind::Topic, name: &relation.name };
                objects.engine.may(operation, guarded)
            }
            Some(relation) if relation.schema == crate::catalog::LOG => {
                let guarded = Guarded { kind: ResourceKind::Topic, name: &relation.name };
                operation == Operation::Read && objects.engine.may(operation, guarded)
            }
            // The catalogue is everybody's to read.
            _ => operation == Operation::Read,
        };
    }
    Ok(Value::Bool(held))
}

/// Schemas, the database and functions are everybody's to use.
fn has_other_privilege(_: &Objects<'_>, values: &[Value]) -> Result<Value, Error> {
    Ok(if values.contains(&Value::Null) { Value::Null } else { Value::Bool(true) })
}
