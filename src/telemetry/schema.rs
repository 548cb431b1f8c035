//! The names of the fields in a JSON log: the gateway's own, those of the Elastic Common Schema (ECS), or those of
//! OpenTelemetry.
//!
//! A field that a schema has no name for keeps its own name behind [`PREFIX`]. So no field of the gateway clashes with a
//! field that the schema defines, or will define. A nested name is one key with dots, which Elasticsearch and
//! OpenTelemetry read as nested.
//!
//! The lines of the access log are written with the right names at once. Other lines are events of `tracing`, which
//! writes the gateway's own names: [`Schema::rename`] parses such a line again. They are rare.
//!
//! Rejected: only renaming the lines of the access log. Elasticsearch refuses a line with a text `error` where it has
//! seen `error.code`.

use serde_json::{Map, Value};

/// The version of ECS that the names are taken from.
const ECS_VERSION: &str = "8.17.0";

/// What a name begins with that the schema does not define.
const PREFIX: &str = "jwe_gateway.";

/// The convention that names the fields of a JSON log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Schema {
    /// The gateway's own.
    #[default]
    Own,
    /// Those of the Elastic Common Schema.
    Ecs,
    /// Those of OpenTelemetry's log data model and semantic conventions.
    Otel,
}

/// The name of a field in each schema. It must need no escapes in JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldName {
    own: &'static str,
    ecs: &'static str,
    otel: &'static str,
}

impl FieldName {
    /// A name that is the same in every schema.
    #[cfg(test)]
    pub(super) fn same(name: &'static str) -> Self {
        standard(name, name, name)
    }

    pub(crate) fn of(self, schema: Schema) -> &'static str {
        match schema {
            Schema::Own => self.own,
            Schema::Ecs => self.ecs,
            Schema::Otel => self.otel,
        }
    }
}

/// A field that the schemas define.
const fn standard(own: &'static str, ecs: &'static str, otel: &'static str) -> FieldName {
    FieldName { own, ecs, otel }
}

/// A field that no schema defines.
macro_rules! own {
    ($name:literal) => {
        FieldName { own: $name, ecs: own!(@ $name), otel: own!(@ $name) }
    };
    (@ $name:literal) => { concat!("jwe_gateway.", $name) };
}

/// A field that only ECS defines.
macro_rules! ecs {
    ($name:literal, $ecs:literal) => {
        FieldName { own: $name, ecs: $ecs, otel: own!(@ $name) }
    };
}

// Each line.
pub(crate) const TIMESTAMP: FieldName = standard("timestamp", "@timestamp", "timestamp");
pub(crate) const LEVEL: FieldName = standard("level", "log.level", "severity_text");
pub(crate) const MESSAGE: FieldName = standard("message", "message", "body");
pub(crate) const TARGET: FieldName = standard("target", "log.logger", "otel.scope.name");

// The access log.
pub(crate) const REQUEST_ID: FieldName = ecs!("request_id", "http.request.id");
pub(crate) const TRACE_ID: FieldName = standard("trace_id", "trace.id", "trace_id");
pub(crate) const SPAN_ID: FieldName = standard("span_id", "span.id", "span_id");
pub(crate) const METHOD: FieldName = standard("method", "http.request.method", "http.request.method");
pub(crate) const PATH: FieldName = standard("path", "url.path", "url.path");
pub(crate) const QUERY_KEYS: FieldName = own!("query_keys");
pub(crate) const PROTOCOL: FieldName = standard("protocol", "http.version", "network.protocol.version");
pub(crate) const TLS_VERSION: FieldName = standard("tls_version", "tls.version", "tls.protocol.version");
pub(crate) const CLIENT_ADDRESS: FieldName = standard("client_address", "client.address", "client.address");
pub(crate) const CLIENT_PORT: FieldName = standard("client_port", "client.port", "client.port");
pub(crate) const USER_AGENT: FieldName = standard("user_agent", "user_agent.original", "user_agent.original");
pub(crate) const CALLER: FieldName = own!("caller");
pub(crate) const UPSTREAM: FieldName = own!("upstream");
pub(crate) const STATUS: FieldName = standard("status", "http.response.status_code", "http.response.status_code");
pub(crate) const ORIGIN: FieldName = own!("origin");
pub(crate) const ERROR_CODE: FieldName = standard("error_code", "error.code", "error.type");
/// In milliseconds, and in nanoseconds in ECS.
pub(crate) const DURATION: FieldName = ecs!("duration_ms", "event.duration");
pub(crate) const UPSTREAM_MS: FieldName = own!("upstream_ms");
pub(crate) const UPSTREAM_ADDRESS: FieldName = ecs!("upstream_address", "destination.address");
pub(crate) const UPSTREAM_PORT: FieldName = ecs!("upstream_port", "destination.port");
pub(crate) const UPSTREAM_TLS_VERSION: FieldName = own!("upstream_tls_version");
pub(crate) const UPSTREAM_TRACE_ID: FieldName = own!("upstream_trace_id");
pub(crate) const SEAL_US: FieldName = own!("seal_us");
pub(crate) const BYTES_IN: FieldName = standard("bytes_in", "http.request.body.bytes", "http.request.body.size");
pub(crate) const BYTES_JWE: FieldName = own!("bytes_jwe");
pub(crate) const BYTES_OUT: FieldName = standard("bytes_out", "http.response.body.bytes", "http.response.body.size");
pub(crate) const KID: FieldName = own!("kid");
pub(crate) const ATTEMPTS: FieldName = own!("attempts");
pub(crate) const KEY_CHECK: FieldName = own!("key_check");
pub(crate) const KEY_CHECK_MS: FieldName = own!("key_check_ms");
pub(crate) const RESEALED: FieldName = own!("resealed");
pub(crate) const RESENT: FieldName = own!("resent");
pub(crate) const FINDINGS: FieldName = own!("findings");
pub(crate) const OUTCOME: FieldName = own!("outcome");
pub(crate) const SAMPLE: FieldName = own!("sample");

