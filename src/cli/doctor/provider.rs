//! The far side: name, connection, TLS, keys, token, and a trial of sealing.

use std::time::Instant;

use super::finding::Findings;
use super::listener::validity;
use crate::clock::{Clock, Jitter};
use crate::config::Upstream;
use crate::credentials::{self, Credentials, RenewalError, TokenError};
use crate::gateway::route::Encryption;
use crate::jose::{Plaintext, seal};
use crate::keys::{EntryState, FetchError, Keys};
use crate::upstream::{Connector, Probe, ProbeError};

const AFTER: &str = "there is no way to it";

pub(super) async fn examine(upstream: &Upstream, findings: &mut Findings) {
    let clock = Clock::system();
    let set_up = Probe::new(&upstream.upstream).and_then(|probe| {
        let control = Connector::of(&upstream.upstream)?.control_client()?;
        Ok((probe, control))
    });
    let (probe, control) = match set_up {
        Ok(set_up) => set_up,
        Err(error) => return findings.fail("files", error, "mend the file, or the setting that names it"),
    };
    walk(&probe, &clock, findings).await;
    // Keys and tokens may come from elsewhere, so they are asked for whatever became of the way.
    let keys = Keys::new(&upstream.name, upstream.keys.clone(), control.clone(), clock.clone(), Jitter::random());
    if upstream.encryption == Encryption::Off {
        findings.skip("keys", "encryption is off");
        findings.skip("seal", "encryption is off");
    } else if examine_keys(&keys, findings).await {
        try_sealing(&keys, &clock, findings).await;
    } else {
        findings.skip("seal", "there is no key");
    }
    let tokens = Credentials::new(&upstream.name, upstream.credentials.clone(), control, clock, Jitter::random());
    examine_token(&upstream.credentials, &tokens, findings).await;
}

/// From the name to the handshake.
async fn walk(probe: &Probe, clock: &Clock, findings: &mut Findings) {
    let (host, port) = probe.next_host();
    let whose = if probe.has_proxy() { ", the proxy," } else { "" };
    let addresses = match probe.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => {
            findings.fail("dns", &error, "mend `url` (or the proxy's), or this machine's resolver");
            return skip_from("tcp", probe, findings);
        }
    };
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.ok("dns", format_args!("{host}{whose} is {}", shown.join(", ")));
    let begun = clock.now();
    let stream = match probe.connect(&addresses).await {
        Ok(stream) => stream,
        Err(error) => {
            findings.fail("tcp", &error, "is something listening there, and does a firewall let us? a proxy needed?");
            return skip_from("proxy", probe, findings);
        }
    };
    findings.ok("tcp", format_args!("connected to port {port}{whose} in {}", millis(clock, begun)));
    let stream = match probe.tunnel(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            let advice =
                "407: user and password belong into HTTPS_PROXY; 403: the proxy must allow this host by CONNECT";
            findings.fail("proxy", &error, advice);
            return skip_from("tls", probe, findings);
        }
    };
    if probe.has_proxy() {
        findings.ok("proxy", "it connects us");
    }
    if !probe.has_tls() {
        return findings.skip("tls", "the URL is http");
    }
    match probe.handshake(stream).await {
        Ok(seen) => {
            findings.ok("tls", format_args!("{}, certificate issued by {}", seen.version, seen.issuer));
            validity("tls", "the provider's certificate", seen.not_after, findings);
        }
        Err(error) => findings.fail("tls", &error, on_handshake(&error)),
    }
}

/// The steps that make no sense after one that failed.
fn skip_from(first: &str, probe: &Probe, findings: &mut Findings) {
    let steps = [("tcp", true), ("proxy", probe.has_proxy()), ("tls", probe.has_tls())];
    let left = steps.into_iter().skip_while(|(step, _)| *step != first);
    left.filter(|(_, is_taken)| *is_taken).for_each(|(step, _)| findings.skip(step, AFTER));
}

fn on_handshake(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::Untrusted { .. } => {
            "a company's own CA, or a proxy that opens TLS: name its certificate by `ca_file` if it is to be trusted"
        }
        ProbeError::WrongName => "`url` names another host than the certificate: mend it, or ask the provider",
        ProbeError::Expired => "if this machine's clock is right, the provider must renew it",
        ProbeError::Refused(_) => {
            "a provider that wants a certificate gets it by `client_certificate` and `client_key`"
        }
        _ => "is there TLS on that port, of version 1.2 or 1.3?",
    }
}

