//! TLS from the socket to the peer's name, with certificates made here.

use crate::name::DistinguishedName;
use crate::{
    Application, ClientCertificates, Encryption, Entered, Entry, Gate, Peer, Refusal, Reread,
    Rules, Security, Stream, Tls, TlsFiles, bind,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// An authority, and the files of a broker in a directory.
struct Place {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
struct Pair {
    certificate: String,
    key: String,
}

impl Place {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let place = Self { directory: tempfile::tempdir().expect("a directory"), authority };
        place.write("ca.pem", &place.authority.pem());
        place.install(&place.issue("broker"));
        place
    }

    /// For localhost, with the subject OU=dev, CN=`name`.
    fn issue(&self, name: &str) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("a name");
        // Without the name that it has by default, whose place a new one would take.
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationalUnitName, "dev");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn install(&self, pair: &Pair) {
        self.write("cert.pem", &pair.certificate);
        self.write("key.pem", &pair.key);
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn files(&self, client: ClientCertificates) -> TlsFiles {
        TlsFiles { certificate: self.path("cert.pem"), key: self.path("key.pem"), client }
    }

    fn open(&self) -> Arc<Tls> {
        Tls::open(self.files(ClientCertificates::None)).expect("sound files")
    }
}

/// A door that tells what entered, and echoes.
struct Door {
    address: SocketAddr,
    gate: Arc<Gate>,
    entered: mpsc::UnboundedReceiver<Peer>,
}

impl Door {
    fn open(application: Application, encryption: Encryption) -> Self {
        let rules = Rules { encryption, ..Rules::default() };
        Self::with(application, rules)
    }

    fn with(application: Application, rules: Rules) -> Self {
        let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let listener = bound.listen().expect("a free port");
        let address = listener.addresses()[0];
        let gate = Gate::new(application, rules);
        let (told, entered) = mpsc::unbounded_channel();
        let serve = move |guest: crate::Guest| {
            let told = told.clone();
            async move {
                if let Entry::In(Entered { mut stream, peer, .. }) = guest.enter().await {
                    told.send(peer).expect("the test listens");
                    echo(&mut stream).await;
                }
            }
        };
        let accept =
            listener.accept(gate.clone(), TaskTracker::new(), CancellationToken::new(), serve);
        tokio::spawn(accept);
        Self { address, gate, entered }
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("it listens")
    }

    /// Connects as a client that shows `pair`.
    async fn connect(
        &self,
        place: &Place,
        pair: Option<&Pair>,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(place.authority.der().clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_root_certificates(roots);
        let mut config = match pair {
            None => config.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let chain = chain.collect::<Result<_, _>>().expect("PEM");
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
                config.with_client_auth_cert(chain, key).expect("a pair")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, self.socket().await).await
    }
}

/// Reads and writes as a door does: sees to the client's end while it is busy.
async fn echo(stream: &mut Stream) {
    let mut bytes = vec![0; 100_000];
    loop {
        // Whatever it sees of the next bytes must not be lost.
        let waited = tokio::time::timeout(Duration::from_millis(1), stream.closed()).await;
        if waited.is_ok() {
            break;
        }
        let Ok(count @ 1..) = stream.read(&mut bytes).await else { break };
        stream.write_all(&bytes[..count]).await.expect("the client reads");
        stream.flush().await.expect("the client reads");
    }
    stream.goodbye().await;
}

async fn round_trip(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin), sent: &[u8]) {
    stream.write_all(sent).await.expect("the door reads");
    let mut received = vec![0; sent.len()];
    stream.read_exact(&mut received).await.expect("an echo");
    assert!(received == sent, "an echo of {} bytes differs", sent.len());
}

#[tokio::test]
async fn one_port_takes_tls_and_clear_text() {
    let place = Place::new();
    let mut door = Door::open(Application::Kafka, Encryption::Offered(place.open()));
    let mut plain = door.socket().await;
    round_trip(&mut plain, b"clear").await;
    let peer = door.entered.recv().await.expect("somebody");
    assert_eq!((&peer.security, peer.principal()), (&Security::ClearText, None));

    let mut client = door.connect(&place, None, &[]).await.expect("a session");
    for size in [1, 2, 5_000, 90_000] {
        round_trip(&mut client, &vec![7; size]).await;
    }
    let peer = door.entered.recv().await.expect("somebody");
    assert_eq!(peer.security, Security::Tls { client: None });
    // An end in order, with a close_notify.
    client.shutdown().await.expect("it takes the end");
    assert_eq!(client.read(&mut [0]).await.expect("an end in order"), 0);
    assert_eq!(door.gate.metrics().encrypted.get(), 1);
}

#[tokio::test]
async fn clients_are_known_by_their_certificates() {
    let place = Place::new();
    let ca = place.path("ca.pem");
    let alice = place.issue("alice");
    let tls = Tls::open(place.files(ClientCertificates::Requested(ca.clone()))).expect("sound");
    let mut door = Door::open(Application::Kafka, Encryption::Required(tls));
    let mut client = door.connect(&place, Some(&alice), &[]).await.expect("a session");
    round_trip(&mut client, b"x").await;
    let peer = door.entered.recv().await.expect("somebody");
    assert_eq!(peer.principal().as_deref(), Some("User:CN=alice,OU=dev"));
    // Nobody must.
    let mut client = door.connect(&place, None, &[]).await.expect("a session");
    round_trip(&mut client, b"x").await;
    assert_eq!(door.entered.recv().await.expect("somebody").principal(), None);

    let tls = Tls::open(place.files(ClientCertificates::Required(ca))).expect("sound");
    let mut door = Door::open(Application::Kafka, Encryption::Required(tls));
    let mut client = door.connect(&place, Some(&alice), &[]).await.expect("a session");
    round_trip(&mut client, b"x").await;
    let stranger = Place::new().issue("alice");
    for shown in [None, Some(&stranger)] {
        // In TLS 1.3 the client hears of it with its first read.
        if let Ok(mut client) = door.connect(&place, shown, &[]).await {
            client.read(&mut [0]).await.expect_err("refused");
        }
    }
    assert!(door.entered.recv().await.is_some());
    assert!(door.entered.try_recv().is_err(), "nobody else has entered");
    assert_eq!(door.gate.metrics().refused(Refusal::Handshake).get(), 2);
}

#[tokio::test]
async fn clear_text_is_refused_where_tls_is_required() {
    let place = Place::new();
    let mut door = Door::open(Application::Kafka, Encryption::Required(place.open()));
    let mut plain = door.socket().await;
    plain.write_all(&[0]).await.expect("taken");
    // Closed with the byte unread, so in order or not.
    assert!(!plain.read(&mut [0]).await.is_ok_and(|count| count > 0));
    assert_eq!(door.gate.metrics().refused(Refusal::ClearText).get(), 1);
    // PostgreSQL asks for TLS in clear text: its door decides.
    let encryption = Encryption::Required(place.open());
    let mut postgres = Door::open(Application::PostgreSql, encryption);
    round_trip(&mut postgres.socket().await, b"\0").await;
    assert!(postgres.entered.recv().await.is_some() && postgres.gate.requires_tls());
    assert!(door.entered.try_recv().is_err());
}

#[tokio::test]
async fn alpn_is_what_each_door_speaks() {
    let place = Place::new();
    let tls = place.open();
    let offered = || Encryption::Offered(tls.clone());
    let http = Door::open(Application::Http, offered());
    let client = http.connect(&place, None, &[b"h2", b"http/1.1"]).await.expect("a session");
    assert_eq!(client.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    http.connect(&place, None, &[b"h2"]).await.map(drop).expect_err("nothing in common");
    // PostgreSQL 17: TLS from the first byte takes ALPN.
    let mut postgres = Door::open(Application::PostgreSql, offered());
    let mut client = postgres.connect(&place, None, &[b"postgresql"]).await.expect("a session");
    round_trip(&mut client, b"x").await;
    assert!(postgres.entered.recv().await.is_some());
    let mut client = postgres.connect(&place, None, &[]).await.expect("a session");
    assert!(!client.read(&mut [0]).await.is_ok_and(|count| count > 0));
    assert!(postgres.entered.try_recv().is_err());
}

#[tokio::test]
async fn half_a_handshake_is_not_waited_for() {
    let place = Place::new();
    let door = Door::with(
        Application::Kafka,
        Rules {
            handshake_within: Duration::from_millis(20),
            encryption: Encryption::Offered(place.open()),
            ..Rules::default()
        },
    );
    let mut socket = door.socket().await;
    socket.write_all(&[0x16, 3, 1]).await.expect("taken");
    assert!(!socket.read(&mut [0]).await.is_ok_and(|count| count > 0));
    assert_eq!(door.gate.metrics().refused(Refusal::Handshake).get(), 1);
    // Without TLS it is not even begun.
    let door = Door::open(Application::Kafka, Encryption::Off);
    let mut socket = door.socket().await;
    socket.write_all(&[0x16, 3, 1]).await.expect("taken");
    assert!(!socket.read(&mut [0]).await.is_ok_and(|count| count > 0));
    assert_eq!(door.gate.metrics().refused(Refusal::NoTls).get(), 1);
}

#[tokio::test]
async fn new_certificates_are_used_and_old_sessions_stay() {
    let place = Place::new();
    let tls = place.open();
    let door = Door::open(Application::Kafka, Encryption::Offered(tls.clone()));
    let shown = |client: &TlsStream<TcpStream>| {
        let chain = client.get_ref().1.peer_certificates().expect("a certificate");
        DistinguishedName::of_subject(&chain[0]).expect("a name").to_string()
    };
    let mut old = door.connect(&place, None, &[]).await.expect("a session");
    assert_eq!(shown(&old), "CN=broker,OU=dev");
    assert_eq!(tls.reread().expect("sound"), Reread::Same);

    let renewed = place.issue("renewed");
    place.write("cert.pem", &renewed.certificate);
    // Between the two files: they do not belong together, which is told once.
    let error = tls.reread().expect_err("half a pair").to_string();
    assert!(error.contains("tls.key") && error.contains("cert.pem"), "{error}");
    assert_eq!(tls.reread().expect("told already"), Reread::Same);
    let client = door.connect(&place, None, &[]).await.expect("the old pair is in use");
    assert_eq!(shown(&client), "CN=broker,OU=dev");

    place.write("key.pem", &renewed.key);
    assert_eq!(tls.reread().expect("a pair"), Reread::Changed);
    let client = door.connect(&place, None, &[]).await.expect("a session");
    assert_eq!(shown(&client), "CN=renewed,OU=dev");
    round_trip(&mut old, b"still here").await;
}

#[test]
fn errors_name_file_key_and_remedy() {
    let place = Place::new();
    let check = |change: &dyn Fn(&Place), expected: &[&str]| {
        place.install(&place.issue("broker"));
        place.write("ca.pem", &place.authority.pem());
        change(&place);
        let files = place.files(ClientCertificates::Required(place.path("ca.pem")));
        let error = Tls::open(files).map(drop).expect_err("unusable").to_string();
        for part in expected {
            assert!(error.contains(part), "{part:?} is missing in {error:?}");
        }
    };
    let remove = |name: &'static str| {
        move |place: &Place| std::fs::remove_file(place.path(name)).expect("it was there")
    };
    let write =
        |name: &'static str, text: &'static str| move |place: &Place| place.write(name, text);
    check(&remove("cert.pem"), &["`tls.certificate`", "cert.pem", "PEM"]);
    check(&remove("key.pem"), &["`tls.key`", "key.pem", "cannot read"]);
    check(&remove("ca.pem"), &["`tls.client_ca`", "ca.pem"]);
    check(&write("cert.pem", "hello"), &["`tls.certificate`", "BEGIN CERTIFICATE"]);
    check(&write("ca.pem", ""), &["`tls.client_ca`", "holds no certificate"]);
    check(&write("key.pem", "hello"), &["`tls.key`", "BEGIN PRIVATE KEY"]);
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    check(&write("key.pem", encrypted), &["`tls.key`", "passphrase", "openssl pkey"]);
    let other = |place: &Place| place.write("key.pem", &place.issue("other").key);
    check(&other, &["`tls.key`", "is not the key of the certificate", "pair"]);
}

/// Expected: what Java's `X500Principal.getName()` gives for the same bytes.
#[test]
fn names_are_java_s() {
    /// One value with its tag and length.
    fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
        let length = u8::try_from(value.len()).expect("short");
        assert!(length < 128, "a length of one byte");
        [&[tag, length], value].concat()
    }
    let attribute =
        |kind: &[u8], tag: u8, value: &[u8]| tlv(0x30, &[tlv(6, kind), tlv(tag, value)].concat());
    let check = |rdns: &[&[Vec<u8>]], expected: &str| {
        let rdns: Vec<u8> = rdns.iter().flat_map(|rdn| tlv(0x31, &rdn.concat())).collect();
        let name = DistinguishedName::of_rdns(&rdns).expect("sound bytes");
        assert_eq!(name.as_str(), expected);
    };
    let cn = |value: &str| attribute(&[0x55, 4, 3], 0x0c, value.as_bytes());
    for (value, expected) in [
        ("alice", "CN=alice"),
        ("a,b+c", "CN=a\\,b\\+c"),
        ("x=y#z", "CN=x\\=y\\#z"),
        ("#lead", "CN=\\#lead"),
        (" sp ", "CN=\\ sp\\ "),
        ("q\"b\\s<>;", "CN=q\\\"b\\\\s\\<\\>\\;"),
        ("\u{e9}\u{4e2d}", "CN=\u{e9}\u{4e2d}"),
        ("nul\0x", "CN=nul\\00x"),
        ("", "CN="),
        ("  ", "CN=\\ \\ "),
        ("a  b", "CN=a  b"),
    ] {
        check(&[&[cn(value)]], expected);
    }
    let uid = [9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1];
    let dc = [9, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25];
    let email = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1];
    check(
        &[
            &[attribute(&[0x55, 4, 10], 0x13, b"Acme")],
            &[attribute(&[0x55, 4, 11], 0x0c, b"dev")],
            &[cn("bob"), attribute(&uid, 0x0c, b"u1")],
        ],
        "CN=bob+UID=u1,OU=dev,O=Acme",
    );
    check(
        &[
            &[attribute(&email, 0x16, b"a@b.c")],
            &[attribute(&[0x55, 4, 5], 0x13, b"12")],
            &[attribute(&dc, 0x16, b"example")],
        ],
        "DC=example,2.5.4.5=#13023132,1.2.840.113549.1.9.1=#16056140622e63",
    );
    check(&[&[attribute(&[0x55, 4, 8], 0x13, b"CH")]], "ST=CH");
    check(&[&[attribute(&[0x55, 4, 9], 0x13, b"CH")]], "STREET=CH");
    check(&[&[attribute(&[0x55, 4, 3], 0x04, &[1, 2])]], "CN=#04020102");
    check(&[], "");
    DistinguishedName::of_rdns(&[0x31, 9, 1]).expect_err("cut off");
}
