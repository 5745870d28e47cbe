//! Batches of transactions: before they go to the commit loop the producer's coordinator is asked,
//! as Kafka does. From version 12 on it also adds what they are written to (KIP-890).

use super::admit::{Admitted, Fault};
use crate::answer::transaction_code;
use anabranch_engine::{Append, Part, Session, TransactionError};
use anabranch_types::{PartitionId, Sequence};
use kafka_protocol::error::ResponseError;

/// First version that needs no AddPartitionsToTxn before it.
const ADDS_FROM: i16 = 12;

/// The transactional batches of a request.
#[derive(Debug)]
pub(crate) struct Joining {
    /// The transactional id; what is not UTF-8 is nobody's.
    id: String,
    /// Their places: among the request's partitions, and among the parts of its append.
    pub(super) parts: Vec<(usize, usize)>,
}

impl Joining {
    pub(super) fn new(id: &[u8]) -> Self {
        Self { id: String::from_utf8_lossy(id).into_owned(), parts: Vec::new() }
    }
}

/// Takes what may not be written out of the appends. There is one append for each request that has
/// any.
pub(crate) async fn join(engine: &Session, requests: &mut [Admitted], appends: &mut Vec<Append>) {
    let mut at = 0;
    for request in requests.iter_mut().filter(|request| request.appended) {
        if let Some(joining) = request.joining.take() {
            join_one(engine, request, &joining, &mut appends[at]).await;
        }
        at += 1;
    }
    // Of what is refused altogether nothing is left to append.
    for request in requests.iter_mut().rev().filter(|request| request.appended) {
        at -= 1;
        if appends[at].parts.is_empty() {
            appends.remove(at);
            request.appended = false;
        }
    }
}

async fn join_one(
    engine: &Session,
    request: &mut Admitted,
    joining: &Joining,
    append: &mut Append,
) {
    let adds = request.version >= ADDS_FROM;
    let mut refused = Vec::new();
    let mut rest = joining.parts.as_slice();
    let who = |part: &Part| (part.header.producer_id, part.header.producer_epoch);
    while let Some(first) = rest.first() {
        // Those of one producer together: that is all of them, for any sane client.
        let (producer, epoch) = who(&append.parts[first.1]);
        let is_same = |at: &&(usize, usize)| who(&append.parts[at.1]) == (producer, epoch);
        let (same, others) = rest.split_at(rest.iter().take_while(is_same).count());
        rest = others;
        let partitions: Vec<PartitionId> =
            same.iter().map(|at| append.parts[at.1].partition).collect();
        let checked = engine.check_transaction(&joining.id, producer, epoch, &partitions).await;
        let joined = match checked {
            Ok(mut missing) if adds && !missing.is_empty() => {
                // Each transaction has an epoch of its own, so what is new in it begins at 0.
                let begins = |&(_, part): &(usize, usize)| {
                    let part = &append.parts[part];
                    let is_new = missing.contains(&part.partition);
                    missing.retain(|partition| *partition != part.partition);
                    is_new.then_some(part.header.base_sequence)
                };
                let sequences: Vec<_> = same.iter().map(begins).collect();
                let late = same.iter().zip(sequences);
                let late = late.filter(|(_, begins)| begins.is_some_and(|at| at != Sequence(0)));
                let late: Vec<_> =
                    late.map(|(at, _)| (at.0, at.1, begins_late(&append.parts[at.1]))).collect();
                let is_late = |id| late.iter().any(|late| append.parts[late.1].partition == id);
                let added: Vec<_> = partitions.into_iter().filter(|id| !is_late(*id)).collect();
                refused.extend(late);
                engine.add_to_transaction(&joining.id, producer, epoch, &added).await
            }
            // What is not part of it the log refuses.
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = joined {
            let fault = refusal(error);
            let rest = same.iter().filter(|at| refused.iter().all(|refused| refused.1 != at.1));
            let rest: Vec<_> = rest.map(|&(number, part)| (number, part, fault.clone())).collect();
            refused.extend(rest);
        }
    }
    for (number, part, fault) in refused.into_iter().rev() {
        append.parts.remove(part);
        request.faults.push((number, fault));
    }
    request.faults.sort_by_key(|(number, _)| *number);
}

fn begins_late(part: &Part) -> Fault {
    let message =
        format!("a transaction begins in a partition at 0, not at {}", part.header.base_sequence.0);
    let error = ResponseError::OutOfOrderSequenceNumber;
    Fault { error, message: message.into(), records: Vec::new() }
}

fn refusal(error: TransactionError) -> Fault {
    let message = error.to_string().into();
    // Clients of Produce know fencing as an invalid epoch.
    let error = match error {
        TransactionError::Fenced => ResponseError::InvalidProducerEpoch,
        error => transaction_code(error, false),
    };
    Fault { error, message, records: Vec::new() }
}
