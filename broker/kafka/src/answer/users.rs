//! Users and what their passwords are checked with, as Kafka's tools see and change them
//! (KIP-554). The first user that is made is the admin.

use super::text;
use crate::door::Shared;
use crate::errors::{About, Fault};
use anabranch_engine::{
    Credential, CredentialChange, ErrorKind, ITERATIONS_MAX, ITERATIONS_MIN, Mechanism, Principal,
    PrincipalRecord,
};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use kafka_protocol::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use kafka_protocol::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kafka_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use std::collections::BTreeMap;

pub(super) fn describe(
    shared: &Shared,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let response = DescribeUserScramCredentialsResponse::default();
    let access = match shared.engine.access() {
        Ok(access) => access,
        Err(error) => {
            let fault = Fault::of(error, About::Partition);
            return response
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message)));
        }
    };
    let users = request.users.filter(|users| !users.is_empty());
    let results = match users {
        None => {
            let all = access.principals().iter();
            all.filter(|(_, record)| !record.credentials.is_empty())
                .map(|(principal, record)| described(principal.name(), record))
                .collect()
        }
        Some(users) => {
            let mut times: BTreeMap<String, u32> = BTreeMap::new();
            for user in &users {
                *times.entry(user.name.to_string()).or_default() += 1;
            }
            let one = |(name, times): (String, u32)| {
                let refused = |error: ResponseError, message: &str| {
                    DescribeUserScramCredentialsResult::default()
                        .with_user(text(name.as_str()))
                        .with_error_code(error.code())
                        .with_error_message(Some(text(message)))
                };
                if times > 1 {
                    let message = "the user stands in the request more than once";
                    return refused(ResponseError::DuplicateResource, message);
                }
                match access.principals().get(&Principal::user(&name)) {
                    Some(record) if !record.credentials.is_empty() => described(&name, record),
                    _ => refused(ResponseError::ResourceNotFound, "there is no such user"),
                }
            };
            times.into_iter().map(one).collect()
        }
    };
    response.with_results(results)
}

fn described(name: &str, record: &PrincipalRecord) -> DescribeUserScramCredentialsResult {
    let infos = record.credentials.iter().map(|credential| {
        CredentialInfo::default()
            .with_mechanism(credential.mechanism.number())
            .with_iterations(i32::try_from(credential.iterations).unwrap_or(i32::MAX))
    });
    DescribeUserScramCredentialsResult::default()
        .with_user(text(name))
        .with_credential_infos(infos.collect())
}

pub(super) async fn alter(
    shared: &Shared,
    request: AlterUserScramCredentialsRequest,
) -> AlterUserScramCredentialsResponse {
    // Each user at most once, and answered once.
    let mut users: BTreeMap<String, Result<CredentialChange, Fault>> = BTreeMap::new();
    let deletions = request.deletions.iter().map(|one| {
        let removed = mechanism(&one.name, one.mechanism).map(CredentialChange::Remove);
        (one.name.to_string(), removed)
    });
    let upsertions = request.upsertions.iter();
    let upsertions =
        upsertions.map(|one| (one.name.to_string(), credential(one).map(CredentialChange::Set)));
    for (name, change) in deletions.chain(upsertions) {
        let twice = || {
            let message = "A user credential cannot be altered twice in the same request";
            Err(Fault::new(ResponseError::DuplicateResource, message))
        };
        users.entry(name).and_modify(|change| *change = twice()).or_insert(change);
    }
    let good = users.iter();
    let good: Vec<(String, CredentialChange)> = good
        .filter_map(|(name, change)| Some((name.clone(), change.as_ref().ok()?.clone())))
        .collect();
    let changed = shared.engine.change_credentials(good).await;
    let mut changed =
        changed.map(Vec::into_iter).map_err(|error| Fault::of(error, About::Partition));
    let results = users.into_iter().map(|(name, change)| {
        let result = match &mut changed {
            Err(fault) => Err(fault.clone()),
            Ok(changed) => change.and_then(|_| match changed.next() {
                Some(Err(error)) => Err(refused(error)),
                Some(Ok(())) | None => Ok(()),
            }),
        };
        let told = AlterUserScramCredentialsResult::default().with_user(text(name));
        match result {
            Ok(()) => told,
            Err(fault) => told
                .with_error_code(fault.error.code())
                .with_error_message(Some(text(&*fault.message))),
        }
    });
    AlterUserScramCredentialsResponse::default().with_results(results.collect())
}

fn refused(error: anabranch_engine::Error) -> Fault {
    let code = match error.kind {
        ErrorKind::NotFound => ResponseError::ResourceNotFound,
        ErrorKind::InvalidName => ResponseError::UnacceptableCredential,
        _ => return Fault::of(error, About::Partition),
    };
    Fault::new(code, error.message)
}

fn mechanism(name: &str, number: i8) -> Result<Mechanism, Fault> {
    if name.is_empty() {
        let error = ResponseError::UnacceptableCredential;
        return Err(Fault::new(error, "Username must not be empty"));
    }
    Mechanism::of_number(number).ok_or_else(|| {
        Fault::new(ResponseError::UnsupportedSaslMechanism, "Unknown SCRAM mechanism")
    })
}

fn credential(upsertion: &ScramCredentialUpsertion) -> Result<Credential, Fault> {
    let mechanism = mechanism(&upsertion.name, upsertion.mechanism)?;
    let iterations = u32::try_from(upsertion.iterations).unwrap_or(0);
    let refused = |message: String| Fault::new(ResponseError::UnacceptableCredential, message);
    if iterations < ITERATIONS_MIN {
        return Err(refused("Too few iterations".to_owned()));
    }
    if iterations > ITERATIONS_MAX {
        return Err(refused("Too many iterations".to_owned()));
    }
    let salt = upsertion.salt.to_vec();
    Credential::of_salted(mechanism, &upsertion.salted_password, salt, iterations)
        .map_err(|error| refused(error.to_string()))
}
