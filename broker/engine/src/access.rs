//! Principals and grants as records of `__access`, and the snapshot that decides.

use crate::catalog::to_json;
use crate::changes::to_the_end;
use crate::engine::Engine;
use crate::ledger::{Entry, Ledger};
use crate::{Error, ErrorKind};
use anabranch_access::{
    Access, Credential, CredentialError, Credentials, Grant, GrantFilter, Mechanism, Principal,
    PrincipalRecord, SECRET_BYTES,
};
use parking_lot::RwLock;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const PRINCIPAL_PREFIX: &str = "principal/";
const GRANT_PREFIX: &str = "grant/";
/// What salts of users that do not exist are made of.
const SECRET_KEY: &[u8] = b"secret";
/// Most grants: each is looked at when a denial is to be found.
const GRANTS_MAX: usize = 100_000;
/// Most principals.
const PRINCIPALS_MAX: usize = 100_000;
/// Bytes of a salt that is made here.
const SALT_BYTES: usize = 16;
/// Most bytes of a user's name.
const NAME_BYTES_MAX: usize = 249;

/// Who may do what, now.
pub(crate) struct AccessState {
    ledger: Ledger,
    snapshot: RwLock<(u64, Arc<Access>)>,
    /// Of the snapshot, for who only wants to know whether it is still the same.
    version: AtomicU64,
    /// Whether nobody can be denied anything.
    free: AtomicBool,
    /// Changes, one at a time.
    changing: tokio::sync::Mutex<()>,
    pub(crate) denials: AtomicU64,
    pub(crate) logins_failed: AtomicU64,
}

impl AccessState {
    /// Folds the ledger. Blocks.
    pub(crate) fn load(ledger: Ledger) -> Result<Self, Error> {
        if ledger.get(SECRET_KEY).is_none() {
            let secret: [u8; SECRET_BYTES] = rand::random();
            ledger.put_first(vec![(SECRET_KEY.to_vec(), Some(to_json(&secret)))])?;
        }
        let access = fold(&ledger)?;
        Ok(Self {
            free: AtomicBool::new(access.is_free()),
            snapshot: RwLock::new((0, Arc::new(access))),
            version: AtomicU64::new(0),
            ledger,
            changing: tokio::sync::Mutex::default(),
            denials: AtomicU64::new(0),
            logins_failed: AtomicU64::new(0),
        })
    }

    pub(crate) fn is_free(&self) -> bool {
        self.free.load(Ordering::Acquire)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn snapshot(&self) -> (u64, Arc<Access>) {
        self.snapshot.read().clone()
    }

    /// Writes entries and puts them in force; durable and in force when this returns.
    async fn put(&self, entries: Vec<Entry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Ok(());
        }
        self.ledger.put(entries).await?;
        let access = Arc::new(fold(&self.ledger)?);
        let mut snapshot = self.snapshot.write();
        let version = snapshot.0 + 1;
        self.free.store(access.is_free(), Ordering::Release);
        *snapshot = (version, access);
        self.version.store(version, Ordering::Release);
        Ok(())
    }
}

fn fold(ledger: &Ledger) -> Result<Access, Error> {
    let damaged = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Storage, format!("a record of __access is damaged: {error}"))
    };
    let secret = ledger.get(SECRET_KEY).unwrap_or_default();
    let secret: [u8; SECRET_BYTES] =
        serde_json::from_slice(&secret).map_err(|error| damaged(&error))?;
    let mut principals = BTreeMap::new();
    for (key, value) in ledger.scan(PRINCIPAL_PREFIX.as_bytes()) {
        let name = std::str::from_utf8(&key[PRINCIPAL_PREFIX.len()..]);
        let name = name.map_err(|error| damaged(&error))?;
        let record: PrincipalRecord =
            serde_json::from_slice(&value).map_err(|error| damaged(&error))?;
        principals.insert(Principal::user(name), record);
    }
    let grants = ledger.scan(GRANT_PREFIX.as_bytes());
    let grants = grants.iter().map(|(key, _)| serde_json::from_slice(&key[GRANT_PREFIX.len()..]));
    let grants: Result<Vec<Grant>, _> = grants.collect();
    Ok(Access::new(principals, grants.map_err(|error| damaged(&error))?, secret))
}

