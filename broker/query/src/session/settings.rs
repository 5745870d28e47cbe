//! Settings of a session: SET, SHOW, RESET.
//!
//! What is accepted either does something here, or asks for what is the case anyway. Anything
//! else is refused.

use super::SettingsMap;
use crate::error::{Error, sqlstate};
use crate::execute::Rows;
use crate::sql::Sql;
use crate::statement::SetValue;
use datafusion::arrow::array::{RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use std::sync::Arc;
use std::time::Duration;

/// The PostgreSQL that clients are told to be compatible with.
pub const VERSION: &str = "15.0";

/// Settings that clients are told of, at the start and when they change (PostgreSQL 15,
/// 55.2.7), in the spelling they expect.
pub const REPORTED: &[&str] = &[
    "server_version",
    "server_encoding",
    "client_encoding",
    "application_name",
    "is_superuser",
    "session_authorization",
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "integer_datetimes",
    "standard_conforming_strings",
    "default_transaction_read_only",
    "in_hot_standby",
];

/// How a setting is treated.
#[derive(Clone, Copy)]
enum Rule {
    /// Any value; nothing here depends on it.
    Free,
    /// These values only (compared without case), since nothing else is done.
    Only(&'static [&'static str]),
    /// On or off; kept as these words.
    Flag,
    /// `client_encoding`: UTF-8, however it is spelled.
    Encoding,
    /// Cannot be set.
    Fixed,
    /// `statement_timeout`.
    Timeout,
    /// `TimeZone`: times are shown in UTC.
    TimeZone,
    /// `search_path`: names are looked up in `public`.
    SearchPath,
    /// `read_freshness`.
    Freshness,
}

/// (name, default, rule)
const KNOWN: &[(&str, &str, Rule)] = &[
    ("application_name", "", Rule::Free),
    ("bytea_output", "hex", Rule::Only(&["hex"])),
    ("client_encoding", "UTF8", Rule::Encoding),
    ("client_min_messages", "notice", Rule::Free),
    (
        "DateStyle",
        "ISO, MDY",
        Rule::Only(&["iso", "iso, mdy", "iso, dmy", "iso, ymd", "iso,mdy", "iso,dmy", "iso,ymd"]),
    ),
    ("default_table_access_method", "heap", Rule::Fixed),
    ("default_tablespace", "", Rule::Fixed),
    (
        "default_transaction_isolation",
        "repeatable read",
        Rule::Only(&["repeatable read", "read committed", "read uncommitted"]),
    ),
    ("default_transaction_read_only", "off", Rule::Flag),
    ("extra_float_digits", "1", Rule::Free),
    ("idle_in_transaction_session_timeout", "0", Rule::Only(&["0"])),
    ("in_hot_standby", "off", Rule::Fixed),
    ("integer_datetimes", "on", Rule::Fixed),
    ("IntervalStyle", "postgres", Rule::Only(&["postgres"])),
    ("is_superuser", "on", Rule::Fixed),
    ("jit", "off", Rule::Free),
    ("lc_messages", "C", Rule::Free),
    ("lock_timeout", "0", Rule::Free),
    ("max_identifier_length", "63", Rule::Fixed),
    ("max_index_keys", "32", Rule::Fixed),
    ("password_encryption", "scram-sha-256", Rule::Only(&["scram-sha-256"])),
    ("read_freshness", "strong", Rule::Freshness),
    ("row_security", "off", Rule::Free),
    ("search_path", "\"$user\", public", Rule::SearchPath),
    ("server_encoding", "UTF8", Rule::Fixed),
    ("server_version", VERSION, Rule::Fixed),
    ("server_version_num", "150000", Rule::Fixed),
    ("session_authorization", "postgres", Rule::Fixed),
    ("standard_conforming_strings", "on", Rule::Only(&["on", "true", "1", "yes"])),
    ("statement_timeout", "0", Rule::Timeout),
    ("synchronous_commit", "on", Rule::Only(&["on", "true", "1", "yes", "local"])),
    ("TimeZone", "UTC", Rule::TimeZone),
    (
        "transaction_isolation",
        "repeatable read",
        Rule::Only(&["repeatable read", "read committed", "read uncommitted"]),
    ),
    ("transaction_read_only", "off", Rule::Fixed),
];

