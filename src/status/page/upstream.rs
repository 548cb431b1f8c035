//! The section of one upstream: keys, their timeline, the credential, limits, traffic.

use std::fmt::{self, Write};
use std::time::Duration;

use super::super::model::{
    ConnectionsStatus, CredentialStatus, FetchStatus, KeySetState, KeySetStatus, KeyStatus, Time, UpstreamStatus,
};
use super::super::text;
use super::plots::{self, WIDTH};
use super::{or_dash, write_limits};
use crate::html::{Escaped, EscapedWhole};

/// The longest and the shortest time that a timeline shows.
const LONGEST: Duration = Duration::from_secs(6 * 3600);
const SHORTEST: Duration = Duration::from_secs(60);

/// The keys in a timeline. During a rotation there are two or three.
const MAX_ROWS: usize = 12;

/// The characters of a thumbprint. They suffice to find it elsewhere; the JSON has all.
const THUMBPRINT: usize = 12;

pub(super) fn write(page: &mut String, upstream: &UpstreamStatus, with_traffic: bool, now: Time) -> fmt::Result {
    let ready = if upstream.ready { "ready" } else { "<b class=\"bad\">not ready</b>" };
    let encryption = match upstream.encryption {
        "seal" => "seals bodies",
        "require-sealed" => "requires sealed bodies",
        _ => "sends bodies in clear",
    };
    let name = Escaped(&upstream.name);
    writeln!(page, "<section>\n<h2>Upstream {name} <span>{ready}, {encryption}</span></h2>")?;
    if with_traffic {
        plots::write_traffic(page, &upstream.traffic)?;
    }
    if let Some(keys) = &upstream.key_set {
        write_keys(page, keys, now)?;
    }
    write_credential(page, &upstream.credential, now)?;
    let ConnectionsStatus { opened, failed, reused } = upstream.connections;
    let class = if failed > 0 { "bad" } else { "dim" };
    writeln!(
        page,
        "<h3>Connections to the provider</h3>\n<p>{opened} opened since the start, <span class=\"{class}\">{failed} \
         attempts failed</span>. {reused} responses came on a connection that was used before.</p>\n<h3>Limits</h3>"
    )?;
    write_limits(page, &upstream.limits)?;
    writeln!(page, "</section>")
}

fn write_keys(page: &mut String, keys: &KeySetStatus, now: Time) -> fmt::Result {
    let state = match keys.state {
        KeySetState::Fresh => "<b>fresh</b>",
        KeySetState::Stale => "<b class=\"warn\">stale</b>",
        KeySetState::Unusable => "<b class=\"bad\">unusable</b>",
    };
    write!(page, "<h3>Keys</h3>\n<p>The key set is {state}.")?;
    if let Some(confirmed) = keys.confirmed {
        write!(page, " The provider confirmed it {}.", text::relative(confirmed, now))?;
    }
    if let Some(expires) = keys.expires {
        let verb = if expires > now { "ends" } else { "ended" };
        write!(page, " Its lifetime {verb} {}.", text::relative(expires, now))?;
    }
    writeln!(page, " {}</p>", next("fetch", keys.next_fetch, now))?;
    if let Some(problem) = &keys.problem {
        writeln!(page, "<p class=\"bad\">{}</p>", EscapedWhole(problem))?;
    }
    if let Some(error) = &keys.last_error {
        writeln!(page, "<p class=\"bad\">Last fetch: {}</p>", EscapedWhole(error))?;
    }
    if !keys.keys.is_empty() {
        writeln!(
            page,
            "<div class=\"wide\"><table>\n<tr><th>kid</th><th>state</th><th>first seen</th><th>bits</th><th>thumbprint</th></tr>"
        )?;
        for key in &keys.keys {
            write_key(page, key, now)?;
        }
        writeln!(page, "</table></div>")?;
    }
    write_timeline(page, keys, now)
}

