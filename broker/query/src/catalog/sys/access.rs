//! `sys.principals` and `sys.grants`: who may do what, for who may describe the broker. Kafka's
//! ACLs are the same rows.

use crate::error::Error;
use anabranch_engine::{Access, Grant, Pattern, Session as EngineSession};
use datafusion::arrow::array::{ArrayRef, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use std::sync::Arc;

pub(super) fn principals_batch(
    engine: &EngineSession,
    schema: SchemaRef,
) -> Result<RecordBatch, Error> {
    let access = engine.access()?;
    let all = access.principals();
    let mechanisms = all.values().map(|record| {
        let names: Vec<_> = record.credentials.iter().map(|one| one.mechanism.name()).collect();
        names.join(", ")
    });
    let names = all.keys().map(|principal| principal.name());
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(names)),
        Arc::new(all.values().map(|record| Some(record.admin)).collect::<BooleanArray>()),
        Arc::new(StringArray::from_iter_values(mechanisms)),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

pub(super) fn grants_batch(
    engine: &EngineSession,
    schema: SchemaRef,
) -> Result<RecordBatch, Error> {
    let access = engine.access()?;
    let columns: Vec<ArrayRef> = vec![
        texts(&access, |grant| grant.principal.to_string()),
        texts(&access, |grant| format!("{:?}", grant.permission).to_lowercase()),
        texts(&access, |grant| grant.operation.to_string()),
        texts(&access, |grant| grant.kind.to_string()),
        texts(&access, |grant| grant.pattern.name().to_owned()),
        texts(&access, |grant| match grant.pattern {
            Pattern::Literal(_) => "literal".to_owned(),
            Pattern::Prefixed(_) => "prefixed".to_owned(),
        }),
        texts(&access, |grant| grant.host.to_string()),
    ];
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn texts(access: &Access, of: impl Fn(&Grant) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(access.grants().map(of)))
}
