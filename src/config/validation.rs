//! The settings of an upstream that compare requests with the description of its API.
//!
//! A document in a file is compiled here, so that all of its faults are reported together with those of the configuration,
//! at the start and at each reload. A changed file is another configuration, so it comes into use like any other change.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::PathBuf;

use super::file::Section;
use super::files::reason;
use super::setting::Setting;
use super::shapes::{self, words};
use super::values::{Kind, PATH, one_of, word};
use crate::gateway::validation::{Config, Document, IdentifiersInQuery, OwnDocument, Validate, ValidationErrors};

/// The faults of one document that are reported. A document for another version of OpenAPI can have hundreds.
const MAX_FAULTS: usize = 20;

/// The largest document. It is read while the gateway runs.
const MAX_DOCUMENT: u64 = 16 * 1024 * 1024;

/// Reads the settings of one `[[upstream]]`.
pub(super) fn read(section: &mut Section<'_>) -> Config {
    let default = Config::default();
    let validate = section.setting("validate", &VALIDATE, default.validate).value;
    let openapi = section.setting("openapi", &OPENAPI, DocumentName::Flanks);
    let validation_errors = section.setting("validation_errors", &VALIDATION_ERRORS, default.validation_errors);
    let identifiers_in_query =
        section.setting("identifiers_in_query", &IDENTIFIERS, default.identifiers_in_query).value;
    if let (DocumentName::File(_), ValidationErrors::Provider) = (&openapi.value, validation_errors.value) {
        let message =
            "only the formats of \"flanks\" and \"flinks\" are known: remove it, and the gateway's own is used";
        validation_errors.fault_with(&openapi, section.context.report, message);
    }
    let openapi = match openapi.value {
        DocumentName::Flanks => Document::Flanks,
        DocumentName::Flinks => Document::Flinks,
        DocumentName::File(ref path) => read_document(section, &openapi, path.clone()),
    };
    Config { validate, openapi, validation_errors: validation_errors.value, identifiers_in_query }
}

fn read_document(section: &Section<'_>, setting: &Setting<DocumentName>, path: PathBuf) -> Document {
    let report = section.context.report;
    let shown = path.display().to_string();
    // The limit holds for a path such as /dev/zero too, which has no length.
    let read = File::open(&path).and_then(|file| {
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_DOCUMENT { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    });
    let faults = match read {
        Err(error) => vec![format!("{shown} cannot be read: {}", reason(&error))],
        Ok(bytes) => match String::from_utf8(bytes).map_err(|_| vec!["not UTF-8 text".to_owned()]) {
            Ok(text) => match OwnDocument::new(path, &text) {
                Ok(document) => return Document::File(document),
                Err(faults) => in_file(&shown, faults),
            },
            Err(faults) => in_file(&shown, faults),
        },
    };
    let more = faults.len().saturating_sub(MAX_FAULTS);
    faults.into_iter().take(MAX_FAULTS).for_each(|fault| setting.fault(report, fault));
    if more > 0 {
        setting.fault(report, format!("{shown}: {more} more faults"));
    }
    Document::default()
}

fn in_file(file: &str, faults: Vec<String>) -> Vec<String> {
    faults.into_iter().map(|fault| format!("{file}: {fault}")).collect()
}

/// `openapi` as it is written.
#[derive(Clone, Debug)]
enum DocumentName {
    Flanks,
    Flinks,
    File(PathBuf),
}

const OPENAPI: Kind<DocumentName> = Kind {
    parse: |raw| match raw.text()? {
        "flanks" => Ok(DocumentName::Flanks),
        "flinks" => Ok(DocumentName::Flinks),
        _ => (PATH.parse)(raw).map(DocumentName::File),
    },
    show: |name| match name {
        DocumentName::Flanks => "flanks".to_owned(),
        DocumentName::Flinks => "flinks".to_owned(),
        DocumentName::File(path) => (PATH.show)(path),
    },
    schema: shapes::text,
};

const VALIDATES: [(&str, Validate); 3] =
    [("off", Validate::Off), ("report", Validate::Report), ("enforce", Validate::Enforce)];

const VALIDATE: Kind<Validate> = Kind {
    parse: |raw| one_of(raw, &VALIDATES),
    show: |validate| word(&VALIDATES, *validate),
    schema: || words(&VALIDATES),
};

const FORMATS: [(&str, ValidationErrors); 2] =
    [("problem", ValidationErrors::Problem), ("provider", ValidationErrors::Provider)];

const VALIDATION_ERRORS: Kind<ValidationErrors> =
    Kind { parse: |raw| one_of(raw, &FORMATS), show: |format| word(&FORMATS, *format), schema: || words(&FORMATS) };

const IDENTIFIERS_IN_QUERY: [(&str, IdentifiersInQuery); 2] =
    [("allow", IdentifiersInQuery::Allow), ("refuse", IdentifiersInQuery::Refuse)];

const IDENTIFIERS: Kind<IdentifiersInQuery> = Kind {
    parse: |raw| one_of(raw, &IDENTIFIERS_IN_QUERY),
    show: |identifiers| word(&IDENTIFIERS_IN_QUERY, *identifiers),
    schema: || words(&IDENTIFIERS_IN_QUERY),
};