fn write_key(page: &mut String, key: &KeyStatus, now: Time) -> fmt::Result {
    let state = match (key.seals, key.published) {
        (true, _) => "<b>seals now</b>".to_owned(),
        (false, false) => {
            let last =
                key.last_seen.map_or_else(String::new, |last| format!(", last seen {}", text::relative(last, now)));
            format!("<span class=\"dim\">withdrawn{last}</span>")
        }
        (false, true) => Escaped(&key.state).to_string(),
    };
    let first = key.first_seen.map_or_else(|| "before the start".to_owned(), |first| text::relative(first, now));
    let bits = key.bits.map_or_else(|| "\u{2013}".to_owned(), |bits| bits.to_string());
    let thumbprint = key.thumbprint.as_deref().map(|text| text.chars().take(THUMBPRINT).collect::<String>());
    writeln!(
        page,
        "<tr><td class=\"code\">{}</td><td class=\"wrap\">{state}</td><td>{first}</td><td>{bits}</td><td class=\"code\">{}</td></tr>",
        or_dash(key.kid.as_deref().map(shortened).as_deref()),
        or_dash(thumbprint.as_deref()),
    )
}

/// The name of a key in a table. Providers use UUIDs and thumbprints.
fn shortened(kid: &str) -> String {
    const LONGEST: usize = 44;
    let shown: String = kid.chars().take(LONGEST).collect();
    if shown.len() < kid.len() { format!("{shown}\u{2026}") } else { shown }
}

/// A bar for each key from its first to its last set, and a mark for each fetch.
fn write_timeline(page: &mut String, keys: &KeySetStatus, now: Time) -> fmt::Result {
    let seen = keys.keys.iter().filter_map(|key| key.first_seen);
    let fetches = keys.fetches.iter().map(|fetch| fetch.first);
    let Some(first) = seen.chain(fetches).min() else { return Ok(()) };
    let axis = Axis { now, span: now.since(first).clamp(SHORTEST, LONGEST) };
    writeln!(page, "<table class=\"timeline\">")?;
    for key in keys.keys.iter().filter(|key| key.first_seen.is_some()).take(MAX_ROWS) {
        let name = key.kid.as_deref().or(key.thumbprint.as_deref());
        let class = match (key.seals, key.published) {
            (true, _) => "key",
            (false, true) => "other",
            (false, false) => "gone",
        };
        let last = if key.published { Some(now) } else { key.last_seen };
        let (from, to) = (axis.x(key.first_seen.unwrap_or(now)), axis.x(last.unwrap_or(now)));
        let width = (to - from).max(3.0);
        writeln!(
            page,
            "<tr><td class=\"code\">{}</td><td>{}<rect class=\"{class}\" x=\"{from:.0}\" width=\"{width:.0}\" height=\"10\"/></svg></td></tr>",
            or_dash(name),
            row_begin("bar", "when this key was published"),
        )?;
    }
    write!(page, "<tr><td>fetches</td><td>{}", row_begin("row", "fetches, failed ones filled"))?;
    write_attempts(page, &keys.fetches, &axis)?;
    let failed: u64 = keys.fetches.iter().filter(|fetch| fetch.error.is_some()).map(|fetch| fetch.count).sum();
    let all: u64 = keys.fetches.iter().map(|fetch| fetch.count).sum();
    let class = if failed > 0 { "bad" } else { "dim" };
    let ago = text::duration(axis.span);
    writeln!(
        page,
        "</svg></td></tr>\n<tr><td></td><td><div class=\"axis\"><span>{ago} ago</span>\
         <span class=\"{class}\">{failed} of {all} fetches failed</span><span>now</span></div></td></tr>\n</table>"
    )
}

/// A line for each success, and an area for each series of failures.
fn write_attempts(page: &mut String, fetches: &[FetchStatus], axis: &Axis) -> fmt::Result {
    let mut ticks = String::new();
    for fetch in fetches.iter().filter(|fetch| axis.shows(fetch.last)) {
        let (from, to) = (axis.x(fetch.first), axis.x(fetch.last));
        if fetch.error.is_none() {
            write!(ticks, "M{to:.0} 2v6")?;
        } else {
            let (x, width) = ((from - 2.0).max(0.0), (to - from).max(0.0) + 4.0);
            write!(page, "<rect class=\"fail\" x=\"{x:.0}\" width=\"{width:.0}\" height=\"10\"/>")?;
        }
    }
    write!(page, "<path class=\"tick\" d=\"{ticks}\"/>")
}

