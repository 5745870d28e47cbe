//! `pg_catalog`: what psql's `\d`, drivers and tools ask for.
//!
//! The tables that describe streams are ours, so that oids are the same after a restart and `\d`
//! shows the declared types; all others, which hardly anybody reads, come from
//! `datafusion-pg-catalog`.

mod activity;
mod definitions;
mod keys;
mod oids;
mod others;
mod roles;
mod types;
mod views;

pub(super) use definitions::{
    column_default, default_text, is_sequence, sequence_row, sequence_schema,
};
pub(super) use keys::{Constraint, Key, constraints_of};
pub(super) use oids::SYSTEM;
pub(crate) use oids::system_oid;
pub(super) use types::KNOWN;

use super::cells::{self, character, list_of};
use super::computed::computed;
use super::{DATABASE, LOG, PUBLIC, SCHEMAS, find, streams_of, sys, view_schema};
use crate::error::Error;
use crate::processes::Processes;
use crate::rows::{Layout, Relation};
use anabranch_engine::{Column, ColumnType, Session as EngineSession, Stream};
use anabranch_semantics::is_json;
use async_trait::async_trait;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, RecordBatch, StringArray,
    new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result};
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::oid_field::{OID_ALIAS_KEY, kind, oid_field};
use datafusion_pg_catalog::pg_catalog::{PgCatalogSchemaProvider, PgCatalogStaticTables};
use others::with_arrays;
use std::fmt;
use std::sync::Arc;

/// The role that owns everything: what a user may do is not in `pg_catalog`, but in `sys.grants`.
const OWNER: i32 = 10;

/// What it is called.
pub(super) const OWNER_NAME: &str = "postgres";

/// Oid of the one database.
const DATABASE_OID: i32 = 16_383;

/// A schema's oid. PostgreSQL's own where it has one.
pub(super) fn namespace_oid(schema: &str) -> i32 {
    match schema {
        "pg_catalog" => 11,
        PUBLIC => 2200,
        "information_schema" => 13_000,
        LOG => 15_100,
        _ => 15_101,
    }
}

/// Oids of streams: partitions have unique numbers that are never used again, and every stream
/// has a first one. Four oids a partition: rows, events, and the key's index.
const STREAM_OIDS_FROM: i32 = 16_384;

/// Oid of `public.<stream>`.
fn rows_oid(stream: &Stream) -> i32 {
    let first = stream.partitions.first().map_or(0, |id| id.0);
    STREAM_OIDS_FROM.saturating_add(i32::try_from(first).unwrap_or(i32::MAX).saturating_mul(4))
}

/// Whether an unqualified name finds the relation (`pg_table_is_visible`).
pub(super) fn is_visible(oid: i32) -> bool {
    if oid < STREAM_OIDS_FROM {
        !(15_000..15_200).contains(&oid)
    } else {
        // Of a stream, the log is not; sequences are.
        oid >= definitions::SEQUENCE_OIDS_FROM || (oid - STREAM_OIDS_FROM) % 4 != 1
    }
}

pub(super) struct PgCatalog {
    engine: EngineSession,
    processes: Arc<Processes>,
    others: PgCatalogSchemaProvider<Visible, EmptyContextProvider>,
}

impl PgCatalog {
    pub(super) fn new(engine: EngineSession, processes: Arc<Processes>) -> Result<Self, Error> {
        let others = PgCatalogSchemaProvider::try_new(
            Visible { engine: engine.clone() },
            Arc::new(PgCatalogStaticTables::try_new()?),
            EmptyContextProvider,
        )?;
        Ok(Self { engine, processes, others })
    }
}

