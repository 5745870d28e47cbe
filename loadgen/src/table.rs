//! Upserts into a keyed stream, and how far its queryable table lags behind.

use crate::args::{IngestArgs, PaceArgs, Payload, PayloadArgs, TableArgs};
use crate::error::Error;
use crate::ingest::{Session, measure};
use crate::payload::Events;
use crate::probe::{self, Probes};
use crate::report::Report;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) fn run(args: &TableArgs) -> Result<Report, Error> {
    let ingest = IngestArgs {
        topic: args.topic.clone(),
        payload: PayloadArgs {
            size: args.size,
            payload: Payload::Json,
            keys: args.keys,
            key_space: args.key_space,
        },
        produce: args.produce.clone(),
        pace: PaceArgs {
            rate: args.rate,
            duration: args.duration,
            warmup: args.warmup,
            events: None,
            threads: Some(2),
        },
        output: args.output.clone(),
    };
    if args.keys == crate::args::Keys::None {
        return Err(Error::Usage("a table needs --keys uniform or zipf".to_owned()));
    }
    let session = Session::open(&ingest, 2)?;
    session.block_on(probe::make_keyed_stream(&session.client, &args.sql, &args.topic))?;
    let events = Arc::new(Events::new(&ingest.payload)?);
    let every = Duration::from_millis(args.sql_every_ms.max(1));
    let span = (args.warmup, args.duration);
    let stream = &args.topic.topic;
    let probes =
        session.block_on(Probes::start(&session.client, &args.sql, stream, every, span))?;
    let mut report = measure(&session, &ingest, "table", events, Instant::now())?;
    session.block_on(probes.finish(&mut report));
    Ok(report)
}
