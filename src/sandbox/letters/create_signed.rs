//! The body of `create-signed`.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Value};

use crate::sandbox::api_response::FieldError;

/// Base64 with or without padding, because the documentation does not say which.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The members of the request that the sandbox keeps.
pub(super) struct SignedLetter {
    pub(super) connector_id: String,
    pub(super) labels: Map<String, Value>,
}

impl SignedLetter {
    pub(super) fn parse(body: &Value) -> Result<Self, Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut check = |field, required, is_valid: &dyn Fn(&Value) -> bool| match body.get(field) {
            None | Some(Value::Null) if required => errors.push((field, "RequiredField")),
            None | Some(Value::Null) => {}
            Some(value) if is_valid(value) => {}
            Some(_) => errors.push((field, "InvalidValue")),
        };
        check("connector_id", true, &|value| value.as_str().is_some_and(|text| !text.is_empty()));
        check("data", true, &is_pdf);
        check("labels", false, &is_object_of_texts);
        check("annex", false, &is_pdf);
        check("contact_info", false, &is_object_of_texts);
        let text = body.get("connector_id").and_then(Value::as_str);
        let labels = body.get("labels").and_then(Value::as_object);
        match text {
            Some(connector_id) if errors.is_empty() => {
                Ok(Self { connector_id: connector_id.to_owned(), labels: labels.cloned().unwrap_or_default() })
            }
            _ => Err(errors),
        }
    }
}

/// Whether the value is Base64 of data that begins like a PDF.
fn is_pdf(value: &Value) -> bool {
    value.as_str().and_then(|text| BASE64.decode(text).ok()).is_some_and(|document| document.starts_with(b"%PDF-"))
}

/// Whether the value is an object whose values are strings, as labels are.
pub(super) fn is_object_of_texts(value: &Value) -> bool {
    value.as_object().is_some_and(|members| members.values().all(Value::is_string))
}
