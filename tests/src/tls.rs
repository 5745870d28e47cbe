//! TLS and the limits on connections, with real clients: librdkafka, psql, curl and the Python
//! package `websockets`.

use crate::broker::{Broker, root};
use crate::clients::installed;
use crate::process::{PATIENCE, program, run, run_any, say};
use crate::psql::psql;
use crate::websocket::Socket;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// An authority with the files it has issued.
struct Certificates {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).expect("no names");
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        let all = Self { directory, authority };
        std::fs::write(all.path("ca.pem"), all.authority.pem()).expect("written");
        all.issue("broker");
        all
    }

    /// NAME.pem and NAME.key, for localhost and 127.0.0.1.
    fn issue(&self, name: &str) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.authority).expect("signed");
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).expect("written");
        std::fs::write(self.path(&format!("{name}.pem")), certificate.pem()).expect("written");
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }

    /// A broker with the certificate of `broker.pem`, and more settings.
    fn broker(&self, settings: &[&str]) -> Broker {
        let (certificate, key) = (self.path("broker.pem"), self.path("broker.key"));
        let (certificate, key) =
            (format!("tls.certificate={certificate}"), format!("tls.key={key}"));
        Broker::start_with(&[&[&*certificate, &*key], settings].concat())
    }

    /// librdkafka, which produces and consumes.
    fn confluent(&self, broker: &Broker, settings: &[String]) -> Command {
        let mut command = program(installed("TEST_PYTHON"));
        command.arg(root().join("tests/clients/python/secured.py"));
        command.args([&broker.kafka(), "secured", "hello"]).args(settings);
        command
    }

    fn ssl(&self) -> Vec<String> {
        let ca = self.path("ca.pem");
        vec!["security.protocol=ssl".to_owned(), format!("ssl.ca.location={ca}")]
    }

    fn curl(&self, url: &str) -> Command {
        let mut command = program("curl");
        command.args(["-sS", "--cacert", &self.path("ca.pem"), url]);
        command
    }
}

fn https(broker: &Broker, path: &str) -> String {
    format!("https://{}{path}", broker.web())
}

/// The counter of `/metrics` with this beginning.
fn metric(certificates: &Certificates, broker: &Broker, name: &str) -> f64 {
    let metrics = run(&mut certificates.curl(&https(broker, "/metrics")), &[]);
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("{name}: {metrics}"))
}

fn ssl_psql(broker: &Broker, mode: &str, certificates: &Certificates) -> Command {
    let mut command = psql(broker);
    command.env("PGSSLMODE", mode).env("PGSSLROOTCERT", certificates.path("ca.pem"));
    command.env("PGGSSENCMODE", "disable").args(["-c", "SELECT 1"]);
    command
}

#[test]
fn librdkafka_speaks_tls_and_shows_a_certificate() {
    let certificates = Certificates::new();
    let ca = format!("tls.client_ca={}", certificates.path("ca.pem"));
    let broker = certificates.broker(&[&ca, "tls.client_auth=requested"]);
    let produced = run(&mut certificates.confluent(&broker, &certificates.ssl()), &[]);
    assert_eq!(produced.trim(), "hello");
    certificates.issue("alice");
    let mut with_certificate = certificates.ssl();
    with_certificate.push(format!("ssl.certificate.location={}", certificates.path("alice.pem")));
    with_certificate.push(format!("ssl.key.location={}", certificates.path("alice.key")));
    let produced = run(&mut certificates.confluent(&broker, &with_certificate), &[]);
    assert_eq!(produced.trim(), "hello");
    // The same port speaks clear text too.
    let produced = run(&mut certificates.confluent(&broker, &[]), &[]);
    assert_eq!(produced.trim(), "hello");
    assert!(metric(&certificates, &broker, "anabranch_kafka_tls_handshakes_total ") >= 2.0);

    let broker = certificates.broker(&[&ca, "tls.client_auth=required"]);
    let produced = run(&mut certificates.confluent(&broker, &with_certificate), &[]);
    assert_eq!(produced.trim(), "hello");
    let refused = run_any(&mut certificates.confluent(&broker, &certificates.ssl()), &[]);
    assert!(!refused.status.success(), "{}", say(&refused));
}