/// Whether there is a key to seal with.
async fn examine_keys(keys: &Keys, findings: &mut Findings) -> bool {
    if let Err(error) = keys.refresh().await {
        findings.fail("keys", &error, on_fetch(&error));
        return false;
    }
    let snapshot = keys.snapshot();
    for entry in snapshot.entries.iter().filter(|entry| entry.state != EntryState::Usable) {
        let name = entry.kid.as_deref().unwrap_or("without kid").escape_debug().to_string();
        findings.skip("keys", format_args!("{name}: {}", entry.state));
    }
    let usable = snapshot.entries.iter().filter(|entry| entry.state == EntryState::Usable).count();
    let total = snapshot.entries.len();
    match snapshot.usable {
        Ok(name) => {
            findings.ok("keys", format_args!("{usable} of {total} usable; {name} would be sealed with"));
            true
        }
        Err(error) => {
            findings.fail("keys", error, "compare `pin` with what `jwe-gateway keys` shows");
            false
        }
    }
}

fn on_fetch(error: &FetchError) -> &'static str {
    match error {
        FetchError::Status(401 | 403) => "whoever serves the set wants to know us: see [upstream.credentials]",
        FetchError::Status(404) | FetchError::Redirect(_) => "the set is elsewhere: set `url` under [upstream.keys]",
        FetchError::NotJson { .. } | FetchError::NotAKeySet | FetchError::TooLarge | FetchError::TooManyKeys { .. } => {
            "what is there is no JWK Set: set `url` under [upstream.keys]"
        }
        FetchError::NothingUsable { .. } => {
            "`jwe-gateway keys` shows each key's reason; the provider must publish another"
        }
        FetchError::File(_) | FetchError::Credential(_) | FetchError::CredentialNotText => "mend the file it names",
        _ => "a running gateway keeps trying, and serves on with the keys it has",
    }
}

async fn try_sealing(keys: &Keys, clock: &Clock, findings: &mut Findings) {
    let begun = clock.now();
    let sealed = match (keys.current().await, Plaintext::json("{}".into())) {
        (Ok(key), Ok(plaintext)) => seal(&plaintext, &key).map_err(|error| error.to_string()),
        (Err(error), _) => Err(error.to_string()),
        (_, Err(error)) => Err(error.to_string()),
    };
    match sealed {
        Ok(message) => {
            let time = (clock.now() - begun).as_micros();
            findings.ok("seal", format_args!("{{}} becomes {} bytes, in {time} µs", message.len()));
        }
        Err(error) => findings.fail("seal", error, "this should not be: please report it"),
    }
}

async fn examine_token(config: &credentials::Config, tokens: &Credentials, findings: &mut Findings) {
    if *config == credentials::Config::None {
        return findings.skip("token", "no credentials are sent");
    }
    let obtained = tokens.current().await;
    let snapshot = tokens.snapshot();
    match (obtained, snapshot.last_error) {
        (Ok(_), _) => match snapshot.life_left {
            Some(life) => findings.ok("token", format_args!("obtained, good for {} s", life.as_secs())),
            None => findings.ok("token", "the fixed credential can be read; whether it is good, a request would tell"),
        },
        (Err(error), last) => {
            let why = last.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
            findings.fail("token", why, on_renewal(&error, last.as_ref()));
        }
    }
}

fn on_renewal(error: &TokenError, last: Option<&RenewalError>) -> &'static str {
    match (error, last) {
        (TokenError::CredentialsRefused { .. }, _) | (_, Some(RenewalError::Refused { .. })) => {
            "compare client_id and the secret file with what the provider gave you, and `format` and `extra` with its docs"
        }
        (_, Some(RenewalError::Secret(_) | RenewalError::NotForAHeader)) => "mend the secret file",
        (_, Some(RenewalError::Status(404) | RenewalError::Redirect(_) | RenewalError::NoToken(_))) => {
            "the token endpoint is elsewhere: set `url` under [upstream.credentials]"
        }
        _ => "a running gateway keeps trying, and serves on with the token it has",
    }
}

fn millis(clock: &Clock, begun: Instant) -> String {
    format!("{:.1} ms", (clock.now() - begun).as_secs_f64() * 1e3)
}
