use crate::{Application, Gate, Guest, Refusal, Rules, bind};
use std::net::SocketAddr;
use std::sync::Arc;
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

async fn greet(mut guest: Guest) {
    let word = if guest.place.is_some() { b"in" } else { b"no" };
    guest.stream.write_all(word).await.expect("the client reads");
    if guest.place.is_some() {
        // Until the client goes.
        _ = guest.stream.read(&mut [0]).await;
    }
}

/// Connects, and takes the greeting.
async fn connect(door: &Door) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(door.address).await.expect("it listens");
    let mut word = [0; 2];
    stream.read_exact(&mut word).await.expect("a greeting");
    (stream, String::from_utf8_lossy(&word).into_owned())
}

#[tokio::test]
async fn a_place_is_free_again_when_its_connection_goes() {
    let door = Door::open(Rules { connections_max: 2 });
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
    let door = Door::open(Rules { connections_max: 2 });
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
