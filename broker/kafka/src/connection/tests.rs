use super::Output;
use super::input::Input;
use bytes::Bytes;
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.expect("connected"), server.expect("accepted").0)
}

/// A frame as it goes over the wire.
fn frame(api: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = i32::try_from(body.len() + 8).expect("small").to_be_bytes().to_vec();
    frame.extend(api.to_be_bytes());
    frame.extend(7i16.to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(body);
    frame
}

#[tokio::test]
async fn frames_come_out_whole_whatever_the_pieces() {
    let (mut client, mut server) = pair().await;
    let sent: Vec<Vec<u8>> =
        (0..200usize).map(|n| frame(3, &vec![n as u8; (n * 37) % 9000])).collect();
    let stream = sent.concat();
    let writer = tokio::spawn(async move {
        for piece in stream.chunks(1499) {
            client.write_all(piece).await.expect("taken");
        }
    });
    let mut input = Input::default();
    let mut received = Vec::new();
    loop {
        while let Some(next) = input.peek() {
            assert_eq!((next.api, next.version), (3, 7));
            if !next.is_whole {
                break;
            }
            received.push(input.take());
        }
        if poll_fn(|context| input.poll_read(context, &mut server)).await.expect("read") == 0 {
            break;
        }
    }
    writer.await.expect("written");
    assert_eq!(received.len(), sent.len());
    for (received, sent) in received.iter().zip(&sent) {
        assert_eq!(received, &sent[4..]);
    }
}

#[tokio::test]
async fn memory_follows_what_arrives_not_what_is_announced() {
    let (mut client, mut server) = pair().await;
    let mut start = frame(0, &[1; 3000]);
    start[..4].copy_from_slice(&(90_000_000i32).to_be_bytes());
    client.write_all(&start).await.expect("taken");
    let mut input = Input::default();
    while input.bytes_read() < start.len() as u64 {
        poll_fn(|context| input.poll_read(context, &mut server)).await.expect("read");
    }
    let next = input.peek().expect("announced");
    assert_eq!((next.bytes, next.is_whole), (90_000_000, false));
    assert!(input.capacity() < 64 << 10, "{} bytes for 3,000", input.capacity());
}

#[tokio::test]
async fn a_length_that_no_frame_has_is_never_waited_for() {
    for length in [-1i32, 0, 7] {
        let (mut client, mut server) = pair().await;
        let mut start = length.to_be_bytes().to_vec();
        start.extend([0; 4]);
        client.write_all(&start).await.expect("taken");
        let mut input = Input::default();
        poll_fn(|context| input.poll_read(context, &mut server)).await.expect("read");
        let next = input.peek().expect("a head");
        assert_eq!((next.bytes, next.is_whole), (usize::MAX, false));
    }
}

#[tokio::test]
async fn output_leaves_in_order_copied_or_not() {
    let (mut client, mut server) = pair().await;
    let reader = tokio::spawn(async move {
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.expect("read");
        received
    });
    let mut output = Output::default();
    let mut expected: Vec<u8> = Vec::new();
    for n in 0..300usize {
        let bytes = vec![n as u8; (n * 131) % 40_000];
        expected.extend(&bytes);
        if n % 3 == 0 {
            output.copy(&bytes);
        } else {
            output.push(Bytes::from(bytes));
        }
    }
    assert_eq!(output.bytes(), expected.len());
    poll_fn(|context| match output.poll_write(context, &mut server) {
        Ok(_) if output.is_empty() => std::task::Poll::Ready(()),
        Ok(_) => std::task::Poll::Pending,
        Err(error) => panic!("{error}"),
    })
    .await;
    drop(server);
    assert_eq!(reader.await.expect("done"), expected);
    assert_eq!(output.bytes_written(), expected.len() as u64);
}
