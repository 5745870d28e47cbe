use crate::{
    Access, CLUSTER, Credential, CredentialError, Credentials, Decision, Exchange, Failed, Grant,
    GrantFilter, Identity, Mechanism, Operation, Pattern, PatternFilter, Permission, Principal,
    PrincipalRecord, Resource, ResourceKind, SaslMechanism, Step,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const SECRET: [u8; 32] = [7; 32];

fn access(principals: &[(&str, bool)], grants: Vec<Grant>) -> Access {
    let record = |admin| PrincipalRecord { admin, ..PrincipalRecord::default() };
    let principals = principals.iter();
    let principals = principals.map(|(name, admin)| (Principal::user(name), record(*admin)));
    Access::new(principals.collect(), grants, SECRET)
}

fn who(name: &str, host: &str) -> Identity {
    Identity { principal: Principal::user(name), host: host.into() }
}

fn topic(name: &str) -> Resource<'_> {
    Resource { kind: ResourceKind::Topic, name }
}

fn grant(principal: &str, permission: Permission, operation: Operation, name: &str) -> Grant {
    let pattern = match name.strip_suffix("…") {
        Some(prefix) => Pattern::Prefixed(prefix.into()),
        None => Pattern::Literal(name.into()),
    };
    Grant {
        kind: ResourceKind::Topic,
        pattern,
        principal: Principal::user(principal),
        host: "*".into(),
        operation,
        permission,
    }
}

fn check(access: &Access, name: &str, operation: Operation, stream: &str, expected: Decision) {
    let decided = access.decide(&who(name, "::1"), operation, topic(stream));
    assert_eq!(decided, expected, "{name} {operation} {stream}");
}

use Decision::{Allowed, Denied};
use Permission::{Allow, Deny};

#[test]
fn an_open_broker_denies_only_what_a_grant_denies() {
    let access = access(
        &[],
        vec![
            grant("*", Deny, Operation::Delete, "secret"),
            grant("ANONYMOUS", Deny, Operation::Read, "secret"),
            grant("ann", Deny, Operation::Write, "secret"),
        ],
    );
    check(&access, "ANONYMOUS", Operation::Write, "secret", Allowed);
    check(&access, "ANONYMOUS", Operation::Delete, "secret", Denied);
    check(&access, "ANONYMOUS", Operation::Read, "secret", Denied);
    check(&access, "ANONYMOUS", Operation::Read, "other", Allowed);
    assert!(!access.is_free());
    assert!(Access::default().is_free());
}

#[test]
fn an_open_broker_cannot_be_locked() {
    let lock =
        Grant { kind: ResourceKind::Cluster, ..grant("ANONYMOUS", Deny, Operation::All, CLUSTER) };
    let access = access(&[], vec![lock]);
    let cluster = Resource { kind: ResourceKind::Cluster, name: CLUSTER };
    let nobody = Identity::anonymous("::1");
    assert_eq!(access.decide(&nobody, Operation::Alter, cluster), Allowed);
    assert_eq!(access.decide(&nobody, Operation::Create, cluster), Denied);
}

#[test]
fn a_closed_broker_denies_what_nobody_granted() {
    let access = access(
        &[("root", true), ("ann", false), ("bob", false)],
        vec![
            grant("ann", Allow, Operation::Read, "a"),
            grant("ann", Allow, Operation::All, "b…"),
            grant("ann", Deny, Operation::Delete, "bb…"),
            grant("*", Allow, Operation::Describe, "*"),
        ],
    );
    check(&access, "root", Operation::Delete, "a", Allowed);
    check(&access, "root", Operation::Read, "__catalog", Allowed);
    check(&access, "ann", Operation::Read, "a", Allowed);
    check(&access, "ann", Operation::Write, "a", Denied);
    check(&access, "ann", Operation::Delete, "b", Allowed);
    check(&access, "ann", Operation::Delete, "bb1", Denied);
    check(&access, "ann", Operation::Read, "bb1", Allowed);
    check(&access, "bob", Operation::Read, "a", Denied);
    check(&access, "bob", Operation::Describe, "a", Allowed);
    check(&access, "ANONYMOUS", Operation::Describe, "a", Allowed);
    check(&access, "bob", Operation::Describe, "__catalog", Denied);
}

