//! The report as JUnit XML: one test case for each check, so that a CI system lists a drill like a test suite.
//!
//! The names of test cases do not depend on chance, because CI systems compare them with earlier runs. Kids and times
//! are in the texts.
//!
//! There is no standard, only Jenkins' schema and what Maven writes. This writes the elements that both have.

use std::fmt::{self, Write};
use std::time::Duration;

use super::Report;
use crate::html::EscapedWhole;

pub(super) fn document(report: &Report) -> String {
    let mut document = String::new();
    // Writing to a String cannot fail.
    let _ = write_document(&mut document, report);
    document
}

fn write_document(document: &mut String, report: &Report) -> fmt::Result {
    let failures = report.checks.iter().filter(|check| check.failure.is_some()).count();
    let (tests, time) = (report.checks.len(), seconds(report.took));
    let title = report.title();
    let title = EscapedWhole(&title);
    writeln!(
        document,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites name=\"{title}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" time=\"{time}\">\n\
         <testsuite name=\"{title}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{time}\" \
         timestamp=\"{}\">\n<properties>",
        report.at.strftime("%Y-%m-%dT%H:%M:%S"),
    )?;
    for (name, value) in [
        ("target", report.gateway.as_str()),
        ("provider", report.provider.as_str()),
        ("parameters", report.parameters().as_str()),
    ] {
        writeln!(document, "<property name=\"{name}\" value=\"{}\"/>", EscapedWhole(value))?;
    }
    document.push_str("</properties>\n");
    for check in &report.checks {
        let (name, time) = (EscapedWhole(&check.name), seconds(check.time.unwrap_or_default()));
        write!(document, "<testcase classname=\"drill.{}\" name=\"{name}\" time=\"{time}\"", report.scenario)?;
        match &check.failure {
            None => document.push_str("/>\n"),
            Some(failure) => {
                let failure = EscapedWhole(failure);
                writeln!(document, ">\n<failure message=\"{failure}\" type=\"drill\">{failure}")?;
                for cause in &report.causes {
                    writeln!(document, "{}", EscapedWhole(&cause.text))?;
                }
                document.push_str("</failure>\n</testcase>\n");
            }
        }
    }
    document.push_str("</testsuite>\n</testsuites>\n");
    Ok(())
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{failed, report};
    use crate::drill::testing::observations;

    #[test]
    fn each_check_is_a_test_case() {
        let document = report(&observations()).to_junit();
        for part in [
            "<testsuite name=\"jwe-gateway drill: hard-cut\" tests=\"6\" failures=\"0\"",
            "<testcase classname=\"drill.hard-cut\" name=\"no request is lost\" time=\"0.000\"/>",
            "<testcase classname=\"drill.hard-cut\" name=\"hard cut 1 is survived\" time=\"0.130\"/>",
        ] {
            assert!(document.contains(part), "{part} in\n{document}");
        }
        assert!(!document.contains("<failure"));
    }

    #[test]
    fn a_failed_check_has_its_reason_and_the_causes_and_external_texts_are_escaped() {
        let document = failed().to_junit();
        assert!(document.contains("<failure message=\"1 of 5 requests were lost"), "{document}");
        assert!(document.contains("&lt;script&gt;") && !document.contains("<script"), "{document}");
    }
}