#[test]
fn clear_text_is_refused_where_tls_is_required() {
    let certificates = Certificates::new();
    let broker = certificates.broker(&["tls.required=true"]);
    let produced = run(&mut certificates.confluent(&broker, &certificates.ssl()), &[]);
    assert_eq!(produced.trim(), "hello");
    let refused = run_any(&mut certificates.confluent(&broker, &[]), &[]);
    assert!(!refused.status.success(), "{}", say(&refused));
    let name = "anabranch_kafka_connections_refused_total{reason=\"clear_text\"} ";
    assert!(metric(&certificates, &broker, name) >= 1.0);

    let refused = run_any(&mut ssl_psql(&broker, "disable", &certificates), &[]);
    assert!(say(&refused).contains("requires TLS"), "{}", say(&refused));
    let answer = run(&mut certificates.curl(&format!("http://{}/healthz", broker.web())), &[]);
    let answer: Value = serde_json::from_str(&answer).expect("an answer in full");
    assert_eq!(answer["error"]["code"], "tls_required");
}

#[test]
fn psql_speaks_tls() {
    let certificates = Certificates::new();
    let broker = certificates.broker(&[]);
    for mode in ["require", "verify-ca", "verify-full", "prefer", "disable"] {
        let said = run(&mut ssl_psql(&broker, mode, &certificates), &[]);
        assert_eq!(said.trim(), "1", "{mode}");
    }
    assert_eq!(metric(&certificates, &broker, "anabranch_postgres_tls_handshakes_total "), 4.0);
    // More than TLS keeps on its way at a time.
    let mut many = ssl_psql(&broker, "require", &certificates);
    let said = run(many.args(["-c", "SELECT repeat('x', 3000000)"]), &[]);
    assert_eq!(said.len(), "1\n".len() + 3_000_001);
    // Another authority is no authority.
    let stranger = Certificates::new();
    let refused = run_any(&mut ssl_psql(&broker, "verify-full", &stranger), &[]);
    assert!(!refused.status.success() && say(&refused).contains("SSL error"), "{}", say(&refused));
    // Without a certificate, who insists is told, and who prefers goes on in clear text.
    let plain = Broker::start();
    let refused = run_any(&mut ssl_psql(&plain, "require", &certificates), &[]);
    assert!(say(&refused).contains("does not support SSL"), "{}", say(&refused));
    assert_eq!(run(&mut ssl_psql(&plain, "prefer", &certificates), &[]).trim(), "1");
}