#[test]
fn a_grant_holds_for_its_host() {
    let here = Grant { host: "10.0.0.1".into(), ..grant("ann", Allow, Operation::Read, "a") };
    let access = access(&[("root", true)], vec![here]);
    assert_eq!(access.decide(&who("ann", "10.0.0.1"), Operation::Read, topic("a")), Allowed);
    assert_eq!(access.decide(&who("ann", "10.0.0.2"), Operation::Read, topic("a")), Denied);
}

#[test]
fn operations_as_kafka_tells_them() {
    let access = access(&[("root", true)], vec![grant("ann", Allow, Operation::Read, "a")]);
    let bits = |name: &str, resource| access.operations(&who(name, "::1"), resource).bits();
    assert_eq!(bits("ann", topic("a")), 0b1_0000_1000);
    assert_eq!(bits("root", topic("a")), 0b1101_1111_1000);
    let cluster = Resource { kind: ResourceKind::Cluster, name: CLUSTER };
    assert_eq!(bits("root", cluster), 0b1_1111_1010_0000);
    let group = Resource { kind: ResourceKind::Group, name: "g" };
    assert_eq!(bits("root", group), 0b1101_0100_1000);
}

#[test]
fn some_resource_of_a_kind() {
    let check = |grants: Vec<Grant>, expected: Decision| {
        let access = access(&[("root", true)], grants.clone());
        let decided = access.decide_some(&who("ann", "::1"), Operation::Write, ResourceKind::Topic);
        assert_eq!(decided, expected, "{grants:?}");
    };
    let write = |permission, name| grant("ann", permission, Operation::Write, name);
    check(vec![], Denied);
    check(vec![write(Allow, "a")], Allowed);
    check(vec![write(Allow, "a"), write(Deny, "a")], Denied);
    check(vec![write(Allow, "a…"), write(Deny, "a")], Allowed);
    check(vec![write(Allow, "ab"), write(Deny, "a…")], Denied);
    check(vec![write(Allow, "*"), write(Deny, "a…")], Allowed);
    check(vec![write(Allow, "*"), write(Deny, "*")], Denied);
}

#[test]
fn filters() {
    let literal = grant("ann", Allow, Operation::Read, "ab");
    let prefix = grant("ann", Allow, Operation::Read, "a…");
    let all = grant("ann", Allow, Operation::Read, "*");
    let check = |pattern: PatternFilter, expected: [bool; 3]| {
        let filter = GrantFilter { pattern, ..GrantFilter::everything() };
        assert_eq!([&literal, &prefix, &all].map(|grant| filter.takes(grant)), expected);
    };
    let name = |name: &str| Some(name.to_owned());
    check(PatternFilter::Any(None), [true, true, true]);
    check(PatternFilter::Any(name("a")), [false, true, false]);
    check(PatternFilter::Match(name("ab")), [true, true, true]);
    check(PatternFilter::Match(name("ac")), [false, true, true]);
    check(PatternFilter::Literal(name("ab")), [true, false, false]);
    check(PatternFilter::Literal(None), [true, false, true]);
    check(PatternFilter::Prefixed(name("a")), [false, true, false]);
}

/// The decision as its definition reads, without an index.
fn naive(
    admins: &[&str],
    grants: &[Grant],
    who: &Identity,
    operation: Operation,
    resource: Resource<'_>,
) -> Decision {
    if admins.contains(&who.principal.name()) {
        return Allowed;
    }
    let speaks = |grant: &&Grant| {
        grant.kind == resource.kind
            && (grant.principal == who.principal || grant.principal == Principal::everybody())
            && (*grant.host == *"*" || *grant.host == *who.host)
            && match &grant.pattern {
                Pattern::Literal(name) => **name == *"*" || **name == *resource.name,
                Pattern::Prefixed(prefix) => resource.name.starts_with(&**prefix),
            }
    };
    let same = |grant: &Grant| grant.operation == operation || grant.operation == Operation::All;
    let implied = |grant: &Grant| match operation {
        Operation::Describe => {
            use Operation::{Alter, Delete, Read, Write};
            [Read, Write, Delete, Alter].contains(&grant.operation)
        }
        Operation::DescribeConfigs => grant.operation == Operation::AlterConfigs,
        _ => false,
    };
    let about: Vec<&Grant> = grants.iter().filter(speaks).collect();
    let denied = about.iter().any(|grant| grant.permission == Deny && same(grant));
    let allowed =
        about.iter().any(|grant| grant.permission == Allow && (same(grant) || implied(grant)));
    if allowed && !denied { Allowed } else { Denied }
}

