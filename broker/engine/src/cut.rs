//! A cut: tables and logs at one round, as far as they may be read.

use crate::Error;
use crate::session::Session;
use anabranch_access::Operation;
use anabranch_table::{KeyRange, Row, Scan, TableId, View};
use anabranch_types::Round;
use bytes::Bytes;
use std::sync::Arc;

/// Tables and logs at one cut.
#[derive(Clone)]
pub struct Cut {
    /// The round. Logs are read to it: `Until::Round(cut.round)`.
    pub round: Round,
    /// The tables at this round.
    pub tables: Tables,
}

/// Rows of tables; of those that may not be read, an error.
#[derive(Clone)]
pub struct Tables {
    view: Arc<View>,
    session: Session,
}

impl Cut {
    pub(crate) fn new(round: Round, view: Arc<View>, session: Session) -> Self {
        Self { round, tables: Tables { view, session } }
    }

    /// The same, as far as `session` may read it.
    #[must_use]
    pub fn of(&self, session: Session) -> Self {
        Self::new(self.round, Arc::clone(&self.tables.view), session)
    }
}

impl Tables {
    /// One row.
    ///
    /// # Errors
    /// `Denied`; when the store fails, or the cut was held too long.
    pub fn get(&self, table: TableId, key: &[u8]) -> Result<Option<Row>, Error> {
        self.check(table)?;
        Ok(self.view.get(table, key)?)
    }

    /// Many rows, in the order of the keys.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_many(&self, table: TableId, keys: &[Bytes]) -> Result<Vec<Option<Row>>, Error> {
        self.check(table)?;
        Ok(self.view.get_many(table, keys)?)
    }

    /// As [`Self::get_many`], if no disk has to be waited for; `None` if one may have to.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn get_many_at_hand(
        &self,
        table: TableId,
        keys: &[Bytes],
    ) -> Result<Option<Vec<Option<Row>>>, Error> {
        self.check(table)?;
        Ok(self.view.get_many_at_hand(table, keys)?)
    }

    /// The rows of a range in key order. Takes memory for one piece of rows.
    ///
    /// # Errors
    /// `Denied`.
    pub fn scan(&self, table: TableId, range: KeyRange) -> Result<Scan<'_>, Error> {
        self.check(table)?;
        Ok(self.view.scan(table, range))
    }

    fn check(&self, table: TableId) -> Result<(), Error> {
        self.session.check_table(Operation::Read, table)
    }
}
