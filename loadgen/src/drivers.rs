//! The client libraries that send.

pub(crate) mod closed_loop;
pub(crate) mod librdkafka;
pub(crate) mod native;

use crate::error::Error;

/// A producer, as a generating thread sees it.
pub(crate) trait Sink: Send {
    /// Hands an event over; false where there is no room now. Its delivery reports `ticket`.
    fn try_send(
        &mut self,
        key: Option<&[u8]>,
        value: &[u8],
        time_ms: i64,
        ticket: u64,
    ) -> Result<bool, Error>;

    /// Waits for room, for a while.
    fn wait(&mut self);

    /// Lets the library look after its deliveries, where it needs that.
    fn look(&mut self);

    /// Waits until everything is delivered or failed.
    fn flush(&mut self);
}