fn any_grant() -> impl Strategy<Value = Grant> {
    let name = prop_oneof![Just("*"), Just("a"), Just("ab"), Just("abc"), Just("b"), Just("é")];
    (
        prop::sample::select(vec![ResourceKind::Topic, ResourceKind::Group]),
        name,
        any::<bool>(),
        prop::sample::select(vec!["*", "ann", "bob", "ANONYMOUS"]),
        prop::sample::select(vec!["*", "h1", "h2"]),
        prop::sample::select(Operation::EVERY.to_vec()),
        prop::sample::select(vec![Allow, Allow, Deny]),
    )
        .prop_map(|(kind, name, prefixed, principal, host, operation, permission)| Grant {
            kind,
            pattern: if prefixed {
                Pattern::Prefixed(name.into())
            } else {
                Pattern::Literal(name.into())
            },
            principal: Principal::user(principal),
            host: host.into(),
            operation,
            permission,
        })
}

proptest! {
    #[test]
    fn decisions_are_those_of_the_definition(
        grants in prop::collection::vec(any_grant(), 0..12),
        name in prop::sample::select(vec!["ann", "bob", "ANONYMOUS", "root"]),
        host in prop::sample::select(vec!["h1", "h2"]),
        resource in prop::sample::select(vec!["a", "ab", "abcd", "b", "éa", "x", ""]),
        kind in prop::sample::select(vec![ResourceKind::Topic, ResourceKind::Group]),
    ) {
        let access = access(&[("root", true), ("ann", false)], grants.clone());
        let (who, resource) = (who(name, host), Resource { kind, name: resource });
        for operation in Operation::EVERY.into_iter().skip(1) {
            let expected = naive(&["root"], &grants, &who, operation, resource);
            prop_assert_eq!(access.decide(&who, operation, resource), expected, "{}", operation);
        }
    }

    #[test]
    fn what_comes_over_the_wire_never_panics(first in ".{0,60}", second in ".{0,60}") {
        let access = with_user("user", "pencil");
        for mechanism in SaslMechanism::EVERY.into_iter().skip(1) {
            let mut exchange = Exchange::new(mechanism, "nonce".to_owned());
            let _ = exchange.step(&access, first.as_bytes());
            let mut exchange = Exchange::new(mechanism, "nonce".to_owned());
            exchange.step(&access, b"n,,n=user,r=x").expect("a first message");
            prop_assert!(exchange.step(&access, second.as_bytes()).is_err());
        }
    }
}

fn with_user(name: &str, password: &str) -> Access {
    let credentials =
        Credentials::of_password(password, [vec![1; 16], vec![2; 16]]).expect("credentials");
    let record = PrincipalRecord { admin: true, credentials };
    Access::new(BTreeMap::from([(Principal::user(name), record)]), [], SECRET)
}

