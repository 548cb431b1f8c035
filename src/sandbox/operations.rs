//! The operations of a running sandbox. The management interface has the same ones over HTTP.

use std::io;
use std::time::Duration;

use serde_json::Value;

use super::Sandbox;
use super::faults::{ApiFault, Armed, Fault};
use super::key_set::{self, Rotation};
use super::received::Received;
use super::state::lock;
use super::verdict::Verdict;

impl Sandbox {
    /// The recorded API calls, oldest first: the latest 20,000 or the latest 256 MiB, whichever is less.
    /// Requests for the key set and for tokens are not recorded.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        lock(&self.state.received).calls()
    }

    /// The number of API calls since the start, including calls that are no longer recorded.
    #[must_use]
    pub fn received_total(&self) -> u64 {
        lock(&self.state.received).total()
    }

    /// The recorded calls with a number above `after`, oldest first. If there are none yet, waits for the next one, at
    /// most for `wait`.
    pub async fn received_after(&self, after: u64, wait: Duration) -> Vec<Received> {
        self.state.wait_for_call(after, wait).await;
        lock(&self.state.received).after(after).map(|call| Received::clone(call)).collect()
    }

    /// Judges the client by its recorded calls with a number above `after`: see [`Verdict`].
    #[must_use]
    pub fn verdict(&self, after: u64) -> Verdict {
        self.state.verdict(after)
    }

    /// Restores data and time as at the start, disarms the faults and forgets the recorded calls. Keys and tokens stay.
    pub fn reset(&self) {
        self.state.reset();
    }

    /// All data of the provider as one document: banks, credentials with their products, link codes, letters.
    #[must_use]
    pub fn world(&self) -> Value {
        self.state.world()
    }

    /// Replaces all data of the provider by a document such as [`world`](Self::world) returns.
    ///
    /// # Errors
    /// One sentence for each fault of the document. The data are then unchanged.
    pub fn set_world(&self, world: Value) -> Result<(), Vec<String>> {
        self.state.set_world(world)
    }

    /// Advances the time of the sandbox: tokens expire, overlaps of keys end and dates move on. Returns false and does
    /// nothing if the time would be more than ten years ahead.
    pub fn advance_clock(&self, by: Duration) -> bool {
        self.state.advance_clock(by).is_some()
    }

    /// Deletes the recorded calls. Numbering continues.
    pub fn forget_received(&self) {
        lock(&self.state.received).clear();
    }

    /// The number of requests for the key set, including those answered with 304.
    #[must_use]
    pub fn jwks_fetches(&self) -> u64 {
        self.state.jwks_fetches()
    }

    /// The number of requests for a token, including refused ones.
    #[must_use]
    pub fn token_requests(&self) -> u64 {
        self.state.token_requests()
    }

    /// Publishes a new key as the first of the set and returns its `kid`.
    ///
    /// # Errors
    /// If the key cannot be generated. The set is then unchanged.
    pub async fn rotate(&self, rotation: Rotation) -> io::Result<String> {
        key_set::rotate(&self.state, rotation).await
    }

    /// Removes one key from the set at once. Returns false if no key has this `kid`. The set may become
    /// empty.
    pub fn retire(&self, kid: &str) -> bool {
        lock(&self.state.keys).retire(kid)
    }

    /// Revokes all tokens issued so far, those of the second provider included.
    pub fn revoke_tokens(&self) {
        self.state.revoke_tokens();
    }

    /// Arms a fault until it is disarmed.
    pub fn arm(&self, fault: Fault) {
        self.state.faults.arm(Armed { fault, times: None, path: None });
    }

    /// Arms a fault for the next `times` requests that it applies to. Zero disarms it.
    pub fn arm_times(&self, fault: Fault, times: u32) {
        let times = Some(times);
        self.state.faults.arm(Armed { fault, times, path: None });
    }

    /// Arms a fault for the next `times` calls of one path, or until it is disarmed.
    ///
    /// # Errors
    /// A sentence, if `path` does not begin with `/` or has a query.
    pub fn arm_at(&self, path: &str, fault: ApiFault, times: Option<u32>) -> Result<(), String> {
        let armed = Armed { fault: Fault::Api(fault), times, path: Some(path.to_owned()) };
        armed.check()?;
        self.state.faults.arm(armed);
        Ok(())
    }

    /// Disarms this fault. Does nothing if it is not armed.
    pub fn disarm(&self, fault: &Fault) {
        self.state.faults.disarm(fault);
    }

    /// Disarms every fault.
    pub fn disarm_all(&self) {
        self.state.faults.disarm_all();
    }

    /// The armed faults, in the order of arming.
    #[must_use]
    pub fn armed(&self) -> Vec<Armed> {
        self.state.faults.armed()
    }

    /// The JWK Set with private members (RFC 7517 section 5). It opens the messages that were sealed for this
    /// sandbox.
    #[must_use]
    pub fn private_jwks(&self) -> Value {
        key_set::private_jwks(&self.state.keys())
    }
}
