//! The example configurations, each run as the README says: against the sandbox and its secrets.

use std::path::Path;

use jwe_gateway::app::Connector;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::{Running, command};

/// The sandbox as a process, and the directory it wrote its secrets to.
struct Stage {
    directory: TempDir,
    _sandbox: Running,
    provider: String,
    management: String,
    client: reqwest::Client,
}

impl Stage {
    fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut sandbox = command(&["sandbox", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"]);
        sandbox.args(["--secrets", "secrets"]).current_dir(directory.path());
        let mut sandbox = Running::spawn(sandbox);
        let mut after = |name: &str| {
            let line = sandbox.line_with(name);
            line.split_once("http://").unwrap().1.trim().to_owned()
        };
        let (provider, management) = (after("  provider  "), after("  management  "));
        sandbox.line_with("  secrets  ");
        Self {
            directory,
            _sandbox: sandbox,
            provider,
            management,
            client: Connector::new(None).unwrap().control_client().unwrap(),
        }
    }

    /// Runs `deploy/NAME` as it stands, but for its addresses.
    fn run(&self, name: &str, egress: Option<&str>) -> Running {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(name);
        let mut text = std::fs::read_to_string(path).unwrap();
        let mut replace = |from: &str, to: &str| {
            assert!(text.contains(from), "{name} has {from}");
            text = text.replace(from, to);
        };
        match egress {
            Some(egress) => replace("127.0.0.1:8070", egress),
            None => replace("127.0.0.1:8090", &self.provider),
        }
        for own in ["\"127.0.0.1:8080\"", "\"127.0.0.1:8070\"", "\"127.0.0.1:8071\""] {
            text = text.replace(own, "\"127.0.0.1:0\"");
        }
        std::fs::write(self.directory.path().join(name), text).unwrap();
        let mut gateway = command(&["run", "--log-format", "json", "--config", name]);
        // What the examples leave at its default.
        for (variable, key) in [("JWE_GATEWAY_LISTEN", "[listen]"), ("JWE_GATEWAY_ADMIN", "[admin]")] {
            let written = std::fs::read_to_string(self.directory.path().join(name)).unwrap().contains(key);
            if !written {
                gateway.env(variable, "127.0.0.1:0");
            }
        }
        Running::start({
            gateway.current_dir(self.directory.path());
            gateway
        })
    }

    fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join("secrets").join(name)).unwrap()
    }

    async fn call(&self, gateway: &Running, method: &str, target: &str, key: Option<&str>) -> u16 {
        let request = self.client.request(method.parse().unwrap(), format!("http://{}{target}", gateway.gateway));
        let request = match key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        };
        let body = r#"{"LoginId":"login","amount":100.0,"credentials_token":"sandbox-credentials-1"}"#;
        let request = request.header("content-type", "application/json").body(body);
        request.send().await.unwrap().status().as_u16()
    }

    /// Whether the last request with a body came sealed.
    async fn last_was_sealed(&self) -> bool {
        let reply = self.client.get(format!("http://{}/received", self.management)).send().await.unwrap();
        let received: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        !received["requests"].as_array().unwrap().last().unwrap()["protected_header"].is_null()
    }
}

const STATUS: &str = "/v0/bank/credentials/status";

#[tokio::test]
async fn the_example_of_one_hop_lets_its_caller_in_and_nobody_else() {
    let stage = Stage::set();
    let gateway = stage.run("full.toml", None);
    let key = stage.secret("portfolio_key");
    assert_eq!(stage.call(&gateway, "POST", STATUS, Some(&key)).await, 200);
    assert!(stage.last_was_sealed().await);
    assert_eq!(stage.call(&gateway, "POST", STATUS, None).await, 401);
    assert_eq!(stage.call(&gateway, "POST", "/letters/v1/search-letters", Some(&key)).await, 403);
}

#[tokio::test]
async fn the_examples_of_sidecar_and_egress_go_together() {
    let stage = Stage::set();
    let egress = stage.run("egress.toml", None);
    let sidecar = stage.run("sidecar.toml", Some(&egress.gateway));
    assert_eq!(stage.call(&sidecar, "POST", STATUS, None).await, 200);
    assert!(stage.last_was_sealed().await);
    let key = stage.secret("sidecar_key");
    assert_eq!(stage.call(&egress, "POST", STATUS, Some(&key)).await, 403, "the egress takes no clear body");
    assert_eq!(stage.call(&egress, "POST", STATUS, None).await, 401);
}

#[tokio::test]
async fn the_example_of_the_second_provider_has_a_credential_of_each_kind() {
    let stage = Stage::set();
    let gateway = stage.run("flinks.toml", None);
    for (method, target) in [
        ("GET", "/api/fdx/5/accounts"),
        ("GET", "/v3/customer/BankingServices/GetNightlyRefreshStatus"),
        ("POST", "/authorize/v3/customer/BankingServices/Authorize"),
        ("POST", "/v2/pay/sessions/initiate"),
    ] {
        assert_eq!(stage.call(&gateway, method, target, None).await, 200, "{target}");
        assert!(!stage.last_was_sealed().await, "{target}");
    }
}

#[tokio::test]
async fn the_sandbox_writes_its_secrets_for_their_owner_and_over_nobody_elses() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::set();
    let secrets = stage.directory.path().join("secrets");
    for entry in std::fs::read_dir(&secrets).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let refused = stage.directory.path().join("full");
    std::fs::create_dir(&refused).unwrap();
    std::fs::write(refused.join("client_secret"), "real").unwrap();
    let directory = refused.to_str().unwrap();
    let output = crate::process::run(
        &["sandbox", "--listen", "127.0.0.1:0", "--management", "127.0.0.1:0", "--secrets", directory],
        b"",
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("holds files that no sandbox wrote"));
    assert_eq!(std::fs::read_to_string(refused.join("client_secret")).unwrap(), "real");
}
