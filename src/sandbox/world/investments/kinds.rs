//! The investments that every credential has.

use super::InvestmentKind;

/// One investment.
pub(super) struct Kind {
    pub(super) kind: InvestmentKind,
    pub(super) name: &'static str,
    pub(super) subtype: &'static str,
    pub(super) region: &'static str,
    /// The index of its portfolio.
    pub(super) portfolio: usize,
    /// Prices and numbers of shares in ten-thousandths: least and greatest.
    pub(super) price: (i64, i64),
    pub(super) shares: (i64, i64),
    /// The commission on buying and selling, in per mille.
    pub(super) commission: Option<i64>,
    /// Whether it pays an income.
    pub(super) income: bool,
    /// The years until it ends.
    pub(super) term: Option<i32>,
}

/// The indices of the fund whose shares move, and of the fund that they move to.
pub(super) const FUNDS: (usize, usize) = (0, 1);

pub(super) const KINDS: [Kind; 13] = [
    kind(InvestmentKind::F, "Sandbox World Fund", "equity_fund", "world", 0, (80, 140), (40, 200)),
    kind(InvestmentKind::F, "Sandbox Bond Fund", "bond_fund", "europe", 0, (9, 12), (300, 900)),
    kind(InvestmentKind::Pp, "Sandbox Pension 2050", "pension_plan", "world", 0, (10, 18), (200, 2_000)),
    with_income(listed(kind(InvestmentKind::Etf, "Sandbox Index ETF", "index", "world", 0, (30, 90), (50, 300)))),
    kind(InvestmentKind::L, "Sandbox Cash", "cash", "none", 0, (1, 1), (500, 9_000)),
    kind(InvestmentKind::Aep, "Sandbox Growth Capital", "private_equity", "world", 0, (100, 120), (50, 150)),
    with_income(listed(kind(InvestmentKind::Vi, "Sandbox Industries", "share", "europe", 1, (12, 60), (50, 400)))),
    ending(with_income(kind(InvestmentKind::Fi, "Sandbox Bond 2.5 %", "bond", "europe", 1, (95, 104), (20, 90))), 4),
    kind(InvestmentKind::O, "Sandbox Other Product", "other", "none", 1, (50, 90), (10, 60)),
    ending(listed(kind(InvestmentKind::Dv, "Sandbox Option", "option", "europe", 1, (2, 9), (100, 500))), 1),
    ending(kind(InvestmentKind::Bp, "Sandbox Deposit", "deposit", "none", 1, (1, 1), (3_000, 20_000)), 1),
    listed(kind(InvestmentKind::C, "Sandbox Coin", "coin", "none", 1, (900, 2_400), (1, 4))),
    listed(kind(InvestmentKind::Cfd, "Sandbox Contract", "index", "world", 1, (20, 70), (20, 90))),
];

/// Prices and shares are given in whole numbers here.
const fn kind(
    kind: InvestmentKind,
    name: &'static str,
    subtype: &'static str,
    region: &'static str,
    portfolio: usize,
    price: (i64, i64),
    shares: (i64, i64),
) -> Kind {
    Kind {
        kind,
        name,
        subtype,
        region,
        portfolio,
        price: (price.0 * 10_000, price.1 * 10_000),
        shares: (shares.0 * 10_000, shares.1 * 10_000),
        commission: None,
        income: false,
        term: None,
    }
}

/// Traded on a market, which costs a commission.
const fn listed(kind: Kind) -> Kind {
    Kind { commission: Some(2), ..kind }
}

const fn with_income(kind: Kind) -> Kind {
    Kind { income: true, ..kind }
}

const fn ending(kind: Kind, years: i32) -> Kind {
    Kind { term: Some(years), ..kind }
}
