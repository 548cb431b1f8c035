//! Processes requests, from the accepted connection to the relayed response.
//!
//! The modules, in the order in which a request meets them:
//!
//! | module | what it does |
//! |---|---|
//! | [`server`] | accepts connections, TLS, HTTP, and the orderly shutdown |
//! | [`stack`] | wraps each request; start reading here |
//! | [`generation`] | holds the parts of the configuration in use, and replaces them at a reload |
//! | [`exchange`] | processes one request: admit, choose key, seal, add credential, send, relay |
//! | [`request`] | checks a request and decides which parts of it are forwarded |
//! | [`callers`] | authenticates callers and applies their rules and limits |
//! | [`route`] | holds one configured upstream with its keys, credential and capacity |
//! | [`capacity`] | limits the requests and the buffered bytes of each upstream |
//! | [`permits`] | limits how much of something is in use, and says how much is |
//! | [`endpoints`] | answers token requests and key-set requests itself |
//! | [`response`] | relays the provider's reply, and turns a refusal into a response |
//! | [`access_log`] | records each request |
//! | [`metrics`] | collects the metrics of all parts |
//!
//! [`config`] has the settings of the listener, the limits and the deadlines, with their defaults.

pub(crate) mod access_log;
pub(crate) mod callers;
pub(crate) mod capacity;
pub(crate) mod config;
pub(crate) mod endpoints;
pub(crate) mod exchange;
pub(crate) mod generation;
pub(crate) mod metrics;
pub(crate) mod permits;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod route;
pub(crate) mod server;
pub(crate) mod stack;
pub(crate) mod validation;

use std::io;

use crate::socket::{Address, InheritedSocket};
pub(crate) use config::{Config, Limits, Listen};
use generation::Current;
use server::Listener;

/// A gateway whose listener is bound. It serves requests once [`serve`](Self::serve) is called.
#[derive(Debug)]
pub(crate) struct Gateway {
    listener: Listener,
    current: Current,
}

impl Gateway {
    /// Binds the listener, unless its socket is inherited.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub(crate) async fn bind(current: Current, inherited: Option<InheritedSocket>) -> io::Result<Self> {
        let listener = Listener::bind(&current.generation().config.listen, inherited, current.connections()).await?;
        Ok(Self { listener, current })
    }

    /// The address in use. If port 0 is configured, it has the port that the system chose.
    ///
    /// # Errors
    /// If the operating system does not report it.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.listener.address()
    }

    /// Serves until the drain stops accepting and the requests in flight are finished.
    pub(crate) async fn serve(self) {
        let Self { listener, current } = self;
        listener.serve(current.stack(), || current.generation().config.deadlines.drain).await;
    }
}