impl fmt::Debug for PgCatalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgCatalog").finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.others.table_names();
        names.push(roles::PG_USER.to_owned());
        let ours = definitions::RELATIONS.iter().map(ToString::to_string);
        names.extend(ours.filter(|name| !names.contains(name)).collect::<Vec<_>>());
        names.push(activity::PG_STAT_ACTIVITY.to_owned());
        names.extend(views::ALL.iter().map(|(name, _)| (*name).to_owned()));
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let engine = self.engine.clone();
        match name {
            "pg_namespace" => computed(namespace_schema(), namespaces).map(Some),
            "pg_class" => {
                computed(class_schema(), move |schema| classes(&engine, schema)).map(Some)
            }
            "pg_attribute" => {
                computed(attribute_schema(), move |schema| attributes(&engine, schema)).map(Some)
            }
            name if definitions::RELATIONS.contains(&name) => {
                definitions_of(&engine, name).transpose()
            }
            roles::PG_ROLES => {
                computed(roles::roles_schema(), move |schema| roles::roles(&engine, schema))
                    .map(Some)
            }
            roles::PG_USER => {
                computed(roles::users_schema(), move |schema| roles::roles(&engine, schema))
                    .map(Some)
            }
            "pg_type" => computed(cells::schema(types::SHAPE), |_| types::types()).map(Some),
            activity::PG_STAT_ACTIVITY => {
                let processes = self.processes.clone();
                let schema = cells::schema(activity::SHAPE);
                computed(schema, move |_| activity::activity(&engine, &processes)).map(Some)
            }
            "pg_index" => {
                computed(cells::schema(keys::INDEX), move |_| keys::indexes(&engine)).map(Some)
            }
            "pg_constraint" => {
                let schema = cells::schema(keys::CONSTRAINT);
                computed(schema, move |_| keys::constraints(&engine)).map(Some)
            }
            _ => match views::ALL.iter().find(|(view, _)| *view == name) {
                Some((name, shape)) => {
                    let schema = cells::schema(shape);
                    computed(schema, move |_| views::rows(&engine, name, shape)).map(Some)
                }
                None => match self.others.table(name).await? {
                    Some(table) => with_arrays(name, table).map(Some),
                    None => Ok(None),
                },
            },
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        [roles::PG_USER, activity::PG_STAT_ACTIVITY].contains(&name)
            || definitions::RELATIONS.contains(&name)
            || views::ALL.iter().any(|(view, _)| *view == name)
            || self.others.table_exist(name)
    }
}

/// A relation that tells of definitions, if `name` is one.
pub(super) fn definitions_of(
    engine: &EngineSession,
    name: &str,
) -> Option<Result<Arc<dyn TableProvider>>> {
    let (name, engine) =
        (definitions::RELATIONS.into_iter().find(|other| *other == name)?, engine.clone());
    let schema = definitions::schema_of(name);
    Some(computed(schema, move |schema| definitions::rows(name, &engine, schema)))
}

/// What a relation is (`relkind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RelationKind {
    Table,
    View,
    /// Of a primary key.
    Index,
    Sequence,
}

/// A relation with the columns that `*` shows.
pub(super) struct Described {
    pub(super) oid: i32,
    pub(super) schema: &'static str,
    pub(super) name: String,
    kind: RelationKind,
    columns: SchemaRef,
    not_null: Vec<String>,
    has_index: bool,
    /// Whose rows it is.
    stream: Option<Arc<Stream>>,
    /// A view's query.
    pub(super) query: Option<String>,
}

impl Described {
    pub(super) fn is_table(&self) -> bool {
        self.kind == RelationKind::Table
    }

    /// What was declared of a column.
    fn declared(&self, name: &str) -> Option<&Column> {
        let stream = self.stream.as_ref()?;
        stream.columns.iter().find(|column| column.name == name)
    }

    /// A view's query, as it is shown.
    pub(super) fn definition(&self) -> Option<String> {
        self.query.as_ref().map(|query| format!(" {query};"))
    }

    pub(super) fn is_view(&self) -> bool {
        self.kind == RelationKind::View
    }
}

