//! Descriptions of APIs as data: OpenAPI 3.1 documents, part of the program.
//!
//! The gateway checks requests against a document, tests check the sandbox's responses against it, and readers look
//! up there what a provider expects.
//!
//! The hard case: the provider's pages disagree with each other. The newer page wins, and a `$comment` in the document
//! names the other reading. Types generated from the documents were rejected: the sandbox would then agree with the
//! document by construction, and no test could show a mistake.

/// The API of Flanks.
pub const FLANKS: &str = include_str!("flanks.json");

/// The API of Flinks.
pub const FLINKS: &str = include_str!("flinks.json");

/// The management interface of the sandbox.
pub const SANDBOX_MANAGEMENT: &str = include_str!("management.json");

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn each_document_is_json_of_openapi_3_1() {
        for text in [FLANKS, FLINKS, SANDBOX_MANAGEMENT] {
            let document: Value = serde_json::from_str(text).unwrap();
            assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
            assert!(document["paths"].is_object());
        }
    }
}
