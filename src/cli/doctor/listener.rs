//! The near side: can it be listened, and with which certificate.

use std::io;
use std::time::{Duration, SystemTime};

use super::finding::Findings;
use crate::gateway::server::socket::{Address, Socket};
use crate::gateway::server::tls::ServerTls;
use crate::gateway::{Config, Listen};

/// A certificate that ends sooner than this wants somebody's attention.
pub(super) const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

const DAY: u64 = 24 * 3600;

pub(super) async fn examine(config: &Config, findings: &mut Findings) {
    let Listen { address, tls, .. } = &config.listen;
    match Socket::bind(address).await {
        Ok(socket) => {
            drop(socket);
            findings.ok("bind", "the address is free");
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            findings.skip("bind", "somebody listens there: this gateway, if it is running");
        }
        Err(error) => findings.fail("bind", error, advice_on(address)),
    }
    let Some(files) = tls else { return };
    match ServerTls::load(files.clone()) {
        Ok(tls) => validity("tls", "the certificate", tls.snapshot().not_after, findings),
        Err(error) => {
            findings.fail("tls", error, "a running gateway keeps its last good certificate; this is the next")
        }
    }
}

fn advice_on(address: &Address) -> &'static str {
    match address {
        Address::Tcp(_) => "set `address` under [listen] to one of this machine's, and a port above 1023 unless root",
        Address::Unix { .. } => "its directory must exist, and be ours to write in; what is no socket is not replaced",
    }
}

/// Says until when something is good.
pub(super) fn validity(step: &str, what: &str, not_after: SystemTime, findings: &mut Findings) {
    match not_after.duration_since(SystemTime::now()) {
        Ok(left) if left >= SOON => findings.ok(step, format_args!("{what} is good for {} days", left.as_secs() / DAY)),
        Ok(left) => {
            let seen = format!("{what} is good for {} days", left.as_secs() / DAY);
            findings.warn(step, seen, "have it renewed");
        }
        Err(_) => findings.fail(step, format_args!("{what} has expired"), "have it renewed"),
    }
}
