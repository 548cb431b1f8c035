//! `jwe-gateway keys`: lists the keys of a set, why a key is not usable, and the key that a gateway would use.

use std::fmt;

use serde_json::{Value, json};

use super::failure::Failure;
use super::source::KeySetArguments;
use super::{json, output};
use crate::keys::{Entry, EntryState, Snapshot};

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    source: KeySetArguments,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let snapshot = arguments.source.fetch().await?.snapshot();
    if arguments.json {
        let reason = snapshot.usable.as_ref().err().map(ToString::to_string);
        let keys: Vec<_> = snapshot.entries.iter().map(entry).collect();
        json::print(reason.is_none(), json!({ "keys": keys, "reason": reason }));
    } else {
        output::text(Table(&snapshot));
    }
    match snapshot.usable {
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::new(format!("no key would be used: {error}"))),
    }
}

fn entry(entry: &Entry) -> Value {
    json!({
        "kid": entry.kid,
        "thumbprint": entry.thumbprint,
        "bits": entry.bits,
        "usable": entry.state == EntryState::Usable,
        "state": entry.state.to_string(),
        "chosen": entry.chosen,
    })
}

/// One line per key, with `*` before the key that would be used.
struct Table<'a>(&'a Snapshot);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = || "-".to_owned();
        let rows: Vec<[String; 4]> = self
            .0
            .entries
            .iter()
            .map(|entry| {
                let kid = entry.kid.as_ref().map_or_else(unknown, |kid| kid.escape_debug().to_string());
                let bits = entry.bits.map_or_else(unknown, |bits| bits.to_string());
                [kid, bits, entry.thumbprint.clone().unwrap_or_else(unknown), entry.state.to_string()]
            })
            .collect();
        let heads = ["kid", "bits", "thumbprint", "state"];
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(heads[column].len())
        };
        let (kid, bits, thumbprint) = (width(0), width(1), width(2));
        writeln!(f, "  {:kid$}  {:bits$}  {:thumbprint$}  {}", heads[0], heads[1], heads[2], heads[3])?;
        for (row, entry) in rows.iter().zip(&self.0.entries) {
            let mark = if entry.chosen { '*' } else { ' ' };
            writeln!(f, "{mark} {:kid$}  {:bits$}  {:thumbprint$}  {}", row[0], row[1], row[2], row[3])?;
        }
        if self.0.usable.is_ok() { writeln!(f, "\n* would be used now") } else { Ok(()) }
    }
}