#[test]
fn curl_and_websockets_speak_tls() {
    let certificates = Certificates::new();
    let broker = certificates.broker(&[]);
    for version in ["--tlsv1.3", "--tls-max=1.2"] {
        let mut curl = certificates.curl(&https(&broker, "/healthz"));
        let (option, value) = version.split_once('=').unwrap_or((version, "--http1.1"));
        let said = run(curl.args([option, value]), &[]);
        assert_eq!(said.trim(), r#"{"status":"ok"}"#, "{version}");
    }
    // A body of many TLS records.
    let event = json!({ "text": "x".repeat(500_000) }).to_string();
    let mut post = certificates.curl(&https(&broker, "/v1/streams/events/events"));
    let said = run(post.args(["--data-binary", "@-"]), event.as_bytes());
    let said: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(said["offsets"][0]["offset"], 0, "{said}");

    let mut python = program(installed("TEST_PYTHON"));
    python.env("SSL_CERT_FILE", certificates.path("ca.pem"));
    let mut socket = Socket::open_by(python, &format!("wss://{}/v1/ws", broker.web()));
    socket.send(&json!({
        "id": 1, "op": "publish", "stream": "events", "events": [{ "value": 1 }],
    }));
    let published = socket.next();
    assert_eq!(published["type"], "published", "{published}");
}

#[test]
fn a_renewed_certificate_is_used_and_connections_stay() {
    let certificates = Certificates::new();
    let broker = certificates.broker(&[]);
    let subject = || {
        let mut curl = certificates.curl(&https(&broker, "/healthz"));
        say(&run_any(curl.args(["-v", "-o", "/dev/null"]), &[]))
    };
    assert!(subject().contains("CN=broker"), "{}", subject());
    // A session that goes on across the change.
    let mut old = ssl_psql(&broker, "require", &certificates)
        .args(["-f", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("psql starts");
    let mut input = old.stdin.take().expect("piped");
    let mut output = old.stdout.take().expect("piped");
    let mut first = [0; 2];
    output.read_exact(&mut first).expect("the session stands");
    assert_eq!(&first, b"1\n");

    certificates.issue("renewed");
    for kind in ["key", "pem"] {
        let from = certificates.path(&format!("renewed.{kind}"));
        std::fs::rename(from, certificates.path(&format!("broker.{kind}"))).expect("replaced");
    }
    let began = Instant::now();
    while !subject().contains("CN=renewed") {
        assert!(began.elapsed() < PATIENCE, "never used: {}", subject());
        // The broker looks every few seconds.
        std::thread::sleep(Duration::from_millis(100));
    }
    writeln!(input, "SELECT 2;").expect("psql reads");
    drop(input);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("psql writes text");
    assert_eq!(rest, "2\n");
    assert!(old.wait().expect("it is our process").success());
}

#[test]
fn an_address_has_its_share_of_connections() {
    let broker = Broker::start_with(&["kafka.connections_per_address_max=3"]);
    let is_open = |socket: &mut TcpStream| {
        // ApiVersions 0 with correlation id 1.
        let request = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
        // A refused connection may be gone already.
        socket.write_all(&request).is_ok()
            && socket.read(&mut [0; 512]).is_ok_and(|count| count > 0)
    };
    let connect = || TcpStream::connect(broker.kafka()).expect("it listens");
    let mut places: Vec<TcpStream> = (0..3).map(|_| connect()).collect();
    assert!(places.iter_mut().all(is_open));
    assert!(!is_open(&mut connect()), "a fourth");
    // It hangs up, and then says why.
    let began = Instant::now();
    while !broker.log().contains("kafka.connections_per_address_max is 3") {
        assert!(began.elapsed() < PATIENCE, "{}", broker.log());
    }
    places.pop();
    let began = Instant::now();
    while !is_open(&mut connect()) {
        assert!(began.elapsed() < PATIENCE, "the place is not free again");
    }
}

#[test]
fn ten_thousand_silent_connections_are_small_and_garbage_is_quiet() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("it may be raised");
    let count = maximum.map_or(10_000, |most| most.saturating_sub(1_000).min(10_000)) as usize;
    let broker = Broker::start_with(&["kafka.connections_max=20000"]);
    let memory = || {
        let url = format!("http://{}/metrics", broker.web());
        let metrics = run(program("curl").args(["-sS", &url]), &[]);
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse::<f64>().ok()).expect("a number")
        };
        (value("anabranch_kafka_connections "), value("process_resident_memory_bytes "))
    };
    let (_, before) = memory();
    let connect = |_| TcpStream::connect(broker.kafka()).expect("it listens");
    let _silent: Vec<TcpStream> = (0..count).map(connect).collect();
    let began = Instant::now();
    let after = loop {
        let (open, bytes) = memory();
        if open >= count as f64 {
            break bytes;
        }
        assert!(began.elapsed() < PATIENCE, "{open} of {count} are accepted");
    };
    assert!(after - before < 300e6 * (count as f64 / 10_000.0), "{before} to {after} bytes");
    // A thousand that speak nonsense cost a few lines.
    for _ in 0..1000 {
        let mut socket = connect(0);
        socket.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("taken");
        // Closed, in order or not.
        _ = socket.read(&mut [0]);
    }
    let took = began.elapsed().as_secs() + 1;
    let lines = broker.log_lines("WARN");
    assert!(lines <= 12 * usize::try_from(took).expect("soon"), "{lines} in {took} s");
    assert!(lines < 500, "{lines}");
}
