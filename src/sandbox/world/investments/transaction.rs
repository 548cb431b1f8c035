//! Transactions of investments.

use fastrand::Rng;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::kinds::Kind;
use super::trades::Trade;
use super::{CountryModel, Investment, InvestmentKind};
use crate::sandbox::world::decimal::{Money, Precise};
use crate::sandbox::world::origin::{Origin, digits};
use crate::sandbox::world::portfolios::Portfolio;

/// Withheld from an income, in per mille.
const TAX: i64 = 190;

/// The interest that accrued before a bond changes hands, in per mille.
const ACCRUED: i64 = 5;

/// What a transaction does. The provider's table of types is not public; of these only the transfer between
/// funds is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransactionKind {
    Buy,
    Sell,
    Transfer,
    Income,
}

/// The type of an income, which belongs to another part of the extraction.
pub(super) const INCOME: &str = "10";

impl TransactionKind {
    fn code(self) -> &'static str {
        match self {
            Self::Buy => "1",
            Self::Sell => "2",
            Self::Transfer => "4",
            Self::Income => INCOME,
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Buy => "COMPRA",
            Self::Sell => "VENTA",
            Self::Transfer => "TRASPASO ENTRE FONDOS",
            Self::Income => "ABONO DE RENDIMIENTOS",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::sandbox) struct InvestmentTransaction {
    #[serde(rename = "accountDest")]
    account_dest: Option<String>,
    accrued_interest: Option<Money>,
    /// The number of shares, negative if it decreases.
    pub(in crate::sandbox::world) amount: Precise,
    #[serde(rename = "amountDest")]
    amount_dest: Option<Precise>,
    /// The number of shares after the transaction.
    pub(in crate::sandbox::world) balance: Option<Precise>,
    commission: Option<Money>,
    #[serde(rename = "commissionDest")]
    commission_dest: Option<Money>,
    commission_detail: CommissionDetail,
    currency: String,
    #[serde(rename = "currencyDest")]
    currency_dest: Option<String>,
    description: String,
    entity: String,
    exchange: Precise,
    #[serde(rename = "exchangeToPaymentCurrency")]
    exchange_to_payment_currency: Precise,
    #[serde(rename = "exchangeToTransactionCurrency")]
    exchange_to_transaction_currency: Precise,
    expenses: Option<Money>,
    expenses_detail: ExpensesDetail,
    pub(in crate::sandbox::world) external_id: Option<String>,
    pub(in crate::sandbox::world) investment_id: String,
    isin: String,
    #[serde(rename = "isinDest")]
    isin_dest: Option<String>,
    leverage: Option<Precise>,
    #[serde(rename = "netCash")]
    net_cash: Money,
    #[serde(rename = "netCashDest")]
    net_cash_dest: Option<Money>,
    #[serde(rename = "operationDate")]
    pub(in crate::sandbox::world) operation_date: Date,
    order_id: Option<String>,
    origin_gain: OriginGain,
    origin_gain_detail: Option<Vec<OriginGain>>,
    #[serde(rename = "originalCurrency")]
    original_currency: String,
    pair_transaction_id: Option<String>,
    #[serde(rename = "paymentCurrency")]
    payment_currency: String,
    #[serde(rename = "refAccountIBAN")]
    ref_account_iban: Option<String>,
    #[serde(rename = "refValos")]
    ref_valos: Option<String>,
    #[serde(rename = "referenceCurrency")]
    reference_currency: String,
    retention: Option<Money>,
    retention_detail: Option<RetentionDetail>,
    reversal_type: Option<String>,
    symb: Sign,
    #[serde(rename = "symbDest")]
    symb_dest: Option<Sign>,
    transaction_id: Option<String>,
    #[serde(rename = "transactionCurrency")]
    transaction_currency: String,
    #[serde(rename = "type")]
    pub(in crate::sandbox::world) kind: String,
    #[serde(rename = "unitPrice")]
    unit_price: Precise,
    #[serde(rename = "unitPriceDest")]
    unit_price_dest: Option<Precise>,
    #[serde(rename = "valueDate")]
    value_date: Date,
    #[serde(rename = "valueDateDest")]
    value_date_dest: Option<Date>,
    #[serde(rename = "_id")]
    pub(in crate::sandbox::world) id: String,
    country_model: Vec<CountryModel>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Sign {
    #[serde(rename = "+")]
    Plus,
    #[serde(rename = "-")]
    Minus,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommissionDetail {
    #[serde(rename = "ITF")]
    itf: Option<Money>,
    broker: Option<Money>,
    canon: Option<Money>,
    entity: Option<Money>,
    fx: Option<Money>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpensesDetail {
    custody: Option<Money>,
    financial: Option<Money>,
    iva: Option<Money>,
    liquidation: Option<Money>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OriginGain {
    date: Date,
    value: Money,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RetentionDetail {
    destination: Option<Money>,
    origin: Option<Money>,
}

impl InvestmentTransaction {
    /// `held` is the number of shares after the transaction. The identifiers are missing.
    pub(super) fn new(
        origin: &Origin<'_>,
        rng: &mut Rng,
        kind: &Kind,
        investment: &Investment,
        portfolio: &Portfolio,
        trade: &Trade,
        held: Precise,
    ) -> Self {
        let currency = || investment.currency.clone();
        let traded = matches!(trade.kind, TransactionKind::Buy | TransactionKind::Sell);
        let commission = kind.commission.filter(|_| traded).map(|part| trade.value.per_mille(part));
        let accrued_interest = (traded && kind.kind == InvestmentKind::Fi).then(|| trade.value.per_mille(ACCRUED));
        let retention = (trade.kind == TransactionKind::Income).then(|| trade.value.per_mille(TAX));
        let costs = commission.unwrap_or_default();
        let gross = trade.value + accrued_interest.unwrap_or_default();
        let net_cash = match trade.kind {
            TransactionKind::Buy | TransactionKind::Transfer => gross + costs,
            TransactionKind::Sell | TransactionKind::Income => gross - costs - retention.unwrap_or_default(),
        };
        Self {
            account_dest: None,
            accrued_interest,
            amount: trade.shares,
            amount_dest: None,
            balance: Some(held),
            commission,
            commission_dest: None,
            commission_detail: CommissionDetail { entity: commission, ..CommissionDetail::default() },
            currency: currency(),
            currency_dest: None,
            description: format!("{} {}", trade.kind.description(), investment.name.to_uppercase()),
            entity: origin.bank.to_owned(),
            exchange: Precise::whole(1),
            exchange_to_payment_currency: Precise::whole(1),
            exchange_to_transaction_currency: Precise::whole(1),
            expenses: None,
            expenses_detail: ExpensesDetail::default(),
            external_id: None,
            investment_id: investment.id.clone(),
            isin: investment.isin.clone(),
            isin_dest: None,
            leverage: (kind.kind == InvestmentKind::Cfd).then(|| Precise::whole(5)),
            net_cash,
            net_cash_dest: None,
            operation_date: trade.date,
            order_id: traded.then(|| digits(rng, 10)),
            origin_gain: OriginGain { date: trade.date, value: Money::ZERO },
            origin_gain_detail: None,
            original_currency: currency(),
            pair_transaction_id: None,
            payment_currency: currency(),
            ref_account_iban: portfolio.ref_account.clone(),
            ref_valos: portfolio.ref_valores.clone(),
            reference_currency: portfolio.currency.clone(),
            retention,
            retention_detail: retention
                .map(|tax| RetentionDetail { destination: Some(tax), origin: Some(Money::ZERO) }),
            reversal_type: None,
            symb: if trade.shares < Precise::ZERO { Sign::Minus } else { Sign::Plus },
            symb_dest: None,
            transaction_id: Some(digits(rng, 10)),
            transaction_currency: currency(),
            kind: trade.kind.code().to_owned(),
            unit_price: trade.price,
            unit_price_dest: None,
            value_date: trade.date,
            value_date_dest: None,
            id: String::new(),
            country_model: Vec::new(),
        }
    }

    pub(super) fn set_origin_gain(&mut self, date: Date, value: Money) {
        self.origin_gain = OriginGain { date, value };
    }

    /// Describes the other half of a transfer between funds of the same portfolio.
    pub(super) fn set_counterpart(&mut self, portfolio: &Portfolio, isin: &str, (shares, price): (Precise, Precise)) {
        self.account_dest.clone_from(&portfolio.ref_valores);
        self.amount_dest = Some(shares);
        self.commission_dest = Some(Money::ZERO);
        self.currency_dest = Some(self.currency.clone());
        self.isin_dest = Some(isin.to_owned());
        self.net_cash_dest = Some(self.net_cash);
        self.origin_gain_detail = Some(vec![self.origin_gain]);
        self.symb_dest = Some(Sign::Plus);
        self.unit_price_dest = Some(price);
        self.value_date_dest = Some(self.value_date);
    }
}
