//! Investments of all documented types, and their transactions.
//!
//! The number of shares is the sum over the transactions, and each transaction shows the number after it. The
//! balance is the number of shares at the last price. Half of one fund's shares move to another fund, so a
//! transfer between funds occurs with both halves.

mod kinds;
mod trades;
mod transaction;

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use self::kinds::{FUNDS, KINDS, Kind};
use self::trades::Trades;
use super::decimal::{Money, Precise};
use super::origin::{Origin, digits, isin, precise, vat_number};
use super::portfolios::Portfolio;

pub(in crate::sandbox) use self::transaction::InvestmentTransaction;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Investment {
    #[serde(rename = "_id")]
    pub(super) id: String,
    pub(super) external_id: Option<String>,
    pub(super) name: String,
    pub(super) isin: String,
    cusip: Option<String>,
    symbol: Option<String>,
    pub(super) entity: String,
    #[serde(rename = "type")]
    pub(super) kind: InvestmentKind,
    /// The documentation spells it so.
    sybtype: String,
    /// The number of shares.
    pub(super) amount: Precise,
    /// Their value.
    pub(super) balance: Money,
    pub(super) currency: String,
    pub(super) portfolio_id: String,
    detail: BTreeMap<String, String>,
    cost: Option<Money>,
    is_nominal: bool,
    cnmv: Option<FundRegister>,
    dgs: Option<PensionRegister>,
    initial_date: Option<Date>,
    performance: Option<Precise>,
    performance_detail: Option<Performance>,
    valuation_date: Option<Date>,
    expiration_date: Option<Date>,
    analytics: Option<Analytics>,
    interest: Option<InvestmentInterest>,
    market: Option<String>,
    operating_market: Option<String>,
    capital_gain: Option<Money>,
    accrued_interest: Option<Precise>,
    price_ex_cupon: Option<Precise>,
    leverage: Option<u32>,
    country_model: Vec<CountryModel>,
    /// The bank of a deposit.
    placing_bank: Option<String>,
    updated_at_timestamp: i64,
}

/// The documented types: shares, fixed income, funds, pension plans, exchange-traded funds, liquidity, others,
/// derivatives, bank products, alternative products, crypto-currencies, contracts for difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(in crate::sandbox) enum InvestmentKind {
    Vi,
    Fi,
    F,
    Pp,
    Etf,
    L,
    O,
    Dv,
    Bp,
    Aep,
    C,
    Cfd,
}

/// Facts about a fund from a public register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct FundRegister {
    isin: String,
    gestora: Option<String>,
    cif_gestora: Option<String>,
    depositaria: Option<String>,
    cif_depositaria: Option<String>,
    num_registro_gestora: Option<String>,
    num_registro_depositaria: Option<String>,
}

