//! Faults that a test arms on demand.
//!
//! A fault is armed for a number of requests or until it is disarmed. It then applies to every request of its
//! kind: for the key set, for a token, or to the API. Several faults can be armed at once. Delays use the
//! sandbox's clock.
//!
//! Some things are not faults, because a provider may do them at any time: a rotation with or without an
//! overlap, the removal of a key, the revocation of tokens. These are methods of [`Sandbox`](super::Sandbox).

mod api;
mod key_set;
mod malformed_keys;
mod token;

use std::fmt;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::state::lock;

pub use self::api::ApiFault;
pub use self::key_set::KeySetFault;
pub use self::malformed_keys::MalformedKeys;
pub use self::token::TokenFault;

/// A fault of the provider. Its JSON form is for example `{"api": "unauthorized"}` or `{"token": {"slow":
/// {"delay_ms": 500}}}`; `Display` writes the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Malformed entries in the key set, before the valid ones.
    Publish(MalformedKeys),
    /// A fault in the response to a request for the key set.
    KeySet(KeySetFault),
    /// A fault in the response to a request for a token.
    Token(TokenFault),
    /// A fault in the response to an API call.
    Api(ApiFault),
}

impl Fault {
    /// One sample of each fault.
    #[must_use]
    pub fn samples() -> Vec<Self> {
        let malformed = MalformedKeys::ALL.into_iter().map(Self::Publish);
        let key_set = KeySetFault::samples().into_iter().map(Self::KeySet);
        let token = TokenFault::samples().into_iter().map(Self::Token);
        let api = ApiFault::samples().into_iter().map(Self::Api);
        malformed.chain(key_set).chain(token).chain(api).collect()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string(self).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

/// A fault, and the requests that it still applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Armed {
    /// The fault.
    pub fault: Fault,
    /// The number of further requests that the fault applies to. `None` (in JSON: null or absent) means until
    /// it is disarmed.
    #[serde(default)]
    pub times: Option<u32>,
    /// The only path that the fault applies to, for a fault of the API: `/letters/v1/search-letters`. `None` means
    /// every path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

impl Armed {
    /// Returns a sentence if the path cannot have an effect.
    pub(super) fn check(&self) -> Result<(), String> {
        match (&self.path, &self.fault) {
            (None, _) => Ok(()),
            (Some(path), Fault::Api(_)) if path.starts_with('/') && !path.contains(['?', '#']) => Ok(()),
            (Some(path), Fault::Api(_)) => Err(format!(
                "path must begin with / and have no query, but is {path}: for example \"/v0/bank/available\""
            )),
            (Some(_), Fault::Publish(_) | Fault::KeySet(_) | Fault::Token(_)) => {
                Err("only a fault of the kind api can have a path; the other kinds have one path each".to_owned())
            }
        }
    }
}

impl fmt::Display for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        if let Some(path) = &self.path {
            write!(f, " at {path}")?;
        }
        match self.times {
            None => f.write_str(" until disarmed"),
            Some(times) => write!(f, " for {times} more"),
        }
    }
}

/// The armed faults, oldest first.
#[derive(Debug, Default)]
pub(super) struct ArmedFaults(Mutex<Vec<Armed>>);

impl ArmedFaults {
    /// Arms a fault. If the same fault is armed already for the same path, the new number replaces the old one. Zero
    /// disarms it.
    pub(super) fn arm(&self, armed: Armed) {
        let mut all = lock(&self.0);
        all.retain(|other| other.fault != armed.fault || other.path != armed.path);
        if armed.times != Some(0) {
            all.push(armed);
        }
    }

    pub(super) fn disarm(&self, fault: &Fault) {
        lock(&self.0).retain(|armed| armed.fault != *fault);
    }

    pub(super) fn disarm_all(&self) {
        lock(&self.0).clear();
    }

    pub(super) fn armed(&self) -> Vec<Armed> {
        lock(&self.0).clone()
    }

    /// The faults for the next response with the key set.
    pub(super) fn take_for_key_set(&self) -> (Vec<MalformedKeys>, Vec<KeySetFault>) {
        let malformed = self.take(|armed| match &armed.fault {
            Fault::Publish(malformed) => Some(*malformed),
            Fault::KeySet(_) | Fault::Token(_) | Fault::Api(_) => None,
        });
        let responses = self.take(|armed| match &armed.fault {
            Fault::KeySet(fault) => Some(fault.clone()),
            Fault::Publish(_) | Fault::Token(_) | Fault::Api(_) => None,
        });
        (malformed, responses)
    }

    /// The faults for the next token response.
    pub(super) fn take_for_token(&self) -> Vec<TokenFault> {
        self.take(|armed| match &armed.fault {
            Fault::Token(fault) => Some(fault.clone()),
            Fault::Publish(_) | Fault::KeySet(_) | Fault::Api(_) => None,
        })
    }

    /// The faults for the next API call, which is to `path`.
    pub(super) fn take_for_call(&self, path: &str) -> Vec<ApiFault> {
        self.take(|armed| match &armed.fault {
            Fault::Api(fault) => armed.path.as_deref().is_none_or(|only| only == path).then(|| fault.clone()),
            Fault::Publish(_) | Fault::KeySet(_) | Fault::Token(_) => None,
        })
    }

