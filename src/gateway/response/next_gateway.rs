//! Tells the 401 of an egress from the 401 of the provider behind it.
//!
//! A sidecar presents a credential to its egress, and the egress presents another one to the provider. Both can be
//! refused with 401. The last member of `Proxy-Status` says who refused.

use http::{Response, StatusCode};

use crate::gateway::response::refusal::{self, Code, PROXY_STATUS};
use crate::gateway::response::relay::received_status;

/// Where a 401 comes from if the upstream is another gateway of ours. The last member of `Proxy-Status` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextGateway {
    /// It does not know this gateway.
    Refused,
    /// It relays the 401 of its provider, which concerns its own credential and not the one of this gateway.
    Relayed,
}

impl NextGateway {
    /// `None` if the reply is not a 401, or if the upstream is not a gateway of ours.
    pub(crate) fn of<B>(reply: &Response<B>) -> Option<Self> {
        if reply.status() != StatusCode::UNAUTHORIZED {
            return None;
        }
        let line = reply.headers().get_all(PROXY_STATUS).iter().next_back()?;
        let last = line.as_bytes().rsplit(|byte| *byte == b',').next()?.trim_ascii();
        if last == refusal::proxy_status(Code::CallerUnknown.row()).as_bytes() {
            Some(Self::Refused)
        } else {
            (last == received_status(StatusCode::UNAUTHORIZED).as_bytes()).then_some(Self::Relayed)
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_last_member_of_proxy_status_tells_the_401_of_an_egress_from_that_of_a_provider() {
        let refused = "jwe-gateway; error=http_request_denied; details=\"caller_unknown\"";
        let relayed = "jwe-gateway; received-status=401";
        for (lines, expected) in [
            (&[relayed][..], Some(NextGateway::Relayed)),
            (&[refused, relayed], Some(NextGateway::Relayed)),
            (&["cdn; received-status=401, jwe-gateway; received-status=401"], Some(NextGateway::Relayed)),
            (&[refused], Some(NextGateway::Refused)),
            (&[relayed, refused], Some(NextGateway::Refused)),
            (&["jwe-gateway; received-status=401, other"], None),
            (&["jwe-gateway; received-status=400"], None),
            (&[], None),
        ] {
            let mut reply = Response::new(());
            *reply.status_mut() = StatusCode::UNAUTHORIZED;
            for line in lines {
                reply.headers_mut().append(PROXY_STATUS, HeaderValue::from_static(line));
            }
            assert_eq!(NextGateway::of(&reply), expected, "{lines:?}");
            *reply.status_mut() = StatusCode::FORBIDDEN;
            assert_eq!(NextGateway::of(&reply), None);
        }
    }
}
