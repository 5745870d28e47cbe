//! What SQL means: types, casts, operators and functions as PostgreSQL 15 has them.
//!
//! ```text
//! syntax ── desugar ──> calls by name ── DataFusion plans ──> resolve ──> calls with types
//!                                                             │ select: which overload
//!                                                             │ casts of the arguments
//! values: Arrow arrays <── datum ──> functions, casts, aggregates
//! ```
//! To add a function, add a line to its family in [`functions`].
//!
//! Invariant: what a value cannot be is an error with PostgreSQL's code; nothing wraps or is rounded
//! that PostgreSQL does not round.

mod aggregates;
mod calendar;
mod call;
mod casts;
mod columns;
mod compare;
mod datum;
mod desugar;
mod error;
mod functions;
mod input;
mod json;
mod jsonpath;
mod numeric;
mod output;
mod register;
mod resolve;
mod scalars;
mod select;
#[cfg(test)]
mod tests;
mod types;

pub use columns::{Texts, cast_array, cast_value};
pub use desugar::{call_of, desugar};
pub use error::{Error, sqlstate};
pub use register::register;
pub use resolve::{resolve, resolve_expr};
pub use scalars::{
    date_days, interval, jsonb, numeric_bytes, numeric_text, time_micros, timestamp_micros,
    uuid_bytes,
};
pub use types::is_json;
