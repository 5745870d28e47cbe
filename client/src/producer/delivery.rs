//! Hearing what became of records: by batch through [`Deliveries`], or one future a record.

use crate::Error;
use anabranch_types::{Offset, PartitionIndex};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;
use tokio::sync::oneshot;

/// Hears of every record exactly once, by batch, on the task that reads the answers: it must not
/// block. It may send more records.
pub trait Deliveries: Send + Sync + 'static {
    /// What the sender wants back with a record.
    type Ticket: Send + 'static;

    /// The batch was acknowledged or failed; `tickets` are its records' in order.
    fn delivered(&self, batch: Delivered<'_>, tickets: impl ExactSizeIterator<Item = Self::Ticket>);
}

/// A batch that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Delivered<'a> {
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: PartitionIndex,
    /// The offset of its first record, the others follow it; none where the broker does not
    /// tell it (`acks = None`, or a duplicate that it forgot). Or why it failed.
    pub outcome: Result<Option<Offset>, &'a Error>,
    /// When the answer was read.
    pub at: Instant,
}

/// Wants to hear nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ignore;

impl Deliveries for Ignore {
    type Ticket = ();

    fn delivered(&self, _: Delivered<'_>, _: impl ExactSizeIterator<Item = ()>) {}
}

/// Resolves one future a record: see [`Topic::deliver`](crate::Topic::deliver).
#[derive(Debug, Clone, Copy, Default)]
pub struct Futures;

/// Resolves a [`Delivery`].
#[derive(Debug)]
pub struct Promise(oneshot::Sender<Result<Receipt, Error>>);

impl Deliveries for Futures {
    type Ticket = Promise;

    fn delivered(&self, batch: Delivered<'_>, tickets: impl ExactSizeIterator<Item = Promise>) {
        for (at, ticket) in tickets.enumerate() {
            let receipt = match batch.outcome {
                Ok(base) => Ok(Receipt {
                    partition: batch.partition,
                    offset: base.map(|base| base.plus(at as i64)),
                }),
                Err(error) => Err(error.clone()),
            };
            // Whoever dropped the future does not want to know.
            let _ = ticket.0.send(receipt);
        }
    }
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset, where the broker told it.
    pub offset: Option<Offset>,
}

/// What becomes of one record.
#[derive(Debug)]
#[must_use = "without it nobody learns whether the record was written"]
pub struct Delivery(oneshot::Receiver<Result<Receipt, Error>>);

impl Future for Delivery {
    type Output = Result<Receipt, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|answer| answer.unwrap_or(Err(Error::Stopped)))
    }
}

pub(super) fn pair() -> (Promise, Delivery) {
    let (send, receive) = oneshot::channel();
    (Promise(send), Delivery(receive))
}
