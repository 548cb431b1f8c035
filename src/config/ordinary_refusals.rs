//! `ordinary_refusals`: replies that show that the provider read the message.
//!
//! Each item is a table of JSON Pointers (RFC 6901) with the values that the members must have:
//! `{ "/error/code" = "VALIDATION_ERROR", "/error/details/0/field" = { except = ["body"] } }`.

use toml::de::{DeTable, DeValue};

use super::shapes;
use super::values::{ANY_TEXT, Kind, Raw, TEXTS, unexpected};
use crate::gateway::response::ordinary_refusal::{MemberPattern, OrdinaryRefusal, ValuePattern};

pub(super) const ORDINARY_REFUSALS: Kind<Vec<OrdinaryRefusal>> =
    Kind { parse, show: |refusals| show(refusals), schema: shapes::ordinary_refusals };

fn parse(raw: &Raw<'_>) -> Result<Vec<OrdinaryRefusal>, String> {
    let Raw::Written(DeValue::Array(items)) = raw else {
        return Err("expected an array of tables, such as [{ \"/error/code\" = \"VALIDATION_ERROR\" }]".into());
    };
    let refusal = |item: &DeValue<'_>| match item {
        DeValue::Table(members) if members.is_empty() => {
            Err("an empty table would match every reply: name a member".to_owned())
        }
        DeValue::Table(members) => members_of(members).map(OrdinaryRefusal),
        other => Err(unexpected("a table of members in an array", other)),
    };
    let numbered = items.iter().enumerate();
    numbered
        .map(|(index, item)| refusal(item.get_ref()).map_err(|message| format!("table {}: {message}", index + 1)))
        .collect()
}

fn members_of(table: &DeTable<'_>) -> Result<Vec<MemberPattern>, String> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    let member = |pointer: &str, value: &DeValue<'_>| {
        if !pointer.starts_with('/') {
            return Err(format!("{pointer:?} is not a JSON Pointer: it must begin with '/'"));
        }
        // RFC 6901 section 3: `~` is written as `~0`, and `/` in a name as `~1`.
        if pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
            return Err(format!("{pointer:?} is not a JSON Pointer: write ~0 for '~' and ~1 for '/' in a name"));
        }
        match value_of(value) {
            Ok(value) => Ok(MemberPattern { pointer: pointer.to_owned(), value }),
            Err(message) => Err(format!("{pointer}: {message}")),
        }
    };
    members.into_iter().map(|(pointer, value)| member(pointer.get_ref(), value.get_ref())).collect()
}

fn value_of(value: &DeValue<'_>) -> Result<ValuePattern, String> {
    match value {
        DeValue::Table(table) => {
            let mut keys = table.iter();
            match (keys.next(), keys.next()) {
                (Some((key, texts)), None) if *key.get_ref() == "except" => {
                    (TEXTS.parse)(&Raw::Written(texts.get_ref())).map(ValuePattern::Except)
                }
                (Some((key, _)), None) => {
                    Err(format!("unknown member {}: expected {{ except = [\"...\"] }}", key.get_ref()))
                }
                _ => Err("expected { except = [\"...\"] }".to_owned()),
            }
        }
        DeValue::String(_) => (ANY_TEXT.parse)(&Raw::Written(value)).map(ValuePattern::Text),
        other => Err(unexpected("text in quotes, or { except = [\"...\"] }", other)),
    }
}

fn show(refusals: &[OrdinaryRefusal]) -> String {
    let value = |value: &ValuePattern| match value {
        ValuePattern::Text(text) => format!("{text:?}"),
        ValuePattern::Except(texts) => format!("{{ except = {texts:?} }}"),
    };
    let table = |refusal: &OrdinaryRefusal| {
        let members = refusal.0.iter().map(|member| format!("{:?} = {}", member.pointer, value(&member.value)));
        format!("{{ {} }}", members.collect::<Vec<_>>().join(", "))
    };
    format!("[{}]", refusals.iter().map(table).collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use toml::de::DeTable;

    use super::*;
    use crate::gateway::response::ordinary_refusal::flanks;

    fn parsed(value: &str) -> Result<Vec<OrdinaryRefusal>, String> {
        let text = format!("x = {value}");
        let table = DeTable::parse(&text).unwrap();
        parse(&Raw::Written(table.get_ref()["x"].get_ref()))
    }

    #[test]
    fn the_printed_form_is_accepted() {
        assert_eq!(parsed(&show(&flanks())), Ok(flanks()));
        assert_eq!(parsed("[]"), Ok(Vec::new()));
    }

    #[test]
    fn each_fault_says_what_is_expected() {
        for (value, fault) in [
            ("400", "expected an array of tables"),
            ("[400]", "table 1: expected a table of members in an array, found a whole number"),
            (r#"[{ "/a" = "x" }, {}]"#, "table 2: an empty table would match every reply: name a member"),
            (r#"[{ code = "x" }]"#, "table 1: \"code\" is not a JSON Pointer: it must begin with '/'"),
            (r#"[{ "/co~2de" = "x" }]"#, "table 1: \"/co~2de\" is not a JSON Pointer: write ~0"),
            (r#"[{ "/code" = 7 }]"#, "table 1: /code: expected text in quotes"),
            (r#"[{ "/code" = { only = ["x"] } }]"#, "table 1: /code: unknown member only: expected"),
            (r#"[{ "/code" = {} }]"#, "table 1: /code: expected { except = [\"...\"] }"),
            (r#"[{ "/code" = { except = "x" } }]"#, "table 1: /code: expected an array of texts"),
        ] {
            let message = parsed(value).unwrap_err();
            assert!(message.starts_with(fault), "{value}: {message}");
        }
    }
}
