//! What is wrong with a document that came from outside.
//!
//! Identifiers must be unique and refer to something, and lists have limits. Sums are not checked, so a test can
//! set any balance.

use std::collections::HashSet;

use super::{ApiState, Products};

/// The limit of every list. It is that of clients which create credentials, codes and letters in a loop.
const MAX_ENTRIES: usize = 10_000;

/// The limit of reported faults.
const MAX_FAULTS: usize = 50;

pub(super) fn faults(state: &ApiState) -> Vec<String> {
    let mut faults = Faults(Vec::new());
    let banks = faults.unique("banks", state.banks.iter().map(|bank| bank.id.as_str()));
    let credentials = &state.credentials.all;
    faults.unique("credentials", credentials.iter().map(|one| one.credentials_token.as_str()));
    faults.unique("links", state.links.pending.iter().map(|pending| pending.code.as_str()));
    let letters: Vec<_> = state.letters.letters.iter().map(|letter| letter.id.to_string()).collect();
    faults.unique("letters", letters.iter().map(String::as_str));
    for credential in credentials {
        let list = format!("credentials `{}`", credential.credentials_token);
        faults.references(&list, "bank", &banks, [credential.bank.as_str()]);
        faults.products(&list, &credential.products);
    }
    faults.0.truncate(MAX_FAULTS);
    faults.0
}

struct Faults(Vec<String>);

impl Faults {
    fn products(&mut self, owner: &str, products: &Products) {
        macro_rules! ids {
            ($list:ident) => {
                self.unique(
                    &format!("{owner}, {}", stringify!($list)),
                    products.$list.iter().map(|one| one.id.as_str()),
                )
            };
        }
        macro_rules! refer {
            ($list:ident . $member:ident, $ids:expr) => {
                self.references(
                    &format!("{owner}, {}", stringify!($list)),
                    stringify!($member),
                    $ids,
                    products.$list.iter().map(|one| one.$member.as_str()),
                )
            };
        }
        let (accounts, cards, portfolios) = (ids!(accounts), ids!(cards), ids!(portfolios));
        let (investments, liabilities) = (ids!(investments), ids!(liabilities));
        ids!(account_transactions);
        ids!(card_transactions);
        ids!(investment_transactions);
        ids!(liability_transactions);
        refer!(account_transactions.account_id, &accounts);
        refer!(card_transactions.card_id, &cards);
        refer!(investments.portfolio_id, &portfolios);
        refer!(investment_transactions.investment_id, &investments);
        refer!(liability_transactions.liability_id, &liabilities);
        let held: HashSet<_> = [accounts, cards, portfolios, liabilities].into_iter().flatten().collect();
        refer!(holders.product_id, &held);
        for liability in products.liabilities.iter().filter(|liability| !liability.has_members_of_its_type()) {
            let (id, kind) = (&liability.id, liability.kind);
            self.report(format!(
                "{owner}, liabilities: `{id}` must have the members of its type {kind:?} and not those of others: \
                 availableBalance of a Credit, initialCapital and initialCapitalCurrency of a Loan, limit of a Confirming"
            ));
        }
        self.limit(&format!("{owner}, holders"), products.holders.len());
        self.limit(&format!("{owner}, mifid"), products.mifid.len());
    }

    /// Reports empty and repeated identifiers, and too many of them.
    fn unique<'a>(&mut self, list: &str, ids: impl Iterator<Item = &'a str>) -> HashSet<&'a str> {
        let mut seen = HashSet::new();
        let mut entries = 0;
        for id in ids {
            entries += 1;
            if id.is_empty() {
                self.report(format!("{list}: an entry has an empty identifier"));
            } else if !seen.insert(id) {
                self.report(format!("{list}: the identifier `{id}` occurs more than once"));
            }
        }
        self.limit(list, entries);
        seen
    }

    /// Reports each missing reference once.
    fn references<'a>(
        &mut self,
        list: &str,
        member: &str,
        existing: &HashSet<&str>,
        references: impl IntoIterator<Item = &'a str>,
    ) {
        let mut missing = HashSet::new();
        for reference in references {
            if !existing.contains(reference) && missing.insert(reference) {
                self.report(format!("{list}: {member} `{reference}` does not exist"));
            }
        }
    }

    fn limit(&mut self, list: &str, entries: usize) {
        if entries > MAX_ENTRIES {
            self.report(format!("{list}: there are {entries} entries, the limit is {MAX_ENTRIES}"));
        }
    }

    fn report(&mut self, fault: String) {
        if self.0.len() < MAX_FAULTS {
            self.0.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::world::liabilities::LiabilityKind;
    use jiff::Timestamp;

    #[test]
    fn each_fault_of_a_document_is_told_in_a_sentence() {
        let mut state = ApiState::seeded(1, Timestamp::UNIX_EPOCH);
        state.credentials.all[1].credentials_token = "sandbox-credentials-1".to_owned();
        state.credentials.all[0].bank = "made-up".to_owned();
        let products = &mut state.credentials.all[0].products;
        products.cards.remove(1);
        products.investments[0].portfolio_id = String::new();
        products.liability_transactions[1].id = products.liability_transactions[0].id.clone();
        products.liabilities[0].kind = LiabilityKind::Confirming;
        let faults = state.check().join("\n");
        for fault in [
            "credentials: the identifier `sandbox-credentials-1` occurs more than once",
            "credentials `sandbox-credentials-1`: bank `made-up` does not exist",
            "credentials `sandbox-credentials-1`, card_transactions: card_id `",
            "credentials `sandbox-credentials-1`, investments: portfolio_id `` does not exist",
            "credentials `sandbox-credentials-1`, liability_transactions: the identifier `",
            "must have the members of its type Confirming",
        ] {
            assert!(faults.contains(fault), "{fault} is missing in:\n{faults}");
        }
        state.credentials.all[0].products.account_transactions.iter_mut().for_each(|one| one.id.clear());
        assert_eq!(state.check().len(), MAX_FAULTS);
    }
}
