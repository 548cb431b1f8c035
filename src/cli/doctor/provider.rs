//! The provider's side: name, connection, TLS, keys, token, and a trial seal.
//!
//! One cause is reported once. If the host of the upstream cannot be reached, the key set and the token
//! endpoint on that host are skipped; those on other hosts are still tried.

use std::sync::Arc;
use std::time::Instant;

use url::{Origin as UrlOrigin, Url};

use super::finding::Findings;
use super::listener::report_expiry;
use crate::clock::{Clock, Jitter};
use crate::config::Upstream;
use crate::credentials::{self, Credentials, RenewalErrorKind, TokenError};
use crate::gateway::route::Encryption;
use crate::jose::{Plaintext, seal};
use crate::keys::{EntryState, FetchErrorKind, Keys, Source};
use crate::upstream::{Connector, Probe, ProbeError};

pub(super) async fn examine(upstream: &Upstream, findings: &mut Findings) {
    let clock = Clock::system();
    let connector = Connector::of(&upstream.upstream);
    let clients = connector.and_then(|connector| Ok((Probe::new(&upstream.upstream)?, connector.control_client()?)));
    let (probe, control) = match clients {
        Ok(clients) => clients,
        Err(error) => return findings.fail("files", error, "correct the file, or the setting that names it"),
    };
    let mut hosts = UnreachableHosts::default();
    if !is_reachable(&probe, &clock, findings).await {
        hosts.add(&upstream.upstream.url);
    }

    let keys = Keys::new(
        &upstream.name,
        upstream.keys.clone(),
        control.clone(),
        clock.clone(),
        Jitter::random(),
        Arc::default(),
    );
    let key_set_url = match &upstream.keys.source {
        Source::Url(url) => Some(url),
        Source::File(_) => None,
    };
    if upstream.encryption == Encryption::Off {
        findings.skip("keys", "encryption is off");
        findings.skip("seal", "encryption is off");
    } else if hosts.contain(key_set_url) {
        findings.skip("keys", NOT_REACHED);
        findings.skip("seal", "there is no key");
    } else if examine_keys(&keys, key_set_url, &mut hosts, findings).await {
        try_sealing(&keys, &clock, findings).await;
    } else {
        findings.skip("seal", "there is no key");
    }

    let token_url = match &upstream.credentials {
        credentials::Config::ClientCredentials(config) => Some(&config.url),
        credentials::Config::Static(_) | credentials::Config::None => None,
    };
    if hosts.contain(token_url) {
        findings.skip("token", NOT_REACHED);
    } else {
        let tokens = Credentials::new(
            &upstream.name,
            upstream.credentials.clone(),
            control,
            clock,
            Jitter::random(),
            Arc::default(),
        );
        examine_token(&upstream.credentials, &tokens, findings).await;
    }
}

const NOT_REACHED: &str = "its host cannot be reached: see the failed step above";

/// Hosts that a failed step has shown to be unreachable.
#[derive(Default)]
struct UnreachableHosts(Vec<UrlOrigin>);

impl UnreachableHosts {
    fn add(&mut self, url: &Url) {
        self.0.push(url.origin());
    }

    fn contain(&self, url: Option<&Url>) -> bool {
        url.is_some_and(|url| self.0.contains(&url.origin()))
    }
}

/// Tries each step from name resolution to the TLS handshake. Returns whether all succeeded.
async fn is_reachable(probe: &Probe, clock: &Clock, findings: &mut Findings) -> bool {
    let (host, port) = probe.next_host();
    let role = if probe.has_proxy() { "the proxy " } else { "" };
    let addresses = match probe.resolve().await {
        Ok(addresses) => addresses,
        Err(error) => {
            findings.fail("dns", &error, "correct `url` (or the proxy's URL), or this machine's DNS configuration");
            return skip_from("tcp", probe, findings);
        }
    };
    let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    findings.ok("dns", format_args!("{role}{host} resolves to {}", list.join(", ")));

    let started = clock.now();
    let stream = match probe.connect(&addresses).await {
        Ok(stream) => stream,
        Err(error) => {
            let advice = "check that a server listens there, that no firewall blocks it, and whether a proxy is needed";
            findings.fail("tcp", &error, advice);
            return skip_from("proxy", probe, findings);
        }
    };
    findings.ok("tcp", format_args!("connected to {role}port {port} in {}", millis(clock, started)));

    let stream = match probe.tunnel(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            let advice = "407: put user and password into HTTPS_PROXY; 403: the proxy must allow CONNECT to this host";
            findings.fail("proxy", &error, advice);
            return skip_from("tls", probe, findings);
        }
    };
    if probe.has_proxy() {
        findings.ok("proxy", "the proxy opened a tunnel to the provider");
    }

    if !probe.has_tls() {
        findings.skip("tls", "the URL is http");
        return true;
    }
    match probe.handshake(stream).await {
        Ok(handshake) => {
            findings.ok("tls", format_args!("{}, certificate issued by {}", handshake.version, handshake.issuer));
            report_expiry("tls", "the provider's certificate", handshake.not_after, findings);
            true
        }
        Err(error) => {
            findings.fail("tls", &error, advice_on_handshake(&error));
            false
        }
    }
}