/// All relations, those of the catalogue itself left out.
pub(super) fn relations(engine: &EngineSession) -> Vec<Described> {
    let mut all = Vec::new();
    for (number, name) in (0..).zip(sys::RELATIONS) {
        if let Some(columns) = sys::schema_of(name) {
            all.push(Described {
                oid: 15_000 + number,
                schema: "sys",
                name: name.to_owned(),
                kind: RelationKind::View,
                columns,
                not_null: Vec::new(),
                has_index: false,
                stream: None,
                query: None,
            });
        }
    }
    for stream in streams_of(engine) {
        let not_null: Vec<_> = stream
            .columns
            .iter()
            .filter(|column| column.not_null || column.in_key)
            .map(|column| column.name.clone())
            .collect();
        let key = Key::of(&stream);
        let columns = Layout::new(&stream, Relation::Rows).visible_schema();
        all.push(Described {
            oid: rows_oid(&stream),
            schema: PUBLIC,
            name: stream.name.clone(),
            kind: RelationKind::Table,
            columns: columns.clone(),
            not_null,
            has_index: key.is_some(),
            stream: Some(Arc::clone(&stream)),
            query: None,
        });
        all.push(Described {
            oid: rows_oid(&stream).saturating_add(1),
            schema: LOG,
            name: stream.name.clone(),
            kind: RelationKind::View,
            columns: Layout::new(&stream, Relation::Log).visible_schema(),
            not_null: Vec::new(),
            has_index: false,
            stream: None,
            query: None,
        });
        if let Some(key) = key {
            let named = |(name, _): &(String, i32)| columns.field_with_name(name).ok().cloned();
            all.push(Described {
                oid: key.index_oid,
                schema: PUBLIC,
                name: key.name.clone(),
                kind: RelationKind::Index,
                columns: Arc::new(Schema::new(
                    key.columns.iter().filter_map(named).collect::<Vec<_>>(),
                )),
                not_null: Vec::new(),
                has_index: false,
                stream: None,
                query: None,
            });
        }
    }
    for sequence in engine.sequences() {
        all.push(Described {
            oid: definitions::sequence_oid(&sequence),
            schema: PUBLIC,
            name: sequence.sequence.spec.name,
            columns: sequence_schema(),
            not_null: Vec::new(),
            kind: RelationKind::Sequence,
            has_index: false,
            stream: None,
            query: None,
        });
    }
    for view in engine.catalog().views() {
        all.push(Described {
            oid: definitions::relation_oid(view.id),
            schema: PUBLIC,
            name: view.spec.name.clone(),
            kind: RelationKind::View,
            columns: view_schema(view),
            not_null: Vec::new(),
            has_index: false,
            stream: None,
            query: Some(view.spec.query.clone()),
        });
    }
    all
}

fn namespace_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        oid_field("oid", kind::OID, false),
        Field::new("nspname", DataType::Utf8, false),
        Field::new("nspowner", DataType::Int32, false),
        Field::new("nspacl", list_of(DataType::Utf8), true),
        Field::new("options", DataType::Utf8, true),
    ]))
}

fn namespaces(schema: SchemaRef) -> Result<RecordBatch, Error> {
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int32Array::from_iter_values(SCHEMAS.iter().map(|name| namespace_oid(name)))),
        Arc::new(StringArray::from_iter_values(SCHEMAS)),
        Arc::new(Int32Array::from_value(OWNER, SCHEMAS.len())),
        new_null_array(&list_of(DataType::Utf8), SCHEMAS.len()),
        new_null_array(&DataType::Utf8, SCHEMAS.len()),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn class_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int32, false);
    let small = |name: &str| Field::new(name, DataType::Int16, false);
    let flag = |name: &str| Field::new(name, DataType::Boolean, false);
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let texts = |name: &str| Field::new(name, list_of(DataType::Utf8), true);
    Arc::new(Schema::new(vec![
        oid_field("oid", kind::OID, false),
        Field::new("relname", DataType::Utf8, false),
        oid_field("relnamespace", kind::REGNAMESPACE, false),
        oid_field("reltype", kind::REGTYPE, false),
        oid_field("reloftype", kind::REGTYPE, false),
        number("relowner"),
        number("relam"),
        number("relfilenode"),
        number("reltablespace"),
        number("relpages"),
        Field::new("reltuples", DataType::Float32, false),
        number("relallvisible"),
        oid_field("reltoastrelid", kind::REGCLASS, false),
        flag("relhasindex"),
        flag("relisshared"),
        character("relpersistence"),
        character("relkind"),
        small("relnatts"),
        small("relchecks"),
        flag("relhasrules"),
        flag("relhastriggers"),
        flag("relhassubclass"),
        flag("relrowsecurity"),
        flag("relforcerowsecurity"),
        flag("relispopulated"),
        character("relreplident"),
        flag("relispartition"),
        oid_field("relrewrite", kind::REGCLASS, false),
        number("relfrozenxid"),
        number("relminmxid"),
        texts("relacl"),
        texts("reloptions"),
        text("relpartbound"),
    ]))
}