fn row_begin(class: &str, label: &str) -> String {
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {WIDTH} 10\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">\
         <rect class=\"track\" width=\"{WIDTH}\" height=\"10\"/>"
    )
}

/// The time that a plot shows, until now.
struct Axis {
    now: Time,
    span: Duration,
}

impl Axis {
    fn x(&self, time: Time) -> f64 {
        WIDTH * (1.0 - self.now.since(time).as_secs_f64() / self.span.as_secs_f64()).clamp(0.0, 1.0)
    }

    fn shows(&self, time: Time) -> bool {
        self.now.since(time) <= self.span
    }
}

fn write_credential(page: &mut String, credential: &CredentialStatus, now: Time) -> fmt::Result {
    let CredentialStatus { kind, usable, obtained, expires, next_renewal, problem, renewals, .. } = credential;
    match *kind {
        "none" => return writeln!(page, "<h3>Credential</h3>\n<p>None is presented to this upstream.</p>"),
        "static" => page.push_str("<h3>Static credential</h3>\n<p>"),
        _ => page.push_str("<h3>Token</h3>\n<p>"),
    }
    match (usable, obtained) {
        (true, Some(obtained)) if *kind == "token" => {
            write!(page, "Obtained {}.", text::relative(*obtained, now))?;
        }
        (true, _) => page.push_str("There is one."),
        (false, _) => page.push_str("<b class=\"bad\">There is none.</b>"),
    }
    if let Some(expires) = expires.filter(|_| *usable) {
        write!(page, " Expires {}.", text::relative(expires, now))?;
    }
    if let Some(renewal) = next_renewal {
        write!(page, " {}", next(if *kind == "token" { "renewal" } else { "read of its file" }, *renewal, now))?;
    }
    let failed: u64 = renewals.iter().filter(|renewal| renewal.error.is_some()).map(|renewal| renewal.count).sum();
    if failed > 0 {
        let all: u64 = renewals.iter().map(|renewal| renewal.count).sum();
        write!(page, " <span class=\"bad\">{failed} of {all} attempts failed.</span>")?;
    }
    page.push_str("</p>\n");
    if let Some(problem) = problem {
        writeln!(page, "<p class=\"bad\">{}</p>", EscapedWhole(problem))?;
    }
    if let (true, Some(obtained), Some(expires)) = (usable, obtained, expires) {
        write_life(page, *obtained, *expires, *next_renewal, now)?;
    }
    Ok(())
}

/// The life of a token as a bar, with a mark at the next renewal.
fn write_life(page: &mut String, obtained: Time, expires: Time, renewal: Option<Time>, now: Time) -> fmt::Result {
    let life = expires.since(obtained).as_secs_f64().max(1.0);
    let x = |time: Time| WIDTH * (time.since(obtained).as_secs_f64() / life).min(1.0);
    write!(
        page,
        "{}<rect class=\"fill\" width=\"{:.0}\" height=\"10\"/>",
        row_begin("row", "the life of the token: the filled part has passed, the line is the next renewal"),
        x(now),
    )?;
    if let Some(renewal) = renewal.filter(|renewal| *renewal >= now && *renewal <= expires) {
        write!(page, "<path class=\"mark\" d=\"M{:.0} 0v10\"/>", x(renewal))?;
    }
    writeln!(
        page,
        "</svg><div class=\"axis\"><span>obtained {}</span><span>expires {}</span></div>",
        text::clock(obtained, now),
        text::clock(expires, now)
    )
}

/// A sentence about the next attempt.
fn next(what: &str, at: Time, now: Time) -> String {
    if at > now { format!("Next {what} {}.", text::relative(at, now)) } else { format!("The next {what} is due.") }
}