/// RFC 7677, section 3.
#[test]
fn the_example_of_the_rfc() {
    use base64::Engine as _;
    let salt = base64::prelude::BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").expect("base64");
    let credential =
        Credential::of_password(Mechanism::ScramSha256, "pencil", salt, 4096).expect("good");
    let mut record = PrincipalRecord::default();
    record.credentials.set(credential);
    let access = Access::new(BTreeMap::from([(Principal::user("user"), record)]), [], SECRET);
    let nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".to_owned();
    let mut exchange = Exchange::new(SaslMechanism::Scram(Mechanism::ScramSha256), nonce);
    let first =
        exchange.step(&access, b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").expect("a first message");
    let expected = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                    s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    assert_eq!(first, Step::Continue(expected.as_bytes().to_vec()));
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let done = exchange.step(&access, last.as_bytes()).expect("a proof");
    let answer = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec();
    assert_eq!(done, Step::Done { principal: Principal::user("user"), answer });
}

#[test]
fn plain_takes_the_password_and_nothing_else() {
    let access = with_user("ann", "secret");
    let check = |message: &[u8], expected: Result<&str, Failed>| {
        let mut exchange = Exchange::new(SaslMechanism::Plain, String::new());
        let found = exchange.step(&access, message);
        let expected = expected
            .map(|name| Step::Done { principal: Principal::user(name), answer: Vec::new() });
        assert_eq!(found, expected, "{}", String::from_utf8_lossy(message));
    };
    let invalid = |user: &str| Err(Failed::Invalid { user: user.to_owned() });
    check(b"\0ann\0secret", Ok("ann"));
    check(b"ann\0ann\0secret", Ok("ann"));
    check(b"bob\0ann\0secret", invalid("ann"));
    check(b"\0ann\0secret2", invalid("ann"));
    check(b"\0bob\0secret", invalid("bob"));
    check(b"\0ann", Err(Failed::Malformed("not PLAIN's message")));
    check(b"\0ann\0", Err(Failed::Malformed("the user or the password is empty")));
}

#[test]
fn scram_messages_that_are_refused() {
    let access = with_user("a,b=c", "secret");
    let check = |message: &[u8], good: bool| {
        let scram = SaslMechanism::Scram(Mechanism::ScramSha512);
        let mut exchange = Exchange::new(scram, "nonce".to_owned());
        let found = exchange.step(&access, message);
        assert_eq!(found.is_ok(), good, "{}: {found:?}", String::from_utf8_lossy(message));
    };
    check(b"n,,n=a=2Cb=3Dc,r=x", true);
    check(b"y,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=x", true);
    check(b"n,a=other,n=a=2Cb=3Dc,r=x", false);
    check(b"n,,n=a=b,r=x", false);
    check(b"p=tls-unique,,n=a,r=x", false);
    check(b"n,,n=a,r=", false);
    check(b"n,,n=,r=x", false);
    check(b"n,,n=a,r=x,tokenauth=true", false);
}

/// librdkafka before 2.2 says its own nonce twice; Kafka lets it.
#[test]
fn the_nonce_ends_with_the_servers() {
    let access = with_user("ann", "secret");
    let last = |message: &[u8]| {
        let scram = SaslMechanism::Scram(Mechanism::ScramSha256);
        let mut exchange = Exchange::new(scram, "nonce".to_owned());
        exchange.step(&access, b"n,,n=ann,r=x").expect("a first message");
        exchange.step(&access, message)
    };
    let wrong_proof = Err(Failed::Invalid { user: "ann".to_owned() });
    assert_eq!(last(b"c=biws,r=xnonce,p=AAAA"), wrong_proof);
    assert_eq!(last(b"c=biws,r=xxnonce,p=AAAA"), wrong_proof);
    let other = Err(Failed::Malformed("the nonce is another than the server's"));
    assert_eq!(last(b"c=biws,r=xother,p=AAAA"), other);
}

#[test]
fn a_user_named_before_needs_no_name() {
    let access = with_user("ann", "secret");
    let scram = SaslMechanism::Scram(Mechanism::ScramSha256);
    let mut named = Exchange::new(scram, "nonce".to_owned());
    let mut before = Exchange::of_user(scram, "nonce".to_owned(), "ann".to_owned());
    let expected = named.step(&access, b"n,,n=ann,r=x").expect("a first message");
    assert_eq!(before.step(&access, b"n,,n=,r=x").expect("a first message"), expected);
}

#[test]
fn unknown_users_get_the_same_salt_each_time() {
    let access = with_user("ann", "secret");
    let first = |user: &str| {
        let scram = SaslMechanism::Scram(Mechanism::ScramSha256);
        let mut exchange = Exchange::new(scram, "nonce".to_owned());
        exchange.step(&access, format!("n,,n={user},r=x").as_bytes()).expect("asked for a proof")
    };
    assert_eq!(first("nobody"), first("nobody"));
    assert_ne!(first("nobody"), first("nobody2"));
}

#[test]
fn credentials_as_text() {
    for mechanism in Mechanism::EVERY {
        let credential =
            Credential::of_password(mechanism, "secret", vec![9; 16], 4096).expect("good");
        let json = serde_json::to_string(&credential).expect("JSON");
        let read: Credential = serde_json::from_str(&json).expect("a credential");
        assert_eq!(read, credential);
        assert!(read.check_password("secret") && !read.check_password("Secret"));
    }
    let check = |text: &str| {
        assert_eq!(Credential::try_from(text.to_owned()), Err(CredentialError::Damaged));
    };
    check("");
    check("SCRAM-SHA-256$4096:AAAA$AA:AA");
    check("MD5$4096:AAAA$AA==:AA==");
}

#[test]
fn iterations_have_bounds() {
    let check = |iterations: u32, expected: Option<CredentialError>| {
        let made = Credential::of_salted(Mechanism::ScramSha256, &[0; 32], vec![1; 8], iterations);
        assert_eq!(made.err(), expected);
    };
    check(4095, Some(CredentialError::TooFewIterations));
    check(4096, None);
    check(16_384, None);
    check(16_385, Some(CredentialError::TooManyIterations));
}
