//! Connect, except the accounts: request ids, security questions, nightly refresh, institutions.

use http::StatusCode;
use serde_json::{Value, json};

use super::data::Login;
use super::dialect::{connect_error, invalid_request};
use super::routes::Call;
use super::sessions::{Session, Stage};
use crate::sandbox::api_response::ApiResponse;
use crate::sandbox::state::lock;

/// The answer to every security question.
const ANSWER: &str = "sandbox";

/// Exchanges a login id for a request id. A connection to the institution (`MostRecentCached` is false) asks the
/// user questions, if the login has any. The second form of the request answers them.
pub(super) fn authorize(call: &Call<'_>) -> ApiResponse {
    if let Some(request_id) = call.text("RequestId") {
        return answer(call, request_id);
    }
    let Some(login_id) = call.text("LoginId") else {
        return invalid_request("LoginId is required");
    };
    let Some(is_cached) = call.body.get("MostRecentCached").and_then(Value::as_bool) else {
        return invalid_request("MostRecentCached is required");
    };
    let Some((index, login)) = call.flinks.data.login(login_id) else {
        return unknown_login(login_id);
    };
    let stage = match (is_cached, login.questions) {
        (true, _) => Stage::CACHED,
        (false, []) => Stage::LIVE,
        (false, _) => Stage::Challenged,
    };
    let request_id = lock(&call.flinks.sessions).open(index, stage);
    match stage {
        Stage::Challenged => challenge(call, login, &request_id),
        Stage::Pending(_) => authorized(call, login, &request_id),
    }
}

pub(super) fn mfa_questions(call: &Call<'_>) -> ApiResponse {
    let login_id = call.segment("loginId");
    let Some((_, login)) = call.flinks.data.login(login_id) else {
        return unknown_login(login_id);
    };
    let questions: Vec<_> = login.questions.iter().map(|question| json!({ "Question": question })).collect();
    ApiResponse::ok(json!({ "Message": "SUCCESS", "Questions": questions }))
}

pub(super) fn nightly_refresh_status(call: &Call<'_>) -> ApiResponse {
    let logins = call.flinks.data.logins.iter();
    let ineligible = logins.filter(|login| login.is_refreshed_at_night && !login.questions.is_empty());
    let cards: Vec<_> = ineligible
        .map(|login| {
            json!({
                "LoginId": login.id,
                "LastRefreshDate": login.document()["LastRefresh"],
                "LastRefreshState": "AnsweringSecurityChallenge",
                "LastRefreshErrorCode": null,
            })
        })
        .collect();
    ApiResponse::ok(json!({ "HttpStatusCode": 200, "IneligibleCards": cards }))
}

pub(super) fn institution(call: &Call<'_>) -> ApiResponse {
    let institution = &call.flinks.data.institution;
    let number = call.segment("routingNumber");
    if !institution.routing_numbers.contains(&number) {
        let text = format!("No institution was found with the Routing Number: {number}");
        return ApiResponse { status: StatusCode::NOT_FOUND, body: json!({ "HttpStatusCode": 404, "Message": text }) };
    }
    ApiResponse::ok(json!({
        "Id": institution.id,
        "Localizations": [{ "Language": "en", "Name": institution.name }],
        "Urls": [{ "Type": "Main", "Url": "https://bank.example/" }],
        "Status": "Enabled",
        "Country": "CA",
        "RoutingNumbers": institution.routing_numbers,
    }))
}

/// Returns the session of a request id and its login, or the documented error.
pub(super) fn session<'a>(call: &Call<'a>, request_id: &str) -> Result<(Session, &'a Login), ApiResponse> {
    let session = lock(&call.flinks.sessions).get_mut(request_id).copied();
    let found = session.and_then(|session| Some((session, call.flinks.data.logins.get(session.login)?)));
    found.ok_or_else(|| {
        let text = format!("RequestId {request_id} is invalid or session has ended");
        connect_error(StatusCode::BAD_REQUEST, "SESSION_NONEXISTENT", &text)
    })
}

fn answer(call: &Call<'_>, request_id: &str) -> ApiResponse {
    let login = match session(call, request_id) {
        Ok((session, login)) if session.stage == Stage::Challenged => login,
        Ok(_) => return invalid_request("The request has no open security challenge"),
        Err(error) => return error,
    };
    let answers = &call.body["SecurityResponses"];
    let is_answered = |question: &&str| answers[*question].as_array().is_some_and(|given| given == &[json!(ANSWER)]);
    if !login.questions.iter().all(is_answered) {
        return challenge(call, login, request_id);
    }
    if let Some(session) = lock(&call.flinks.sessions).get_mut(request_id) {
        session.stage = Stage::LIVE;
    }
    authorized(call, login, request_id)
}

fn authorized(call: &Call<'_>, login: &Login, request_id: &str) -> ApiResponse {
    ApiResponse::ok(json!({
        "HttpStatusCode": 200,
        "Links": [
            { "rel": "AccountsDetail", "href": "/GetAccountsDetail", "example": null },
            { "rel": "AccountsSummary", "href": "/GetAccountsSummary", "example": null },
        ],
        "Login": login.document(),
        "Institution": call.flinks.data.institution.name,
        "RequestId": request_id,
    }))
}

