//! The people behind the credentials: identity, holders of products, answers to the bank's questions.

use jiff::ToSpan;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::origin::{Ids, Origin, digits, full_name, given_name, pick, surname};

/// The relation of a person who owns a product. `numOwners` counts only these.
pub(super) const OWNER: &str = "Titular";

/// The relation of a person who may use a product that belongs to another.
const AUTHORISED: &str = "Autorizado";

/// The owner of the access to the bank, as `credentials/auth` spells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::sandbox) struct Identity {
    /// The credentials token.
    #[serde(rename = "_id")]
    id: String,
    pub(super) name: Option<String>,
    pub(super) full_name: Option<String>,
    pub(super) surname1: Option<String>,
    pub(super) surname2: Option<String>,
    pub(super) birth_date: Option<Date>,
    pub(super) address: Option<Address>,
    pub(super) contact_info: Option<Vec<Contact>>,
    pub(super) identity_document: Option<String>,
    pub(super) gender: Option<Gender>,
    pub(super) occupation: Option<String>,
    pub(super) sector: Option<String>,
}

impl Identity {
    /// An identity that the bank does not tell.
    pub(in crate::sandbox) fn unknown(credentials_token: &str) -> Self {
        Self { id: credentials_token.to_owned(), ..Self::default() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::sandbox) struct Address {
    street_type: Option<String>,
    street_name: Option<String>,
    street_number: Option<String>,
    city: Option<String>,
    zip_code: Option<String>,
    state: Option<String>,
    country: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Contact {
    #[serde(rename = "type")]
    kind: ContactKind,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ContactKind {
    Phone,
    Email,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::sandbox) enum Gender {
    Male,
    Female,
}

/// The relation of a person to an account, card, portfolio or liability.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Holder {
    pub(super) product_name: String,
    pub(super) name: String,
    pub(super) rel: String,
    pub(super) product_id: String,
    pub(super) external_id: Option<String>,
}

/// A question of the bank about experience and aims, with the user's answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct MifidAnswer {
    #[serde(rename = "_id")]
    id: u32,
    question: String,
    answer: Vec<String>,
}

/// The people of one credential.
pub(super) struct People {
    pub(super) identity: Identity,
    pub(super) owner: String,
    pub(super) second: String,
}

pub(super) fn people(origin: &Origin<'_>) -> People {
    let rng = &mut origin.rng("identity");
    let (name, surname1, surname2) = (given_name(rng), surname(rng), surname(rng));
    let owner = format!("{name} {surname1} {surname2}");
    let text = |text: &str| Some(text.to_owned());
    let identity = Identity {
        id: origin.credentials_token.to_owned(),
        name: text(name),
        full_name: Some(owner.clone()),
        surname1: text(surname1),
        surname2: text(surname2),
        birth_date: Some(origin.today.saturating_sub(rng.i32(9_000..26_000).days())),
        address: Some(Address {
            street_type: text(pick(rng, &["Calle", "Avenida", "Plaza"])),
            street_name: text(pick(rng, &["de la Prueba", "del Ensayo", "de la Muestra"])),
            street_number: Some(rng.u8(1..=199).to_string()),
            city: text(pick(rng, &["Villaprueba", "Muestrales", "Ejemplona"])),
            zip_code: text("00000"),
            state: None,
            country: text("XX"),
        }),
        contact_info: Some(vec![
            Contact { kind: ContactKind::Phone, value: format!("+999{}", digits(rng, 9)) },
            Contact {
                kind: ContactKind::Email,
                value: format!("{}.{}@sandbox.invalid", name.to_lowercase(), surname1.to_lowercase()),
            },
        ]),
        identity_document: Some(format!("XX{}", digits(rng, 8))),
        gender: Some(if rng.bool() { Gender::Female } else { Gender::Male }),
        occupation: text(pick(rng, &["Administrativo", "Ingeniero", "Profesor"])),
        sector: text(pick(rng, &["Educacion", "Industria", "Servicios"])),
    };
    // The same name for both would make their relations ambiguous.
    let mut second = full_name(rng);
    while second == owner {
        second = full_name(rng);
    }
    People { identity, owner, second }
}

impl People {
    /// The holders of a product: the owner, and for some products a second person.
    pub(super) fn holders(&self, product: &Ids, name: &str, shared: Shared) -> Vec<Holder> {
        let holder = |person: &str, rel: &str| Holder {
            product_name: name.to_owned(),
            name: person.to_owned(),
            rel: rel.to_owned(),
            product_id: product.id.clone(),
            external_id: product.external_id.clone(),
        };
        let mut holders = vec![holder(&self.owner, OWNER)];
        match shared {
            Shared::No => {}
            Shared::Owned => holders.push(holder(&self.second, OWNER)),
            Shared::Used => holders.push(holder(&self.second, AUTHORISED)),
        }
        holders
    }
}

/// Whether a second person owns or uses a product.
#[derive(Clone, Copy)]
pub(super) enum Shared {
    No,
    Owned,
    Used,
}

pub(super) fn names(holders: &[Holder]) -> Vec<String> {
    holders.iter().map(|holder| holder.name.clone()).collect()
}

pub(super) fn owners(holders: &[Holder]) -> usize {
    holders.iter().filter(|holder| holder.rel == OWNER).count()
}

pub(super) fn mifid(origin: &Origin<'_>) -> Vec<MifidAnswer> {
    let rng = &mut origin.rng("mifid");
    let experience = ["Accounts", "Funds", "Shares", "Derivatives"];
    let known = rng.usize(1..=experience.len());
    let questions = [
        ("How long do you intend to invest?", vec![pick(rng, &["Less than two years", "Two to five years", "Longer"])]),
        ("Which products have you used before?", experience.iter().take(known).copied().collect()),
        ("What would you do if your investment lost 20 %?", vec![pick(rng, &["Sell", "Wait", "Buy more"])]),
        ("Which part of your income do you save?", vec![pick(rng, &["Below 10 %", "10 to 30 %", "Above 30 %"])]),
    ];
    questions
        .into_iter()
        .zip(1..)
        .map(|((question, answer), id)| MifidAnswer {
            id,
            question: question.to_owned(),
            answer: answer.into_iter().map(str::to_owned).collect(),
        })
        .collect()
}
