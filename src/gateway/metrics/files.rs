//! The metrics of files: when they were last read, and until when certificates are valid.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::SystemTime;

use prometheus_client::encoding::DescriptorEncoder;

use super::families::{Labels, counter, gauge, timestamp};
use crate::gateway::generation::Generation;
use crate::gateway::server::tls::ServerTls;
use crate::upstream::Connector;
use crate::watched_files::FileRead;

pub(super) fn encode(generation: &Generation, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let reads = last_reads(generation);
    let read = |(path, time): (&PathBuf, &SystemTime)| -> (Labels<'_>, f64) {
        (vec![("file", path.display().to_string().into())], timestamp(*time))
    };
    let (name, help) =
        ("jwe_gateway_file_last_read_timestamp_seconds", "Last time a key file or certificate was read with success");
    gauge(encoder, name, help, reads.iter().map(read))?;

    let tls = generation.tls.as_ref().map(ServerTls::snapshot);
    let reloads = tls.iter().flat_map(|tls| {
        let of = |result: &'static str, count: u64| (vec![("result", result.into())], count as f64);
        [of("ok", tls.reloads_ok), of("failed", tls.reloads_failed)]
    });
    counter(encoder, "jwe_gateway_tls_reloads", "Changes of the listener's TLS files", reloads)?;

    let expires = |role: &'static str, upstream: &str, time: SystemTime| -> (Labels<'_>, f64) {
        (vec![("role", role.into()), ("upstream", upstream.to_owned().into())], timestamp(time))
    };
    let listener = tls.iter().map(|tls| expires("listener", "", tls.not_after));
    let clients = generation
        .routes
        .iter()
        .zip(&generation.connectors)
        .filter_map(|(route, connector)| Some(expires("client", &route.name, connector.certificate_expires()?)));
    let name = "jwe_gateway_tls_certificate_expires_timestamp_seconds";
    gauge(encoder, name, "End of validity of a certificate of the gateway", listener.chain(clients))
}

/// When each file was last read. If several parts read a file, the earliest time counts.
fn last_reads(generation: &Generation) -> BTreeMap<PathBuf, SystemTime> {
    let connectors = generation.connectors.iter().flat_map(Connector::file_reads);
    let callers = generation.callers.file_reads();
    let mut earliest = BTreeMap::new();
    for FileRead { path, time } in
        generation.tls.iter().flat_map(ServerTls::file_reads).chain(callers).chain(connectors)
    {
        let known = earliest.entry(path).or_insert(time);
        *known = time.min(*known);
    }
    earliest
}
