//! Reading the settings: defaults, then the file, then the environment, then the command line;
//! each value is checked alone, so that an error can say which key is wrong and who set it.

use super::{Bytes, Settings};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What the environment variables of settings begin with.
const PREFIX: &str = "ANABRANCH_";
/// Variables with the prefix that are no settings: the configuration file's path, and where the
/// project's scripts keep build products.
const OTHER_VARIABLES: [&str; 2] = ["ANABRANCH_CONFIG", "ANABRANCH_CACHE"];
/// A name is taken for a misspelt other one if at least this similar to it, from 0 to 1.
const SIMILAR_MIN: f64 = 0.7;

/// The settings and where each came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) settings: Settings,
    origins: Vec<(String, Origin)>,
    /// What looks odd and is not used.
    pub(crate) warnings: Vec<String>,
}

/// `KEY=VALUE` from the command line.
#[derive(Debug, Clone)]
pub(crate) struct Override {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    Default,
    File(PathBuf),
    Variable(String),
    CommandLine,
}

/// What is wrong with the settings, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    #[error("cannot read the configuration {}: {source}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is not valid TOML: {source}", path.display())]
    Syntax { path: PathBuf, source: Box<toml::de::Error> },
    #[error("{origin}: there is no key `{key}`{hint}")]
    UnknownKey { origin: String, key: String, hint: String },
    #[error("there is no setting for the variable {variable}; did you mean {nearest}?")]
    UnknownVariable { variable: String, nearest: String },
    #[error("the variable {variable} is not UTF-8")]
    NotText { variable: String },
    #[error("{origin}: `{key}`: {reason}")]
    Invalid { origin: String, key: String, reason: String },
    #[error(
        "there is no home directory to keep data in: set `data_dir` (or the environment variable \
         ANABRANCH_DATA_DIR)"
    )]
    NoDataDir,
    #[error("`{key}` is {found}: it is at least {min} and at most {max}")]
    Size { key: &'static str, found: Bytes, min: Bytes, max: Bytes },
    #[error("`{first}` and `{second}` are both {address}: give each door an address of its own")]
    SameAddress { first: &'static str, second: &'static str, address: SocketAddr },
    #[error(
        "`{key}`: {address} can be reached from other machines, and nobody who connects is \
         authenticated yet: listen on 127.0.0.1, or set `allow_insecure = true` (or the \
         environment variable ANABRANCH_ALLOW_INSECURE) if everybody who can reach it may read \
         and write everything"
    )]
    Exposed { key: &'static str, address: SocketAddr },
    #[error("`{key}` needs `{needed}`: {remedy}")]
    Needs { key: &'static str, needed: &'static str, remedy: &'static str },
    #[error("`{key}`: cannot resolve the host {host}: {source}; write an address")]
    Unresolved { key: &'static str, host: String, source: io::Error },
    #[error(
        "{address} is taken by another program: stop it, or set `{key}` (or the environment \
         variable {variable}) to another address"
    )]
    InUse { key: &'static str, variable: String, address: SocketAddr },
    #[error(
        "cannot listen on {address}: {source}; set `{key}` (or the environment variable \
         {variable}) to an address of this machine"
    )]
    Bind { key: &'static str, variable: String, address: SocketAddr, source: io::Error },
}

/// The environment variable of a key.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// Reads the settings. `environment` is all variables of the process.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    overrides: &[Override],
) -> Result<Loaded, SettingsError> {
    let defaults = Value::try_from(Settings::default()).expect("settings are a TOML table");
    let Value::Table(defaults) = defaults else { unreachable!("settings are a TOML table") };
    let mut layers = Layers::new(&defaults);
    if let Some(path) = file {
        let origin = Origin::File(path.to_owned());
        for (key, value) in leaves(&read(path)?) {
            layers.set(&key, value, origin.clone())?;
        }
    }
    for (name, value) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        if !OTHER_VARIABLES.contains(&name) {
            let not_text = |_| SettingsError::NotText { variable: name.to_owned() };
            layers.set_variable(name, value.into_string().map_err(not_text)?)?;
        }
    }
    for Override { key, value } in overrides {
        layers.set_text(key, value, Origin::CommandLine)?;
    }
    layers.finish()
}

fn read(path: &Path) -> Result<Table, SettingsError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| SettingsError::Unreadable { path: path.to_owned(), source })?;
    toml::from_str(&text)
        .map_err(|source| SettingsError::Syntax { path: path.to_owned(), source: Box::new(source) })
}

/// The values set so far, over the defaults.
struct Layers<'a> {
    defaults: Vec<(String, &'a Value)>,
    set: Table,
    origins: Vec<(String, Origin)>,
    warnings: Vec<String>,
}

impl<'a> Layers<'a> {
    fn new(defaults: &'a Table) -> Self {
        let defaults = leaves(defaults);
        let origins = defaults.iter().map(|(key, _)| (key.clone(), Origin::Default)).collect();
        Self { defaults, set: Table::new(), origins, warnings: Vec::new() }
    }

