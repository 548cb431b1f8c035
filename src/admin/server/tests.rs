//! Connections at the limit, and their deadlines.

use std::io::Write;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use serde_json::json;

use super::*;
use crate::admin::verbs::{Actions, Authority, Reloaded, Verb};

const PATIENCE: Duration = Duration::from_secs(20);

/// A server with answers of `length` bytes.
async fn start(length: usize) -> (SocketAddr, JoinSet<()>) {
    let body = Bytes::from(vec![b'x'; length]);
    start_with(move |_, _| Answer::Now(Response::new(Full::from(body.clone())))).await
}

async fn start_with<F>(respond: F) -> (SocketAddr, JoinSet<()>)
where
    F: Fn(Request<Incoming>, Work) -> Answer + Clone + Send + 'static,
{
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Socket::bind(&any_port.into()).await.unwrap();
    let address = listener.address().unwrap().tcp().unwrap();
    let mut serving = JoinSet::new();
    serving.spawn(serve(listener, respond));
    (address, serving)
}

/// A reload ends when there is a permit for it.
struct HeldReloads {
    begun: Arc<Semaphore>,
    may_end: Arc<Semaphore>,
}

impl Actions for HeldReloads {
    fn reload(&self) -> Pin<Box<dyn Future<Output = Reloaded> + Send>> {
        self.begun.add_permits(1);
        let may_end = Arc::clone(&self.may_end);
        Box::pin(async move {
            may_end.acquire().await.unwrap().forget();
            Reloaded::Done(json!({}))
        })
    }

    fn shut_down(&self) {}
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    String::from_utf8(answer).unwrap()
}

async fn probe(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
    answer(&mut stream).await
}

#[tokio::test]
async fn requests_that_change_something_have_a_limit_and_leave_connections_for_probes() {
    let (begun, may_end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let actions = Arc::new(HeldReloads { begun: Arc::clone(&begun), may_end: Arc::clone(&may_end) });
    let (address, _serving) = start_with(move |request, work| match Verb::at(request.uri().path()) {
        Some(verb) => {
            let authority = Authority { token_file: None, is_unix: true };
            Answer::Later(Box::pin(verb.run(request.headers().clone(), authority, actions.clone(), work)))
        }
        None => Answer::Now(Response::new(Full::default())),
    })
    .await;
    let reload = async || {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"POST /reload HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
        stream
    };
    let mut in_progress = Vec::new();
    for _ in 0..MAX_WORKING {
        in_progress.push(reload().await);
    }
    let all = u32::try_from(MAX_WORKING).unwrap();
    timeout(PATIENCE, begun.acquire_many(all)).await.expect("all have begun").unwrap().forget();
    for _ in 0..MAX_CONNECTIONS {
        assert!(answer(&mut reload().await).await.starts_with("HTTP/1.1 429"));
    }
    assert!(probe(address).await.starts_with("HTTP/1.1 200"));
    may_end.add_permits(MAX_WORKING + 1);
    for stream in &mut in_progress {
        assert!(answer(stream).await.starts_with("HTTP/1.1 200"));
    }
    // A permit is returned a moment after the caller sees the end of its connection.
    let again = async { while !answer(&mut reload().await).await.starts_with("HTTP/1.1 200") {} };
    timeout(PATIENCE, again).await.expect("the permits are returned");
}

#[tokio::test]
async fn each_answer_ends_its_connection() {
    let (address, _serving) = start(2).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\n\r\nGET / HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
    let answer = answer(&mut stream).await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 1);
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_probe_that_arrives_before_many_idle_connections_is_answered() {
    let (address, _serving) = start(2).await;
    // Blocking calls: the server runs only after all of them.
    let mut first = std::net::TcpStream::connect(address).unwrap();
    first.write_all(b"GET /livez HTTP/1.1\r\nHost: g\r\n\r\n").unwrap();
    let _idle: Vec<_> = (0..MAX_CONNECTIONS + 20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
    first.set_nonblocking(true).unwrap();
    let answer = answer(&mut TcpStream::from_std(first).unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn idle_connections_do_not_end_an_exchange_that_has_begun() {
    let (address, _serving) = start(2).await;
    let mut begun = TcpStream::connect(address).await.unwrap();
    begun.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
    probe(address).await;
    let mut idle = Vec::new();
    for _ in 0..2 * MAX_CONNECTIONS {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    probe(address).await;
    begun.write_all(b"Host: g\r\n\r\n").await.unwrap();
    let answer = answer(&mut begun).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
}

#[tokio::test]
async fn connections_that_read_no_answer_do_not_keep_a_probe_from_its_answer() {
    // More than the buffers of a connection hold.
    let (address, _serving) = start(16 * 1024 * 1024).await;
    let mut unread = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 6 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&b"GET / HTTP/1.1\r\nHost: g\r\n\r\n".repeat(100)).await.unwrap();
        unread.push(stream);
    }
    assert!(probe(address).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_answer_that_is_not_read_has_a_deadline() {
    let (address, _serving) = start(16 * 1024 * 1024).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
    stream.readable().await.unwrap();
    tokio::time::pause();
    tokio::time::sleep(EXCHANGE_DEADLINE).await;
    tokio::time::resume();
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the end of the connection");
    assert!(read.is_err() || answer.len() < 16 * 1024 * 1024, "the server closed the connection early");
}
