//! `Via` of requests (RFC 9110 section 7.6.3): the marks of the gateways that a request has passed.
//!
//! Each gateway has a random id and writes `jwe-gateway-ID`. A request that comes back with the gateway's own id is in a
//! loop: the gateway is its own upstream, perhaps through other gateways. It is refused, and so is a request that has
//! passed [`MAX_GATEWAYS`] gateways.
//!
//! Only these marks of a caller's `Via` are forwarded, in their order. The names of a caller's own proxies are removed,
//! because they reveal the network of the callers. A provider sees how many gateways a request has passed.
//!
//! A caller can forge marks. It then gets its own request refused, and no other.

use http::header::VIA;
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use crate::gateway::response::refusal::PSEUDONYM;

/// The maximum number of gateways that a request may pass. A service, a sidecar and an egress use two.
pub(crate) const MAX_GATEWAYS: usize = 5;

/// The digits of an id.
const ID_DIGITS: usize = 16;

/// The random id of one gateway. Two gateways in one process have different ids.
#[derive(Clone, Debug)]
pub(crate) struct GatewayId {
    id: String,
    /// The `Via` of a request that has passed no other gateway.
    mark: HeaderValue,
}

/// Why a request is not forwarded any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LoopFault {
    #[error("the request has passed this gateway before: an upstream's `url` leads back to the gateway")]
    Returned,
    #[error("the request has passed {MAX_GATEWAYS} gateways; no more are allowed")]
    TooManyGateways,
}

impl GatewayId {
    pub(crate) fn random() -> Self {
        let (id, _) = Uuid::new_v4().as_u64_pair();
        Self::of(format!("{id:0ID_DIGITS$x}"))
    }

    fn of(id: String) -> Self {
        Self { mark: via([&*id]), id }
    }

    /// Checks the marks of a request with these headers.
    ///
    /// # Errors
    /// See [`LoopFault`].
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), LoopFault> {
        let mut passed = 0;
        for id in ids(headers) {
            if id == self.id {
                return Err(LoopFault::Returned);
            }
            passed += 1;
        }
        if passed < MAX_GATEWAYS { Ok(()) } else { Err(LoopFault::TooManyGateways) }
    }

    /// The `Via` to forward: the marks of a request with these headers, and the own one.
    pub(crate) fn via(&self, headers: &HeaderMap) -> HeaderValue {
        if !headers.contains_key(VIA) {
            return self.mark.clone();
        }
        via(ids(headers).chain([&*self.id]))
    }
}

fn via<'a>(ids: impl IntoIterator<Item = &'a str>) -> HeaderValue {
    let marks: Vec<String> = ids.into_iter().map(|id| format!("1.1 {PSEUDONYM}-{id}")).collect();
    HeaderValue::try_from(marks.join(", ")).unwrap_or_else(|_| HeaderValue::from_static(PSEUDONYM))
}

/// The ids in all lines of `Via`. A member has a protocol, a name, and perhaps a comment.
fn ids(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(VIA).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).filter_map(|member| {
        let name = member.split_ascii_whitespace().nth(1)?;
        let id = name.strip_prefix(PSEUDONYM)?.strip_prefix('-')?;
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (id.len() == ID_DIGITS && id.bytes().all(is_digit)).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (VIA, line.parse().unwrap())).collect()
    }

    fn id(text: &str) -> GatewayId {
        GatewayId::of(text.to_owned())
    }

    #[test]
    fn only_marks_of_gateways_are_forwarded_and_the_own_mark_is_added() {
        let own = id("00000000000000ff");
        assert_eq!(own.via(&headers(&[])), "1.1 jwe-gateway-00000000000000ff");
        let via = headers(&[
            "1.1 proxy.internal, 1.1 jwe-gateway-0123456789abcdef (comment)",
            "2.0 jwe-gateway-0000000000000001,1.1 jwe-gateway, 1.1 jwe-gateway-0123456789ABCDEF, jwe-gateway-0123456789abcdef",
        ]);
        assert_eq!(
            own.via(&via),
            "1.1 jwe-gateway-0123456789abcdef, 1.1 jwe-gateway-0000000000000001, 1.1 jwe-gateway-00000000000000ff"
        );
    }

    #[test]
    fn a_request_that_comes_back_or_has_passed_too_many_gateways_is_refused() {
        let own = id("00000000000000ff");
        let mark = |number: usize| format!("1.1 jwe-gateway-{number:016x}");
        let passed = |count: usize| headers(&[&(0..count).map(mark).collect::<Vec<_>>().join(", ")]);
        assert_eq!(own.check(&headers(&["1.1 proxy.internal"])), Ok(()));
        assert_eq!(own.check(&passed(MAX_GATEWAYS - 1)), Ok(()));
        assert_eq!(own.check(&passed(MAX_GATEWAYS)), Err(LoopFault::TooManyGateways));
        assert_eq!(own.check(&headers(&[&mark(1), &mark(0xff)])), Err(LoopFault::Returned));
    }

    #[test]
    fn two_gateways_have_different_ids() {
        let (one, other) = (GatewayId::random(), GatewayId::random());
        assert_ne!(one.id, other.id);
        let from_one = HeaderMap::from_iter([(VIA, one.via(&HeaderMap::new()))]);
        assert_eq!(one.check(&from_one), Err(LoopFault::Returned));
        assert_eq!(other.check(&from_one), Ok(()));
    }
}
