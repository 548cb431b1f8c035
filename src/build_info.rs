//! What this binary was built from: version, revision, target, features and cryptographic libraries.
//!
//! `build.rs` finds these facts. A fact that it cannot find is the text `unknown`, so that a build never fails for it.

use std::fmt;

/// The facts of this build.
pub(crate) const BUILD: BuildInfo = BuildInfo {
    version: env!("CARGO_PKG_VERSION"),
    revision: env!("JWE_GATEWAY_REVISION"),
    target: env!("JWE_GATEWAY_TARGET"),
    features: env!("JWE_GATEWAY_FEATURES"),
    aws_lc_rs: env!("JWE_GATEWAY_AWS_LC_RS"),
    aws_lc: if cfg!(feature = "fips") {
        concat!(env!("JWE_GATEWAY_AWS_LC_FIPS_SYS"), "-fips")
    } else {
        env!("JWE_GATEWAY_AWS_LC_SYS")
    },
    rustls: env!("JWE_GATEWAY_RUSTLS"),
    #[cfg(feature = "sandbox")]
    sandbox: Some(SandboxLibraries {
        josekit: env!("JWE_GATEWAY_JOSEKIT"),
        openssl: if cfg!(feature = "vendored-openssl") { env!("JWE_GATEWAY_OPENSSL_SRC") } else { "of the system" },
    }),
    #[cfg(not(feature = "sandbox"))]
    sandbox: None,
};

/// Facts about a build.
#[derive(Debug)]
pub(crate) struct BuildInfo {
    pub(crate) version: &'static str,
    /// The commit, or `unknown`. A build without optimisation does not know it.
    pub(crate) revision: &'static str,
    pub(crate) target: &'static str,
    /// Sorted, with commas between them; empty if there are none.
    pub(crate) features: &'static str,
    pub(crate) aws_lc_rs: &'static str,
    /// The package with AWS-LC itself: `aws-lc-sys`, or `aws-lc-fips-sys`, marked by `-fips`.
    pub(crate) aws_lc: &'static str,
    pub(crate) rustls: &'static str,
    /// The sandbox's libraries, if the sandbox is built in.
    pub(crate) sandbox: Option<SandboxLibraries>,
}

/// The libraries with which the sandbox opens messages.
#[derive(Debug)]
pub(crate) struct SandboxLibraries {
    pub(crate) josekit: &'static str,
    /// The package `openssl-src`; its version has OpenSSL's own after the `+`.
    pub(crate) openssl: &'static str,
}

/// The long form of `--version`: one fact per line, the version first.
impl fmt::Display for BuildInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let features = if self.features.is_empty() { "none" } else { self.features };
        writeln!(f, "{}", self.version)?;
        writeln!(f, "revision  {}", self.revision)?;
        writeln!(f, "target    {}", self.target)?;
        writeln!(f, "features  {features}")?;
        writeln!(f, "aws-lc    {} (aws-lc-rs {})", self.aws_lc, self.aws_lc_rs)?;
        write!(f, "rustls    {}", self.rustls)?;
        if let Some(SandboxLibraries { josekit, openssl }) = &self.sandbox {
            write!(f, "\nopenssl   {openssl} (josekit {josekit}; for the sandbox only)")?;
        }
        Ok(())
    }
}
