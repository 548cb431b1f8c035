//! Other proxies, measured where they are installed.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::proxies::{Proxy, free_address};

pub(crate) const NGINX: &str = "nginx";
pub(crate) const GO: &str = "Go + go-jose";

/// Starts nginx as a plain proxy. It streams bodies, as the gateway does, and logs nothing.
pub(crate) fn nginx(upstream: SocketAddr, core: usize) -> io::Result<Option<Proxy>> {
    let installed = Command::new("nginx").arg("-v").stderr(Stdio::null()).status().is_ok();
    if !installed {
        return Ok(None);
    }
    let directory = TempDir::new()?;
    let address = free_address()?;
    fs::write(
        directory.path().join("nginx.conf"),
        format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr error;
             events {{ worker_connections 1024; }}
             http {{
               access_log off;
               client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
               uwsgi_temp_path uwsgi; scgi_temp_path scgi;
               client_max_body_size 64m; client_body_buffer_size 64k;
               proxy_request_buffering off; proxy_buffering off;
               keepalive_requests 1000000000;
               upstream provider {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}
               server {{
                 listen {address};
                 location / {{
                   proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection \"\";
                 }}
               }}
             }}"
        ),
    )?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(directory.path()).args(["-c", "nginx.conf"]);
    Proxy::start(command, address, directory, core).map(Some)
}

/// `peer.go`, built.
pub(crate) struct GoPeer {
    binary: PathBuf,
    _directory: TempDir,
}

impl GoPeer {
    /// Builds it with Debian's `golang-go` and `golang-gopkg-square-go-jose.v2-dev`, if both are installed. Nothing is
    /// downloaded.
    pub(crate) fn build() -> io::Result<Option<Self>> {
        const PACKAGES: &str = "/usr/share/gocode";
        if !Path::new(PACKAGES).join("src/gopkg.in/square/go-jose.v2").exists() {
            return Ok(None);
        }
        let directory = TempDir::new()?;
        let (source, binary) = (directory.path().join("peer.go"), directory.path().join("peer"));
        fs::write(&source, include_str!("peer.go"))?;
        let mut go = Command::new("go");
        go.arg("build").arg("-o").arg(&binary).arg(&source).env("GO111MODULE", "off").env("GOPATH", PACKAGES);
        match go.status() {
            Ok(status) if status.success() => Ok(Some(Self { binary, _directory: directory })),
            Ok(status) => Err(io::Error::other(format!("go build: {status}"))),
            Err(_) => Ok(None),
        }
    }

    pub(crate) fn start(&self, upstream: SocketAddr, key: &Value, core: usize) -> io::Result<Proxy> {
        let address = free_address()?;
        let mut command = Command::new(&self.binary);
        command.arg(address.to_string()).arg(format!("http://{upstream}")).arg(key.to_string());
        Proxy::start(command, address, TempDir::new()?, core)
    }
}
