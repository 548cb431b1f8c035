//! The configuration as it is written: files, flags and variables together.

mod checks;
mod documented;
mod faults;
mod faults_listen;
mod faults_upstream;
mod precedence;
mod schema;
mod validation;

use std::fs;

use clap::{Command, FromArgMatches as _};
use tempfile::TempDir;

use super::{Config, ConfigFaults, Environment, Loaded, Overrides};

/// The smallest file. `SECRET` is replaced by the path of a secret.
const SMALLEST: &str = r#"[[upstream]]
url = "https://api.flanks.io"
credentials.client_id = "id"
credentials.client_secret_file = "SECRET"
"#;

/// A directory with a secret that only its owner can read, and a file `gateway.toml`.
struct TestFiles(TempDir);

impl TestFiles {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("secret", "canary-s3cret\n");
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(self.path(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    /// Reads `gateway.toml` with this content. `SECRET` becomes the path of the secret.
    fn read(&self, toml: &str, flags: &[&str], environment: Environment) -> Result<Loaded, ConfigFaults> {
        self.write("gateway.toml", toml.replace("SECRET", &self.path("secret")));
        let mut overrides = overrides(flags);
        overrides.config = Some(self.path("gateway.toml").into());
        Loaded::read(&overrides, &environment)
    }

    /// The faults of such a file, without the directory in their paths.
    fn faults(&self, toml: &str, flags: &[&str], environment: Environment) -> Vec<String> {
        let faults = self.read(toml, flags, environment).expect_err("faults");
        faults.iter().map(|fault| fault.to_string().replace(&self.path(""), "")).collect()
    }
}

fn overrides(flags: &[&str]) -> Overrides {
    let command = <Overrides as clap::Args>::augment_args(Command::new("run").no_binary_name(true));
    Overrides::from_arg_matches(&command.try_get_matches_from(flags).unwrap()).unwrap()
}

fn nothing() -> Environment {
    Environment::from([])
}

/// The configuration of a file, without flags and variables.
fn config(toml: &str) -> Config {
    TestFiles::new().read(toml, &[], nothing()).unwrap().config
}

/// The faults of a file, without flags and variables.
fn faults(toml: &str) -> Vec<String> {
    TestFiles::new().faults(toml, &[], nothing())
}

/// The only fault of the smallest file with `lines` before it.
fn fault(lines: &str) -> String {
    let faults = faults(&format!("{lines}\n{SMALLEST}"));
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults.into_iter().next().unwrap()
}

/// The only fault of the smallest file with `lines` in its `[[upstream]]`.
fn upstream_fault(lines: &str) -> String {
    let faults = faults(&format!("{SMALLEST}{lines}\n"));
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults.into_iter().next().unwrap()
}
