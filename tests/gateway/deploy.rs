//! The example configurations in `deploy/`, each run as its comments say: against the sandbox, with the
//! sandbox's secrets.

use std::path::Path;

use jwe_gateway::app::Connector;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Running, command};

/// The documented operations of the Flanks API that a caller uses, except the token endpoint.
const FLANKS: [(&str, &str); 25] = [
    ("GET", "/v0/bank/available"),
    ("POST", "/v0/bank/credentials/list"),
    ("POST", "/v0/bank/credentials/status"),
    ("PUT", "/v0/bank/credentials/status"),
    ("DELETE", "/v0/bank/credentials"),
    ("POST", "/v0/bank/credentials/data"),
    ("POST", "/v0/bank/credentials/account"),
    ("POST", "/v0/bank/credentials/portfolio"),
    ("POST", "/v0/bank/credentials/investment"),
    ("POST", "/v0/bank/credentials/investment/transaction"),
    ("POST", "/v0/bank/credentials/investment/detail"),
    ("POST", "/v0/bank/credentials/liability"),
    ("POST", "/v0/bank/credentials/liability/transaction"),
    ("POST", "/v0/bank/credentials/mifid/raw"),
    // The documentation has both spellings of this one.
    ("POST", "/v0/bank/credencial/mifid/raw"),
    ("POST", "/v0/bank/credentials/auth"),
    ("POST", "/v0/bank/credentials/card"),
    ("POST", "/v0/bank/credentials/card/transaction"),
    ("POST", "/v0/bank/credentials/all"),
    ("POST", "/v0/bank/credentials/holder"),
    ("GET", "/v0/platform/link"),
    ("POST", "/v0/platform/link"),
    ("POST", "/letters/v1/create-signed"),
    ("POST", "/letters/v1/search-letters"),
    ("POST", "/letters/v1/discontinue-letter"),
];

/// The documented operations of the Flinks APIs, by the path under which `flinks.toml` serves them, with the status of
/// the response. The gateway obtains tokens itself. `LOGIN` and `REQUEST` stand for identifiers.
const FLINKS: [(&str, &str, u16); 19] = [
    ("GET", "/api/fdx/5/accounts", 200),
    ("GET", "/api/fdx/5/accounts/11/transactions", 200),
    ("GET", "/api/fdx/5/accounts/11/payment-networks", 200),
    ("GET", "/api/fdx/5/customers/current", 200),
    ("GET", "/api/v1/providers", 200),
    ("GET", "/api/v1/recipients/providers/requests", 200),
    (
        "GET",
        "/api/v1/authorize?response_type=code&client_id=c&redirect_uri=https%3A%2F%2Fapp.example%2F&scope=TRANSACTIONS\
         &state=s&provider_id=9000&correlation_id=1",
        302,
    ),
    ("GET", "/v3/customer/BankingServices/GetNightlyRefreshStatus", 200),
    ("GET", "/v3/customer/BankingServices/GetMFAQuestions/LOGIN", 200),
    ("GET", "/v3/customer/BankingServices/Institutions/RoutingNumber/000000018", 200),
    ("POST", "/v3/customer/BankingServices/GetAccountsDetail", 202),
    ("GET", "/v3/customer/BankingServices/GetAccountsDetailAsync/REQUEST", 200),
    ("POST", "/v3/customer/BankingServices/GetAccountsSummary", 200),
    ("GET", "/v3/customer/BankingServices/GetAccountsSummaryAsync/REQUEST", 200),
    ("GET", "/v3/customer/insight/login/LOGIN/attributes/REQUEST/GetAllBusinessAttributes", 200),
    ("GET", "/v3/customer/insight/login/LOGIN/attributes/REQUEST/GetCreditRiskAttributes", 200),
    ("GET", "/v3/customer/insight/login/LOGIN/attributes/REQUEST/GetUserAnalysisAttributes", 200),
    ("POST", FLINKS_AUTHORIZE, 200),
    ("POST", "/v2/pay/sessions/initiate", 200),
];

const FLINKS_AUTHORIZE: &str = "/authorize/v3/customer/BankingServices/Authorize";

/// A login of the sandbox.
const FLINKS_LOGIN: &str = "00000000-0000-4000-8000-000000000001";

/// The sandbox as a process, and the directory with the secrets that it wrote.
struct Deployment {
    directory: TempDir,
    _sandbox: Running,
    provider: String,
    management: String,
    client: reqwest::Client,
}