/// Marks the steps that need the failed one. Returns `false`: the host is not reachable.
fn skip_from(first: &str, probe: &Probe, findings: &mut Findings) -> bool {
    let steps = [("tcp", true), ("proxy", probe.has_proxy()), ("tls", probe.has_tls())];
    let rest = steps.into_iter().skip_while(|(step, _)| *step != first);
    rest.filter(|(_, is_needed)| *is_needed).for_each(|(step, _)| findings.skip(step, "the step before it failed"));
    false
}

fn advice_on_handshake(error: &ProbeError) -> &'static str {
    match error {
        ProbeError::Untrusted { .. } | ProbeError::BadCertificate { .. } => {
            "if you trust this issuer (an internal CA, or a proxy that inspects TLS), name its certificate in `ca_file`"
        }
        ProbeError::WrongName => "`url` names another host than the certificate: correct `url`, or ask the provider",
        ProbeError::Expired => "check this machine's clock; if it is right, the provider must renew the certificate",
        ProbeError::Refused(_) => {
            "if the provider requires a client certificate, set `client_certificate` and `client_key`"
        }
        _ => "check that the port speaks TLS 1.2 or 1.3",
    }
}

/// Returns whether there is a key to seal with.
async fn examine_keys(keys: &Keys, url: Option<&Url>, hosts: &mut UnreachableHosts, findings: &mut Findings) -> bool {
    if let Err(error) = keys.refresh().await {
        findings.fail("keys", &error, advice_on_fetch(&error.kind));
        if let (FetchErrorKind::Transport(_) | FetchErrorKind::Timeout(_), Some(url)) = (&error.kind, url) {
            hosts.add(url);
        }
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
            findings.ok("keys", format_args!("{usable} of {total} keys usable; the gateway would seal with {name}"));
            true
        }
        Err(error) => {
            findings.fail("keys", error, "compare `pin` with the keys that `jwe-gateway keys` lists");
            false
        }
    }
}

fn advice_on_fetch(error: &FetchErrorKind) -> &'static str {
    match error {
        FetchErrorKind::Status(401 | 403) => "the server of the key set wants a credential: see [upstream.credentials]",
        FetchErrorKind::Status(404) | FetchErrorKind::Redirect(_) => {
            "the key set is at another URL: set `url` under [upstream.keys]"
        }
        FetchErrorKind::NotJson { .. }
        | FetchErrorKind::NotAKeySet
        | FetchErrorKind::TooLarge
        | FetchErrorKind::TooManyKeys { .. } => "this URL does not serve a JWK Set: set `url` under [upstream.keys]",
        FetchErrorKind::NothingUsable { .. } => {
            "`jwe-gateway keys` lists the reason for each key; the provider must publish another key"
        }
        FetchErrorKind::File(_) | FetchErrorKind::Credential(_) => "correct the file that the message names",
        _ => "a running gateway keeps trying, and uses the keys it has until then",
    }
}

async fn try_sealing(keys: &Keys, clock: &Clock, findings: &mut Findings) {
    let started = clock.now();
    let sealed = match (keys.current().await, Plaintext::json("{}".into())) {
        (Ok(key), Ok(plaintext)) => seal(&plaintext, &key).map_err(|error| error.to_string()),
        (Err(error), _) => Err(error.to_string()),
        (_, Err(error)) => Err(error.to_string()),
    };
    match sealed {
        Ok(message) => {
            let time = (clock.now() - started).as_micros();
            findings.ok("seal", format_args!("sealed {{}} into {} bytes in {time} µs", message.len()));
        }
        Err(error) => findings.fail("seal", error, "this is a bug of jwe-gateway: please report it"),
    }
}

async fn examine_token(config: &credentials::Config, tokens: &Credentials, findings: &mut Findings) {
    if *config == credentials::Config::None {
        return findings.skip("token", "no credentials are configured");
    }
    let obtained = tokens.current().await;
    let snapshot = tokens.snapshot();
    match (obtained, snapshot.last_error) {
        (Ok(_), _) => match snapshot.lifetime_left {
            Some(life) => findings.ok("token", format_args!("obtained, valid for {} s", life.as_secs())),
            None => findings.ok("token", "the fixed credential can be read; only a request shows whether it is valid"),
        },
        (Err(error), last) => {
            let cause = last.as_ref().map_or_else(|| error.to_string(), ToString::to_string);
            findings.fail("token", cause, advice_on_renewal(&error, last.as_ref().map(|last| &last.kind)));
        }
    }
}

fn advice_on_renewal(error: &TokenError, last: Option<&RenewalErrorKind>) -> &'static str {
    match (error, last) {
        (TokenError::CredentialsRefused { .. }, _) | (_, Some(RenewalErrorKind::Refused { .. })) => {
            "compare client_id and the secret file with those from the provider, and `format` and `extra` with its documentation"
        }
        (_, Some(RenewalErrorKind::Credential(_))) => "correct the secret file",
        (_, Some(RenewalErrorKind::Status(404) | RenewalErrorKind::Redirect(_) | RenewalErrorKind::NoToken(_))) => {
            "the token endpoint is at another URL: set `url` under [upstream.credentials]"
        }
        _ => "a running gateway keeps trying, and uses the token it has until then",
    }
}

fn millis(clock: &Clock, started: Instant) -> String {
    format!("{:.1} ms", (clock.now() - started).as_secs_f64() * 1e3)
}
