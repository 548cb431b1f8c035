//! The comparison of the configuration in use with the next one.
//!
//! Some settings cannot change while the process runs, such as the address of a bound listener. A reload keeps their
//! values and names them.

use crate::config::{Address, Config};
use crate::gateway::Listen;

/// A setting that needs a restart: the name, whether two configurations differ in it, and a function that copies the value
/// in use into the next configuration.
type RestartSetting = (&'static str, fn(&Config, &Config) -> bool, fn(&Config, &mut Config));

const NEEDS_RESTART: [RestartSetting; 6] = [
    (
        "listen.address",
        |one, other| one.gateway.listen.address != other.gateway.listen.address,
        |used, next| next.gateway.listen.address = used.gateway.listen.address.clone(),
    ),
    (
        "listen.reuse_port",
        |one, other| one.gateway.listen.reuse_port != other.gateway.listen.reuse_port,
        |used, next| next.gateway.listen.reuse_port = used.gateway.listen.reuse_port,
    ),
    (
        "listen.tls",
        |one, other| one.gateway.listen.tls.is_some() != other.gateway.listen.tls.is_some(),
        |used, next| next.gateway.listen.tls = used.gateway.listen.tls.clone(),
    ),
    (
        "admin.address",
        |one, other| one.admin.address != other.admin.address,
        |used, next| next.admin.address = used.admin.address.clone(),
    ),
    ("log.format", |one, other| one.log.format != other.log.format, |used, next| next.log.format = used.log.format),
    ("log.schema", |one, other| one.log.schema != other.log.schema, |used, next| next.log.schema = used.log.schema),
];

/// Puts the values in use into `next` for the settings that need a restart. Returns the names of those that differ.
pub(super) fn keep_until_restart(used: &Config, next: &mut Config) -> Vec<String> {
    let differing = NEEDS_RESTART.iter().filter(|(_, differs, _)| differs(used, next)).collect::<Vec<_>>();
    differing.iter().for_each(|(_, _, keep)| keep(used, next));
    differing.iter().map(|(name, _, _)| (*name).to_owned()).collect()
}

/// Checks that the listener does not become open by mistake.
///
/// - On the network: reading the configuration has checked the written settings, but some of them do not apply before a
///   restart.
/// - On this machine: a file that another program has written half, or emptied, may lack its callers.
pub(super) fn check_access(kept: &[String], used: &Config, next: &Config) -> Result<(), String> {
    if authenticates(used) && !authenticates(next) && !is_on_network(next) {
        return Err("the configuration in use authenticates callers, and the new one would serve any client: \
                    keep a [[caller]], or restart the gateway"
            .to_owned());
    }
    let is_written = !kept.iter().any(|name| name == "listen.address" || name == "listen.tls");
    if is_written || !serves_any_client(next) || serves_any_client(used) {
        return Ok(());
    }
    Err(format!(
        "{} needs a restart, and until then {} would serve any client: keep a [[caller]], or restart the gateway",
        kept.join(", "),
        next.gateway.listen.address
    ))
}

/// Whether clients on other machines can connect, and none of them must authenticate.
fn serves_any_client(config: &Config) -> bool {
    is_on_network(config) && !authenticates(config)
}

fn is_on_network(config: &Config) -> bool {
    matches!(&config.gateway.listen.address, Address::Tcp(address) if !address.ip().to_canonical().is_loopback())
}

fn authenticates(config: &Config) -> bool {
    let Listen { tls, .. } = &config.gateway.listen;
    !config.gateway.callers.is_empty() || tls.as_ref().is_some_and(|tls| tls.require_client_certificate)
}

/// Compares fields, and pushes the names of those that differ.
macro_rules! compare {
    ($changed:ident, $section:literal, $one:expr, $other:expr; $($field:ident),+ $(,)?) => {
        $(if $one.$field != $other.$field {
            $changed.push(concat!($section, ".", stringify!($field)).to_owned());
        })+
    };
}

/// The names of the settings, callers and upstreams that differ.
pub(super) fn changed(used: &Config, next: &Config) -> Vec<String> {
    let mut changed = Vec::new();
    let (one, other) = (&used.gateway, &next.gateway);
    compare!(changed, "listen", one.listen, other.listen; max_connections, connections_per_address, tls);
    if one.token_key != other.token_key {
        changed.push("listen.token_key_file".to_owned());
    }
    compare!(changed, "limits", one.limits, other.limits; max_body, buffered, in_flight);
    compare!(changed, "deadlines", one.deadlines, other.deadlines;
        head, body, stall, half_close_grace, exchange, drain_delay, drain);
    compare!(changed, "admin", used.admin, next.admin; hosts, token_file);
    compare!(changed, "log", one.access_log, other.access_log; access);
    if one.access_log.sample != other.access_log.sample {
        changed.push("log.access_sample".to_owned());
    }
    compare_named(&mut changed, "caller", &one.callers, &other.callers, |caller| &caller.name);
    compare_named(&mut changed, "upstream", &used.upstreams, &next.upstreams, |upstream| &upstream.name);
    changed
}

fn compare_named<T: PartialEq>(changed: &mut Vec<String>, kind: &str, used: &[T], next: &[T], name: fn(&T) -> &String) {
    let find = |all: &[T], wanted: &T| all.iter().position(|one| name(one) == name(wanted));
    for item in next {
        match find(used, item) {
            None => changed.push(format!("{kind} {} (new)", name(item))),
            Some(index) if used[index] != *item => changed.push(format!("{kind} {}", name(item))),
            Some(_) => {}
        }
    }
    for item in used.iter().filter(|item| find(next, item).is_none()) {
        changed.push(format!("{kind} {} (removed)", name(item)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{CallerConfig, TlsFiles};
    use crate::secret::{Secret, SecretSource};
    use crate::telemetry::Schema;

    fn config() -> Config {
        let secret = SecretSource::Value(Secret::new("secret".to_owned()));
        Config::for_one("a", "https://a.test".parse().unwrap(), "id".to_owned(), secret)
    }

    #[test]
    fn settings_that_need_a_restart_keep_their_values_and_are_named() {
        let (used, mut next) = (config(), config());
        next.gateway.listen.address = Address::Tcp("127.0.0.1:9".parse().unwrap());
        next.admin.address = Address::Tcp("127.0.0.1:10".parse().unwrap());
        next.log.schema = Schema::Ecs;
        next.gateway.limits.in_flight = 7;
        assert_eq!(keep_until_restart(&used, &mut next), ["listen.address", "admin.address", "log.schema"]);
        assert_eq!((&next.gateway.listen, next.log.schema), (&used.gateway.listen, used.log.schema));
        assert_eq!(changed(&used, &next), ["limits.in_flight"]);
    }

    #[test]
    fn callers_and_upstreams_are_compared_by_name() {
        let (mut used, mut next) = (config(), config());
        used.gateway.callers = vec![CallerConfig::new("x"), CallerConfig::new("y")];
        next.gateway.callers = vec![CallerConfig { concurrent: Some(1), ..CallerConfig::new("y") }];
        next.upstreams[0].upstream.url = "https://b.test".parse().unwrap();
        next.upstreams.push(config().upstreams.remove(0));
        next.upstreams[1].name = "b".to_owned();
        assert_eq!(changed(&used, &next), ["caller y", "caller x (removed)", "upstream a", "upstream b (new)"]);
        assert_eq!(changed(&next, &next), [""; 0]);
    }

    #[test]
    fn a_listener_does_not_become_open_because_its_new_address_or_tls_needs_a_restart() {
        let mut used = config();
        used.gateway.listen.address = Address::Tcp("0.0.0.0:8080".parse().unwrap());
        used.gateway.callers = vec![CallerConfig::new("x")];
        let refused = |change: fn(&mut Config)| {
            let mut next = used.clone();
            change(&mut next);
            let kept = keep_until_restart(&used, &mut next);
            check_access(&kept, &used, &next).is_err()
        };
        assert!(refused(|next| {
            next.gateway.listen.address = Address::Tcp("127.0.0.1:8080".parse().unwrap());
            next.gateway.callers.clear();
        }));
        assert!(refused(|next| {
            let (certificate, private_key) = ("c".into(), "k".into());
            let files =
                TlsFiles { certificate, private_key, client_ca: Some("ca".into()), require_client_certificate: true };
            next.gateway.listen.tls = Some(files);
            next.gateway.callers.clear();
        }));
        assert!(!refused(|next| next.gateway.listen.address = Address::Tcp("127.0.0.1:8080".parse().unwrap())));
        // `anonymous = true` under [listen], which reading has checked.
        assert!(!refused(|next| next.gateway.callers.clear()));
        // On this machine, reading does not ask for it.
        used.gateway.listen.address = Address::Tcp("127.0.0.1:8080".parse().unwrap());
        let mut next = used.clone();
        next.gateway.callers.clear();
        assert!(check_access(&[], &used, &next).unwrap_err().contains("would serve any client"));
        // A listener that is open already can get another address.
        used.gateway.listen.address = Address::Tcp("0.0.0.0:8080".parse().unwrap());
        let mut open = used.clone();
        open.gateway.callers.clear();
        let mut next = open.clone();
        next.gateway.listen.address = Address::Tcp("0.0.0.0:8081".parse().unwrap());
        let kept = keep_until_restart(&open, &mut next);
        assert_eq!((kept.as_slice(), check_access(&kept, &open, &next)), (&["listen.address".to_owned()][..], Ok(())));
    }
}
