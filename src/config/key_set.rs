//! `[upstream.keys]`: the source of the JWK Set, and how long a set is used.

use url::Url;

use super::faults::SettingOrigin;
use super::file::Section;
use super::files::check_readable;
use super::setting::Setting;
use super::shapes;
use super::upstream::JWKS_PATH;
use super::urls::{append, check_http};
use super::values::{DEADLINE, DURATION, Kind, PATH, TEXTS, URL};
use crate::keys::{self, Source};

pub(super) fn read(mut section: Section<'_>, upstream: &Url, allow_http: &Setting<bool>) -> keys::Config {
    let report = section.context.report;
    let mut config = keys::Config::new(read_source(&mut section, upstream, allow_http));
    config.pin = section.setting("pin", &TEXTS, config.pin).value;

    let min = section.setting("min_lifetime", &DEADLINE, config.min_lifetime);
    let max = section.setting("max_lifetime", &DEADLINE, config.max_lifetime);
    // The default is moved into the bounds that were written.
    let default = config.default_lifetime.max(min.value).min(max.value);
    let default = section.setting("default_lifetime", &DEADLINE, default);
    if min.value > max.value {
        min.fault_with(&max, report, "min_lifetime is longer than max_lifetime");
    } else if default.value < min.value || default.value > max.value {
        default.fault_with(&min, report, "default_lifetime is not between min_lifetime and max_lifetime");
    }
    (config.min_lifetime, config.max_lifetime, config.default_lifetime) = (min.value, max.value, default.value);

    config.max_stale = section.setting("max_stale", &DURATION, config.max_stale).value;
    config.fetch_timeout = section.setting("fetch_timeout", &DEADLINE, config.fetch_timeout).value;
    let min = section.setting("backoff_min", &DEADLINE, config.backoff_min);
    let max = section.setting("backoff_max", &DEADLINE, config.backoff_max);
    if min.value > max.value {
        min.fault_with(&max, report, "backoff_min is longer than backoff_max");
    }
    (config.backoff_min, config.backoff_max) = (min.value, max.value);
    config.first_key_wait = section.setting("first_key_wait", &DURATION, config.first_key_wait).value;
    config.last_known_good = section.optional("last_known_good", &PATH).map(|file| {
        let directory = file.value.parent().filter(|directory| !directory.as_os_str().is_empty());
        if directory.is_some_and(|directory| !directory.is_dir()) {
            file.fault(report, "the directory of this file does not exist");
        }
        if config.source == Source::File(file.value.clone()) {
            file.fault(report, "the gateway would overwrite `file`, from which it reads the keys: name another file");
        }
        file.value
    });
    section.finish();
    config
}

fn read_source(section: &mut Section<'_>, upstream: &Url, allow_http: &Setting<bool>) -> Source {
    let report = section.context.report;
    let source = match section.given_only("source", &SOURCE) {
        Some(source) => {
            section.skip("url");
            section.skip("file");
            source
        }
        None if section.has("url") => {
            section.refuse("file", "url and file are both set: remove one of them");
            section.required("url", &URL, "", upstream.clone()).map(Source::Url)
        }
        None => match section.optional("file", &PATH) {
            Some(file) => file.map(Source::File),
            None => {
                let url = append(upstream, JWKS_PATH);
                section.derived("url", &URL, url, SettingOrigin::Default).map(Source::Url)
            }
        },
    };
    if let Source::Url(url) = &source.value
        && source.origin != SettingOrigin::Default
    {
        check_http(&source, url, allow_http, report);
    }
    if let Source::File(path) = &source.value {
        check_readable(&source, path, report);
    }
    source.value
}

/// `--keys`: a URL if it contains `://`, otherwise a file.
const SOURCE: Kind<Source> = Kind {
    parse: |raw| match raw.text()?.contains("://") {
        true => (URL.parse)(raw).map(Source::Url),
        false => (PATH.parse)(raw).map(Source::File),
    },
    show: |source| match source {
        Source::Url(url) => (URL.show)(url),
        Source::File(path) => (PATH.show)(path),
    },
    schema: shapes::nothing,
};