/// The settings of one session.
#[derive(Debug, Clone)]
pub(super) struct SessionSettings {
    /// By lower-case name.
    values: Arc<SettingsMap>,
    statement_timeout: Option<Duration>,
    statement_timeout_default: Option<Duration>,
}

/// All settings, by name as it is spelled, and what they are where nobody has set them.
pub(crate) fn defaults() -> Vec<(&'static str, &'static str)> {
    KNOWN.iter().map(|(name, value, _)| (*name, *value)).collect()
}

/// What clients are told of a change.
type Reported = Vec<(&'static str, String)>;

impl SessionSettings {
    pub(super) fn new(sql: &Sql) -> Self {
        let default = sql.settings().statement_timeout;
        let mut values: SettingsMap = KNOWN
            .iter()
            .map(|(name, value, _)| (name.to_lowercase(), (*value).to_owned()))
            .collect();
        if let Some(timeout) = default {
            values.insert("statement_timeout".to_owned(), format!("{}ms", timeout.as_millis()));
        }
        Self {
            values: Arc::new(values),
            statement_timeout: default,
            statement_timeout_default: default,
        }
    }

    pub(super) fn all(&self) -> Arc<SettingsMap> {
        self.values.clone()
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.values.get(&name.to_lowercase()).cloned()
    }

    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        self.statement_timeout
    }

    /// Whether transactions are READ ONLY where they do not say.
    pub(super) fn is_read_only(&self) -> bool {
        self.values.get("default_transaction_read_only").is_some_and(|value| value == "on")
    }

    /// Sets one; gives notices and what to report.
    pub(super) fn set(
        &mut self,
        name: &str,
        value: &SetValue,
    ) -> Result<(Vec<String>, Reported), Error> {
        let lower = name.to_lowercase();
        let Some((known, default, rule)) =
            KNOWN.iter().find(|(known, ..)| known.to_lowercase() == lower)
        else {
            // PostgreSQL 15, 20.16: names with a dot are anybody's.
            if lower.contains('.') {
                let text = match value {
                    SetValue::Default => String::new(),
                    SetValue::Text(text) => text.clone(),
                };
                Arc::make_mut(&mut self.values).insert(lower, text);
                return Ok((Vec::new(), Vec::new()));
            }
            return Err(Error::new(
                sqlstate::UNDEFINED_OBJECT,
                format!("unrecognized configuration parameter \"{name}\""),
            )
            .hint("SHOW ALL lists those that exist"));
        };
        let text = match value {
            SetValue::Default => (*default).to_owned(),
            SetValue::Text(text) => text.clone(),
        };
        let notices = self.apply(known, *rule, value, &text)?;
        let text = match (rule, flag(&text.to_lowercase())) {
            (Rule::Encoding, _) => "UTF8".to_owned(),
            (Rule::Flag, Some(true)) => "on".to_owned(),
            (Rule::Flag, Some(false)) => "off".to_owned(),
            _ => text,
        };
        Arc::make_mut(&mut self.values).insert(lower, text.clone());
        let reported = if REPORTED.contains(known) { vec![(*known, text)] } else { Vec::new() };
        Ok((notices, reported))
    }

    pub(super) fn reset_all(&mut self) -> Reported {
        let mut reported = Vec::new();
        for (name, _, rule) in KNOWN {
            if matches!(rule, Rule::Fixed) {
                continue;
            }
            // A default is never refused.
            if let Ok((_, mut changed)) = self.set(name, &SetValue::Default) {
                reported.append(&mut changed);
            }
        }
        reported
    }

    fn apply(
        &mut self,
        name: &str,
        rule: Rule,
        value: &SetValue,
        text: &str,
    ) -> Result<Vec<String>, Error> {
        let refused = |hint: &str| {
            Error::new(
                sqlstate::INVALID_PARAMETER,
                format!("invalid value for parameter \"{name}\": \"{text}\""),
            )
            .hint(hint)
        };
        let lower = text.to_lowercase();
        match rule {
            Rule::Free => {}
            Rule::Only(values)
                if matches!(value, SetValue::Default) || values.contains(&lower.as_str()) => {}
            Rule::Only(values) => {
                return Err(refused(&format!("only {} is supported", values.join(", "))));
            }
            Rule::Flag if flag(&lower).is_some() => {}
            Rule::Flag => return Err(refused("on or off")),
            Rule::Encoding => {
                // PostgreSQL 15, encnames.c: only letters and digits count.
                let name: String = lower.chars().filter(char::is_ascii_alphanumeric).collect();
                if !matches!(name.as_str(), "utf8" | "unicode") {
                    return Err(refused("only UTF8 is supported"));
                }
            }
            Rule::Fixed => {
                return Err(Error::new("55P02", format!("parameter \"{name}\" cannot be changed")));
            }
            Rule::Timeout => {
                self.statement_timeout = match value {
                    SetValue::Default => self.statement_timeout_default,
                    SetValue::Text(_) => {
                        duration(&lower).ok_or_else(|| refused("milliseconds, or 30s, 5min, …"))?
                    }
                };
            }
            Rule::TimeZone => {
                let is_utc = ["utc", "gmt", "etc/utc", "zulu", "universal", "0", "+00:00"]
                    .contains(&lower.as_str());
                if !is_utc && matches!(value, SetValue::Text(_)) {
                    return Ok(vec![
                        "times are shown in UTC, with their offset, whatever the time zone"
                            .to_owned(),
                    ]);
                }
            }
            Rule::SearchPath => {
                let finds_public = lower.split(',').any(|schema| {
                    matches!(schema.trim().trim_matches('"'), "public" | "pg_catalog" | "")
                });
                if !finds_public {
                    return Err(refused(
                        "names without a schema are looked up in public; write log.orders or \
                         sys.streams for the others",
                    ));
                }
            }
            Rule::Freshness if lower == "strong" => {}
            Rule::Freshness => {
                return Err(Error::unsupported(format!(
                    "read_freshness '{text}' is not supported yet"
                ))
                .hint("'strong' is: every query sees every write acknowledged before it began"));
            }
        }
        Ok(Vec::new())
    }
}

