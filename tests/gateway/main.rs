//! Tests of the whole gateway, in one binary. Most start with [`harness::TestGateway::spawn`].

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails panics")]

mod access_log;
mod admin;
mod admin_commands;
mod admin_verbs;
mod bad_input;
mod build_script;
mod callers;
mod certificates;
mod chain;
mod command_line;
mod connections;
mod credentials;
mod dependency_rules;
mod deploy;
mod doctor;
mod doctor_probe;
mod documents;
mod drill;
mod encryption;
mod flanks_operations;
mod generated;
mod hangup;
mod harness;
mod http2;
mod http2_provider;
mod json_output;
mod key_check;
mod lifecycle;
mod lint;
mod listener;
mod log;
mod main_job;
mod memory;
mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
mod process;
mod provider_connections;
mod proxy;
mod reload;
mod reload_config;
mod reload_events;
mod resend;
mod rotation;
mod sandbox_command;
mod sandbox_data;
mod silence;
mod status;
mod systemd;
mod threat_model;
mod traces;
mod upstream_faults;
mod upstreams;
mod validation;
