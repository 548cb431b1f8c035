//! `jwe-gateway lint`: says why the provider would refuse a compact JWE. For authors of other sealing clients.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::AsyncRead;

use super::failure::Failure;
use super::source::{Location, read_at_most};
use super::{json, output};
use crate::jose::{Lint, lint};

/// The limit for a message. A body of 32 MiB, which a gateway accepts by default, has 43 MiB when it is sealed.
const MAX_BYTES: usize = 64 * 1024 * 1024;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// File with the compact JWE [default: stdin]
    message: Option<PathBuf>,
    /// The provider's JWK Set, public or private: only private keys can check the tag
    #[arg(long, value_name = "URL|FILE")]
    keys: Option<Location>,
    /// PEM certificates to trust in addition to the system's
    #[arg(long, value_name = "FILE", requires = "keys")]
    ca_file: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let keys = match &arguments.keys {
        Some(location) => Some(location.read_jwks(arguments.ca_file.as_deref()).await?),
        None => None,
    };
    let message = match &arguments.message {
        Some(path) => {
            let unavailable = |error| Failure::unavailable(format!("{}: {error}", path.display()));
            let file = tokio::fs::File::open(path).await.map_err(unavailable)?;
            read(file).await.map_err(unavailable)?
        }
        None => read(tokio::io::stdin()).await?,
    };
    let result = lint(&message, keys.as_deref());
    let is_ok = result.findings.is_empty();
    if arguments.json {
        json::print(is_ok, document(&result));
    } else {
        output::text(text(&result));
    }
    match result.findings.len() {
        0 => Ok(()),
        1 => Err(Failure::new("the provider would refuse this message: 1 finding")),
        count => Err(Failure::new(format!("the provider would refuse this message: {count} findings"))),
    }
}

async fn read(input: impl AsyncRead + Unpin) -> io::Result<Vec<u8>> {
    let too_long = || io::Error::other(format!("messages are limited to {} MiB", MAX_BYTES / 1024 / 1024));
    read_at_most(MAX_BYTES, input).await?.ok_or_else(too_long)
}

fn document(lint: &Lint) -> Value {
    let findings: Vec<_> =
        lint.findings.iter().map(|finding| json!({ "code": finding.code.as_str(), "text": finding.text })).collect();
    json!({
        "findings": findings,
        "kid": lint.kid,
        "part_bytes": lint.parts,
        "keys_checked": lint.keys_checked,
        "tag_checked": lint.tag_checked,
    })
}

fn text(lint: &Lint) -> String {
    let mut text: String = lint.findings.iter().map(|finding| format!("{finding}\n")).collect();
    if lint.findings.is_empty() {
        let kid = lint.kid.as_deref().unwrap_or_default().escape_debug();
        text += &format!("nothing found: sealed for the key {kid}, ciphertext of {} bytes\n", lint.parts[3]);
        text += match (lint.keys_checked, lint.tag_checked) {
            (_, true) => "checked: form, header, key, tag, and that the content is JSON\n",
            (true, false) => "checked: form, header and key; the tag can only be checked with the private key\n",
            (false, false) => "checked: form and header; give the provider's key set with --keys to check the key\n",
        };
    }
    text
}