fn challenge(call: &Call<'_>, login: &Login, request_id: &str) -> ApiResponse {
    let challenge = |question: &&str| json!({ "Type": "QuestionAndAnswer", "Prompt": question });
    ApiResponse {
        status: StatusCode::NON_AUTHORITATIVE_INFORMATION,
        body: json!({
            "HttpStatusCode": 203,
            "Links": [{ "rel": "Authorization", "href": "/Authorize", "example": null }],
            "SecurityChallenges": login.questions.iter().map(challenge).collect::<Vec<_>>(),
            "Institution": call.flinks.data.institution.name,
            "RequestId": request_id,
        }),
    }
}

fn unknown_login(login_id: &str) -> ApiResponse {
    invalid_request(&format!("The login '{login_id}' is invalid."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::flinks::testing::{FlinksTest, LOGIN_1, LOGIN_2, LOGIN_3};
    use crate::sandbox::testing::TestResponse;

    const AUTHORIZE: &str = "/v3/customer/BankingServices/Authorize";

    fn code(reply: &TestResponse) -> String {
        let body = reply.json();
        assert_eq!(body["HttpStatusCode"], reply.status.as_u16());
        body["FlinksCode"].as_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_challenge_must_be_answered_before_there_is_data() {
        let flinks = FlinksTest::start().await;
        let live = json!({ "LoginId": LOGIN_2, "MostRecentCached": false });
        let asked = flinks.post(AUTHORIZE, &live).await;
        assert_eq!(asked.status, 203);
        let asked = asked.json();
        let request_id = &asked["RequestId"];
        let detail = "/v3/customer/BankingServices/GetAccountsDetail";
        let early = flinks.post(detail, &json!({ "RequestId": request_id })).await;
        assert_eq!((early.status.as_u16(), code(&early).as_str()), (400, "INVALID_REQUEST"));

        let listed = flinks.get(&format!("/v3/customer/BankingServices/GetMFAQuestions/{LOGIN_2}")).await.ok();
        let mut answers = json!({});
        for (challenge, question) in
            asked["SecurityChallenges"].as_array().unwrap().iter().zip(listed["Questions"].as_array().unwrap())
        {
            assert_eq!(challenge["Prompt"], question["Question"]);
            answers[challenge["Prompt"].as_str().unwrap()] = json!(["wrong"]);
        }
        let with = |answers: &Value| json!({ "RequestId": request_id, "SecurityResponses": answers });
        assert_eq!(flinks.post(AUTHORIZE, &with(&answers)).await.status, 203);
        for answer in answers.as_object_mut().unwrap().values_mut() {
            *answer = json!([ANSWER]);
        }
        let authorized = flinks.post(AUTHORIZE, &with(&answers)).await.ok();
        assert_eq!((&authorized["RequestId"], &authorized["Login"]["Id"]), (request_id, &json!(LOGIN_2)));
        assert_eq!(flinks.post(AUTHORIZE, &with(&answers)).await.status, 400, "a challenge is answered once");
        assert_eq!(flinks.post(detail, &json!({ "RequestId": request_id })).await.status, 202);
    }

    #[tokio::test]
    async fn cached_data_needs_no_answers() {
        let flinks = FlinksTest::start().await;
        let cached = json!({ "LoginId": LOGIN_2, "MostRecentCached": true });
        assert_eq!(flinks.post(AUTHORIZE, &cached).await.status, 200);
    }

    #[tokio::test]
    async fn an_incomplete_or_unknown_login_is_an_invalid_request() {
        let flinks = FlinksTest::start().await;
        for body in [
            json!({}),
            json!({ "LoginId": LOGIN_1 }),
            json!({ "LoginId": LOGIN_1, "MostRecentCached": "true" }),
            json!({ "LoginId": "made-up", "MostRecentCached": true }),
            json!([]),
        ] {
            let reply = flinks.post(AUTHORIZE, &body).await;
            assert_eq!((reply.status.as_u16(), code(&reply).as_str()), (400, "INVALID_REQUEST"), "{body}");
        }
        let unknown = json!({ "RequestId": "made-up", "SecurityResponses": {} });
        assert_eq!(code(&flinks.post(AUTHORIZE, &unknown).await), "SESSION_NONEXISTENT");
    }

    #[tokio::test]
    async fn the_login_that_would_be_asked_at_night_is_ineligible_for_the_refresh() {
        let flinks = FlinksTest::start().await;
        let status = flinks.get("/v3/customer/BankingServices/GetNightlyRefreshStatus").await.ok();
        assert_eq!(status["IneligibleCards"].as_array().unwrap().len(), 1);
        assert_eq!(status["IneligibleCards"][0]["LoginId"], LOGIN_3);
    }

    #[tokio::test]
    async fn an_institution_is_found_by_each_of_its_routing_numbers() {
        let flinks = FlinksTest::start().await;
        let at = |number: &str| format!("/v3/customer/BankingServices/Institutions/RoutingNumber/{number}");
        let found = flinks.get(&at("000000018")).await.ok();
        assert_eq!(found, flinks.get(&at("000000026")).await.ok());
        let missing = flinks.get(&at("123")).await;
        assert_eq!((missing.status.as_u16(), missing.json().get("FlinksCode")), (404, None));
    }
}
