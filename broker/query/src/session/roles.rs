//! CREATE, ALTER and DROP ROLE, GRANT and REVOKE: changes of what `sys.principals` and `sys.grants`
//! show. Kafka's tools see and change the same.

#[cfg(test)]
mod tests;

use super::{Done, Session, stream_name, unknown};
use crate::catalog::find;
use crate::error::{Error, sqlstate};
use crate::statement::{Grantee, Objects, Privileges, RoleStatement, Secret};
use anabranch_engine::{
    Access, Credential, CredentialChange, Credentials, ErrorKind, Grant, GrantFilter, Operation,
    Pattern, PatternFilter, Permission, Principal, ResourceKind, credentials_of_password,
};
use std::collections::BTreeSet;

/// In grants: every stream, or every address.
const ANY: &str = "*";

impl Session {
    /// Executes a statement about users or grants. It is in force at once, and no part of a
    /// transaction.
    pub(super) async fn roles(&mut self, statement: RoleStatement) -> Result<Done, Error> {
        self.commit_implicit().await?;
        if self.transaction.is_some() {
            return Err(Error::unsupported("users and grants cannot be changed in a transaction")
                .hint("run this outside of BEGIN … COMMIT (with autocommit)"));
        }
        // Everybody may change their own password (PostgreSQL 15, ALTER ROLE).
        let statement = match statement {
            RoleStatement::Alter { name, password } if self.own.user() == Some(name.clone()) => {
                let credentials = self.credentials(password).await?;
                let changed = self.own.change_own_password(credentials).await;
                changed.map_err(|error| match error.kind {
                    ErrorKind::NotFound => no_role(&name),
                    _ => error.into(),
                })?;
                return Ok(Done::tag("ALTER ROLE"));
            }
            other => other,
        };
        // Before anything is said about who and what there is.
        self.own.check_cluster(Operation::Alter)?;
        match statement {
            RoleStatement::Create { name, password } => {
                let credentials = self.credentials(password).await?;
                self.change(&name, CredentialChange::Create(credentials)).await?;
                Ok(Done::tag("CREATE ROLE"))
            }
            RoleStatement::Alter { name, password } => {
                let credentials = self.credentials(password).await?;
                self.change(&name, CredentialChange::Replace(credentials)).await?;
                Ok(Done::tag("ALTER ROLE"))
            }
            RoleStatement::Drop { names, if_exists } => self.drop_roles(names, if_exists).await,
            RoleStatement::DropOwned { names } => self.drop_owned(names).await,
            RoleStatement::Grant { privileges, on, to } => self.grant(privileges, on, to).await,
            RoleStatement::Revoke { privileges, on, from } => {
                self.revoke(privileges, on, from).await
            }
        }
    }

    async fn change(&self, name: &str, change: CredentialChange) -> Result<(), Error> {
        let results = self.own.change_credentials(vec![(name.to_owned(), change)]).await?;
        results.into_iter().collect::<Result<(), _>>().map_err(|error| match error.kind {
            ErrorKind::AlreadyExists => {
                Error::new(sqlstate::DUPLICATE_OBJECT, format!("role \"{name}\" already exists"))
            }
            ErrorKind::NotFound => no_role(name),
            _ => error.into(),
        })
    }

    async fn credentials(&self, Secret(password): Secret) -> Result<Credentials, Error> {
        let hashing = async move { credentials(&password) };
        self.sql.runtime.run(hashing).await
    }