/// PostgreSQL 15, 20.1.1.
fn flag(text: &str) -> Option<bool> {
    match text {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// Milliseconds, or a number with a unit; 0 is none.
fn duration(text: &str) -> Option<Option<Duration>> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let milliseconds = match text[digits..].trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = number.checked_mul(milliseconds)?;
    Some((total > 0).then(|| Duration::from_millis(total)))
}

pub(super) fn show_schema(name: Option<&str>) -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    Arc::new(Schema::new(match name {
        Some(name) => vec![text(&spelled(name))],
        None => vec![text("name"), text("setting")],
    }))
}

pub(super) fn show(settings: &SettingsMap, name: Option<&str>) -> Result<Rows, Error> {
    let schema = show_schema(name);
    let columns: Vec<Arc<dyn datafusion::arrow::array::Array>> = match name {
        Some(name) => {
            let value = settings.get(&name.to_lowercase()).cloned().ok_or_else(|| {
                Error::new(
                    sqlstate::UNDEFINED_OBJECT,
                    format!("unrecognized configuration parameter \"{name}\""),
                )
                .hint("SHOW ALL lists those that exist")
            })?;
            vec![Arc::new(StringArray::from(vec![value]))]
        }
        None => {
            let names = settings.keys().map(|name| spelled(name));
            vec![
                Arc::new(StringArray::from_iter_values(names)),
                Arc::new(StringArray::from_iter_values(settings.values())),
            ]
        }
    };
    let batch = RecordBatch::try_new(schema.clone(), columns)?;
    Ok(Rows::ready(schema, [batch]))
}

fn spelled(name: &str) -> String {
    let known = KNOWN.iter().find(|(known, ..)| known.eq_ignore_ascii_case(name));
    known.map_or(name, |(known, ..)| known).to_owned()
}
