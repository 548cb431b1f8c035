//! `jwe-gateway sandbox`: the simulated provider as a process.
//!
//! A test suite starts it with `--json` or `--ready-file`, reads one line of JSON, and stops it with SIGTERM. Both
//! listeners serve before the line is written, so nothing has to poll.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use serde_json::{Value, json};

use super::failure::Failure;
use super::output;
use super::secrets;
use super::signals::Signals;
use crate::sandbox::{Options, Sandbox};

/// Longer than any test. A year is also the limit of the gateway's settings.
const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 3600);

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Address of the simulated provider
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8090")]
    listen: SocketAddr,
    /// Address of the management interface: rotate keys, list received requests, get the private keys
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8091")]
    management: SocketAddr,
    /// Allow a management address that other hosts can reach: they get the private keys and the plaintext of
    /// every request, without a credential
    #[arg(long)]
    allow_remote_management: bool,
    /// Accept this name as Host of the management interface, such as the name of a container; can be repeated
    #[arg(long = "allowed-host", value_name = "NAME", value_parser = host)]
    allowed_hosts: Vec<String>,
    /// Seed of the simulated data: the same seed gives the same data on the same day
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Id of the client that may request tokens [default: sandbox-client]
    #[arg(long, value_name = "TEXT", value_parser = visible)]
    client_id: Option<String>,
    /// Secret of that client. It is not real: other users of the machine can see it [default: random]
    #[arg(long, value_name = "TEXT", value_parser = visible)]
    client_secret: Option<String>,
    /// How long clients may cache the key set, such as 5m
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    max_age: Duration,
    /// How long a token is valid, such as 1h
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    token_life: Duration,
    /// Refuse plain JSON bodies with 415, except token requests and the paths of Flinks
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    require_sealed: bool,
    /// Use HTTPS for the provider's API, and write the certificate of its new authority to this file
    #[arg(long, value_name = "FILE")]
    tls_ca_file: Option<PathBuf>,
    /// Print addresses, credentials and key ids as one line of JSON
    #[arg(long)]
    json: bool,
    /// Write the same line to this file when both addresses serve, and remove the file at the end
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
    /// Write the secrets to files for the examples in deploy/; the directory must be new, or written by a
    /// sandbox before
    #[arg(long, value_name = "DIRECTORY")]
    secrets: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let options = Options {
        address: arguments.listen,
        management: arguments.management,
        allow_remote_management: arguments.allow_remote_management,
        client_id: arguments.client_id.clone(),
        client_secret: arguments.client_secret.clone(),
        token_lifetime: arguments.token_life,
        max_age: arguments.max_age,
        seed: arguments.seed,
        require_sealed: arguments.require_sealed,
        allowed_hosts: arguments.allowed_hosts.clone(),
        tls: arguments.tls_ca_file.is_some(),
        ..Options::default()
    };
    // A file of a killed sandbox must not look like this one's.
    let ready_file = arguments.ready_file.as_deref().map(ReadyFile::at).transpose()?;
    let sandbox = Sandbox::start(options).await.map_err(not_started)?;
    if let Some(directory) = &arguments.secrets {
        secrets::write(&sandbox, directory)
            .map_err(|error| Failure::new(format!("--secrets {}: {error}", directory.display())))?;
    }
    if let (Some(path), Some(pem)) = (&arguments.tls_ca_file, sandbox.ca_pem()) {
        replace(path, pem).map_err(|error| Failure::new(format!("--tls-ca-file {}: {error}", path.display())))?;
    }
    let line = format!("{}\n", connection(&sandbox, arguments.tls_ca_file.as_deref())?);
    if arguments.json {
        if let Some(warning) = sandbox.remote_management_warning() {
            output::note(warning);
        }
        output::bytes(line.as_bytes())?;
    } else {
        output::text(greeting(&sandbox, &arguments));
    }
    if let Some(file) = &ready_file {
        file.write(&line)?;
    }
    tokio::select! {
        () = sandbox.run() => Err(Failure::new("a listener of the sandbox ended")),
        _ = signals.next() => Ok(()),
    }
}