fn grant_key(grant: &Grant) -> Vec<u8> {
    [GRANT_PREFIX.as_bytes(), &to_json(grant)].concat()
}

fn principal_key(name: &str) -> Vec<u8> {
    format!("{PRINCIPAL_PREFIX}{name}").into_bytes()
}

/// A change of what somebody logs in with.
#[derive(Debug, Clone)]
pub enum CredentialChange {
    /// Sets that of one mechanism; makes the principal if there is none.
    Set(Credential),
    /// Removes that of one mechanism; with the last, the principal goes.
    Remove(Mechanism),
    /// Makes a principal of this name, which there must not be.
    Create(Credentials),
    /// Sets those of all mechanisms; the principal must be there.
    Replace(Credentials),
    /// Removes all of them, and with them the principal.
    Drop,
}

/// What `password` can be checked with by every mechanism, with salts of its own. Takes some ten
/// milliseconds of hashing.
///
/// # Errors
/// None but what a bug would make.
pub fn credentials_of_password(password: &str) -> Result<Credentials, CredentialError> {
    let salt = || rand::random::<[u8; SALT_BYTES]>().to_vec();
    Credentials::of_password(password, [salt(), salt()])
}

/// What came of the changes of credentials.
pub(crate) struct Changed {
    /// For each user, in order.
    pub(crate) results: Vec<Result<(), Error>>,
    /// The first principal, if one of them has become that.
    pub(crate) first: Option<Principal>,
}

impl Engine {
    pub(crate) async fn add_grants(&self, grants: Vec<Grant>) -> Result<(), Error> {
        let engine = self.clone();
        to_the_end(async move {
            let state = &engine.inner.access;
            let _one_at_a_time = state.changing.lock().await;
            let (_, access) = state.snapshot();
            let new: BTreeSet<Grant> =
                grants.into_iter().filter(|grant| !access.has(grant)).collect();
            if access.grants().count() + new.len() > GRANTS_MAX {
                let message = format!("there are at most {GRANTS_MAX} grants");
                return Err(Error::new(ErrorKind::InvalidArgument, message));
            }
            let entry = |grant: &Grant| (grant_key(grant), Some(b"{}".to_vec()));
            state.put(new.iter().map(entry).collect()).await
        })
        .await
    }

    /// Removes what the filters take; for each filter, what it took.
    pub(crate) async fn remove_grants(
        &self,
        filters: Vec<GrantFilter>,
    ) -> Result<Vec<Vec<Grant>>, Error> {
        let engine = self.clone();
        to_the_end(async move {
            let state = &engine.inner.access;
            let _one_at_a_time = state.changing.lock().await;
            let (_, access) = state.snapshot();
            let taken: Vec<Vec<Grant>> =
                filters.iter().map(|filter| access.matching(filter).cloned().collect()).collect();
            let keys: BTreeSet<Vec<u8>> = taken.iter().flatten().map(grant_key).collect();
            state.put(keys.into_iter().map(|key| (key, None)).collect()).await?;
            Ok(taken)
        })
        .await
    }