/// Facts about a pension plan from a public register.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct PensionRegister {
    gestora: Option<String>,
    cif_gestora: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Performance {
    #[serde(rename = "MTD")]
    month: Option<Precise>,
    #[serde(rename = "QTD")]
    quarter: Option<Precise>,
    #[serde(rename = "HalfYear")]
    half_year: Option<Precise>,
    #[serde(rename = "YTD")]
    year_to_date: Option<Precise>,
    #[serde(rename = "Yearly")]
    year: Option<Precise>,
    #[serde(rename = "InitialToDate")]
    total: Option<Precise>,
    #[serde(rename = "InitialToDateYearly")]
    total_per_year: Option<Precise>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct Analytics {
    risk: Option<Precise>,
    sharpe_ratio: Option<Precise>,
    beta_ratio: Option<Precise>,
    tracking_error_ratio: Option<Precise>,
    volatility: Option<Precise>,
    #[serde(rename = "PER")]
    per: Option<Precise>,
    #[serde(rename = "ROE")]
    roe: Option<Precise>,
    #[serde(rename = "PES")]
    pes: Option<Precise>,
    #[serde(rename = "EPS")]
    eps: Option<Precise>,
    #[serde(rename = "ROA")]
    roa: Option<Precise>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct InvestmentInterest {
    /// In per cent.
    rate: Option<Precise>,
    /// `None` means that the rate is fixed.
    benchmark: Option<String>,
}

/// Facts that exist only in some countries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "country", deny_unknown_fields)]
pub(in crate::sandbox) enum CountryModel {
    #[serde(rename = "BR")]
    Brazil { issuer: String, code: String },
    #[serde(rename = "MX")]
    Mexico { emisora: String, serie: String, bmv: String, folio: String },
}

/// Whether the transaction is an income. The extraction has a flag of its own for incomes.
pub(in crate::sandbox) fn is_income(transaction: &InvestmentTransaction) -> bool {
    transaction.kind == transaction::INCOME
}

/// The investments of one credential with their transactions, oldest first.
pub(super) struct Investments {
    pub(super) investments: Vec<Investment>,
    pub(super) transactions: Vec<InvestmentTransaction>,
}

/// Sets the balances of the portfolios.
pub(super) fn seeded(origin: &Origin<'_>, portfolios: &mut [Portfolio]) -> Investments {
    let rng = &mut origin.rng("investments");
    let mut trades: Vec<_> = KINDS.iter().map(|kind| Trades::seeded(origin, rng, kind)).collect();
    let isins: Vec<_> = KINDS.iter().map(|_| isin(rng)).collect();
    let (from, to) = FUNDS;
    if let Ok([source, destination]) = trades.get_disjoint_mut([from, to]) {
        source.transfer_to(destination, origin, rng);
    }

    let (mut investments, mut transactions) = (Vec::new(), Vec::new());
    for (number, ((kind, trades), isin)) in KINDS.iter().zip(&trades).zip(&isins).enumerate() {
        let Some(portfolio) = portfolios.get_mut(kind.portfolio) else { continue };
        let investment = investment(origin, rng, number, kind, trades, isin, portfolio);
        portfolio.balance += investment.balance;
        let transfer_isin = isins.get(to).map_or("", String::as_str);
        transactions.extend(trades.transactions(origin, rng, kind, &investment, portfolio, transfer_isin));
        investments.push(investment);
    }
    transactions.sort_by_key(|one: &InvestmentTransaction| one.operation_date);
    for (number, one) in transactions.iter_mut().enumerate() {
        let ids = origin.ids("investment transaction", number);
        (one.id, one.external_id) = (ids.id, ids.external_id);
    }
    Investments { investments, transactions }
}

fn investment(
    origin: &Origin<'_>,
    rng: &mut fastrand::Rng,
    number: usize,
    kind: &Kind,
    trades: &Trades,
    isin: &str,
    portfolio: &Portfolio,
) -> Investment {
    let ids = origin.ids("investment", number);
    let held = trades.held();
    let (balance, cost) = (held.value_at(trades.last_price), held.value_at(trades.first_price));
    let performance = Precise::ratio(balance - cost, cost);
    let name = kind.name.to_owned();
    let bank = origin.bank;
    let is = |kinds: &[InvestmentKind]| kinds.contains(&kind.kind);
    let listed = is(&[InvestmentKind::Vi, InvestmentKind::Etf, InvestmentKind::Dv]);
    let equity = is(&[InvestmentKind::Vi, InvestmentKind::Etf]);
    let managed = is(&[InvestmentKind::F, InvestmentKind::Pp]);
    let nominal = is(&[InvestmentKind::Fi, InvestmentKind::Bp, InvestmentKind::L]);
    let bond = is(&[InvestmentKind::Fi]);
    let mut ratio = |wanted: bool, least, most| wanted.then(|| precise(rng, least, most));
    let performance_detail = Performance {
        month: ratio(true, -300, 300),
        quarter: ratio(true, -500, 600),
        half_year: ratio(true, -700, 900),
        year_to_date: ratio(true, -900, 1200),
        year: ratio(true, -900, 1200),
        total: Some(performance),
        total_per_year: Some(performance.per_mille(500)),
    };
    let analytics = Analytics {
        risk: ratio(managed, 100, 2_000),
        sharpe_ratio: ratio(managed, -5_000, 20_000),
        beta_ratio: ratio(true, 2_000, 15_000),
        tracking_error_ratio: ratio(managed, 50, 900),
        volatility: ratio(true, 200, 3_500),
        per: ratio(equity, 60_000, 300_000),
        roe: ratio(equity, 200, 3_000),
        pes: ratio(equity, 60_000, 300_000),
        eps: ratio(equity, 2_000, 90_000),
        roa: ratio(equity, 100, 1_500),
    };
    let accrued_interest = ratio(bond, 10, 200);
    let rate = ratio(bond || is(&[InvestmentKind::Bp]), 10_000, 45_000);
    let text = |text: &str| Some(text.to_owned());
    Investment {
        id: ids.id,
        external_id: ids.external_id,
        isin: isin.to_owned(),
        // A letter is no check digit, so no such CUSIP exists.
        cusip: is(&[InvestmentKind::Vi]).then(|| format!("XX{}X", digits(rng, 6))),
        symbol: equity.then(|| format!("SBX{number}")),
        entity: bank.to_owned(),
        kind: kind.kind,
        sybtype: kind.subtype.to_owned(),
        amount: held,
        balance,
        currency: portfolio.currency.clone(),
        portfolio_id: portfolio.id.clone(),
        detail: [("issuer", "Sandbox Issuer"), ("region", kind.region), ("source", "made up")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        cost: Some(cost),
        is_nominal: nominal,
        cnmv: is(&[InvestmentKind::F]).then(|| FundRegister {
            isin: isin.to_owned(),
            gestora: text("Gestora de Prueba"),
            cif_gestora: Some(vat_number(rng)),
            depositaria: text("Depositaria de Prueba"),
            cif_depositaria: Some(vat_number(rng)),
            num_registro_gestora: text("0000"),
            num_registro_depositaria: None,
        }),
        dgs: is(&[InvestmentKind::Pp])
            .then(|| PensionRegister { gestora: text("Gestora de Prueba"), cif_gestora: Some(vat_number(rng)) }),
        initial_date: trades.first_date(),
        performance: Some(performance),
        performance_detail: Some(performance_detail),
        valuation_date: Some(origin.today),
        expiration_date: kind.term.map(|years| {
            let years = jiff::Span::new().try_years(years).unwrap_or_default();
            origin.today.saturating_add(years)
        }),
        analytics: (!is(&[InvestmentKind::L, InvestmentKind::Bp])).then_some(analytics),
        interest: rate.map(|rate| InvestmentInterest {
            rate: Some(rate),
            benchmark: is(&[InvestmentKind::Bp]).then(|| "SANDBOX 3M".to_owned()),
        }),
        // The code of ISO 10383 for "no market".
        market: listed.then(|| "XXXX".to_owned()),
        operating_market: listed.then(|| "XXXX".to_owned()),
        capital_gain: Some(balance - cost),
        accrued_interest,
        price_ex_cupon: bond.then_some(trades.last_price),
        leverage: is(&[InvestmentKind::Cfd]).then_some(5),
        country_model: match kind.kind {
            InvestmentKind::O => vec![CountryModel::Brazil { issuer: name.clone(), code: format!("BRX{number}") }],
            InvestmentKind::Aep => vec![CountryModel::Mexico {
                emisora: name.clone(),
                serie: "X".to_owned(),
                bmv: format!("MXX{number}"),
                folio: digits(rng, 8),
            }],
            _ => Vec::new(),
        },
        placing_bank: is(&[InvestmentKind::Bp]).then(|| bank.to_owned()),
        updated_at_timestamp: origin.updated_at(),
        name,
    }
}