fn classes(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let all = relations(engine);
    let rows = all.len();
    let numbers = |of: &dyn Fn(&Described) -> i32| -> ArrayRef {
        Arc::new(Int32Array::from_iter_values(all.iter().map(of)))
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "oid" | "relfilenode" => numbers(&|relation| relation.oid),
            "relname" => Arc::new(StringArray::from_iter_values(all.iter().map(|r| &r.name))),
            "relnamespace" => numbers(&|relation| namespace_oid(relation.schema)),
            "relowner" => numbers(&|_| OWNER),
            "relnatts" => Arc::new(Int16Array::from_iter_values(
                all.iter().map(|r| i16::try_from(r.columns.fields().len()).unwrap_or(i16::MAX)),
            )),
            "relkind" => {
                let kind = |relation: &Described| match relation.kind {
                    RelationKind::Table => "r",
                    RelationKind::View => "v",
                    RelationKind::Index => "i",
                    RelationKind::Sequence => "S",
                };
                Arc::new(StringArray::from_iter_values(all.iter().map(kind)))
            }
            "relchecks" => {
                let checks = |stream: &Arc<Stream>| i16::try_from(stream.checks.len());
                let checks = |relation: &Described| {
                    relation.stream.as_ref().map_or(0, |stream| checks(stream).unwrap_or(i16::MAX))
                };
                Arc::new(Int16Array::from_iter_values(all.iter().map(checks)))
            }
            // pg_am: heap and btree.
            "relam" => numbers(&|relation| match relation.kind {
                RelationKind::Table => 2,
                RelationKind::View | RelationKind::Sequence => 0,
                RelationKind::Index => 403,
            }),
            "relhasindex" => {
                Arc::new(BooleanArray::from_iter(all.iter().map(|r| Some(r.has_index))))
            }
            "relpersistence" => Arc::new(StringArray::from_iter_values(all.iter().map(|_| "p"))),
            "relreplident" => Arc::new(StringArray::from_iter_values(all.iter().map(|_| "d"))),
            "relispopulated" => Arc::new(BooleanArray::from(vec![true; rows])),
            _ => default_column(field.data_type(), rows),
        }
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
}

fn default_column(data_type: &DataType, rows: usize) -> ArrayRef {
    match data_type {
        DataType::Int16 => Arc::new(Int16Array::from_value(0, rows)),
        DataType::Int32 => Arc::new(Int32Array::from_value(0, rows)),
        // PostgreSQL 14 and later: −1 says that nobody has counted.
        DataType::Float32 => Arc::new(Float32Array::from_value(-1.0, rows)),
        DataType::Boolean => Arc::new(BooleanArray::from(vec![false; rows])),
        other => new_null_array(other, rows),
    }
}

fn attribute_schema() -> SchemaRef {
    let number = |name: &str| Field::new(name, DataType::Int32, false);
    let small = |name: &str| Field::new(name, DataType::Int16, false);
    let flag = |name: &str| Field::new(name, DataType::Boolean, false);
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let texts = |name: &str| Field::new(name, list_of(DataType::Utf8), true);
    Arc::new(Schema::new(vec![
        oid_field("attrelid", kind::REGCLASS, false),
        Field::new("attname", DataType::Utf8, false),
        oid_field("atttypid", kind::REGTYPE, false),
        number("attstattarget"),
        small("attlen"),
        small("attnum"),
        number("attndims"),
        number("attcacheoff"),
        number("atttypmod"),
        flag("attbyval"),
        character("attalign"),
        character("attstorage"),
        character("attcompression"),
        flag("attnotnull"),
        flag("atthasdef"),
        flag("atthasmissing"),
        character("attidentity"),
        character("attgenerated"),
        flag("attisdropped"),
        flag("attislocal"),
        number("attinhcount"),
        number("attcollation"),
        texts("attacl"),
        texts("attoptions"),
        texts("attfdwoptions"),
        text("attmissingval"),
    ]))
}

