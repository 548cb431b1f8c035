//! What is wrong with a document that came from outside.

use std::collections::HashSet;

use super::ApiState;

/// The limits are those of clients that create credentials, codes and letters in a loop.
const MAX_ENTRIES: usize = 10_000;

pub(super) fn faults(state: &ApiState) -> Vec<String> {
    let mut faults = Vec::new();
    let banks = unique("banks", state.banks.iter().map(|bank| bank.id.as_str()), &mut faults);
    let credentials = &state.credentials.all;
    unique("credentials", credentials.iter().map(|one| one.credentials_token.as_str()), &mut faults);
    unique("links", state.links.pending.iter().map(|pending| pending.code.as_str()), &mut faults);
    let letters: Vec<_> = state.letters.letters.iter().map(|letter| letter.id.to_string()).collect();
    unique("letters", letters.iter().map(String::as_str), &mut faults);
    for credential in credentials {
        if !banks.contains(credential.bank.as_str()) {
            let (token, bank) = (&credential.credentials_token, &credential.bank);
            faults.push(format!("credentials `{token}`: there is no bank `{bank}` in `banks`"));
        }
    }
    faults
}

/// Reports empty and repeated names, and too many of them.
fn unique<'a>(list: &str, names: impl Iterator<Item = &'a str>, faults: &mut Vec<String>) -> HashSet<&'a str> {
    let mut seen = HashSet::new();
    let mut entries = 0_usize;
    for name in names {
        entries += 1;
        if name.is_empty() {
            faults.push(format!("{list}: an entry has an empty identifier"));
        } else if !seen.insert(name) {
            faults.push(format!("{list}: `{name}` occurs more than once"));
        }
    }
    if entries > MAX_ENTRIES {
        faults.push(format!("{list}: there are {entries} entries, the limit is {MAX_ENTRIES}"));
    }
    seen
}