    async fn drop_roles(&self, names: Vec<String>, if_exists: bool) -> Result<Done, Error> {
        let mut done = Done::tag("DROP ROLE");
        for name in names {
            let access = self.own.access()?;
            let principal = Principal::user(&name);
            if !access.principals().contains_key(&principal) {
                if !if_exists {
                    return Err(no_role(&name));
                }
                done.notices.push(format!("role \"{name}\" does not exist, skipping"));
                continue;
            }
            // Else they would be those of whoever gets the name next (PostgreSQL 15, 22.4).
            if let Some(grant) = access.grants().find(|grant| grant.principal == principal) {
                let message = format!(
                    "role \"{name}\" cannot be dropped because some grants name it: {} on {} \"{}\"",
                    grant.operation,
                    grant.kind,
                    grant.pattern.name()
                );
                let hint = format!("DROP OWNED BY \"{name}\" takes all its grants away");
                return Err(Error::new(sqlstate::DEPENDENT_OBJECTS, message).hint(hint));
            }
            self.change(&name, CredentialChange::Drop).await?;
        }
        Ok(done)
    }

    async fn drop_owned(&self, names: Vec<String>) -> Result<Done, Error> {
        let access = self.own.access()?;
        let mut filters = Vec::new();
        for name in names {
            let principal = Some(known(&access, &name)?.as_str().to_owned());
            filters.push(GrantFilter { principal, ..GrantFilter::everything() });
        }
        self.own.remove_grants(filters).await?;
        Ok(Done::tag("DROP OWNED"))
    }

    async fn grant(
        &self,
        privileges: Privileges,
        on: Objects,
        to: Vec<Grantee>,
    ) -> Result<Done, Error> {
        let mut done = Done { notices: privileges.notices, ..Done::tag("GRANT") };
        let access = self.own.access()?;
        let mut streams = Vec::new();
        match on {
            Objects::AllStreams => {
                done.notices.push("streams that are made later are meant too".to_owned());
                streams.push(ANY.to_owned());
            }
            Objects::Streams(names) => {
                for name in names {
                    let name = stream_name(&name)?;
                    if find(&self.own, &name).is_none() && self.own.catalog().view(&name).is_none()
                    {
                        return Err(unknown(&name));
                    }
                    streams.push(name);
                }
            }
        }
        let mut grants = Vec::new();
        for grantee in &to {
            let principal = principal(&access, grantee)?;
            for stream in &streams {
                let of = |operation: &Operation| allow(&principal, stream, *operation);
                grants.extend(privileges.operations.iter().map(of));
            }
        }
        self.own.add_grants(grants).await?;
        Ok(done)
    }

    async fn revoke(
        &self,
        privileges: Privileges,
        on: Objects,
        from: Vec<Grantee>,
    ) -> Result<Done, Error> {
        let mut done = Done { notices: privileges.notices, ..Done::tag("REVOKE") };
        let access = self.own.access()?;
        let streams = match on {
            Objects::AllStreams => vec![ANY.to_owned()],
            Objects::Streams(names) => names
                .iter()
                .map(|name| self.named(&access, stream_name(name)?))
                .collect::<Result<_, _>>()?,
        };
        let mut taken = Taken::default();
        for grantee in &from {
            let principal = principal(&access, grantee)?;
            for stream in &streams {
                taken.add(&access, &principal, stream, &privileges.operations);
            }
        }
        // First what stays, so that nobody loses it in between.
        self.own.add_grants(taken.left).await?;
        let removed = self.own.remove_grants(taken.filters).await?;
        if removed.iter().all(Vec::is_empty) {
            let notice = "nothing was revoked: no grant is for just these names";
            done.notices.push(notice.to_owned());
        }
        Ok(done)
    }

    /// A stream that is there, or that a grant still names.
    fn named(&self, access: &Access, name: String) -> Result<String, Error> {
        let named = |grant: &Grant| {
            grant.kind == ResourceKind::Topic
                && grant.pattern == Pattern::Literal(name.as_str().into())
        };
        match find(&self.own, &name).is_some() || access.grants().any(named) {
            true => Ok(name),
            false => Err(unknown(&name)),
        }
    }
}

/// What REVOKE does.
#[derive(Default)]
struct Taken {
    filters: Vec<GrantFilter>,
    /// What stays of a grant of everything, of which a part is revoked.
    left: Vec<Grant>,
}

