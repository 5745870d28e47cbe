mod tls;

use crate::limits::LINES_A_SECOND;
use crate::noise::{Answer, Noise};
use crate::{Application, Entered, Entry, Gate, Guest, Refusal, Rules, bind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A door that greets its guests and keeps them until they go.
struct Door {
    address: SocketAddr,
    gate: Arc<Gate>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    fn open(rules: Rules) -> Self {
        let listener = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
        let listener = listener.listen().expect("a free port");
        let address = listener.addresses()[0];
        let gate = Gate::new(Application::Kafka, rules);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        tasks.spawn(listener.accept(gate.clone(), tasks.clone(), stop.clone(), greet));
        Self { address, gate, stop, tasks }
    }
}

async fn greet(guest: Guest) {
    let entry = guest.enter().await;
    let Entry::In(Entered { mut stream, place, apology, .. }) = entry else { return };
    let word = if place.is_ok() { b"in" } else { b"no" };
    stream.write_all(word).await.expect("the client reads");
    if place.is_ok() {
        // Until the client goes.
        while stream.read(&mut [0; 8]).await.is_ok_and(|count| count > 0) {}
    }
    drop((place, apology));
}

/// Connects, speaks, and takes the greeting.
async fn connect(door: &Door) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(door.address).await.expect("it listens");
    stream.write_all(b"?").await.expect("it takes a byte");
    let mut word = [0; 2];
    stream.read_exact(&mut word).await.expect("a greeting");
    (stream, String::from_utf8_lossy(&word).into_owned())
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_goes() {
    let door = Door::open(Rules { connections_max: 2, ..Rules::default() });
    let (first, word) = connect(&door).await;
    assert_eq!(word, "in");
    let (second, word) = connect(&door).await;
    assert_eq!(word, "in");
    assert_eq!(connect(&door).await.1, "no");
    let metrics = door.gate.metrics();
    assert_eq!((metrics.accepted.get(), metrics.open.get()), (2, 2));
    assert_eq!(metrics.refused(Refusal::TooMany).get(), 1);
    drop(first);
    while metrics.open.get() == 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connect(&door).await.1, "in");
    drop(second);
}

#[tokio::test]
async fn stopping_frees_the_address_and_leaves_the_guests() {
    let door = Door::open(Rules { connections_max: 2, ..Rules::default() });
    let (mut guest, _) = connect(&door).await;
    door.stop.cancel();
    // Nobody listens any more: the address can be taken and listened at.
    loop {
        match bind(door.address).and_then(crate::Bound::listen) {
            Ok(_) => break,
            Err(_) => tokio::task::yield_now().await,
        }
    }
    assert_eq!(door.gate.metrics().open.get(), 1);
    guest.write_all(b"!").await.expect("the guest's task goes on");
    drop(guest);
    door.tasks.close();
    door.tasks.wait().await;
    assert_eq!(door.gate.metrics().open.get(), 0);
}

#[tokio::test]
async fn localhost_is_both_of_its_addresses() {
    let bound = bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let addresses = bound.addresses();
    let listener = bound.listen().expect("a free port");
    assert_eq!(listener.addresses(), addresses);
    assert!(addresses.iter().all(|address| address.ip().is_loopback()));
    // Without IPv6 there is one.
    if let [four, six] = addresses[..] {
        assert_eq!((four.is_ipv4(), six.is_ipv6(), four.port()), (true, true, six.port()));
        TcpStream::connect(six).await.expect("it listens there too");
    }
}

#[test]
fn an_address_that_is_listened_at_is_taken() {
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let error = bind(taken.local_addr().expect("bound")).expect_err("it is taken");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn an_address_has_a_share() {
    let rules = Rules { connections_per_address_max: 1, ..Rules::default() };
    let door = Door::open(rules);
    let (first, word) = connect(&door).await;
    assert_eq!(word, "in");
    assert_eq!(connect(&door).await.1, "no");
    let metrics = door.gate.metrics();
    assert_eq!(metrics.refused(Refusal::TooManyOfAddress).get(), 1);
    let remedy = door.gate.remedy(Refusal::TooManyOfAddress);
    assert!(remedy.contains("kafka.connections_per_address_max is 1"), "{remedy}");
    // Another address of this machine is another client.
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).expect("loopback is a /8");
    let mut other = socket.connect(door.address).await.expect("it listens");
    other.write_all(b"?").await.expect("it takes a byte");
    let mut word = [0; 2];
    other.read_exact(&mut word).await.expect("a greeting");
    assert_eq!(&word, b"in");
    drop(first);
}

#[tokio::test]
async fn silence_is_not_waited_for() {
    let rules = Rules { first_byte_within: Duration::from_millis(20), ..Rules::default() };
    let door = Door::open(rules);
    let mut silent = TcpStream::connect(door.address).await.expect("it listens");
    assert_eq!(silent.read(&mut [0]).await.expect("closed in order"), 0);
    assert_eq!(door.gate.metrics().refused(Refusal::Silent).get(), 1);
    assert_eq!(connect(&door).await.1, "in");
}

#[tokio::test]
async fn who_waits_to_be_told_is_bounded() {
    let door = Door::open(Rules { connections_max: 1, ..Rules::default() });
    let (_only, _) = connect(&door).await;
    let mut waiting = Vec::new();
    for _ in 0..crate::limits::APOLOGIES_MAX {
        waiting.push(TcpStream::connect(door.address).await.expect("it listens"));
    }
    let mut next = TcpStream::connect(door.address).await.expect("it listens");
    assert_eq!(next.read(&mut [0]).await.expect("closed in order"), 0);
    waiting[0].write_all(b"?").await.expect("it takes a byte");
    let mut word = [0; 2];
    waiting[0].read_exact(&mut word).await.expect("a word");
    assert_eq!(&word, b"no");
}

#[test]
fn a_flood_of_lines_becomes_one() {
    let noise = Noise::default();
    let began = Instant::now();
    for _ in 0..LINES_A_SECOND {
        assert_eq!(noise.ask("one thing", began), Answer::Say);
    }
    let soon = began + Duration::from_millis(900);
    assert_eq!(noise.ask("one thing", soon), Answer::LeaveOutAndSum);
    assert_eq!(noise.ask("another", soon), Answer::LeaveOut);
    assert_eq!(noise.ask("one thing", soon), Answer::LeaveOut);
    // The next second has lines again, and what was left out is still to be told, once.
    let later = began + Duration::from_millis(1000);
    for _ in 0..LINES_A_SECOND {
        assert_eq!(noise.ask("one thing", later), Answer::Say);
    }
    assert_eq!(noise.ask("another", later), Answer::LeaveOut);
    assert_eq!(noise.sum(), "2 about one thing, 2 about another");
    assert_eq!(noise.ask("another", later), Answer::LeaveOutAndSum);
}
