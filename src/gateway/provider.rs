//! A provider with what we hold for it: its keys, our credentials, the way there.

use std::sync::Arc;

use http::{StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::target;
use crate::keys::Keys;
use crate::token::Tokens;
use crate::upstream::Upstream;

/// One configured upstream. Cheap to clone; clones share what is held.
#[derive(Clone, Debug)]
pub struct Provider {
    /// As configured, for logs and metrics.
    pub name: Arc<str>,
    /// The paths it serves: this one and those below it.
    pub prefix: Arc<str>,
    /// Which key to seal with.
    pub keys: Keys,
    /// What to authenticate with.
    pub tokens: Tokens,
    /// Where to send.
    pub upstream: Upstream,
    /// The statuses by which it can mean that it cannot open a message.
    pub key_refusals: Arc<[StatusCode]>,
}

impl Provider {
    /// Whether a reply of this status can mean that the provider no longer has the key.
    #[must_use]
    pub fn may_mean_key_unknown(&self, status: StatusCode) -> bool {
        self.key_refusals.contains(&status)
    }

    /// Whether a request for `target` would go to where the provider gives out tokens. A caller
    /// who could go there through us would get one of ours.
    #[must_use]
    pub fn is_token_endpoint(&self, target: &Uri) -> bool {
        let Some(endpoint) = self.tokens.endpoint() else { return false };
        self.upstream.url_of(target.path()).is_some_and(|url| {
            url.host_str() == endpoint.host_str()
                && url.port_or_known_default() == endpoint.port_or_known_default()
                && target::is_same(url.path(), endpoint.path())
        })
    }
}

/// All providers, the one with the longest prefix first.
#[derive(Clone, Debug)]
pub struct Providers(Arc<[Provider]>);

impl Providers {
    /// The order of `providers` does not matter; their prefixes differ.
    #[must_use]
    pub fn new(mut providers: Vec<Provider>) -> Self {
        providers.sort_by_key(|provider| std::cmp::Reverse(provider.prefix.len()));
        Self(providers.into())
    }

    /// The provider that serves `path`, however it is spelt: `/%760` is below `/v0`.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Provider> {
        let path = percent_decode_str(path).decode_utf8_lossy();
        self.0.iter().find(|provider| is_below(&path, &provider.prefix))
    }
}

/// `/v0` serves `/v0` and `/v0/x`, not `/v0x`.
fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        assert!(is_below("/v0/x", "/"));
        assert!(is_below("/", "/"));
        assert!(is_below("/v0", "/v0"));
        assert!(is_below("/v0/x", "/v0/"));
        assert!(!is_below("/v0x", "/v0"));
        assert!(!is_below("/v", "/v0"));
    }
}
