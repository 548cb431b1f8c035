//! The operations: method, path, credential and handler of each.
//!
//! A test compares the table with the OpenAPI document in both directions. The token endpoint and the address for
//! the user's browser are not in it: they are answered without a credential, and not recorded as calls.

use http::{Method, Uri};
use serde_json::Value;

use super::dialect::Dialect;
use super::{Flinks, accounts, connect, enrich, fdx, outbound, pay};
use crate::sandbox::api_response::ApiResponse;
use crate::sandbox::routes;

/// The credential that an operation requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// `Authorization: Bearer` with a token from `POST /Token`.
    AccessToken,
    /// `Authorization: Bearer` with a fixed key.
    FixedKey,
    /// `flinks-auth-key` with a fixed key.
    AuthKey,
    /// Either of the two. The documentation names both in one sentence.
    AuthKeyOrFixedKey,
    /// `x-api-key` with a fixed key.
    ApiKey,
}

pub(super) struct Route {
    pub(super) method: Method,
    /// The path, with `{name}` for each segment that varies.
    pub(super) template: &'static str,
    pub(super) credential: Credential,
    pub(super) handler: fn(&Call<'_>) -> ApiResponse,
}

macro_rules! route {
    ($method:ident $template:literal, $credential:ident, $handler:expr) => {
        Route { method: Method::$method, template: $template, credential: Credential::$credential, handler: $handler }
    };
}

#[rustfmt::skip]
pub(super) static ROUTES: [Route; 18] = [
    route!(POST "/v3/{customerId}/BankingServices/Authorize", AuthKey, connect::authorize),
    route!(POST "/v3/{customerId}/BankingServices/GetAccountsDetail", AuthKeyOrFixedKey, accounts::detail),
    route!(GET "/v3/{customerId}/BankingServices/GetAccountsDetailAsync/{requestId}", AuthKeyOrFixedKey, accounts::detail_async),
    route!(POST "/v3/{customerId}/BankingServices/GetAccountsSummary", AuthKeyOrFixedKey, accounts::summary),
    route!(GET "/v3/{customerId}/BankingServices/GetAccountsSummaryAsync/{requestId}", AuthKeyOrFixedKey, accounts::summary_async),
    route!(GET "/v3/{customerId}/BankingServices/GetMFAQuestions/{loginId}", AuthKeyOrFixedKey, connect::mfa_questions),
    route!(GET "/v3/{customerId}/BankingServices/GetNightlyRefreshStatus", FixedKey, connect::nightly_refresh_status),
    route!(GET "/v3/{customerId}/BankingServices/Institutions/RoutingNumber/{routingNumber}", AuthKeyOrFixedKey, connect::institution),
    route!(GET "/v3/{customerId}/insight/login/{loginId}/attributes/{requestId}/GetAllBusinessAttributes", AuthKeyOrFixedKey, enrich::business),
    route!(GET "/v3/{customerId}/insight/login/{loginId}/attributes/{requestId}/GetCreditRiskAttributes", AuthKeyOrFixedKey, enrich::credit_risk),
    route!(GET "/v3/{customerId}/insight/login/{loginId}/attributes/{requestId}/GetUserAnalysisAttributes", AuthKeyOrFixedKey, enrich::user_analysis),
    route!(POST "/v2/pay/sessions/initiate", ApiKey, pay::initiate),
    route!(GET "/api/v1/providers", AccessToken, outbound::providers),
    route!(GET "/api/v1/recipients/providers/requests", AccessToken, outbound::registrations),
    route!(GET "/api/fdx/5/accounts", AccessToken, fdx::accounts),
    route!(GET "/api/fdx/5/accounts/{accountId}/transactions", AccessToken, fdx::transactions),
    route!(GET "/api/fdx/5/accounts/{accountId}/payment-networks", AccessToken, fdx::payment_networks),
    route!(GET "/api/fdx/5/customers/current", AccessToken, fdx::customer_profile),
];

impl Route {
    pub(super) fn dialect(&self) -> Dialect {
        Dialect::of(self.template).unwrap_or(Dialect::Connect)
    }

    /// The segments of the template beside those of the path.
    fn segments<'a>(&self, path: &'a str) -> impl Iterator<Item = (&'static str, &'a str)> {
        self.template.split('/').zip(path.split('/'))
    }

    fn matches(&self, path: &str) -> bool {
        self.template.split('/').count() == path.split('/').count()
            && self.segments(path).all(|(template, segment)| {
                if template.starts_with('{') { !segment.is_empty() } else { template == segment }
            })
    }
}

pub(super) fn find(method: &Method, path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.method == *method && route.matches(path))
}

/// An authenticated call with what its handler may need.
pub(super) struct Call<'a> {
    pub(super) flinks: &'a Flinks,
    pub(super) route: &'static Route,
    pub(super) uri: &'a Uri,
    /// `null` for a call without a body.
    pub(super) body: &'a Value,
}

impl<'a> Call<'a> {
    /// Returns the segment of the path that the template calls `{name}`.
    pub(super) fn segment(&self, name: &str) -> &'a str {
        let is_named =
            |template: &str| template.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) == Some(name);
        let mut segments = self.route.segments(self.uri.path());
        segments.find(|(template, _)| is_named(template)).map_or("", |(_, segment)| segment)
    }

    /// Returns a parameter of the query, decoded. An empty one counts as missing.
    pub(super) fn query(&self, name: &str) -> Option<String> {
        routes::parameter(self.uri, name).filter(|value| !value.is_empty())
    }

    pub(super) fn text(&self, member: &str) -> Option<&'a str> {
        self.body.get(member)?.as_str()
    }
}
