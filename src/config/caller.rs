//! `[[caller]]`: the callers that the gateway serves.

use std::path::PathBuf;

use toml::de::DeValue;

use super::file::Section;
use super::report::Reporter;
use super::setting::Setting;
use super::shapes;
use super::values::{BOOL, COUNT, Kind, NAME, PATH, Raw, TEXT};
use crate::gateway::callers::{BadRule, Config, KeySource, Rule};

/// Reads every caller and compares them. `has_client_ca`: callers can present a certificate.
pub(super) fn read(sections: Vec<Section<'_>>, has_client_ca: bool, report: &Reporter) -> Vec<Config> {
    let callers: Vec<_> = sections.into_iter().map(|section| read_one(section, has_client_ca)).collect();
    for (index, (name, certificate, _)) in callers.iter().enumerate() {
        for (earlier_name, earlier_certificate, _) in &callers[..index] {
            if name.value == earlier_name.value {
                name.fault_with(earlier_name, report, "another [[caller]] has the same name");
            }
            if let (Some(certificate), Some(earlier)) = (certificate, earlier_certificate)
                && certificate.value == earlier.value
            {
                certificate.fault_with(earlier, report, "another [[caller]] has the same certificate");
            }
        }
    }
    for (index, (name, _, caller)) in callers.iter().enumerate() {
        let shares_a_key = callers[..index].iter().any(|(_, _, earlier)| share_a_key(caller, earlier));
        if shares_a_key {
            name.fault(report, "another [[caller]] has the same key: the gateway could not distinguish the two");
        }
    }
    callers.into_iter().map(|(_, _, caller)| caller).collect()
}

type Read = (Setting<String>, Option<Setting<String>>, Config);

fn read_one(mut section: Section<'_>, has_client_ca: bool) -> Read {
    let report = section.context.report;
    let name = section.required("name", &NAME, "each [[caller]] needs a name", String::new());
    if !section.has("key_sha256_file") && !section.has("certificate") {
        let advice = "a caller needs key_sha256_file or certificate to be authenticated";
        section.refuse_absence("key_sha256_file", advice);
    }
    let keys = section.optional("key_sha256_file", &PATH);
    if let Some(file) = &keys {
        match KeySource::File(file.value.clone()).read() {
            Ok(digests) if digests.is_empty() => {
                report.warn(&file.origin, &file.key, "contains no key, so this caller is refused")
            }
            Ok(_) => {}
            Err(fault) => file.fault(report, fault.to_string()),
        }
    }
    let certificate = section.optional("certificate", &TEXT);
    if let Some(certificate) = certificate.as_ref().filter(|_| !has_client_ca) {
        certificate.fault(report, "callers cannot present a certificate: set `client_ca` in `tls` under [listen]");
    }
    let caller = Config {
        name: name.value.clone(),
        keys: keys.map(|file: Setting<PathBuf>| KeySource::File(file.value)),
        certificate: certificate.as_ref().map(|certificate| certificate.value.clone()),
        allow: section.optional("allow", &RULES).map(|rules| rules.value),
        enforce: section.setting("enforce", &BOOL, true).value,
        requests_per_second: section.optional("requests_per_second", &RATE).map(|rate| rate.value),
        concurrent: section.optional("concurrent", &COUNT).map(|count| count.value),
    };
    section.finish();
    (name, certificate, caller)
}

/// A file that cannot be read is reported elsewhere.
fn share_a_key(one: &Config, other: &Config) -> bool {
    let digests = |caller: &Config| caller.keys.as_ref().and_then(|keys| keys.read().ok()).unwrap_or_default();
    let others = digests(other);
    digests(one).iter().any(|digest| others.contains(digest))
}

const RULES: Kind<Vec<Rule>> = Kind {
    parse: parse_rules,
    show: |rules| format!("{:?}", rules.iter().map(Rule::to_string).collect::<Vec<_>>()),
    schema: shapes::rules,
};

fn parse_rules(raw: &Raw<'_>) -> Result<Vec<Rule>, String> {
    let Raw::Written(DeValue::Array(items)) = raw else {
        return Err(format!("expected an array; {}", BadRule::Form));
    };
    let rule = |item: &DeValue<'_>| {
        let text = Raw::Written(item).text()?.to_owned();
        text.parse::<Rule>().map_err(|fault| format!("{text:?}: {fault}"))
    };
    let (good, faults): (Vec<_>, Vec<_>) = items.iter().map(|item| rule(item.get_ref())).partition(Result::is_ok);
    match faults.into_iter().filter_map(Result::err).collect::<Vec<_>>() {
        faults if faults.is_empty() => good.into_iter().collect(),
        faults => Err(faults.join("; ")),
    }
}

/// A number of requests per second.
const RATE: Kind<u32> = Kind {
    parse: |raw| (COUNT.parse)(raw).and_then(|count| u32::try_from(count).map_err(|_| "too large".to_owned())),
    show: u32::to_string,
    schema: COUNT.schema,
};