/// Everything that a client under test needs.
pub(super) fn connection(sandbox: &Sandbox, ca_file: Option<&Path>) -> io::Result<Value> {
    let flinks = sandbox.flinks();
    Ok(json!({
        "provider": sandbox.url(),
        "management": sandbox.management_url(),
        "token_url": sandbox.token_url(),
        "jwks_url": sandbox.jwks_url(),
        "client_id": sandbox.client_id(),
        "client_secret": sandbox.client_secret(),
        "kids": sandbox.kids(),
        "credentials_tokens": sandbox.credentials_tokens(),
        "link_codes": sandbox.link_codes(),
        "seed": sandbox.seed(),
        "require_sealed": sandbox.require_sealed(),
        "ca_file": ca_file.map(std::path::absolute).transpose()?,
        "flinks": {
            "client_id": flinks.client_id,
            "client_secret": flinks.client_secret.expose(),
            "bearer": flinks.bearer.expose(),
            "api_key": flinks.api_key.expose(),
            "auth_key": flinks.auth_key.expose(),
        },
    }))
}

/// A file that exists while the sandbox serves.
pub(super) struct ReadyFile(PathBuf);

impl ReadyFile {
    /// Removes what an earlier process left at `path`.
    pub(super) fn at(path: &Path) -> Result<Self, Failure> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Self::failure(path, &error)),
            _ => Ok(Self(path.to_owned())),
        }
    }

    pub(super) fn write(&self, line: &str) -> Result<(), Failure> {
        replace(&self.0, line).map_err(|error| Self::failure(&self.0, &error))
    }

    fn failure(path: &Path, error: &io::Error) -> Failure {
        Failure::new(format!("--ready-file {}: {error}", path.display()))
    }
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // The process ends either way, and the file may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}

/// Writes a file so that a reader finds all of it or nothing.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}.new", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path)
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = SpanParser::new().parse_unsigned_duration(text);
    let duration = duration.map_err(|_| "not a duration: use the units h, m and s, such as 1m30s".to_owned())?;
    if duration <= MAX_DURATION { Ok(duration) } else { Err("longer than the maximum of one year".to_owned()) }
}

fn host(text: &str) -> Result<String, String> {
    let host = url::Host::parse(text);
    host.map(|host| host.to_string()).map_err(|_| "must be a name or an address, without scheme and port".to_owned())
}

fn visible(text: &str) -> Result<String, String> {
    let is_visible = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible { Ok(text.to_owned()) } else { Err("must be visible ASCII characters, at least one".to_owned()) }
}

/// A refused address is a fault of the command line: a restart would fail again.
pub(super) fn not_started(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::InvalidInput => Failure::config(error),
        _ => Failure::unavailable(error),
    }
}

fn greeting(sandbox: &Sandbox, arguments: &Arguments) -> String {
    let (banner, url, management) = (sandbox.banner(), sandbox.url(), sandbox.management_url());
    let (id, secret) = (sandbox.client_id(), sandbox.client_secret());
    let files = [("secrets", &arguments.secrets), ("authority", &arguments.tls_ca_file)];
    let files: String =
        files.iter().filter_map(|(name, path)| Some(format!("  {name:<10}  {}\n", path.as_ref()?.display()))).collect();
    let ca_file = arguments.tls_ca_file.as_ref();
    let ca_file = ca_file.map(|path| format!(" --ca-file {}", path.display())).unwrap_or_default();
    let warning = sandbox.remote_management_warning();
    let warning = warning.map(|warning| format!("\n\nWARNING: {warning}")).unwrap_or_default();
    format!(
        "{banner}{warning}\n\n  provider    {url}\n  management  {management}\n  client id   {id}\n  secret      {secret}\n{files}\n\
         run a gateway in front of it:\n\n  JWE_GATEWAY_CLIENT_SECRET={secret} jwe-gateway run --upstream {url} --client-id {id}{ca_file}\n\n\
         list what it received, and what is wrong with it:\n\n  curl -s {management}/received\n  curl -s {management}/verdict\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_a_maximum() {
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for wrong in ["5", "", "-1s", "soon", "400d", "9000h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_allowed_host_has_neither_scheme_nor_port() {
        assert_eq!(host("Sandbox"), Ok("sandbox".to_owned()));
        assert_eq!(host("sandbox.test.svc"), Ok("sandbox.test.svc".to_owned()));
        for wrong in ["", "sandbox:8091", "http://sandbox", "a b", "*.example/"] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_replaced_file_leaves_no_other_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ready.json");
        for content in ["first", "second"] {
            replace(&path, content).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        drop(ReadyFile::at(&path).unwrap());
        assert!(!path.exists());
    }
}