    /// Changes credentials of users, each on its own, all in one round.
    pub(crate) async fn change_credentials(
        &self,
        changes: Vec<(String, CredentialChange)>,
    ) -> Result<Changed, Error> {
        let engine = self.clone();
        to_the_end(async move {
            let state = &engine.inner.access;
            let _one_at_a_time = state.changing.lock().await;
            let (_, access) = state.snapshot();
            let mut principals = access.principals().clone();
            let mut touched = BTreeSet::new();
            let mut results = Vec::with_capacity(changes.len());
            for (name, change) in changes {
                let result = change_one(&mut principals, &name, change);
                if result.is_ok() {
                    touched.insert(Principal::user(&name));
                }
                results.push(result);
            }
            let admin = |all: &BTreeMap<Principal, PrincipalRecord>| {
                all.iter().find(|(_, record)| record.admin).map(|(principal, _)| principal.clone())
            };
            let first = if access.is_open() { admin(&principals) } else { None };
            let entry = |principal: Principal| {
                let value = principals.get(&principal).map(to_json);
                (principal_key(principal.name()), value)
            };
            state.put(touched.into_iter().map(entry).collect()).await?;
            if let Some(first) = &first {
                tracing::warn!(
                    target: "audit",
                    principal = ?first.as_str(),
                    "the first principal is the admin: from now on everybody else needs grants"
                );
            } else if !access.is_open() && principals.is_empty() {
                tracing::warn!(
                    target: "audit",
                    "the last principal has gone: everybody may do everything again"
                );
            }
            Ok(Changed { results, first })
        })
        .await
    }
}

fn change_one(
    principals: &mut BTreeMap<Principal, PrincipalRecord>,
    name: &str,
    change: CredentialChange,
) -> Result<(), Error> {
    let principal = Principal::user(name);
    let is_there = principals.contains_key(&principal);
    match change {
        CredentialChange::Create(_) if is_there => {
            let message = format!("there is a user {name:?} already");
            Err(Error::new(ErrorKind::AlreadyExists, message))
        }
        CredentialChange::Replace(_) | CredentialChange::Drop if !is_there => {
            Err(Error::new(ErrorKind::NotFound, format!("there is no user {name:?}")))
        }
        CredentialChange::Set(credential) => {
            record_to_set(principals, principal)?.credentials.set(credential);
            Ok(())
        }
        CredentialChange::Create(credentials) | CredentialChange::Replace(credentials) => {
            record_to_set(principals, principal)?.credentials = credentials;
            Ok(())
        }
        CredentialChange::Remove(mechanism) => {
            let missing =
                || Error::new(ErrorKind::NotFound, "there is no such credential to be deleted");
            let record = principals.get(&principal).ok_or_else(missing)?;
            let mut credentials = record.credentials.clone();
            if !credentials.remove(mechanism) {
                return Err(missing());
            }
            if credentials.is_empty() {
                return remove(principals, &principal);
            }
            principals.entry(principal).or_default().credentials = credentials;
            Ok(())
        }
        CredentialChange::Drop => remove(principals, &principal),
    }
}

/// What is kept of a principal, who may be new.
fn record_to_set(
    principals: &mut BTreeMap<Principal, PrincipalRecord>,
    principal: Principal,
) -> Result<&mut PrincipalRecord, Error> {
    let refused = |kind, message: String| Err(Error::new(kind, message));
    if !(1..=NAME_BYTES_MAX).contains(&principal.name().len()) {
        let message = format!("a user's name has 1 to {NAME_BYTES_MAX} bytes");
        return refused(ErrorKind::InvalidName, message);
    }
    if principal == Principal::anonymous() || principal == Principal::everybody() {
        return refused(ErrorKind::InvalidName, format!("{principal} is nobody's name"));
    }
    let is_first = principals.is_empty();
    if principals.len() >= PRINCIPALS_MAX && !principals.contains_key(&principal) {
        let message = format!("there are at most {PRINCIPALS_MAX} principals");
        return refused(ErrorKind::InvalidArgument, message);
    }
    let record = principals.entry(principal).or_default();
    record.admin |= is_first;
    Ok(record)
}

/// Removes a principal; the last admin only after everybody else.
fn remove(
    principals: &mut BTreeMap<Principal, PrincipalRecord>,
    principal: &Principal,
) -> Result<(), Error> {
    let all = &*principals;
    let others = || all.iter().filter(|(other, _)| *other != principal);
    let is_admin = all.get(principal).is_some_and(|record| record.admin);
    if is_admin && others().count() > 0 && !others().any(|(_, record)| record.admin) {
        let message = "nobody else is an admin: delete the other users first";
        return Err(Error::new(ErrorKind::InvalidArgument, message));
    }
    principals.remove(principal);
    Ok(())
}