impl Taken {
    fn add(
        &mut self,
        access: &Access,
        principal: &Principal,
        stream: &str,
        revoked: &BTreeSet<Operation>,
    ) {
        let filter = |operation: Option<Operation>| GrantFilter {
            kind: Some(ResourceKind::Topic),
            pattern: PatternFilter::Literal(Some(stream.to_owned())),
            principal: Some(principal.as_str().to_owned()),
            host: None,
            operation,
            permission: Some(Permission::Allow),
        };
        if revoked.contains(&Operation::All) {
            self.filters.push(filter(None));
            return;
        }
        self.filters.extend(revoked.iter().map(|operation| filter(Some(*operation))));
        let all = filter(Some(Operation::All));
        for whole in access.matching(&all) {
            let others =
                ResourceKind::Topic.operations().iter().filter(|one| !revoked.contains(*one));
            self.left.extend(others.map(|one| Grant { operation: *one, ..whole.clone() }));
        }
        self.filters.push(all);
    }
}

fn allow(principal: &Principal, stream: &str, operation: Operation) -> Grant {
    Grant {
        kind: ResourceKind::Topic,
        pattern: Pattern::Literal(stream.into()),
        principal: principal.clone(),
        host: ANY.into(),
        operation,
        permission: Permission::Allow,
    }
}

fn principal(access: &Access, grantee: &Grantee) -> Result<Principal, Error> {
    match grantee {
        Grantee::Public => Ok(Principal::everybody()),
        Grantee::Role(name) => known(access, name),
    }
}

/// Somebody with a password, with a certificate (whose names are not kept here), without either,
/// or whom a grant names.
fn known(access: &Access, name: &str) -> Result<Principal, Error> {
    let principal = Principal::user(name);
    let is_known = access.principals().contains_key(&principal)
        || is_subject(name)
        || principal == Principal::anonymous()
        || access.grants().any(|grant| grant.principal == principal);
    if is_known { Ok(principal) } else { Err(no_role(name)) }
}

/// Whether a name is a certificate's subject: attributes with commas between, each a type, an equals
/// sign and a value (RFC 4514). A type is a word, or numbers with dots between.
fn is_subject(name: &str) -> bool {
    let is_type = |word: &str| {
        let is_word = word.starts_with(|first: char| first.is_ascii_alphabetic())
            && word.chars().all(|each| each.is_ascii_alphanumeric() || each == '-');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        is_word || word.contains('.') && word.split('.').all(is_number)
    };
    // What is behind a backslash is part of a value.
    let (mut plain, mut characters) = (String::new(), name.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' if characters.next().is_none() => return false,
            '\\' => plain.push('_'),
            other => plain.push(other),
        }
    }
    plain.split([',', '+']).all(|attribute| {
        attribute.split_once('=').is_some_and(|(of, value)| is_type(of) && !value.is_empty())
    })
}

fn no_role(name: &str) -> Error {
    Error::new(sqlstate::UNDEFINED_OBJECT, format!("role \"{name}\" does not exist"))
        .hint("SELECT name FROM sys.principals lists the users")
}

/// What is kept of a password; or what a client has made of one already (PostgreSQL 15, CREATE
/// ROLE), as psql's `\password` does.
fn credentials(password: &str) -> Result<Credentials, Error> {
    let refused = |message: String| Error::new(sqlstate::INVALID_PARAMETER, message);
    if password.starts_with("SCRAM-SHA-256$") || password.starts_with("SCRAM-SHA-512$") {
        return Credential::try_from(password.to_owned())
            .map(Credentials::of)
            .map_err(|error| refused(format!("this SCRAM verifier cannot be taken: {error}")));
    }
    let digits = password.strip_prefix("md5").unwrap_or_default();
    if digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(refused("passwords that are hashed with MD5 are not supported".to_owned()));
    }
    credentials_of_password(password).map_err(|error| refused(error.to_string()))
}
