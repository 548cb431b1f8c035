//! Prints what happened to one request, on a few lines.

use std::fmt;

use crate::gateway::access_log::Record;
use crate::sandbox::Received;

/// Characters of an opened body that are printed.
const PREVIEW: usize = 60;

pub(super) struct RequestReport<'a> {
    /// The number of the request in this demo, from 1.
    pub(super) number: usize,
    /// The access record of the gateway that sealed the body.
    pub(super) record: &'a Record,
    /// The access records of the egress, if there is one: one for each attempt.
    pub(super) egress: Option<&'a [Record]>,
    /// What the provider received, if the request reached it.
    pub(super) received: Option<&'a Received>,
    /// The body that the demo sent, if the demo sent the request.
    pub(super) sent: Option<&'a [u8]>,
}

impl RequestReport<'_> {
    /// Whether the provider opened a sealed message with exactly the body that was sent.
    pub(super) fn is_intact(&self) -> bool {
        let opened = self.received.filter(|received| received.opened.is_some());
        matches!((opened, self.sent), (Some(received), Some(sent)) if received.plaintext == sent)
    }

    fn sealed(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((received, opened)) = self.received.and_then(|received| Some((received, received.opened.as_ref()?)))
        else {
            return writeln!(f, "    out     no sealed message");
        };
        let [header, key, iv, ciphertext, tag] = opened.parts.map(grouped);
        let size = grouped(received.wire.len());
        let time = self.record.seal_time.unwrap_or_default().as_micros();
        writeln!(f, "    out     {size} bytes of application/jose, sealed in {time} µs")?;
        writeln!(f, "              header      {header:>9}  {}", opened.header)?;
        writeln!(
            f,
            "              key         {key:>9}  a fresh key, wrapped for kid {}",
            opened.kid.as_deref().unwrap_or("(none)")
        )?;
        writeln!(f, "              iv          {iv:>9}")?;
        writeln!(f, "              ciphertext  {ciphertext:>9}")?;
        writeln!(f, "              tag         {tag:>9}")?;
        if let Some(records) = self.egress {
            egress(records, f)?;
        }
        let verdict = match self.sent {
            Some(_) if self.is_intact() => ", byte for byte what was sent",
            Some(_) => ", NOT what was sent",
            None => "",
        };
        writeln!(f, "    opened  {} bytes by the provider{verdict}", grouped(received.plaintext.len()))?;
        writeln!(f, "              {}", preview(&received.plaintext))
    }
}

impl fmt::Display for RequestReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { method, path, bytes_in, bytes_out, duration, .. } = self.record;
        writeln!(f, "#{}  {method} {path}", self.number)?;
        match (bytes_in, self.received.is_some()) {
            (0, _) => writeln!(f, "    in      no body")?,
            (_, true) => {
                let location = if self.egress.is_some() { ", at the sidecar" } else { "" };
                writeln!(f, "    in      {} bytes of JSON, in clear{location}", grouped(*bytes_in))?;
            }
            (_, false) => writeln!(f, "    in      {} bytes", grouped(*bytes_in))?,
        }
        self.sealed(f)?;
        let status =
            self.record.status.map_or_else(|| "the caller disconnected".to_owned(), |status| status.to_string());
        let origin = self.record.refusal.map_or_else(
            || "the provider's response".to_owned(),
            |code| format!("refused by the gateway: {}", code.row().code),
        );
        let time = duration.as_secs_f64() * 1e3;
        writeln!(f, "    back    {status}, {} bytes, {origin}, {time:.1} ms in total\n", grouped(*bytes_out))
    }
}

/// Whether the gateway of this record could read the body: the request had a body, and it was not sealed.
pub(super) fn was_readable(record: &Record) -> bool {
    record.bytes_in > 0 && record.bytes_jwe.is_none()
}

fn egress(records: &[Record], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for record in records {
        let is_unchanged = record.bytes_jwe == u64::try_from(record.bytes_in).ok();
        let verdict = match (was_readable(record), is_unchanged) {
            (true, _) => "IN CLEAR",
            (false, true) => "forwarded sealed and unchanged, with the egress's own token",
            (false, false) => "NOT unchanged",
        };
        writeln!(f, "    egress  {} bytes, {verdict}", grouped(record.bytes_in))?;
    }
    Ok(())
}

/// 1398345 as `1 398 345`.
fn grouped(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().map_or_else(|_| "?".to_owned(), |number| number.to_string());
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}

/// The first characters of a body, on one line and without control characters.
fn preview(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * PREVIEW)]);
    let mut shown: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(PREVIEW).collect();
    if shown.len() < body.len() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped_by_thousands() {
        assert_eq!(grouped(7usize), "7");
        assert_eq!(grouped(1_398_345u64), "1 398 345");
        assert_eq!(grouped(100_000u64), "100 000");
    }

    #[test]
    fn a_preview_is_one_line() {
        assert_eq!(preview(b"{\n\"a\":1}"), "{ \"a\":1}");
        assert_eq!(preview(&[b'x'; 500]), format!("{}…", "x".repeat(PREVIEW)));
    }
}
