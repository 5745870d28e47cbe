//! `pg_roles` and `pg_user`: the principals, for who may describe the broker; others see themselves.

use super::{OWNER, OWNER_NAME, STREAM_OIDS_FROM, default_column};
use crate::error::Error;
use anabranch_engine::{CLUSTER, Guarded, Operation, ResourceKind, Session as EngineSession};
use datafusion::arrow::array::{ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use std::sync::Arc;

pub(super) const PG_ROLES: &str = "pg_roles";
pub(super) const PG_USER: &str = "pg_user";

/// PostgreSQL 15, 54.20.
pub(super) fn roles_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("rolname", DataType::Utf8, false),
        flag("rolsuper"),
        flag("rolinherit"),
        flag("rolcreaterole"),
        flag("rolcreatedb"),
        flag("rolcanlogin"),
        flag("rolreplication"),
        Field::new("rolconnlimit", DataType::Int32, false),
        Field::new("rolpassword", DataType::Utf8, true),
        until("rolvaliduntil"),
        flag("rolbypassrls"),
        Field::new("rolconfig", DataType::Utf8, true),
        Field::new("oid", DataType::Int32, false),
    ]))
}

/// PostgreSQL 15, 54.35.
pub(super) fn users_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("usename", DataType::Utf8, false),
        Field::new("usesysid", DataType::Int32, false),
        flag("usecreatedb"),
        flag("usesuper"),
        flag("userepl"),
        flag("usebypassrls"),
        Field::new("passwd", DataType::Utf8, true),
        until("valuntil"),
        Field::new("useconfig", DataType::Utf8, true),
    ]))
}

fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, false)
}

fn until(name: &str) -> Field {
    let data_type = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Field::new(name, data_type, true)
}

/// The rows of either.
pub(super) fn roles(engine: &EngineSession, schema: SchemaRef) -> Result<RecordBatch, Error> {
    let mut all = known(engine)?;
    let mut first = STREAM_OIDS_FROM;
    if all.is_empty() {
        // While there is no principal, there is who owns everything: everybody.
        all.push((OWNER_NAME.to_owned(), true));
        first = OWNER;
    }
    let flags = |of: &dyn Fn(bool) -> bool| -> ArrayRef {
        Arc::new(all.iter().map(|(_, admin)| Some(of(*admin))).collect::<BooleanArray>())
    };
    let columns = schema.fields().iter().map(|field| -> ArrayRef {
        match field.name().as_str() {
            "rolname" | "usename" => {
                Arc::new(StringArray::from_iter_values(all.iter().map(|(name, _)| name)))
            }
            "oid" | "usesysid" => Arc::new(Int32Array::from_iter_values((first..).take(all.len()))),
            "rolsuper" | "rolcreaterole" | "usesuper" => flags(&|admin| admin),
            "rolinherit" | "rolcanlogin" => flags(&|_| true),
            "rolconnlimit" => Arc::new(Int32Array::from_value(-1, all.len())),
            _ => default_column(field.data_type(), all.len()),
        }
    });
    Ok(RecordBatch::try_new(schema.clone(), columns.collect())?)
}

/// Names, and whether each is an admin.
fn known(engine: &EngineSession) -> Result<Vec<(String, bool)>, Error> {
    let cluster = Guarded { kind: ResourceKind::Cluster, name: CLUSTER };
    if !engine.may(Operation::Describe, cluster) {
        return Ok(engine.user().into_iter().map(|name| (name, false)).collect());
    }
    let access = engine.access()?;
    let principals = access.principals().iter();
    Ok(principals.map(|(principal, record)| (principal.name().to_owned(), record.admin)).collect())
}
