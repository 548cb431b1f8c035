//! `ordinary_refusals`: replies that show that the provider read the message.
//!
//! Each item is a table of JSON Pointers (RFC 6901) with the values that the members must have:
//! `{ "/error/code" = "VALIDATION_ERROR", "/error/details/0/field" = { except = ["body"] } }`.

use toml::de::{DeTable, DeValue};

use super::values::{ANY_TEXT, Kind, Raw, TEXTS, unexpected};
use crate::gateway::response::ordinary_refusal::{MemberPattern, OrdinaryRefusal, ValuePattern};

pub(super) const ORDINARY_REFUSALS: Kind<Vec<OrdinaryRefusal>> = Kind { parse, show: |refusals| show(refusals) };

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
    items.iter().map(|item| refusal(item.get_ref())).collect()
}

fn members_of(table: &DeTable<'_>) -> Result<Vec<MemberPattern>, String> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_by_key(|(name, _)| name.span().start);
    let member = |pointer: &str, value: &DeValue<'_>| {
        if !pointer.starts_with('/') {
            return Err(format!("{pointer:?} is not a JSON Pointer: it must begin with '/'"));
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
            ("[400]", "expected a table of members in an array, found a whole number"),
            ("[{}]", "an empty table would match every reply: name a member"),
            (r#"[{ code = "x" }]"#, "\"code\" is not a JSON Pointer: it must begin with '/'"),
            (r#"[{ "/code" = 7 }]"#, "/code: expected text in quotes"),
            (r#"[{ "/code" = { only = ["x"] } }]"#, "/code: expected { except = [\"...\"] }"),
            (r#"[{ "/code" = { except = "x" } }]"#, "/code: expected an array of texts"),
        ] {
            let message = parsed(value).unwrap_err();
            assert!(message.starts_with(fault), "{value}: {message}");
        }
    }
}
