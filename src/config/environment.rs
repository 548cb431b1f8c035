//! The process environment, handed in.
//!
//! Tests bring their own, so none of them depends on, or changes, what the process was
//! started with. Names are looked up one by one; an unknown `JWE_GATEWAY_...` is not a fault,
//! because Kubernetes puts variables of that form (`JWE_GATEWAY_SERVICE_HOST`,
//! `JWE_GATEWAY_PORT`) into the pods beside a Service of our name.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;

/// Where environment variables are looked up.
pub struct Environment(Box<LookUp>);

type LookUp = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Environment {
    /// The variables this process was started with. The only reader of them in this crate.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn of_process() -> Self {
        Self::looked_up(|name| std::env::var_os(name))
    }

    /// Variables as `look_up` finds them.
    #[must_use]
    pub fn looked_up(look_up: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self(Box::new(look_up))
    }

    /// The value of a variable; an empty one counts as not set, as it does in a shell's
    /// `${NAME:-default}` and as compose files rely on.
    pub(super) fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|value| !value.is_empty())
    }

    /// `RUST_LOG`, for [`telemetry::init`](crate::telemetry::init), which reports what is wrong with it.
    #[must_use]
    pub fn log_filter(&self) -> Option<String> {
        self.get("RUST_LOG").map(|value| value.to_string_lossy().into_owned())
    }
}

/// An environment of exactly these variables.
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        let variables: HashMap<String, OsString> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), value.into())).collect();
        Self::looked_up(move |name| variables.get(name).cloned())
    }
}

/// Values may be secrets: none is shown.
impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(..)")
    }
}