fn attributes(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let relations = relations(engine);
    let all: Vec<(&Described, i16, &Arc<Field>)> = relations
        .iter()
        .flat_map(|relation| {
            (1..)
                .zip(relation.columns.fields())
                .map(move |(number, field)| (relation, number, field))
        })
        .collect();
    let rows = all.len();
    let empty = || -> ArrayRef { Arc::new(StringArray::from_iter_values(all.iter().map(|_| ""))) };
    let typed = |relation: &Described, field: &Field| match relation.declared(field.name()) {
        Some(column) => pg_type_of_column(column, field),
        None => pg_type(field),
    };
    let kinds = |of: &dyn Fn((&'static str, &'static str)) -> &'static str| -> ArrayRef {
        let kind = |relation: &Described, field: &Field| {
            of(relation.declared(field.name()).map_or(("", ""), definitions::attribute_kinds))
        };
        Arc::new(StringArray::from_iter_values(all.iter().map(|(r, _, f)| kind(r, f))))
    };
    let columns = schema.fields().iter().map(|column| -> ArrayRef {
        match column.name().as_str() {
            "attrelid" => Arc::new(Int32Array::from_iter_values(all.iter().map(|(r, ..)| r.oid))),
            "attname" => {
                Arc::new(StringArray::from_iter_values(all.iter().map(|(_, _, f)| f.name())))
            }
            "atttypid" => {
                Arc::new(Int32Array::from_iter_values(all.iter().map(|(r, _, f)| typed(r, f).oid)))
            }
            "attlen" => Arc::new(Int16Array::from_iter_values(
                all.iter().map(|(r, _, f)| typed(r, f).length),
            )),
            "attnum" => Arc::new(Int16Array::from_iter_values(all.iter().map(|(_, n, _)| *n))),
            "atttypmod" => Arc::new(Int32Array::from_iter_values(
                all.iter().map(|(r, _, f)| typed(r, f).modifier),
            )),
            "attstattarget" | "attcacheoff" => Arc::new(Int32Array::from_value(-1, rows)),
            "attbyval" => Arc::new(BooleanArray::from_iter(
                all.iter().map(|(_, _, f)| Some(pg_type(f).length > 0)),
            )),
            "attnotnull" => Arc::new(BooleanArray::from_iter(
                all.iter().map(|(r, _, f)| Some(r.not_null.contains(f.name()))),
            )),
            "attislocal" => Arc::new(BooleanArray::from(vec![true; rows])),
            "atthasdef" => Arc::new(BooleanArray::from_iter(all.iter().map(|(r, _, f)| {
                Some(r.declared(f.name()).is_some_and(|column| default_text(column).is_some()))
            }))),
            "attidentity" => kinds(&|(identity, _)| identity),
            "attgenerated" => kinds(&|(_, generated)| generated),
            "attcompression" => empty(),
            "attalign" => Arc::new(StringArray::from_iter_values(all.iter().map(|_| "i"))),
            "attstorage" => Arc::new(StringArray::from_iter_values(all.iter().map(|_| "p"))),
            _ => default_column(column.data_type(), rows),
        }
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
}

/// A type as PostgreSQL's catalog has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PgType {
    pub(super) oid: i32,
    /// Bytes; −1 for varying.
    pub(super) length: i16,
    /// `atttypmod`.
    pub(super) modifier: i32,
    /// As `format_type` and `information_schema` spell it.
    pub(super) name: &'static str,
}

/// The type of a declared column: texts of a limited length have types of their own.
pub(super) fn pg_type_of_column(column: &Column, field: &Field) -> PgType {
    let Some(length) = column.length else { return pg_type(field) };
    // PostgreSQL 15, varchar.c: the length and the header's 4.
    let modifier = i32::try_from(length.max).unwrap_or(i32::MAX - 4) + 4;
    let (oid, name) =
        if length.is_fixed { (1042, "character") } else { (1043, "character varying") };
    PgType { oid, length: -1, modifier, name }
}

fn pg_type_of(data_type: ColumnType) -> PgType {
    pg_type(&definitions::arrow_field(data_type))
}