impl Deployment {
    fn start() -> Self {
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

    /// Runs `deploy/NAME` with no change but to its addresses.
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
        // The addresses that an example leaves at their defaults.
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

    async fn send(&self, gateway: &Running, method: &str, target: &str, key: Option<&str>) -> reqwest::Response {
        let request = self.client.request(method.parse().unwrap(), format!("http://{}{target}", gateway.gateway));
        let request = match key {
            Some(key) => request.header("authorization", format!("Bearer {key}")),
            None => request,
        };
        let body = r#"{"credentials_token":"sandbox-credentials-1"}"#;
        request.header("content-type", "application/json").body(body).send().await.unwrap()
    }

    /// Sends JSON without a credential.
    async fn send_json(&self, gateway: &Running, method: &str, target: &str, body: &Value) -> reqwest::Response {
        let request = self.client.request(method.parse().unwrap(), format!("http://{}{target}", gateway.gateway));
        request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap()
    }

    async fn status(&self, gateway: &Running, method: &str, target: &str, key: Option<&str>) -> u16 {
        self.send(gateway, method, target, key).await.status().as_u16()
    }

    /// Asserts that the gateway forwards each operation to the provider.
    async fn assert_all_are_forwarded(&self, gateway: &Running, operations: &[(&str, &str)], key: Option<&str>) {
        let mut refused = Vec::new();
        for (method, target) in operations {
            let reply = self.send(gateway, method, target, key).await;
            let proxy_status = reply.headers()["proxy-status"].to_str().unwrap();
            // A refusal by the gateway has `error=` in the member that the gateway added last.
            if !proxy_status.rsplit(", ").next().unwrap().contains("received-status=") {
                refused.push(format!("{method} {target}: {proxy_status}"));
            }
        }
        assert!(refused.is_empty(), "{refused:#?}");
    }

    /// Whether the last request with a body arrived sealed.
    async fn last_was_sealed(&self) -> bool {
        let reply = self.client.get(format!("http://{}/received", self.management)).send().await.unwrap();
        let received: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        !received["requests"].as_array().unwrap().last().unwrap()["protected_header"].is_null()
    }
}

const STATUS: &str = "/v0/bank/credentials/status";

#[tokio::test]
async fn the_one_hop_example_serves_its_caller_only() {
    let deployment = Deployment::start();
    let gateway = deployment.run("full.toml", None);
    let key = deployment.secret("portfolio_key");
    assert_eq!(deployment.status(&gateway, "POST", STATUS, Some(&key)).await, 200);
    assert!(deployment.last_was_sealed().await);
    assert_eq!(deployment.status(&gateway, "POST", STATUS, None).await, 401);
    assert_eq!(deployment.status(&gateway, "POST", "/v1/not/documented", Some(&key)).await, 403);
}

#[tokio::test]
async fn the_one_hop_example_allows_every_documented_operation() {
    let deployment = Deployment::start();
    let gateway = deployment.run("full.toml", None);
    let key = deployment.secret("portfolio_key");
    deployment.assert_all_are_forwarded(&gateway, &FLANKS, Some(&key)).await;
    // The gateway answers the token endpoint itself: `token_endpoint = "emulate"`.
    let request = deployment.client.post(format!("http://{}/v0/token", gateway.gateway));
    let body = format!(
        r#"{{"grant_type":"client_credentials","client_id":"portfolio-service","client_secret":"{}"}}"#,
        key.trim()
    );
    let reply = request.header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(reply.status(), 200);
}

#[tokio::test]
async fn the_sidecar_and_egress_examples_work_together() {
    let deployment = Deployment::start();
    let egress = deployment.run("egress.toml", None);
    let sidecar = deployment.run("sidecar.toml", Some(&egress.gateway));
    assert_eq!(deployment.status(&sidecar, "POST", STATUS, None).await, 200);
    assert!(deployment.last_was_sealed().await);
    let key = deployment.secret("sidecar_key");
    assert_eq!(deployment.status(&egress, "POST", STATUS, Some(&key)).await, 403, "the egress accepts no plaintext");
    assert_eq!(deployment.status(&egress, "POST", STATUS, None).await, 401);
    deployment.assert_all_are_forwarded(&sidecar, &FLANKS, None).await;
}

#[tokio::test]
async fn the_example_of_the_second_provider_serves_every_documented_operation_in_clear() {
    let deployment = Deployment::start();
    let gateway = deployment.run("flinks.toml", None);
    let login = json!({ "LoginId": FLINKS_LOGIN, "MostRecentCached": true });
    let authorized = deployment.send_json(&gateway, "POST", FLINKS_AUTHORIZE, &login).await;
    let authorized: Value = serde_json::from_slice(&authorized.bytes().await.unwrap()).unwrap();
    let request = authorized["RequestId"].as_str().unwrap();
    for (method, target, status) in FLINKS {
        let target = target.replace("LOGIN", FLINKS_LOGIN).replace("REQUEST", request);
        let body = match target.as_str() {
            FLINKS_AUTHORIZE => login.clone(),
            _ => json!({ "RequestId": request, "amount": 100.0 }),
        };
        let reply = deployment.send_json(&gateway, method, &target, &body).await;
        assert_eq!(reply.status().as_u16(), status, "{method} {target}");
        assert!(!deployment.last_was_sealed().await, "{target}");
    }
}

#[tokio::test]
async fn the_sandbox_writes_private_files_and_leaves_other_files_alone() {
    use std::os::unix::fs::PermissionsExt;
    let deployment = Deployment::start();
    let secrets = deployment.directory.path().join("secrets");
    for entry in std::fs::read_dir(&secrets).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let refused = deployment.directory.path().join("full");
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
