//! Sequences as statements use them: by name, and with what each session remembers.

use crate::error::{Error, sqlstate};
use anabranch_engine::{SequenceChange, SequenceError, Session as EngineSession};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// What `nextval`, `setval`, `currval` and `lastval` do.
#[derive(Clone)]
pub(crate) struct SequenceCalls {
    engine: EngineSession,
    known: Arc<Mutex<HashMap<i32, Known>>>,
}

/// What a session got.
#[derive(Default)]
struct Known {
    /// By the sequence's id.
    values: HashMap<u32, i64>,
    last: Option<u32>,
}

impl std::fmt::Debug for SequenceCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SequenceCalls").finish_non_exhaustive()
    }
}

impl SequenceCalls {
    pub(crate) fn new(engine: EngineSession) -> Self {
        Self { engine, known: Arc::default() }
    }

    /// The same, as far as somebody else may use the engine.
    pub(crate) fn of(&self, engine: EngineSession) -> Self {
        Self { engine, known: Arc::clone(&self.known) }
    }

    /// The next `count` values for the session of this number.
    pub(crate) async fn next(
        &self,
        session: i32,
        name: &str,
        count: usize,
    ) -> Result<Vec<i64>, Error> {
        let name = relation_name(name);
        let id = self.engine.sequence(&name)?.id;
        let values = self.engine.next_values(&name, count).await?;
        if let Some(last) = values.last() {
            let mut known = self.known.lock();
            let known = known.entry(session).or_default();
            known.values.insert(id, *last);
            known.last = Some(id);
        }
        Ok(values)
    }

    /// The value that the session got last of this sequence.
    pub(crate) fn current(&self, session: i32, name: &str) -> Result<i64, Error> {
        let name = relation_name(name);
        let id = self.engine.sequence(&name)?.id;
        let known = self.known.lock();
        known.get(&session).and_then(|known| known.values.get(&id).copied()).ok_or_else(|| {
            Error::new(
                "55000",
                format!("currval of sequence \"{name}\" is not yet defined in this session"),
            )
        })
    }

    /// The value that the session got last of any sequence.
    pub(crate) fn last(&self, session: i32) -> Result<i64, Error> {
        let known = self.known.lock();
        let value = known.get(&session).and_then(|known| known.values.get(&known.last?).copied());
        value.ok_or_else(|| Error::new("55000", "lastval is not yet defined in this session"))
    }

    /// Has a sequence go on at or behind `value`.
    pub(crate) async fn set(
        &self,
        session: i32,
        name: &str,
        value: i64,
        is_called: bool,
    ) -> Result<(), Error> {
        let name = relation_name(name);
        let id = self.engine.sequence(&name)?.id;
        self.engine.change_sequence(&name, SequenceChange::Set(value, is_called)).await?;
        if is_called {
            self.known.lock().entry(session).or_default().values.insert(id, value);
        }
        Ok(())
    }

    /// Forgets what a session got.
    pub(crate) fn forget(&self, session: i32) {
        self.known.lock().remove(&session);
    }
}

/// What a session remembers of sequences; forgotten when this is dropped.
pub(crate) struct Remembering {
    pub(crate) calls: SequenceCalls,
    pub(crate) session: i32,
}

impl Drop for Remembering {
    fn drop(&mut self) {
        self.calls.forget(self.session);
    }
}

/// The name within a `regclass`: folded where it is not quoted, without the schema `public`.
pub(crate) fn relation_name(text: &str) -> String {
    let text = text.trim();
    let rest = match text.get(..7) {
        Some(schema) if schema.eq_ignore_ascii_case("public.") => &text[7..],
        _ => text,
    };
    match rest.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => quoted.replace("\"\"", "\""),
        None => rest.to_lowercase(),
    }
}

impl From<SequenceError> for Error {
    fn from(error: SequenceError) -> Self {
        match error {
            SequenceError::Engine(error) => error.into(),
            // PostgreSQL 15, appendix A: sequence_generator_limit_exceeded.
            SequenceError::Exhausted { .. } => Self::new("2200H", error.to_string()),
            SequenceError::OutOfBounds { .. } => {
                Self::new(sqlstate::NUMERIC_OUT_OF_RANGE, error.to_string())
            }
        }
    }
}