pub(super) fn pg_type(field: &Field) -> PgType {
    let plain = |oid, length, name| PgType { oid, length, modifier: -1, name };
    match field.data_type() {
        DataType::Boolean => plain(16, 1, "boolean"),
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => plain(21, 2, "smallint"),
        // Oids are marked.
        DataType::Int32 if field.metadata().contains_key(OID_ALIAS_KEY) => plain(26, 4, "oid"),
        DataType::Int32 | DataType::UInt16 => plain(23, 4, "integer"),
        DataType::Int64 | DataType::UInt32 => plain(20, 8, "bigint"),
        DataType::Float16 | DataType::Float32 => plain(700, 4, "real"),
        DataType::Float64 => plain(701, 8, "double precision"),
        // PostgreSQL 15, numeric.c: precision and scale in 16 bits each, plus the header's 4.
        DataType::Decimal128(precision, scale) => PgType {
            modifier: ((i32::from(*precision) << 16) | (i32::from(*scale) & 0x7ff)) + 4,
            ..plain(1700, -1, "numeric")
        },
        // LargeBinary is numeric, LargeUtf8 jsonb (anabranch_semantics).
        DataType::UInt64 | DataType::Decimal256(..) | DataType::LargeBinary => {
            plain(1700, -1, "numeric")
        }
        DataType::FixedSizeBinary(16) => plain(2950, 16, "uuid"),
        DataType::Binary | DataType::BinaryView => plain(17, -1, "bytea"),
        DataType::Date32 | DataType::Date64 => plain(1082, 4, "date"),
        DataType::Time32(_) | DataType::Time64(_) => plain(1083, 8, "time without time zone"),
        DataType::Timestamp(_, None) => plain(1114, 8, "timestamp without time zone"),
        DataType::Timestamp(_, Some(_)) => plain(1184, 8, "timestamp with time zone"),
        DataType::Interval(_) => plain(1186, 16, "interval"),
        DataType::List(item) => plain(array_oid(pg_type(item).oid), -1, "ARRAY"),
        DataType::LargeUtf8 => plain(3802, -1, "jsonb"),
        _ if is_json(field) => plain(114, -1, "json"),
        _ => plain(25, -1, "text"),
    }
}

fn array_oid(item: i32) -> i32 {
    KNOWN.iter().find(|of| of.oid == item).map_or(1009, |of| of.array)
}

/// The type's name in `pg_type`: arrays begin with `_`.
pub(super) fn udt_name(of: i32) -> String {
    let named = KNOWN.iter().find_map(|known| match of {
        of if of == known.oid => Some(known.name.to_owned()),
        of if of == known.array => Some(format!("_{}", known.name)),
        _ => None,
    });
    named.unwrap_or_else(|| "text".to_owned())
}

/// What the tables of `datafusion-pg-catalog` see: the columns that `*` shows.
#[derive(Clone)]
struct Visible {
    engine: EngineSession,
}

impl fmt::Debug for Visible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visible").finish_non_exhaustive()
    }
}

#[async_trait]
impl CatalogInfo for Visible {
    async fn catalog_names(&self) -> Result<Vec<String>, DataFusionError> {
        Ok(vec![DATABASE.to_owned()])
    }

    async fn schema_names(&self, _: &str) -> Result<Option<Vec<String>>, DataFusionError> {
        Ok(Some(SCHEMAS.iter().map(ToString::to_string).collect()))
    }

    async fn table_names(
        &self,
        _: &str,
        schema: &str,
    ) -> Result<Option<Vec<String>>, DataFusionError> {
        Ok(Some(match schema {
            PUBLIC | LOG => {
                let streams = streams_of(&self.engine);
                let mut names: Vec<_> = streams.iter().map(|one| one.name.clone()).collect();
                if schema == PUBLIC {
                    let catalog = self.engine.catalog();
                    names.extend(catalog.views().map(|view| view.spec.name.clone()));
                }
                names
            }
            "sys" => sys::RELATIONS.iter().map(ToString::to_string).collect(),
            _ => Vec::new(),
        }))
    }

    async fn table_schema(
        &self,
        _: &str,
        schema: &str,
        table: &str,
    ) -> Result<Option<SchemaRef>, DataFusionError> {
        let relation = match schema {
            PUBLIC => Relation::Rows,
            LOG => Relation::Log,
            "sys" => return Ok(sys::schema_of(table)),
            _ => return Ok(None),
        };
        if let (PUBLIC, Some(view)) = (schema, self.engine.catalog().view(table)) {
            return Ok(Some(view_schema(view)));
        }
        Ok(find(&self.engine, table).map(|stream| Layout::new(&stream, relation).visible_schema()))
    }

    async fn table_type(
        &self,
        _: &str,
        schema: &str,
        table: &str,
    ) -> Result<Option<TableType>, DataFusionError> {
        let is_rows = schema == PUBLIC && self.engine.catalog().view(table).is_none();
        Ok(Some(if is_rows { TableType::Base } else { TableType::View }))
    }
}
