//! Views: queries that have names. What a query says is for those to understand who run it.

use crate::stream::Column;
use crate::{Error, ErrorKind};
use serde::{Deserialize, Serialize};

pub(crate) const VIEW_PREFIX: &str = "view/";

/// A query with a name, which no stream has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its number; none comes twice, nor is one a sequence's.
    pub id: u32,
    /// What it is.
    #[serde(flatten)]
    pub spec: ViewSpec,
}

/// What a view is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewSpec {
    /// Stream names' rules hold.
    pub name: String,
    /// SQL.
    pub query: String,
    /// Its columns: names and types.
    pub columns: Vec<Column>,
    /// The query's names for them, where it takes all columns of something: what that gets later
    /// is not the view's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<String>>,
}

pub(crate) fn view_key(id: u32) -> Vec<u8> {
    format!("{VIEW_PREFIX}{id}").into_bytes()
}

pub(crate) fn decode_view(key: &[u8], value: &[u8]) -> Result<View, Error> {
    serde_json::from_slice(value).map_err(|error| {
        let key = String::from_utf8_lossy(key);
        Error::new(ErrorKind::Storage, format!("the catalog's record {key}: {error}"))
    })
}

pub(crate) fn missing(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no view {name}"))
}
