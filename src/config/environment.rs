//! The process environment as a value.
//!
//! A test passes its own variables, so no test reads or changes the environment of the test process.
//!
//! The hard case is a misspelt `JWE_GATEWAY_...`: it would be ignored, and the gateway would run with a
//! default. It gets a warning and not a fault, because other programs may set variables with this prefix. For
//! a Service named `jwe-gateway`, Kubernetes adds `JWE_GATEWAY_SERVICE_HOST`, `JWE_GATEWAY_PORT` and
//! `JWE_GATEWAY_PORT_8080_TCP_ADDR` to every pod of the namespace. Names of these forms get no warning.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

/// The prefix of every variable that is a setting of the gateway.
pub(super) const PREFIX: &str = "JWE_GATEWAY_";

/// Environment variables.
pub struct Environment {
    get: Box<LookUp>,
    /// Those that begin with [`PREFIX`] and have a value.
    names: Vec<String>,
}

type LookUp = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Environment {
    /// The variables of this process. This is the only function of the crate that reads them.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        let variables = std::env::vars_os().filter(|(_, value)| !value.is_empty());
        let names = variables.filter_map(|(name, _)| name.into_string().ok());
        let names = names.filter(|name| name.starts_with(PREFIX)).collect();
        Self { get: Box::new(|name| std::env::var_os(name)), names }
    }

    /// Variables as `get` returns them. Unknown ones get no warning, because they cannot be listed.
    #[must_use]
    pub fn looked_up(get: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self { get: Box::new(get), names: Vec::new() }
    }

    /// The value of a variable. An empty value counts as not set, as in a shell's `${NAME:-default}`;
    /// compose files rely on that.
    pub(super) fn get(&self, name: &str) -> Option<OsString> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    /// The variables that begin with `JWE_GATEWAY_`, except those of the forms that Kubernetes adds.
    pub(super) fn settings(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).filter(|name| !is_injected_by_kubernetes(name))
    }

    /// `RUST_LOG`.
    #[must_use]
    pub fn log_filter(&self) -> Option<String> {
        self.get("RUST_LOG").map(|value| value.to_string_lossy().into_owned())
    }

    /// The address of the admin listener, for the commands that ask it.
    #[must_use]
    pub fn admin_address(&self) -> Option<String> {
        self.get("JWE_GATEWAY_ADMIN").map(|value| value.to_string_lossy().into_owned())
    }

    /// The names of the sockets that a service manager passes, in their order (`LISTEN_FDNAMES`).
    #[must_use]
    pub fn names_of_sockets(&self) -> Vec<String> {
        let names = self.get("LISTEN_FDNAMES").map(|names| names.to_string_lossy().into_owned());
        names.iter().flat_map(|names| names.split(':')).map(str::to_owned).collect()
    }

    /// Whether text on a terminal may be coloured: `NO_COLOR` is not set.
    #[must_use]
    pub fn may_colour(&self) -> bool {
        self.get("NO_COLOR").is_none()
    }
}

/// Whether the name has a form of the variables that Kubernetes adds for each Service:
/// `*_SERVICE_HOST`, `*_SERVICE_PORT*`, `*_PORT` and `*_PORT_*`.
fn is_injected_by_kubernetes(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name.contains("_PORT_")
}

/// An environment of exactly these variables.
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        let variables: HashMap<String, OsString> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        let is_setting = |(name, value): &(&String, &OsString)| name.starts_with(PREFIX) && !value.is_empty();
        let mut names: Vec<_> = variables.iter().filter(is_setting).map(|(name, _)| name.clone()).collect();
        names.sort();
        Self { get: Box::new(move |name| variables.get(name).cloned()), names }
    }
}

/// Shows no value, because a value may be a secret.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(..)")
    }
}
