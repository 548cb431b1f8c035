//! Faults on demand: what a provider does on its bad days.
//!
//! A fault is armed for so many requests of its door or until it is disarmed, and then applies to
//! each request that reaches that door: the key set's, the token endpoint's, or the API's. Several
//! may be armed at once. Waits go by the sandbox's clock.
//!
//! Not faults but things a provider may do at any time, and so verbs of
//! [`Sandbox`](super::Sandbox): rotating with an overlap or as a hard cut, retiring a key, revoking
//! tokens.

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

/// Something that goes wrong. As JSON, `{"api": "unauthorized"}` or
/// `{"token": {"slow": {"delay_ms": 500}}}`; `Display` shows the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// Entries in the key set that should not be there, before those that should.
    Publish(MalformedKeys),
    /// The answer to a request for the key set.
    KeySet(KeySetFault),
    /// The answer to a request for a token.
    Token(TokenFault),
    /// The answer to a call of the API.
    Api(ApiFault),
}

impl Fault {
    /// One of each kind there is, with sample values.
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

/// A fault that is armed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Armed {
    /// What goes wrong.
    pub fault: Fault,
    /// For how many more requests of its door; `None` (or left out, as JSON) until disarmed.
    #[serde(default)]
    pub times: Option<u32>,
}

impl fmt::Display for Armed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            None => write!(f, "{} until disarmed", self.fault),
            Some(times) => write!(f, "{} for {times} more", self.fault),
        }
    }
}

/// The armed faults, in the order of arming.
#[derive(Debug, Default)]
pub(super) struct ArmedFaults(Mutex<Vec<Armed>>);

impl ArmedFaults {
    /// Arms a fault; one armed already begins anew. Zero times disarms it.
    pub(super) fn arm(&self, armed: Armed) {
        let mut all = lock(&self.0);
        all.retain(|other| other.fault != armed.fault);
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

    /// What is wrong with the next answer to a request for the key set.
    pub(super) fn take_for_key_set(&self) -> (Vec<MalformedKeys>, Vec<KeySetFault>) {
        let malformed = self.take(|fault| match fault {
            Fault::Publish(malformed) => Some(*malformed),
            Fault::KeySet(_) | Fault::Token(_) | Fault::Api(_) => None,
        });
        let answers = self.take(|fault| match fault {
            Fault::KeySet(fault) => Some(fault.clone()),
            Fault::Publish(_) | Fault::Token(_) | Fault::Api(_) => None,
        });
        (malformed, answers)
    }

    /// What is wrong with the next answer to a request for a token.
    pub(super) fn take_for_token(&self) -> Vec<TokenFault> {
        self.take(|fault| match fault {
            Fault::Token(fault) => Some(fault.clone()),
            Fault::Publish(_) | Fault::KeySet(_) | Fault::Api(_) => None,
        })
    }

    /// What is wrong with the answer to the next call.
    pub(super) fn take_for_call(&self) -> Vec<ApiFault> {
        self.take(|fault| match fault {
            Fault::Api(fault) => Some(fault.clone()),
            Fault::Publish(_) | Fault::KeySet(_) | Fault::Token(_) => None,
        })
    }

    fn take<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Vec<T> {
        let mut taken = Vec::new();
        lock(&self.0).retain_mut(|armed| {
            let Some(fault) = pick(&armed.fault) else {
                return true;
            };
            taken.push(fault);
            match &mut armed.times {
                None => true,
                Some(times) => {
                    *times = times.saturating_sub(1);
                    *times > 0
                }
            }
        });
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::testing::TestSandbox;
    use http::Method;
    use serde_json::json;

    #[test]
    fn every_fault_is_read_back_from_its_json() {
        let samples = Fault::samples();
        assert!(samples.len() > 30);
        for fault in samples {
            let text = fault.to_string();
            assert_eq!(serde_json::from_str::<Fault>(&text).unwrap(), fault, "{text}");
        }
    }

    #[test]
    fn a_fault_applies_as_often_as_armed_and_to_its_own_door() {
        let faults = ArmedFaults::default();
        let once = Fault::Api(ApiFault::Unauthorized);
        let always = Fault::Api(ApiFault::BadRequest);
        let arm = |fault: &Fault, times| faults.arm(Armed { fault: fault.clone(), times });
        arm(&once, Some(1));
        arm(&always, None);
        assert!(faults.take_for_token().is_empty());
        assert_eq!(faults.take_for_call(), [ApiFault::Unauthorized, ApiFault::BadRequest]);
        assert_eq!(faults.take_for_call(), [ApiFault::BadRequest]);
        arm(&once, Some(2));
        arm(&once, Some(1));
        assert_eq!(faults.armed().len(), 2);
        faults.disarm(&always);
        assert_eq!(faults.take_for_call(), [ApiFault::Unauthorized]);
        arm(&once, Some(0));
        assert!(faults.armed().is_empty());
    }

    #[tokio::test]
    async fn faults_are_armed_listed_and_disarmed_at_the_management_door() {
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
    async fn a_fault_that_is_not_known_is_refused_and_arms_nothing() {
        let sandbox = TestSandbox::start().await;
        for wrong in [
            json!({ "fault": { "api": "made_up" } }),
            json!({ "fault": { "made_up": "html" } }),
            json!({ "fault": { "token": { "slow": { "delay": 5 } } } }),
            json!({ "fault": { "token": { "slow": { "delay_ms": 5, "x": 1 } } } }),
            json!({ "fault": { "key_set": "html" }, "time": 1 }),
            json!({ "fault": { "key_set": "html" }, "times": -1 }),
            json!([]),
        ] {
            let reply = sandbox.arm_by_http(&wrong).await;
            assert_eq!(reply.status, 400, "{wrong}");
            assert!(reply.json()["error"].is_string());
        }
        assert!(sandbox.handle.armed().is_empty());
    }

    #[tokio::test]
    async fn the_door_lists_a_sample_of_every_fault_and_takes_each_of_them() {
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
