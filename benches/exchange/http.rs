//! As much HTTP/1.1 as both ends of the benchmark need. It is written by hand, so that the measured proxy waits for
//! its peers as little as possible.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;

const BUFFER: usize = 128 * 1024;
/// Large, so that a proxy is not woken more often than by a program that writes its message at once.
const PIECE: usize = 512 * 1024;

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    filled: usize,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; BUFFER], filled: 0 })
    }

    /// The head of the next message, or nothing if the peer has closed the connection.
    pub(crate) async fn read_head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = self.buffer[..self.filled].windows(4).position(|four| four == b"\r\n\r\n") {
                let head = Head(String::from_utf8_lossy(&self.buffer[..end]).into_owned());
                self.consume(end + 4);
                return Ok(Some(head));
            }
            if self.fill().await? == 0 {
                return if self.filled == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }

    pub(crate) async fn read_body(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::with_capacity(length);
        while body.len() < length {
            let taken = self.filled.min(length - body.len());
            body.extend_from_slice(&self.buffer[..taken]);
            self.consume(taken);
            if body.len() < length && self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(body)
    }

    /// Sends a message. All connections of this process share one thread, so a large message lets the others go first
    /// after each piece. Otherwise their latency would be this process's and not the proxy's.
    pub(crate) async fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let mut pieces = message.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            self.stream.write_all(piece).await?;
            if pieces.peek().is_some() {
                yield_now().await;
            }
        }
        Ok(())
    }

    /// Reads a body and forgets it.
    pub(crate) async fn skip(&mut self, length: usize) -> io::Result<()> {
        let mut left = length;
        loop {
            let taken = self.filled.min(left);
            self.consume(taken);
            left -= taken;
            if left == 0 {
                return Ok(());
            }
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if left > BUFFER {
                yield_now().await;
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        if self.filled == self.buffer.len() {
            return Err(io::Error::other("the head of a message is too long"));
        }
        let read = self.stream.read(&mut self.buffer[self.filled..]).await?;
        self.filled += read;
        Ok(read)
    }

    fn consume(&mut self, octets: usize) {
        self.buffer.copy_within(octets..self.filled, 0);
        self.filled -= octets;
    }
}

/// The head of a request or of a response.
pub(crate) struct Head(String);

impl Head {
    /// The target of a request.
    pub(crate) fn target(&self) -> &str {
        self.0.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> u16 {
        self.0.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
    }

    /// No peer of this benchmark sends a body without its length.
    pub(crate) fn body_length(&self) -> usize {
        self.field("content-length").and_then(|length| length.parse().ok()).unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let fields = self.0.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields.into_iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}
