//! Verbs for faults on demand.

use serde_json::json;

use super::{Reply, Verb, VerbRequest, bad_request, ok};
use crate::sandbox::faults::{Armed, Fault};

/// The size limit of a fault as JSON.
const MAX_BODY: usize = 64 * 1024;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        method: "GET",
        path: "/faults",
        query: "",
        what: "the armed faults, and a sample of each fault",
        handler: |request| Box::pin(list(request)),
    },
    Verb {
        method: "POST",
        path: "/faults",
        query: "",
        what: "arm a fault for N requests: {\"fault\": SAMPLE, \"times\": N}; without times, until it is disarmed; a fault \
               of the kind api can have \"path\": PATH",
        handler: |request| Box::pin(arm(request)),
    },
    Verb {
        method: "DELETE",
        path: "/faults",
        query: "",
        what: "disarm all faults",
        handler: |request| Box::pin(disarm(request)),
    },
];

async fn list(request: VerbRequest) -> Reply {
    ok(json!({ "armed": request.state.faults.armed(), "samples": Fault::samples() }))
}

async fn arm(request: VerbRequest) -> Reply {
    let VerbRequest { state, body, .. } = request;
    let armed: Armed = VerbRequest::json(body, MAX_BODY).await?;
    armed.check().map_err(|message| bad_request(&message))?;
    let response = ok(json!(armed));
    state.faults.arm(armed);
    response
}

async fn disarm(request: VerbRequest) -> Reply {
    request.state.faults.disarm_all();
    ok(json!({ "disarmed": true }))
}
