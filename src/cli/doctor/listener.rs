//! The callers' side: whether the gateway can listen, and until when its certificate is valid.

use std::io;
use std::time::{Duration, SystemTime};

use super::finding::Findings;
use crate::admin;
use crate::cli::admin_client::AdminClient;
use crate::gateway::server::tls::ServerTls;
use crate::gateway::{Config, Listen};
use crate::socket::{Address, Socket};

/// A certificate that expires sooner gets a warning.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// The limit for the answer of a gateway on this machine.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

const DAY: u64 = 24 * 3600;

pub(super) async fn examine(config: &Config, admin: &admin::Config, findings: &mut Findings) {
    let Listen { address, tls, .. } = &config.listen;
    match Socket::bind(address).await {
        Ok(socket) => {
            drop(socket);
            findings.ok("bind", "the address is free");
        }
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let client = AdminClient::of(&admin.address);
            if client.finds_gateway(ANSWER_LIMIT).await {
                findings
                    .skip("bind", format_args!("the address is in use, and a gateway runs: it answers at {client}"));
            } else {
                let text = format_args!("the address is in use, and no gateway answers at {client}");
                findings.warn("bind", text, "stop the process that uses it, or set another `address` under [listen]");
            }
        }
        Err(error) => findings.fail("bind", error, advice_on(address)),
    }
    let Some(files) = tls else { return };
    match ServerTls::load(files.clone(), None) {
        Ok(tls) => report_expiry("tls", "the certificate", tls.snapshot().not_after, findings),
        Err(error) => {
            findings.fail("tls", error, "correct the files; a running gateway keeps its last good certificate");
        }
    }
}

fn advice_on(address: &Address) -> &'static str {
    match address {
        Address::Tcp(_) => "set `address` under [listen] to an address of this machine; ports below 1024 need root",
        Address::Unix { .. } => {
            "its directory must exist and be writable; a file that is not a socket is never replaced"
        }
    }
}

pub(super) fn report_expiry(step: &'static str, what: &str, not_after: SystemTime, findings: &mut Findings) {
    match not_after.duration_since(SystemTime::now()) {
        Ok(left) => {
            let text = format!("{what} is valid for {} days", left.as_secs() / DAY);
            if left >= EXPIRY_WARNING {
                findings.ok(step, text);
            } else {
                findings.warn(step, text, "renew it");
            }
        }
        Err(_) => findings.fail(step, format_args!("{what} has expired"), "renew it"),
    }
}