    /// Sets a key after checking that it exists and takes the value.
    fn set(&mut self, key: &str, value: &Value, origin: Origin) -> Result<(), SettingsError> {
        let section = format!("{key}.");
        if let Some((inside, _)) = self.defaults.iter().find(|(key, _)| key.starts_with(&section)) {
            return match value {
                Value::Table(empty) if empty.is_empty() => Ok(()),
                _ => Err(SettingsError::Invalid {
                    origin: origin.to_string(),
                    key: key.to_owned(),
                    reason: format!("this is a section with keys such as `{inside}`"),
                }),
            };
        }
        let Some((_, kept)) = self.origins.iter_mut().find(|(name, _)| name == key) else {
            return Err(self.unknown_key(key, &origin));
        };
        let mut alone = Table::new();
        insert(&mut alone, key, value.clone());
        if let Err(error) = alone.try_into::<Settings>() {
            return Err(SettingsError::Invalid {
                origin: origin.to_string(),
                key: key.to_owned(),
                reason: error.message().to_owned(),
            });
        }
        *kept = origin;
        insert(&mut self.set, key, value.clone());
        Ok(())
    }

    /// Sets a key from text, which is read as the type of the key's default.
    fn set_text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), SettingsError> {
        let Some((_, default)) = self.defaults.iter().find(|(name, _)| name == key) else {
            return Err(self.unknown_key(key, &origin));
        };
        let value = match default {
            Value::Integer(_) => text.parse().map(Value::Integer).ok(),
            Value::Boolean(_) => text.parse().map(Value::Boolean).ok(),
            Value::Array(_) => Some(list(text)),
            _ => Some(Value::String(text.to_owned())),
        };
        let value = value.ok_or_else(|| SettingsError::Invalid {
            origin: origin.to_string(),
            key: key.to_owned(),
            reason: format!("\"{text}\" is not {}", article(default.type_str())),
        })?;
        self.set(key, &value, origin)
    }

    /// Sets the key of a variable. One without a key is an error if it looks misspelt; others
    /// are left alone, since orchestrators set variables by the names of services.
    fn set_variable(&mut self, name: &str, text: String) -> Result<(), SettingsError> {
        let of_key = self.defaults.iter().map(|(key, _)| (variable(key), key.clone()));
        let of_key: Vec<(String, String)> = of_key.collect();
        if let Some((_, key)) = of_key.iter().find(|(variable, _)| variable == name) {
            return self.set_text(key, &text, Origin::Variable(name.to_owned()));
        }
        match nearest(name, of_key.iter().map(|(variable, _)| variable.as_str())) {
            Some(nearest) => Err(SettingsError::UnknownVariable {
                variable: name.to_owned(),
                nearest: nearest.to_owned(),
            }),
            None => {
                self.warnings.push(format!("the variable {name} is not used: no setting has it"));
                Ok(())
            }
        }
    }

    fn unknown_key(&self, key: &str, origin: &Origin) -> SettingsError {
        let keys = || self.defaults.iter().map(|(key, _)| key.as_str());
        let hint = match nearest(key, keys()) {
            Some(nearest) => format!("; did you mean `{nearest}`?"),
            None => format!("; there are {}", keys().collect::<Vec<_>>().join(", ")),
        };
        SettingsError::UnknownKey { origin: origin.to_string(), key: key.to_owned(), hint }
    }

    fn finish(self) -> Result<Loaded, SettingsError> {
        let mut settings: Settings =
            self.set.try_into().expect("each value was accepted alone, and none depends on others");
        settings.data_dir = in_home(settings.data_dir);
        let tls = &mut settings.tls;
        for path in [&mut tls.certificate, &mut tls.key, &mut tls.client_ca] {
            *path = in_home(std::mem::take(path));
        }
        settings.check()?;
        Ok(Loaded { settings, origins: self.origins, warnings: self.warnings })
    }
}

impl Loaded {
    /// Every key with its value and who set it: a configuration file that says the same.
    pub(crate) fn to_toml(&self) -> String {
        let table = Table::try_from(&self.settings).expect("settings are a TOML table");
        let lines = leaves(&table).into_iter().map(|(key, value)| {
            let origin = self.origins.iter().find(|(name, _)| *name == key);
            let (_, origin) = origin.expect("every key has an origin");
            (format!("{key} = {value}"), origin.to_string())
        });
        let lines: Vec<(String, String)> = lines.collect();
        let width = lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or_default();
        lines.iter().map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::CommandLine => f.write_str("command line"),
        }
    }
}

/// Puts the home directory for a leading `~`, which no shell sees in a configuration file.
fn in_home(path: PathBuf) -> PathBuf {
    match (path.strip_prefix("~"), std::env::var_os("HOME")) {
        (Ok(rest), Some(home)) => Path::new(&home).join(rest),
        _ => path,
    }
}

/// The values of a table that are no tables, by path. An empty table counts as a value, so that
/// a misspelt one is found.
fn leaves(table: &Table) -> Vec<(String, &Value)> {
    let mut found = Vec::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) if !inner.is_empty() => {
                let inner = leaves(inner).into_iter();
                found.extend(inner.map(|(key, value)| (format!("{name}.{key}"), value)));
            }
            _ => found.push((name.clone(), value)),
        }
    }
    found
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((section, rest)) => {
            let inner = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = inner else { unreachable!("only known keys are inserted") };
            insert(inner, rest, value);
        }
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
        .filter(|(similar, _)| *similar >= SIMILAR_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

/// The parts of a text between commas.
fn list(text: &str) -> Value {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    Value::Array(parts.map(|part| Value::String(part.to_owned())).collect())
}

fn article(kind: &str) -> String {
    let vowel = kind.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {kind}", if vowel { "an" } else { "a" })
}
