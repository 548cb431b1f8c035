//! The body of the provider's reply. Its beginning can be examined before it is relayed.
//!
//! The examined frames stay in the body, so the caller gets every byte and the trailers as the provider sent them. The
//! rest is still streamed.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;

/// A reply body. Fails as hyper's body does.
#[derive(Debug)]
pub(crate) struct ReplyBody {
    /// The examined frames, and the error if one ended the examination. They are delivered before the rest.
    examined: VecDeque<Result<Frame<Bytes>, hyper::Error>>,
    rest: Incoming,
}

impl From<Incoming> for ReplyBody {
    fn from(rest: Incoming) -> Self {
        Self { examined: VecDeque::new(), rest }
    }
}

impl ReplyBody {
    /// Reads the body to its end. Returns its bytes if they are complete and not more than `max`. Stops reading when
    /// there are more. If this is cancelled, no byte is lost.
    pub(crate) async fn examine(&mut self, max: usize) -> Option<Vec<u8>> {
        if self.rest.size_hint().lower() > max as u64 {
            return None;
        }
        let mut bytes = Vec::new();
        while !self.rest.is_end_stream() {
            let Some(frame) = self.rest.frame().await else { break };
            let data = frame.as_ref().ok().map(|frame| frame.data_ref().cloned().unwrap_or_default());
            self.examined.push_back(frame);
            bytes.extend_from_slice(&data?);
            if bytes.len() > max {
                return None;
            }
        }
        Some(bytes)
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.examined.pop_front() {
            Some(frame) => Poll::Ready(Some(frame)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.examined.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let frames = self.examined.iter().filter_map(|frame| frame.as_ref().ok()?.data_ref());
        let examined: u64 = frames.map(|data| data.len() as u64).sum();
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + examined);
        }
        hint.set_lower(rest.lower() + examined);
        hint
    }
}
