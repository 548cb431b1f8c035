//! The callers: a number of keep-alive connections, each sending its next request when it has the reply.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::common::letter;
use crate::http::Connection;
use crate::upstream::REPLY;

/// Connections to one proxy, and the request that they repeat.
pub(crate) struct Load {
    request: Arc<[u8]>,
    connections: Vec<Connection>,
}

/// The results of the requests that began in a period. All of them are complete.
#[derive(Default)]
pub(crate) struct Outcome {
    latencies: Vec<Duration>,
    /// Requests that the proxy refused with 503.
    pub(crate) refused: usize,
    /// Requests with another reply than the upstream's. The first one is described.
    pub(crate) wrong: usize,
    pub(crate) fault: Option<String>,
}

impl Load {
    pub(crate) async fn connect(proxy: SocketAddr, connections: usize, body_octets: usize) -> io::Result<Self> {
        let mut request = format!(
            "POST /letters/v1/create-signed HTTP/1.1\r\nhost: {proxy}\r\nuser-agent: bench\r\naccept: */*\r\n\
             content-type: application/json\r\ncontent-length: {body_octets}\r\n\r\n"
        )
        .into_bytes();
        request.extend(letter(body_octets));
        let mut load = Self { request: request.into(), connections: Vec::new() };
        for _ in 0..connections {
            load.connections.push(Connection::new(TcpStream::connect(proxy).await?)?);
        }
        Ok(load)
    }

    /// Sends requests for `period`, then waits for the replies that are still due. Each connection sends at least one
    /// request.
    pub(crate) async fn drive(&mut self, period: Duration) -> Outcome {
        let end = Instant::now() + period;
        let mut callers = JoinSet::new();
        for connection in self.connections.drain(..) {
            callers.spawn(call_until(end, connection, self.request.clone()));
        }
        let mut all = Outcome::default();
        while let Some(caller) = callers.join_next().await {
            let (connection, outcome) = caller.expect("a caller does not panic");
            self.connections.extend(connection);
            all.add(outcome);
        }
        all
    }
}

/// Returns the connection too, unless it broke.
async fn call_until(end: Instant, mut connection: Connection, request: Arc<[u8]>) -> (Option<Connection>, Outcome) {
    let mut outcome = Outcome::default();
    loop {
        let begin = Instant::now();
        match call(&mut connection, &request).await {
            Ok((200, reply)) if reply == REPLY.as_bytes() => outcome.latencies.push(begin.elapsed()),
            Ok((503, _)) => outcome.refused += 1,
            Ok((status, reply)) => outcome.add_wrong(format!("{status}: {}", String::from_utf8_lossy(&reply))),
            Err(error) => {
                outcome.add_wrong(error.to_string());
                return (None, outcome);
            }
        }
        if Instant::now() >= end {
            return (Some(connection), outcome);
        }
    }
}

async fn call(connection: &mut Connection, request: &[u8]) -> io::Result<(u16, Vec<u8>)> {
    connection.send(request).await?;
    let head = connection.read_head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
    let reply = connection.read_body(head.body_length()).await?;
    Ok((head.status(), reply))
}

impl Outcome {
    pub(crate) fn served(&self) -> usize {
        self.latencies.len()
    }

    /// The latency in milliseconds that `percent` of the requests did not exceed.
    pub(crate) fn percentile(&mut self, percent: usize) -> f64 {
        self.latencies.sort_unstable();
        let rank = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(rank).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.refused += other.refused;
        self.wrong += other.wrong;
        self.fault = self.fault.take().or(other.fault);
    }

    fn add_wrong(&mut self, fault: String) {
        self.wrong += 1;
        self.fault.get_or_insert(fault);
    }
}