    fn take<T>(&self, select: impl Fn(&Armed) -> Option<T>) -> Vec<T> {
        let mut selected = Vec::new();
        lock(&self.0).retain_mut(|armed| {
            let Some(fault) = select(armed) else {
                return true;
            };
            selected.push(fault);
            match &mut armed.times {
                None => true,
                Some(times) => {
                    *times = times.saturating_sub(1);
                    *times > 0
                }
            }
        });
        selected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::TestSandbox;
    use http::Method;
    use serde_json::json;

    #[test]
    fn every_fault_survives_a_round_trip_through_json() {
        let samples = Fault::samples();
        assert!(samples.len() > 30);
        for fault in samples {
            let text = fault.to_string();
            assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault, "{text}");
        }
    }

    #[test]
    fn a_fault_applies_to_the_armed_number_of_requests_of_its_own_kind() {
        let faults = ArmedFaults::default();
        let once = Fault::Api(ApiFault::Unauthorized);
        let always = Fault::Api(ApiFault::BadRequest);
        let arm = |fault: &Fault, times| faults.arm(Armed { fault: fault.clone(), times, path: None });
        arm(&once, Some(1));
        arm(&always, None);
        assert!(faults.take_for_token().is_empty());
        assert_eq!(faults.take_for_call("/v0/x"), [ApiFault::Unauthorized, ApiFault::BadRequest]);
        assert_eq!(faults.take_for_call("/v0/x"), [ApiFault::BadRequest]);
        arm(&once, Some(2));
        arm(&once, Some(1));
        assert_eq!(faults.armed().len(), 2);
        faults.disarm(&always);
        assert_eq!(faults.take_for_call("/v0/x"), [ApiFault::Unauthorized]);
        arm(&once, Some(0));
        assert!(faults.armed().is_empty());
    }

    #[test]
    fn a_fault_with_a_path_applies_to_calls_of_that_path_only() {
        let faults = ArmedFaults::default();
        let forbidden = Fault::Api(ApiFault::Forbidden);
        faults.arm(Armed { fault: forbidden.clone(), times: Some(1), path: Some("/v0/x".to_owned()) });
        faults.arm(Armed { fault: forbidden, times: None, path: Some("/v0/y".to_owned()) });
        assert!(faults.take_for_call("/v0/z").is_empty());
        assert_eq!(faults.take_for_call("/v0/x"), [ApiFault::Forbidden]);
        assert!(faults.take_for_call("/v0/x").is_empty());
        let [armed] = <[Armed; 1]>::try_from(faults.armed()).unwrap();
        assert_eq!(armed.to_string(), r#"{"api":"forbidden"} at /v0/y until disarmed"#);
    }

    #[tokio::test]
    async fn faults_are_armed_listed_and_disarmed_through_the_management_interface() {
        let sandbox = TestSandbox::start().await;
        let armed = async || sandbox.manage(Method::GET, "/faults").await.ok()["armed"].take();
        assert!(sandbox.handle.banner().contains("Faults armed: none"));
        assert_eq!(armed().await, json!([]));

        let slow = json!({ "api": { "slow_head": { "delay_ms": 5 } } });
        let html = json!({ "key_set": "html" });
        sandbox.arm_by_http(&json!({ "fault": slow })).await.ok();
        sandbox.arm_by_http(&json!({ "fault": html, "times": 2 })).await.ok();
        let both = json!([{ "fault": slow, "times": null }, { "fault": html, "times": 2 }]);
        assert_eq!(armed().await, both);
        assert_eq!(sandbox.handle.armed().len(), 2);
        let banner = sandbox.handle.banner();
        assert!(banner.contains(r#"{"key_set":"html"} for 2 more"#), "{banner}");
        assert!(banner.contains("until disarmed"));
        let index = sandbox.manage(Method::GET, "/").await.ok();
        assert_eq!(index["what"], banner);

        sandbox.handle.disarm(&Fault::KeySet(KeySetFault::Html));
        assert_eq!(sandbox.handle.armed().len(), 1);
        sandbox.manage(Method::DELETE, "/faults").await.ok();
        assert!(sandbox.handle.armed().is_empty());
    }

    #[tokio::test]
    async fn an_unknown_fault_is_refused_and_arms_nothing() {
        let sandbox = TestSandbox::start().await;
        for wrong in [
            json!({ "fault": { "api": "made_up" } }),
            json!({ "fault": { "made_up": "html" } }),
            json!({ "fault": { "token": { "slow": { "delay": 5 } } } }),
            json!({ "fault": { "token": { "slow": { "delay_ms": 5, "x": 1 } } } }),
            json!({ "fault": { "key_set": "html" }, "time": 1 }),
            json!({ "fault": { "key_set": "html" }, "times": -1 }),
            json!({ "fault": { "key_set": "html" }, "path": "/v0/x" }),
            json!({ "fault": { "api": "forbidden" }, "path": "v0/x" }),
            json!({ "fault": { "api": "forbidden" }, "path": "/v0/x?page=1" }),
            json!([]),
        ] {
            let reply = sandbox.arm_by_http(&wrong).await;
            assert_eq!(reply.status, 400, "{wrong}");
            assert!(reply.json()["error"].is_string());
        }
        assert!(sandbox.handle.armed().is_empty());
    }

    #[tokio::test]
    async fn the_management_interface_lists_a_sample_of_every_fault_and_accepts_each() {
        let sandbox = TestSandbox::start().await;
        let known = sandbox.manage(Method::GET, "/faults").await.ok()["samples"].take();
        let known = known.as_array().unwrap();
        for fault in known {
            sandbox.arm_by_http(&json!({ "fault": fault, "times": 1 })).await.ok();
        }
        assert_eq!(sandbox.handle.armed().len(), known.len());
        sandbox.handle.disarm_all();
        assert!(sandbox.handle.armed().is_empty());
    }
}