// Other lines.
const ERROR: FieldName = standard("error", "error.message", "error.message");
const CODE: FieldName = standard("code", "error.code", "error.type");

/// The names in events that do not just get the prefix.
const IN_EVENTS: [FieldName; 7] = [TIMESTAMP, LEVEL, MESSAGE, TARGET, REQUEST_ID, ERROR, CODE];

impl Schema {
    /// A field that each line has in addition: the version of ECS.
    pub(super) fn version_field(self) -> Option<(&'static str, &'static str)> {
        (self == Self::Ecs).then_some(("ecs.version", ECS_VERSION))
    }

    /// The line of an event with the names of this schema. `line` is a JSON object with the gateway's own names, and
    /// ends with a line break. Any other text is returned as it is.
    pub(super) fn rename(self, line: &[u8]) -> Vec<u8> {
        let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(line) else { return line.to_owned() };
        let name = |own: String| match IN_EVENTS.into_iter().find(|name| name.own == own) {
            Some(name) => name.of(self).to_owned(),
            None => PREFIX.to_owned() + &own,
        };
        let mut renamed: Map<String, Value> = fields.into_iter().map(|(own, value)| (name(own), value)).collect();
        renamed.extend(self.version_field().map(|(name, version)| (name.to_owned(), version.into())));
        let mut line = Value::Object(renamed).to_string().into_bytes();
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_an_event_gets_the_names_of_the_schema_and_a_prefix_where_it_has_none() {
        let line = br#"{"timestamp":"2026-01-01T00:00:00Z","level":"WARN","message":"a \"b\"","error":"e","code":"c","request_id":"r","upstream":"u","target":"t","span":{"id":1}}
"#;
        let renamed = |schema: Schema| String::from_utf8(schema.rename(line)).unwrap();
        assert_eq!(
            renamed(Schema::Ecs),
            "{\"@timestamp\":\"2026-01-01T00:00:00Z\",\"log.level\":\"WARN\",\"message\":\"a \\\"b\\\"\",\
             \"error.message\":\"e\",\"error.code\":\"c\",\"http.request.id\":\"r\",\"jwe_gateway.upstream\":\"u\",\
             \"log.logger\":\"t\",\"jwe_gateway.span\":{\"id\":1},\"ecs.version\":\"8.17.0\"}\n"
        );
        assert_eq!(
            renamed(Schema::Otel),
            "{\"timestamp\":\"2026-01-01T00:00:00Z\",\"severity_text\":\"WARN\",\"body\":\"a \\\"b\\\"\",\
             \"error.message\":\"e\",\"error.type\":\"c\",\"jwe_gateway.request_id\":\"r\",\"jwe_gateway.upstream\":\"u\",\
             \"otel.scope.name\":\"t\",\"jwe_gateway.span\":{\"id\":1}}\n"
        );
        assert_eq!(Schema::Ecs.rename(b"not JSON\n"), b"not JSON\n");
    }
}
